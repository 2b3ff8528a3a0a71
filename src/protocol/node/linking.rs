//! Linking: choosing and rotating links; hello and tie-break; sending within credit.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use super::rejecting::{Came, Claims};
use super::state::{IDLE_WORK, Node};
use crate::crypto::PublicKey;
use crate::protocol::links::{Link, Purpose, TieBreak};
use crate::protocol::{CloseWhy, LinkId, Output, Reason, Time};
use crate::wire::limits::VERSION;
use crate::wire::{Frame, Hello, Instance, Kind};

/// A peer that owes a hello or an answer for this long has its link closed, without blame.
const OVERDUE: Duration = Duration::from_secs(10);
/// A link that ends before this counts as a failed dial; otherwise a peer could make the node
/// redial forever.
const BRIEF: Duration = Duration::from_secs(5);
/// Longest back-off of any member while the node has no link at all.
const LONELY: Duration = Duration::from_millis(300);

impl Node {
    /// Chooses links until there are enough, drawn uniformly at random from the members that are
    /// neither chosen nor banned, linked or not.
    pub(super) fn choose_links(&mut self) {
        if self.links.ready().next().is_none() {
            self.overlay.hurry(self.now.after(LONELY));
        }
        while self.lacks_links() {
            let (now, links, standing) = (self.now, &self.links, &self.standing);
            let allowed = |peer: &PublicKey| {
                let unlinked = links.iter().all(|(_, link)| link.peer != *peer);
                let free =
                    links.of_peer(peer).and_then(|id| links.get(id)).is_some_and(|l| !l.chosen());
                !standing.is_banned(peer, now) && (unlinked || free)
            };
            let Some(peer) = self.overlay.pick(&mut self.rng, now, allowed) else { return };
            if let Some(link) = self.links.of_peer(&peer) {
                self.links.choose(link, true);
            } else if self.overlay.dial(peer, Purpose::Chosen) {
                self.emit(Output::Dial { peer });
            } else {
                return;
            }
        }
    }

    fn lacks_links(&self) -> bool {
        let stay = self.links.chosen().saturating_sub(usize::from(self.retiring.is_some()));
        stay + self.overlay.choosing() < self.config.links
    }

    pub(super) fn next_redial(&self) -> Option<Time> {
        let unbanned = |peer: &PublicKey| !self.standing.is_banned(peer, self.now);
        self.lacks_links().then(|| self.overlay.next_retry(self.now, unbanned)).flatten()
    }

    /// Starts to replace one chosen link. The new one is drawn first, and must be ready before the
    /// old one goes.
    pub(super) fn rotate(&mut self) {
        let chosen: Vec<LinkId> =
            self.links.ready().filter(|(_, l)| l.chosen()).map(|(id, _)| id).collect();
        let lacking = chosen.is_empty() || chosen.len() < self.config.links;
        if lacking || self.retiring.is_some() || self.overlay.count() <= self.config.links {
            return; // never while links are lacking, and useless if all members are linked
        }
        self.retiring = Some(chosen[self.rng.random_range(0..chosen.len())]);
        self.choose_links();
        self.finish_rotation();
    }

