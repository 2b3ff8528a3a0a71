//! The table of links: each link's hello, credit and open wants. A peer has at most one ready link.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::credit::{Granted, Idle, Receiving, Sending};
use crate::crypto::PublicKey;
use crate::protocol::{
    LinkId, LinkView, Note, Time,
    bucket::{Bucket, Rate},
};
use crate::wire::limits::{MAX_OPEN_WANTS, MAX_RANGES, PUSH_FRAMES, WINDOW};
use crate::wire::{BatchId, Class, Credit, Grant, Instance, Kind, List, RangeHash};

/// Two handshakes overlap if they began within this time of each other. The tie-break decides only
/// between overlapping ones; otherwise the newer link wins.
const OVERLAP: Duration = Duration::from_secs(5);
/// Most links to one member at a time.
pub(in crate::protocol) const LINKS_PER_MEMBER: usize = 4;
/// What a peer has used up: bytes served, comparisons, idle work of pushes, idle work of other
/// frames.
type Spent = [Bucket; 4];
const CREDITED: usize = Class::CREDITED.len();

/// A slot that was requested on a link and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct OpenWant {
    /// The author's key number.
    pub author: u32,
    /// The slot, from 1.
    pub seq: u64,
    /// The batch wanted; any batch of the slot if `None`.
    pub id: Option<BatchId>,
    /// When it was requested.
    pub since: Time,
    /// Whether it counts towards the author's limit of open wants: see `Asking`.
    pub counted: bool,
}

/// One authenticated link.
#[derive(Debug)]
pub(in crate::protocol) struct Link {
    /// The member at the other end.
    pub peer: PublicKey,
    /// The peer's key number.
    pub number: u32,
    /// Whether this node dialled.
    pub dialled: bool,
    /// The peer's current start; `None` until its hello came.
    pub instance: Option<Instance>,
    /// When the link came up.
    pub since: Time,
    /// When a frame was last received.
    pub heard: Time,
    /// When a frame was last sent.
    pub spoke: Time,
    /// Open wants, by ticket.
    pub wants: BTreeMap<u32, OpenWant>,
    /// Moving average of the time an answer takes, the newest with weight 1/8; `None` before the
    /// first.
    pub took: Option<Duration>,
    /// The unanswered comparison: its ticket, and when it was sent.
    pub comparing: Option<(u32, Time)>,
    /// The ranges that comparison asked about.
    pub compared: Vec<RangeHash>,
    /// Batches from this link whose signatures are being checked.
    pub unverified: u64,
    /// Rate limit on bytes served to the peer.
    pub served: Bucket,
    /// Rate limit on comparisons with the peer.
    pub compares: Bucket,
    /// Since when the peer has granted too little request credit to be asked for missing slots.
    pub withholds: Option<Time>,
    /// Whether the peer is to be asked for missing slots as soon as it grants credit. Until then
    /// requests for new batches leave room for that.
    pub awaited: bool,
    /// Wants that the peer answered with a batch.
    pub given: u64,
    /// The peer's comparisons that were answered with slots; decides where the next answer starts.
    pub described: u64,
    /// Lanes still to be compared one by one, by key number.
    pub to_compare: VecDeque<u32>,
    /// Batches that this link delivered first.
    pub first_deliveries: u64,
    /// Batches from this link that were known already.
    pub duplicates: u64,
    /// Idle work that the peer has caused: by pushes, and by all other frames.
    idle: [Idle; 2],
    chosen: bool,
    credit_due: Option<Time>,
    next_ticket: u32,
    frames: (u64, u64),
    bytes: (u64, u64),
    sending: [Sending; CREDITED],
    receiving: [Receiving; CREDITED],
}

fn place(class: Class) -> Option<usize> {
    Class::CREDITED.iter().position(|c| *c == class)
}

impl Link {
    fn new(peer: PublicKey, number: u32, dialled: bool, spent: Spent, now: Time) -> Self {
        let [served, compares, pushes, rest] = spent;
        Self {
            peer,
            number,
            dialled,
            chosen: false,
            instance: None,
            since: now,
            heard: now,
            spoke: now,
            wants: BTreeMap::new(),
            took: None,
            comparing: None,
            compared: Vec::new(),
            unverified: 0,
            served,
            compares,
            idle: [Idle::after(pushes), Idle::after(rest)],
            credit_due: None,
            withholds: None,
            awaited: false,
            given: 0,
            described: 0,
            to_compare: VecDeque::new(),
            first_deliveries: 0,
            duplicates: 0,
            next_ticket: 0,
            frames: (0, 0),
            bytes: (0, 0),
            sending: Default::default(),
            receiving: Default::default(),
        }
    }

    fn spent(&self) -> Spent {
        [self.served, self.compares, self.idle[0].spent, self.idle[1].spent]
    }

    /// Raises each counter to what the peer has used up on another link.
    fn raise_spent(&mut self, other: &Spent) {
        let [pushes, rest] = &mut self.idle;
        let own = [&mut self.served, &mut self.compares, &mut pushes.spent, &mut rest.spent];
        own.into_iter().zip(other).for_each(|(own, other)| *own = (*own).max(*other));
    }

    /// Whether this node chose the link.
    pub(crate) fn chosen(&self) -> bool {
        self.chosen
    }

    /// Whether the peer's hello came.
    pub(crate) fn ready(&self) -> bool {
        self.instance.is_some()
    }

