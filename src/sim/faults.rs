//! Faults of links and of nodes.

use std::time::Duration;

use super::host::derive;
use super::link::{Active, Endpoint, other};
use super::world::World;
use crate::adversary::{Actor, Adversary};
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Node, Record, RestoredSlot, micros};
use crate::report::FaultRecord;
use crate::scenario::{Fault, FaultAction, FaultEvent, FaultKind};
use crate::wire::SignedSlot;

/// Longest wait until a link carries data again after a cut is mended: the sender's operating
/// system retries by its own timer.
const RESUME: Duration = Duration::from_millis(200);

impl World {
    /// Applies an event of the plan, by its index.
    pub(super) fn apply_fault(&mut self, number: usize) {
        let Some(FaultEvent { fault, act, .. }) = self.recorder.fault_events.get(number).copied()
        else {
            return;
        };
        self.oracle.unsettled(self.now);
        match act {
            FaultAction::Impair => {
                let mut struck = vec![false; self.hosts.len()];
                self.scenario
                    .struck(fault, self.seed)
                    .into_iter()
                    .for_each(|node| struck[node] = true);
                let kind = self.scenario.faults[fault].kind;
                self.impairments.active.push(Active { fault, kind, struck });
                self.recorder.count("impairments", 1);
            }
            FaultAction::Mend => self.mend(fault),
            FaultAction::Kill(node) => self.kill(node),
            FaultAction::Start(node) => {
                if !self.hosts[node].lives() {
                    self.begin(node);
                }
            }
            FaultAction::Pause(node) => {
                let host = &mut self.hosts[node];
                host.paused = host.lives();
                host.paused_at = Some(self.now);
            }
            FaultAction::Resume(node) => self.resume(node),
            FaultAction::Fill(node) => self.hosts[node].disk.full = true,
            FaultAction::Free(node) => self.hosts[node].disk.full = false,
            FaultAction::Rot(node) => {
                if let FaultKind::Rot(rows) = self.scenario.faults[fault].kind {
                    let rotted = self.hosts[node].disk.rot(rows, &mut self.dice);
                    self.recorder.count("rotted_rows", rotted);
                }
            }
            FaultAction::Wipe(node) => {
                self.kill(node);
                self.wipe(node);
            }
        }
    }

    /// Ends a fault of links.
    fn mend(&mut self, fault: usize) {
        let over = self.impairments.active.iter().position(|active| active.fault == fault);
        let Some(over) = over.map(|at| self.impairments.active.remove(at)) else { return };
        self.resume_links();
        let cut_off = |node: &usize| match over.kind {
            FaultKind::Partition => true,
            FaultKind::Isolate => over.struck[*node],
            _ => false,
        };
        let Fault { at, until, .. } = self.scenario.faults[fault];
        let away = until.map_or(Duration::ZERO, |until| until.saturating_sub(at));
        for node in (0..self.hosts.len()).filter(cut_off) {
            if self.hosts[node].lives() && self.hosts[node].honest {
                self.oracle.back(self.now, node, away);
            }
        }
    }

    /// Releases the chunks that a cut held back.
    fn resume_links(&mut self) {
        let held = |(id, end): (LinkId, &Endpoint)| {
            let waits = end.rare.as_ref().is_some_and(|rare| !rare.held.is_empty());
            (waits && end.reading).then_some((id, end.owner as usize))
        };
        let waiting: Vec<(LinkId, usize)> = self.links.all_up().filter_map(held).collect();
        for (to, owner) in waiting {
            let sender = self.links.get(other(to)).map_or(owner, |e| e.owner as usize);
            if !self.impairments.cut(owner, sender) && !self.hosts[owner].paused {
                let wait = Duration::from_micros(self.dice.up_to(RESUME));
                self.release(to, wait);
            }
        }
    }

    fn resume(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.paused && host.honest {
            let away = self.now.since(host.paused_at.unwrap_or(self.now));
            self.oracle.back(self.now, node, away);
        }
        host.paused = false;
        host.wake = None;
        for event in std::mem::take(&mut host.waiting) {
            self.queue.put(self.now, node as u32, event);
        }
        for link in self.hosts[node].links.clone() {
            if self.links.up(link).is_some_and(|end| end.reading) {
                self.release(link, Duration::ZERO);
            }
        }
        self.schedule_wake(node, false);
        self.plan_turn(node);
    }

