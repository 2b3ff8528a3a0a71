//! The table of links, and which of two to one peer stays. A peer has at most one ready link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{Link, Spent};
use crate::crypto::PublicKey;
use crate::protocol::time::Rate;
use crate::protocol::{LinkId, Note, Time};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_RANGES, PUSH_FRAMES, WINDOW};
use crate::wire::{Class, Instance};

/// Two handshakes overlap if they began within this time of each other. The tie-break decides only
/// between overlapping ones; otherwise the newer link wins.
const OVERLAP: Duration = Duration::from_secs(5);
/// Most links to one member at a time.
pub(in crate::protocol) const LINKS_PER_MEMBER: usize = 4;

/// What to do with a link whose hello came, if there may be another link to the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum TieBreak {
    /// There is no other link.
    Only,
    /// The older link is to be closed.
    Replaces(LinkId),
    /// This link is to be closed.
    Loses,
}

/// The links that are up, by id and by peer.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Links {
    /// Ascending by id. A node has few links and ids ascend, so searching is cheap and inserting
    /// happens at the end.
    links: Vec<(LinkId, Box<Link>)>,
    /// The ready link to each peer.
    peers: BTreeMap<PublicKey, LinkId>,
    /// What each peer used up on earlier links: a new link brings no new allowance.
    spent: BTreeMap<PublicKey, Spent>,
    /// How many links are chosen.
    chosen: usize,
    /// No link's credit is due before this time.
    next_credit: Option<Time>,
}

impl Links {
    pub(crate) fn up(
        &mut self,
        id: LinkId,
        peer: PublicKey,
        number: u32,
        dialled: bool,
        now: Time,
    ) {
        for other in self.to(peer) {
            self.keep_spent(other);
        }
        let spent = self.spent.get(&peer).copied().unwrap_or_default();
        let link = Box::new(Link::new(peer, number, dialled, spent, now));
        match self.place(id) {
            Ok(place) => self.links[place].1 = link,
            Err(place) => self.links.insert(place, (id, link)),
        }
    }

    fn place(&self, id: LinkId) -> Result<usize, usize> {
        self.links.binary_search_by_key(&id, |(id, _)| *id)
    }

    fn keep_spent(&mut self, id: LinkId) {
        let Some(link) = self.get(id) else { return };
        let (peer, now) = (link.peer, link.spent());
        let kept = self.spent.entry(peer).or_default();
        kept.iter_mut().zip(now).for_each(|(kept, now)| *kept = now.max(*kept));
    }

    /// Charges a peer for bytes read from disk for it, even if its link is gone.
    pub(crate) fn charge_served(&mut self, peer: &PublicKey, rate: Rate, now: Time, bytes: u64) {
        if let Some(spent) = self.spent.get_mut(peer) {
            spent[0].charge(rate, now, bytes);
        }
        for link in self.to(*peer) {
            if let Some(held) = self.get_mut(link) {
                held.served.charge(rate, now, bytes);
            }
        }
    }