    /// Whether the window of `class` has room for a frame of that length.
    pub(crate) fn may_send(&self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fits(class, bytes as u64))
    }

    /// How many more slots may be requested. Batches being checked count like open wants: a peer
    /// that answers faster than signatures are checked must not fill memory.
    pub(crate) fn room_for_wants(&self) -> usize {
        let taken = self.wants.len().saturating_add(self.unverified as usize);
        MAX_OPEN_WANTS.saturating_sub(taken)
    }

    /// Whether the window of `class` has room for `frames` frames of up to that length each.
    pub(crate) fn may_send_all(&self, class: Class, frames: usize, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fit(class, frames as u64, bytes as u64))
    }

    /// Counts a sent frame. Returns its number within its class, from 1; 0 for classes without
    /// credit.
    pub(crate) fn sent(&mut self, class: Class, bytes: usize, now: Time) -> u64 {
        self.frames.1 += 1;
        self.bytes.1 += bytes as u64;
        self.spoke = now;
        let number = place(class).map_or(0, |i| self.sending[i].send(bytes as u64));
        if !self.may_recover() {
            self.withholds.get_or_insert(now);
        }
        number
    }

    /// Whether the peer may be asked for missing slots now. Room for one more request stays
    /// reserved for new batches.
    pub(crate) fn may_recover(&self) -> bool {
        self.may_send_all(Class::Request, 2, Kind::Request.max_len())
    }

    /// Counts a received frame of any class.
    pub(crate) fn heard(&mut self, bytes: usize, now: Time) {
        self.frames.0 += 1;
        self.bytes.0 += bytes as u64;
        self.heard = now;
    }

    /// Charges a received frame to its class. Returns `false` if it exceeds the credit.
    pub(crate) fn charge(&mut self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.receiving[i].receive(class, bytes as u64))
    }

    fn consume(&mut self, class: Class, bytes: u64) {
        if let Some(i) = place(class) {
            self.receiving[i].consume(bytes);
        }
    }

    /// Settles a handled frame: grants credit for it at once, or withholds the credit until its
    /// cost is paid at `rate`. News costs nothing. Pushes and other frames are paid separately, so
    /// that a peer whose copies are slowed down is still heard otherwise.
    pub(crate) fn settle(
        &mut self,
        rate: Rate,
        now: Time,
        class: Class,
        (bytes, cost): (usize, u64),
    ) {
        let idle = &mut self.idle[usize::from(class != Class::Push)];
        if idle.settle(rate, now, (class, bytes as u64, cost)) {
            self.consume(class, bytes as u64);
        }
    }

    /// Grants withheld credit as far as the rate allows.
    pub(crate) fn release(&mut self, rate: Rate, now: Time) {
        for place in 0..self.idle.len() {
            while let Some((class, bytes)) = self.idle[place].release(rate, now) {
                self.consume(class, bytes);
            }
        }
    }

    /// How long until more withheld credit can be granted; `None` if none is withheld.
    pub(crate) fn withheld(&self, rate: Rate, now: Time) -> Option<Duration> {
        self.idle.iter().filter_map(|idle| idle.wait(rate, now)).min()
    }

    /// Frames for which credit is withheld.
    pub(crate) fn owed(&self) -> usize {
        self.idle.iter().map(Idle::waiting).sum()
    }

    /// Frames of a class that the peer has consumed.
    pub(crate) fn acknowledged(&self, class: Class) -> u64 {
        place(class).map_or(0, |i| self.sending[i].consumed())
    }

    /// Applies a grant from the peer. An `Err` says what is wrong with it.
    pub(crate) fn grant(&mut self, grant: &Grant, now: Time) -> Result<(), &'static str> {
        match Class::credited(grant.class).and_then(place) {
            Some(i) => self.sending[i].grant(grant)?,
            None => return Err("credit for a class without credit"),
        }
        if grant.class == Class::Request as u8 {
            self.withholds = (!self.may_recover()).then_some(now);
        }
        Ok(())
    }

    /// Whether credit is due to be sent, and how urgently.
    pub(crate) fn credit_state(&self) -> Granted {
        let dues = Class::CREDITED.iter().zip(&self.receiving).map(|(class, r)| r.due(*class));
        dues.max().unwrap_or(Granted::Nothing)
    }

    /// The credit to send, marked as sent; `None` if there is nothing to report.
    pub(crate) fn credit(&mut self) -> Option<Credit> {
        self.credit_due = None;
        let grants: Vec<Grant> = Class::CREDITED
            .iter()
            .zip(&mut self.receiving)
            .filter_map(|(class, receiving)| receiving.report(*class))
            .collect();
        List::new(grants).map(|grants| Credit { grants })
    }

    /// Records how long an answer of the peer took.
    pub(crate) fn answered(&mut self, took: Duration) {
        self.took = Some(self.took.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// A ticket that no open want on this link uses.
    pub(crate) fn ticket(&mut self) -> u32 {
        loop {
            self.next_ticket = self.next_ticket.wrapping_add(1);
            if !self.wants.contains_key(&self.next_ticket) {
                return self.next_ticket;
            }
        }
    }

    /// The link as the API shows it.
    pub(crate) fn view(&self, link: LinkId) -> LinkView {
        LinkView {
            link,
            dialled: self.dialled,
            chosen: self.chosen,
            ready: self.ready(),
            since: self.since,
            frames_in: self.frames.0,
            frames_out: self.frames.1,
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            unverified: self.unverified,
            open_wants: self.wants.len() as u64,
            first_deliveries: self.first_deliveries,
            duplicates: self.duplicates,
            owed: self.owed() as u64,
        }
    }
}

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

/// All links.
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
    /// Adds a link that came up.
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

    /// Marks a link as chosen, or no longer chosen.
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

    /// A link by id.
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.place(id).ok().map(|place| &*self.links[place].1)
    }

    /// A link by id.
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
