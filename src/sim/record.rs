//! The recording of a run.

use std::collections::BTreeMap;

use super::event::{Event, START};
use super::host::Host;
use super::oracle::{Held, NodeSet};
use super::world::World;
use crate::adversary::{Actor, Attempts};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{Rejection, Time, micros};
use crate::report::{
    Arrival, Backend, BanRecord, BatchRecord, NodeRecord, Post, Recording, Refused, Resources,
    Tried, TriedOne, judge,
};
use crate::scenario::Cryptography;

/// Up to this many nodes, a run is judged before its end, to see whether to extend it.
const SMALL: usize = 200;

impl World {
    /// Starts load and faults: their times count from `zero`.
    pub(super) fn start_clock(&mut self, zero: Time) {
        self.recorder.zero = Some(zero);
        for host in &mut self.hosts {
            host.bytes = 0;
        }
        for (number, event) in self.recorder.fault_events.iter().enumerate() {
            let due = Event::Fault { event: number as u32 };
            self.queue.put_global(zero.after(event.at), due);
        }
        for (number, load) in self.scenario.loads.iter().enumerate() {
            if let Some(due) = self.scenario.due(load, 0) {
                self.recorder.loads += 1;
                self.recorder.waiting += 1;
                let event = Event::Post { load: number as u32, k: 0, since: None };
                self.queue.put_global(zero.after(due), event);
            }
        }
    }

    /// Whether some liar has not affected an honest node yet; always false above [`SMALL`].
    pub(super) fn unexercised(&self) -> bool {
        let liars = self.cast.iter().any(Option::is_some);
        liars
            && self.hosts.len() <= SMALL
            && !judge(&self.recording(Digest::ZERO)).idle_liars.is_empty()
    }

    /// The oracle's last checkpoint, and its checks at the end of a run.
    pub(super) fn finish_watching(&mut self) {
        let living: Vec<bool> = self.hosts.iter().map(Host::lives).collect();
        self.checkpoint();
        let hosts = &self.hosts;
        let holds = |node: usize, author: &PublicKey, seq| hosts[node].disk.held(*author, seq);
        self.oracle.end(self.now, &living, &holds);
    }

    /// Whether everything is delivered as far as possible, in a run where some of it no longer can
    /// be.
    pub(super) fn is_level(&self) -> bool {
        let hosts = &self.hosts;
        let harsh = self.scenario.store.max_bytes.is_some() || hosts.iter().any(|p| p.lossy);
        let living: Vec<bool> = hosts.iter().map(Host::lives).collect();
        let holds = |node: usize, author: &PublicKey, seq| hosts[node].disk.held(*author, seq);
        harsh
            && self.recorder.loads == 0
            && self.recorder.waiting == 0
            && self.oracle.is_level(&living, &holds)
    }

    /// Whether a liar's slot from before `before` is missing at some node and not due yet.
    pub(super) fn awaits(&self, before: Time) -> bool {
        let hosts = &self.hosts;
        let living: Vec<bool> = hosts.iter().map(Host::lives).collect();
        let holds = |node: usize, author: &PublicKey, seq| hosts[node].disk.held(*author, seq);
        self.cast.iter().any(Option::is_some)
            && self.oracle.awaits(self.now, before, &living, &holds)
    }

    /// The recording of the run so far.
    pub(super) fn recording(&self, digest: Digest) -> Recording {
        let zero = self.recorder.zero.unwrap_or(START);
        let scenario = &self.scenario;
        let mut counted: BTreeMap<String, u64> =
            self.recorder.counted.iter().map(|(what, n)| ((*what).to_owned(), *n)).collect();
        counted.extend(self.oracle.counted());
        counted.insert("signature_checks_asked".into(), self.signatures.asked);
        counted.insert("signature_checks_made".into(), self.signatures.made);
        let arrivals = self.arrivals(zero);
        Recording {
            name: scenario.name.clone(),
            backend: Backend::Simulated,
            seed: Some(self.seed),
            digest: Some(digest.to_string()),
            reproduce: String::new(),
            f: self.network.f(),
            nodes: (0..self.hosts.len()).map(|node| self.node_record(node, zero)).collect(),
            posts: self.posts(zero, &arrivals),
            batches: self.recorder.batches.clone(),
            skipped: self.skipped(&arrivals),
            arrivals,
            links: self.chosen_links(),
            violations: self.violations(zero),
            counted,
            faults: self.fault_records(),
            not_modelled: Vec::new(),
            expects: scenario.expects.clone(),
            expected_verdict: scenario.verdict,
            settle_us: Some(micros(scenario.settle)),
            real_crypto: scenario.crypto == Cryptography::Real,
            resources: Resources {
                sim_s: Some(self.now.since(START).as_secs_f64()),
                events: Some(self.events),
                ..Resources::default()
            },
            clock_steps: vec![],
            interrupted: false,
        }
    }

    fn node_record(&self, node: usize, zero: Time) -> NodeRecord {
        let host = &self.hosts[node];
        let bans = host.bans.iter().filter_map(|ban| {
            let peer = self.node_of(&ban.peer)? as u32;
            Some(BanRecord { peer, at: since(ban.at, zero), reason: ban.reason.name().into() })
        });
        let spec = self.cast[node].as_ref();
        let rows = host.log.rows().filter(|_| host.honest);
        NodeRecord {
            name: format!("n{node}"),
            key: host.key,
            spec: spec.map(ToString::to_string),
            kinds: spec.map_or_else(Vec::new, |spec| spec.kinds().map(str::to_owned).collect()),
            dead: !host.lives() && !host.left,
            duplicates: host.all_duplicates(),
            bytes_received: host.bytes,
            bans: bans.collect(),
            rejections: rows.map(|row| self.refused(row, zero)).collect(),
            attempts: spec.map(|_| self.tried(host)),
        }
    }