    /// Removes a link. What it used up also counts on the peer's other links.
    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.keep_spent(id);
        let (_, link) = self.links.remove(self.place(id).ok()?);
        let kept = self.spent.get(&link.peer).copied().unwrap_or_default();
        for (_, other) in self.links.iter_mut().filter(|(_, other)| other.peer == link.peer) {
            other.raise_spent(&kept);
        }
        self.chosen -= usize::from(link.chosen);
        if self.peers.get(&link.peer) == Some(&id) {
            self.peers.remove(&link.peer);
        }
        Some(*link)
    }

    pub(crate) fn choose(&mut self, id: LinkId, chosen: bool) {
        let Some(link) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut link.chosen, chosen);
        self.chosen = self.chosen + usize::from(chosen) - usize::from(before);
    }

    /// How many links are chosen, ready or not.
    pub(crate) fn chosen(&self) -> usize {
        self.chosen
    }

    /// Schedules a link's credit for `due`, unless it is due sooner already.
    pub(crate) fn credit_by(&mut self, id: LinkId, due: Time) {
        let Some(link) = self.get_mut(id) else { return };
        link.credit_due = Some(link.credit_due.map_or(due, |other| other.min(due)));
        self.next_credit = Some(self.next_credit.map_or(due, |other| other.min(due)));
    }

    /// The earliest time at which a link's credit may be due.
    pub(crate) fn next_credit(&self) -> Option<Time> {
        self.next_credit
    }

    /// The links whose credit is due now.
    pub(crate) fn credit_due(&mut self, now: Time) -> Vec<LinkId> {
        if self.next_credit.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let dues = || self.links.iter().filter_map(|(id, link)| Some((*id, link.credit_due?)));
        let due = dues().filter(|(_, due)| *due <= now).map(|(id, _)| id).collect();
        self.next_credit = dues().map(|(_, due)| due).filter(|due| *due > now).min();
        due
    }

    /// Handles a hello, and decides between this link and an older one to the same peer. If their
    /// handshakes overlapped, the link whose dialler has the smaller key stays. Otherwise the newer
    /// link stays, because the peer has restarted or lost the older one. If either was chosen, the
    /// one that stays is chosen.
    pub(crate) fn hello(&mut self, id: LinkId, own: &PublicKey, instance: Instance) -> TieBreak {
        let Some(new) = self.get(id) else { return TieBreak::Loses };
        let (peer, new_chosen) = (new.peer, new.chosen);
        let other = self.peers.get(&peer).copied().filter(|other| *other != id);
        let old = other.and_then(|other| self.get(other));
        let verdict = match (other, old) {
            (Some(other), Some(old)) => {
                let dialler = |link: &Link| if link.dialled { *own } else { link.peer };
                let overlap = old.instance == Some(instance)
                    && old.dialled != new.dialled
                    && new.since.since(old.since) < OVERLAP;
                match overlap && dialler(old) < dialler(new) {
                    true => TieBreak::Loses,
                    false => TieBreak::Replaces(other),
                }
            }
            _ => TieBreak::Only,
        };
        let old_chosen = old.is_some_and(|old| old.chosen);
        let (kept, chosen) = match verdict {
            TieBreak::Loses => (other.unwrap_or(id), old_chosen || new_chosen),
            _ => (id, old_chosen || new_chosen),
        };
        self.choose(kept, chosen);
        if kept == id {
            self.peers.insert(peer, id);
        }
        if let Some(link) = self.get_mut(id) {
            link.instance = Some(instance);
        }
        verdict
    }

    /// Reports how full the table is, with limits for `members` other members. A member may have
    /// one link in use, one that it has lost and this node has not, and one each way without a
    /// hello yet.
    pub(crate) fn occupy(&self, note: Note, members: usize) {
        let windows = Class::CREDITED.iter().filter_map(|class| class.window());
        let frames = windows.map(|(frames, _)| frames as usize).sum();
        let (mut wants, mut compared, mut unverified, mut owed) = (0, 0, 0, 0);
        let mut to_compare = 0;
        for (_, link) in &self.links {
            wants = wants.max(link.wants.len());
            compared = compared.max(link.compared.len());
            to_compare = to_compare.max(link.to_compare.len());
            unverified = unverified.max(link.unverified as usize);
            owed = owed.max(link.owed());
        }
        note("links", self.links.len(), LINKS_PER_MEMBER * members);
        note("links.peers", self.peers.len(), members);
        note("links.spent", self.spent.len(), members);
        note("link.wants", wants, MAX_OPEN_WANTS);
        note("link.compared", compared, MAX_RANGES);
        note("link.to_compare", to_compare, WINDOW as usize);
        note("link.unverified", unverified, PUSH_FRAMES as usize + MAX_OPEN_WANTS);
        note("link.owed", owed, frames);
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.place(id).ok().map(|place| &*self.links[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let place = self.place(id).ok()?;
        Some(&mut *self.links[place].1)
    }

    /// Clears [`Link::awaited`] on all links: no slot is missing any more.
    pub(crate) fn await_none(&mut self) {
        self.links.iter_mut().for_each(|(_, link)| link.awaited = false);
    }

    /// The ready link to a peer.
    pub(crate) fn of_peer(&self, peer: &PublicKey) -> Option<LinkId> {
        self.peers.get(peer).copied()
    }

    /// Ready links, ascending by id.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.iter().filter(|(_, link)| link.ready())
    }

    /// All links, ascending by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, &**link))
    }

    /// All links to a peer, ready or not.
    pub(crate) fn to(&self, peer: PublicKey) -> Vec<LinkId> {
        self.iter().filter(|(_, link)| link.peer == peer).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_due_when_the_first_link_says_so() {
        let mut links = Links::default();
        for i in 1..=3 {
            links.up(LinkId(i), PublicKey([i as u8; 32]), 0, true, Time(0));
        }
        links.credit_by(LinkId(2), Time(50));
        links.credit_by(LinkId(3), Time(40));
        links.credit_by(LinkId(2), Time(60));
        assert_eq!((links.next_credit(), links.credit_due(Time(39))), (Some(Time(40)), vec![]));
        assert_eq!(links.credit_due(Time(45)), [LinkId(3)]);
        assert_eq!(links.next_credit(), Some(Time(50)), "the sooner of two dues stands");
        links.get_mut(LinkId(3)).expect("there").credit();
        assert_eq!(links.credit_due(Time(70)), [LinkId(2)]);
        assert_eq!(links.next_credit(), None);
    }

    #[test]
    fn chosen_links_are_counted_through_everything() {
        let mut links = Links::default();
        links.up(LinkId(1), LOW, 0, true, Time(0));
        links.choose(LinkId(1), true);
        links.choose(LinkId(1), true);
        links.up(LinkId(2), HIGH, 0, true, Time(0));
        links.choose(LinkId(2), true);
        assert_eq!(links.chosen(), 2);
        links.choose(LinkId(1), false);
        links.remove(LinkId(2));
        links.remove(LinkId(2));
        assert_eq!(links.chosen(), 0);
    }

    const LOW: PublicKey = PublicKey([1; 32]);
    const HIGH: PublicKey = PublicKey([2; 32]);
    const START: Instance = Instance([7; 16]);

    fn two(own: PublicKey, peer: PublicKey, first_dialled: bool, gap: u64) -> (Links, TieBreak) {
        let mut links = Links::default();
        links.up(LinkId(1), peer, 0, first_dialled, Time(0));
        assert_eq!(links.hello(LinkId(1), &own, START), TieBreak::Only);
        links.choose(LinkId(1), true);
        links.up(LinkId(2), peer, 0, !first_dialled, Time(gap));
        let verdict = links.hello(LinkId(2), &own, START);
        (links, verdict)
    }

    #[test]
    fn both_ends_of_overlapping_handshakes_keep_the_same_link() {
        // The link that LOW dialled stays, at LOW and at HIGH, in whichever order they come up.
        assert_eq!(two(LOW, HIGH, true, 1000).1, TieBreak::Loses);
        assert_eq!(two(LOW, HIGH, false, 1000).1, TieBreak::Replaces(LinkId(1)));
        assert_eq!(two(HIGH, LOW, true, 1000).1, TieBreak::Replaces(LinkId(1)));
        assert_eq!(two(HIGH, LOW, false, 1000).1, TieBreak::Loses);
    }

    #[test]
    fn a_later_link_replaces_and_keeps_what_was_chosen() {
        let (links, verdict) = two(LOW, HIGH, true, 60_000_000);
        assert_eq!(verdict, TieBreak::Replaces(LinkId(1)));
        assert!(links.get(LinkId(2)).expect("there").chosen());
        assert_eq!(links.of_peer(&HIGH), Some(LinkId(2)));
    }
}