    /// A node dies at once: what was not safe on its disk is lost, and its links break.
    pub(super) fn kill(&mut self, node: usize) {
        let now = self.now;
        let host = &mut self.hosts[node];
        if !host.lives() {
            return;
        }
        host.duplicates = host.all_duplicates();
        if let Some(Actor::Liar(liar)) = &host.actor {
            host.tried.push(liar.attempts().clone());
        }
        host.actor = None;
        (host.wake, host.paused) = (None, false);
        host.cpu.iter_mut().for_each(super::cpu::Cpu::reset);
        host.waiting.clear();
        host.start += 1;
        host.posted.clear();
        let links = host.links.clone();
        let lost: Vec<Record> = host.disk.crash(now);
        let honest = host.honest;
        self.recorder.died(node);
        for link in links {
            let last = self.links.get(link).map_or(now, |end| end.last);
            self.take_down(link);
            // The death of a process resets its links: data already written may arrive or not.
            self.say_end(link, last);
        }
        if honest {
            self.living -= 1;
            self.oracle.crashed(now, node, &lost);
        }
        self.recorder.forget(node, &lost, "lost_unsynced");
        self.recount(node);
    }

    /// All liars leave for good.
    pub(super) fn send_liars_away(&mut self) {
        for node in 0..self.hosts.len() {
            if !self.hosts[node].honest && self.hosts[node].lives() {
                self.kill(node);
                self.hosts[node].left = true;
            }
        }
    }

    /// Starts a node with what its disk holds, unless the member is played by hand.
    pub(super) fn begin(&mut self, node: usize) {
        if self.hosts[node].is_played() {
            return;
        }
        let (now, seed) = (self.now, self.seed);
        let (checks, network) = (&mut self.signatures, self.network.id());
        let is_signed = |author: &PublicKey, slot: &RestoredSlot| {
            let RestoredSlot { seq, rest, signature, .. } = *slot;
            let statement =
                SignedSlot { author: *author, seq, rest, signature }.statement(&network);
            checks.check(author, &statement, &signature).is_good()
        };
        let (restored, bad) = self.hosts[node].disk.restored(is_signed);
        if !bad.is_empty() {
            self.damaged(node, &bad);
        }
        let host = &mut self.hosts[node];
        let again = host.start > 0;
        host.start += 1;
        let identity = self.identities[node].clone();
        let dice = derive("node", seed, node, host.start);
        let (network, config) = (self.network.clone(), self.config.clone());
        let inner = Node::new(identity.clone(), network.clone(), config, restored, dice, now);
        host.actor = Some(match &self.cast[node] {
            None => Actor::Honest(Box::new(inner)),
            Some(spec) => {
                let forges = spec.kinds().any(|kind| kind == "forge");
                let decoys = if forges { self.decoys.clone() } else { Vec::new() };
                let dice = derive("liar", seed, node, host.start);
                let spec = spec.clone();
                Actor::Liar(Box::new(Adversary::new(
                    inner, identity, network, spec, decoys, dice, now,
                )))
            }
        });
        if host.honest {
            self.living += 1;
        }
        if again && self.hosts[node].honest {
            self.oracle.restarted(now, node);
        }
        self.recount(node);
        self.settle(node);
        self.schedule_wake(node, false);
    }

    /// Counts again what a node holds, after it died or started.
    fn recount(&mut self, node: usize) {
        let host = &self.hosts[node];
        let held = match host.lives() && host.honest {
            true => host.disk.firsts(|key| self.is_honest(key)),
            false => 0,
        };
        let host = &mut self.hosts[node];
        self.recorder.held = self.recorder.held - host.held + held;
        host.held = held;
    }

    /// Whether the key belongs to an honest node.
    pub(super) fn is_honest(&self, key: &crate::crypto::PublicKey) -> bool {
        self.node_of(key).is_some_and(|node| self.hosts[node].honest)
    }

    /// The faults of the scenario, in words.
    pub(super) fn fault_records(&self) -> Vec<FaultRecord> {
        let faults = self.scenario.faults.iter().enumerate();
        faults
            .map(|(number, fault)| {
                let nodes = self.scenario.struck(number, self.seed);
                FaultRecord {
                    what: fault.words(nodes.len()),
                    at: micros(fault.at),
                    until: fault.until.map(micros),
                    nodes: nodes.into_iter().map(|node| node as u32).collect(),
                }
            })
            .collect()
    }
}