    /// Releases the retiring link once its replacement is ready. Only the node that dialled a link
    /// closes it: the peer may have chosen a link that it dialled. Not called for an inbound link
    /// coming up, which must never end a link to another peer.
    fn finish_rotation(&mut self) {
        let Some(old) = self.retiring else { return };
        let others = self.links.ready().filter(|(id, link)| link.chosen() && *id != old).count();
        if others < self.config.links {
            return;
        }
        self.retiring = None;
        self.links.choose(old, false);
        if self.links.get(old).is_some_and(|link| link.dialled) {
            self.close(old, CloseWhy::Rotated);
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: PublicKey) {
        self.overlay.failed(peer, &mut self.rng, self.now);
        self.choose_links();
    }

    pub(super) fn on_link_up(&mut self, link: LinkId, peer: PublicKey, dialled: bool) {
        let purpose = if dialled { self.overlay.dialled(&peer) } else { None };
        let number = self.network.index_of(&peer).filter(|_| self.network.is_member(&peer));
        let Some(number) = number.filter(|_| peer != self.identity.public()) else {
            return self.emit(Output::Close { link, why: CloseWhy::Mismatch });
        };
        if self.standing.is_banned(&peer, self.now) {
            self.standing.count(&peer, Reason::Banned);
            let detail = "a link from a banned peer";
            let came = Came::Nothing;
            self.log_rejection(Some(peer), came, Reason::Banned, Claims::default, detail);
            return self.emit(Output::Close { link, why: CloseWhy::Banned });
        }
        self.links.up(link, peer, number, dialled, self.now);
        self.links.choose(link, purpose == Some(Purpose::Chosen));
        if dialled {
            self.limit_visits();
        }
        let (version, network, instance) = (u16::from(VERSION), self.network.id(), self.instance);
        self.send(link, &Frame::Hello(Hello { version, network, instance }));
    }

    pub(super) fn on_ready(&mut self, link: LinkId, instance: Instance) {
        let own = self.identity.public();
        match self.links.hello(link, &own, instance) {
            TieBreak::Only => {}
            TieBreak::Replaces(older) => {
                if self.retiring == Some(older) {
                    self.retiring = Some(link); // it stays chosen, and retires in its turn
                }
                self.close(older, CloseWhy::Duplicate);
            }
            TieBreak::Loses => return self.close(link, CloseWhy::Duplicate),
        }
        let Some(held) = self.links.get(link) else { return };
        if held.dialled {
            self.overlay.reached(&held.peer);
            if !held.chosen() {
                self.end_visits_before(link);
            }
            self.compare(link);
            self.finish_rotation();
        }
        self.probe_newcomer(link);
        if self.lanes.holed().next().is_some() {
            self.recover_soon();
        }
        self.choose_links();
    }

    pub(super) fn on_link_down(&mut self, link: LinkId) {
        let Some(gone) = self.forget(link) else { return };
        let brief = !gone.ready() || self.now.since(gone.since) < BRIEF;
        if gone.dialled && brief && self.links.of_peer(&gone.peer).is_none() {
            self.overlay.failed(gone.peer, &mut self.rng, self.now);
        }
        self.choose_links();
    }

    /// Drops everything kept for a link.
    fn forget(&mut self, link: LinkId) -> Option<Link> {
        let gone = self.links.remove(link)?;
        self.relay.link_down(link, self.now);
        self.asking.link_down(link);
        self.serving.link_down(link);
        self.recover_from_others(link, &gone);
        self.catching_up.remove(&link);
        if self.retiring == Some(link) {
            self.retiring = None;
        }
        Some(gone)
    }

    pub(super) fn close(&mut self, link: LinkId, why: CloseWhy) {
        if self.forget(link).is_some() {
            self.emit(Output::Close { link, why });
        }
    }

    /// Pings silent links, and closes those that are silent or owe an answer for too long.
    pub(super) fn sweep_links(&mut self) {
        self.end_visits();
        self.finish_rotation();
        let now = self.now;
        self.sweep_wants();
        let (mut ping, mut dead, mut free) = (Vec::new(), Vec::new(), false);
        for (id, link) in self.links.iter() {
            if link.ready() && now.since(link.since) >= BRIEF {
                free |= self.overlay.succeeded(&link.peer);
            }
            let owes = |since: Time| now.since(since) >= OVERDUE;
            let stuck = (!link.ready() && owes(link.since))
                || link.wants.values().any(|want| owes(want.since))
                || link.withholds.is_some_and(owes)
                || link.comparing.is_some_and(|(_, since)| owes(since));
            if stuck || now.since(link.heard) >= self.config.idle_limit {
                dead.push(id);
            } else if now.since(link.spoke.min(link.heard)) >= self.config.ping_every {
                ping.push(id);
            }
        }
        for link in ping {
            self.send(link, &Frame::Ping);
        }
        for link in dead {
            self.close(link, CloseWhy::Idle);
            self.choose_links();
        }
        if free {
            // Its back-off is gone, and with it the timer that would have tried again.
            self.choose_links();
        }
    }

    /// Sends a frame if the credit of its class allows. Returns its number within the class.
    pub(super) fn send(&mut self, link: LinkId, frame: &Frame) -> Option<u64> {
        self.send_bytes(link, frame.kind(), Arc::from(frame.encode()))
    }

    pub(super) fn send_bytes(&mut self, link: LinkId, kind: Kind, frame: Arc<[u8]>) -> Option<u64> {
        let class = kind.class();
        let held = self.links.get_mut(link)?;
        if !held.may_send(class, frame.len()) {
            *self.counters.dropped.entry(class.name()).or_default() += 1;
            return None;
        }
        let number = held.sent(class, frame.len(), self.now);
        self.emit(Output::Send { link, kind, class, frame });
        Some(number)
    }

    pub(super) fn send_credit(&mut self, link: LinkId) {
        let Some(held) = self.links.get_mut(link) else { return };
        let credit = held.credit();
        if let Some(wait) = held.withheld(IDLE_WORK, self.now) {
            self.links.credit_by(link, self.now.after(wait.max(self.config.credit_delay)));
        }
        if let Some(credit) = credit {
            self.send(link, &Frame::Credit(credit));
        }
    }

    /// Grants credit withheld for frames without news, as far as the rate allows.
    pub(super) fn release_owed(&mut self, link: LinkId) {
        let now = self.now;
        if let Some(held) = self.links.get_mut(link) {
            held.release(IDLE_WORK, now);
        }
    }
}