    fn number(&self, key: Option<&PublicKey>) -> Option<u32> {
        self.node_of(key?).map(|node| node as u32)
    }

    fn refused(&self, row: &Rejection, zero: Time) -> Refused {
        Refused {
            row: None,
            at: since(row.at, zero),
            reason: row.reason.name().to_owned(),
            link: self.number(row.link.as_ref()),
            author: row.author,
            proven: row.proven,
            seq: row.seq,
            id: row.id,
            hops: row.hops,
            size: row.size,
            detail: row.detail.clone(),
            frame: row.frame,
            bytes: row.bytes.clone(),
            counts_as: row.counts_as,
            count: row.count,
        }
    }

    fn tried(&self, host: &Host) -> Tried {
        let mut tried = Tried::default();
        let now = host.actor.as_ref().and_then(Actor::attempts);
        for attempts in host.tried.iter().chain(now) {
            self.add_attempts(&mut tried, attempts);
        }
        tried
    }

    fn add_attempts(&self, tried: &mut Tried, attempts: &Attempts) {
        for (kind, totals) in &attempts.totals {
            let sum = tried.totals.entry((*kind).to_owned()).or_default();
            sum.0 += totals.attempted;
            sum.1 += totals.affected;
        }
        tried.newest.extend(attempts.newest.iter().map(|attempt| TriedOne {
            kind: attempt.kind.to_owned(),
            link: self.number(attempt.link.as_ref()),
            frame: attempt.frame,
            id: attempt.id,
        }));
    }

    /// A message is not expected anywhere if its author's disk lost it before any other honest node
    /// that is up now received it.
    fn posts(&self, zero: Time, arrivals: &[Arrival]) -> Vec<Post> {
        let mut arrived = vec![false; self.recorder.batches.len()];
        for arrival in arrivals {
            let host = &self.hosts[arrival.node as usize];
            arrived[arrival.batch as usize] |= host.honest && host.lives();
        }
        let post = |posted: &super::recorder::Posted| {
            let taken = posted.position.filter(|_| posted.acknowledged);
            let lossy = self.hosts[posted.author as usize].lossy;
            let lost = lossy && taken.is_some_and(|(batch, _)| !arrived[batch as usize]);
            Post {
                author: posted.author,
                at: since(posted.at, zero),
                size: posted.size,
                taken: taken.filter(|_| !lost),
                excused: posted.excused || lost,
            }
        };
        self.recorder.posts.iter().map(post).collect()
    }

    /// Batches of honest authors that an honest node lacks and need not have. Either every honest
    /// node that is up has pruned or lost the payload, or the node has no room for the slot. Or the
    /// author lost its disk and signed the slot anew before it was shown the first batch, and the
    /// node has the other one.
    fn skipped(&self, arrivals: &[Arrival]) -> Vec<(u32, u32)> {
        let mut had: BTreeMap<u32, NodeSet> = BTreeMap::new();
        if self.scenario.store.max_bytes.is_none() && self.hosts.iter().all(|p| !p.lossy) {
            return Vec::new();
        }
        let mut filled: BTreeMap<(Option<u32>, u64), NodeSet> = BTreeMap::new();
        for arrival in arrivals {
            let BatchRecord { author, seq, .. } = self.recorder.batches[arrival.batch as usize];
            had.entry(arrival.batch).or_default().insert(arrival.node as usize);
            filled.entry((author, seq)).or_default().insert(arrival.node as usize);
        }
        let nodes = || {
            let hosts = self.hosts.iter().enumerate();
            hosts.filter(|(_, host)| host.honest && host.lives())
        };
        let up: NodeSet = nodes().map(|(node, _)| node).collect();
        let mut skipped = Vec::new();
        for (batch, had) in &had {
            let BatchRecord { author, seq, .. } = self.recorder.batches[*batch as usize];
            let Some(key) = author.map(|author| self.hosts[author as usize].key) else { continue };
            let other = &filled[&(author, seq)];
            let mut lacking = up.without(had).peekable();
            let given =
                lacking.peek().is_some() && nodes().any(|(_, p)| p.disk.is_readable(key, seq));
            let passed = |node: usize| self.hosts[node].disk.held(key, seq) == Held::Passed;
            let excused = lacking.filter(|node| !given || other.contains(*node) || passed(*node));
            skipped.extend(excused.map(|node| (node as u32, *batch)));
        }
        skipped
    }

    fn arrivals(&self, zero: Time) -> Vec<Arrival> {
        let mut undone = self.recorder.undone.clone();
        undone.sort_unstable();
        let all = self.recorder.arrivals.iter().enumerate();
        let kept = all.filter(|(i, _)| undone.binary_search(&(*i as u32)).is_err());
        let absolute = kept.map(|(_, one)| Arrival { at: since(Time(one.at), zero), ..*one });
        let mut arrivals: Vec<Arrival> = absolute.collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }

    fn chosen_links(&self) -> Vec<(u32, u32)> {
        let mut links = Vec::new();
        for (node, host) in self.hosts.iter().enumerate() {
            let Some(of) = host.node() else { continue };
            let peers = of.chosen().filter_map(|peer| self.number(Some(&peer)));
            links.extend(peers.map(|peer| (node as u32, peer)));
        }
        links
    }

    fn violations(&self, zero: Time) -> Vec<crate::report::Violation> {
        let all = self.oracle.violations().iter().cloned();
        all.map(|one| crate::report::Violation { at: since(Time(one.at), zero), ..one }).collect()
    }
}

/// Microseconds since the run's zero; 0 for earlier times.
fn since(at: Time, zero: Time) -> u64 {
    at.0.saturating_sub(zero.0)
}
