//! The table of links: one a peer, its hello, its credit, its open wants.

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

/// Handshakes that began within this time of each other overlap: only then does the tie-break
/// decide.
const OVERLAP: Duration = Duration::from_secs(5);
/// Links to one member that may be there at once.
pub(in crate::protocol) const LINKS_PER_MEMBER: usize = 4;
/// What a peer has used up: of being served, of comparisons, of idle work by pushes and by others.
type Spent = [Bucket; 4];
const CREDITED: usize = Class::CREDITED.len();

/// A slot that was asked for on a link and not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct OpenWant {
    /// Whose, by key number.
    pub author: u32,
    /// Which slot.
    pub seq: u64,
    /// Which batch; any, if `None`.
    pub id: Option<BatchId>,
    /// When it was asked for.
    pub since: Time,
    /// Whether it counts among the few of its author that may be open.
    pub counted: bool,
}

/// One authenticated link.
#[derive(Debug)]
pub(in crate::protocol) struct Link {
    /// Who is at the other end.
    pub peer: PublicKey,
    /// Its key number.
    pub number: u32,
    /// Whether we dialled.
    pub dialled: bool,
    /// The peer's start; `None` until its hello.
    pub instance: Option<Instance>,
    /// Since when.
    pub since: Time,
    /// When something was last received.
    pub heard: Time,
    /// When something was last sent.
    pub spoke: Time,
    /// Slots asked for and not answered.
    pub wants: BTreeMap<u32, OpenWant>,
    /// How long its replies take, each counting an eighth; `None` before the first.
    pub took: Option<Duration>,
    /// The comparison that is not answered: its ticket, since when.
    pub comparing: Option<(u32, Time)>,
    /// What that comparison asked about.
    pub compared: Vec<RangeHash>,
    /// Statements of it that are being checked.
    pub unverified: u64,
    /// What it is served.
    pub served: Bucket,
    /// How often lanes are compared with it.
    pub compares: Bucket,
    /// Since when it grants no credit, and has too little to be asked for what is missing.
    pub withholds: Option<Time>,
    /// Whether it is to be asked for what is missing as soon as it has credit: what is new leaves
    /// room for that until then.
    pub awaited: bool,
    /// Wants that it answered with a batch.
    pub given: u64,
    /// Comparisons of its own that were answered with slots.
    pub described: u64,
    /// Lanes that are compared one by one.
    pub to_compare: VecDeque<u32>,
    /// Batches that came from it first.
    pub first_deliveries: u64,
    /// Known batches that came from it.
    pub duplicates: u64,
    /// What it has cost us without bringing anything new: pushes, and the rest.
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

    /// Counts what its peer has spent on another link, too.
    fn raise_spent(&mut self, other: &Spent) {
        let [pushes, rest] = &mut self.idle;
        let own = [&mut self.served, &mut self.compares, &mut pushes.spent, &mut rest.spent];
        own.into_iter().zip(other).for_each(|(own, other)| *own = (*own).max(*other));
    }

    /// Whether we chose it.
    pub fn chosen(&self) -> bool {
        self.chosen
    }

    /// Whether its hello came.
    pub fn ready(&self) -> bool {
        self.instance.is_some()
    }

    /// Whether a frame of that class and length may be sent now.
    pub fn may_send(&self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fits(class, bytes as u64))
    }

    /// How many slots may still be asked for: answers that are being checked take room like open
    /// wants, or a peer that answers fast could fill memory while checks are slow.
    pub fn room_for_wants(&self) -> usize {
        let taken = self.wants.len().saturating_add(self.unverified as usize);
        MAX_OPEN_WANTS.saturating_sub(taken)
    }

    /// Whether so many frames of that class, of at most that length each, may be sent now.
    pub fn may_send_all(&self, class: Class, frames: usize, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fit(class, frames as u64, bytes as u64))
    }

    /// Counts a frame that is sent; gives its number within its class.
    pub fn sent(&mut self, class: Class, bytes: usize, now: Time) -> u64 {
        self.frames.1 += 1;
        self.bytes.1 += bytes as u64;
        self.spoke = now;
        let number = place(class).map_or(0, |i| self.sending[i].send(bytes as u64));
        if !self.may_recover() {
            self.withholds.get_or_insert(now);
        }
        number
    }

    /// Whether it may be asked for what is missing now: one request of its window stays for what
    /// is new.
    pub fn may_recover(&self) -> bool {
        self.may_send_all(Class::Request, 2, Kind::Request.max_len())
    }

    /// Counts a frame that came, of any class.
    pub fn heard(&mut self, bytes: usize, now: Time) {
        self.frames.0 += 1;
        self.bytes.0 += bytes as u64;
        self.heard = now;
    }

    /// Charges a frame that came to its class; `false` if it is beyond the credit.
    pub fn charge(&mut self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.receiving[i].receive(class, bytes as u64))
    }

    fn consume(&mut self, class: Class, bytes: u64) {
        if let Some(i) = place(class) {
            self.receiving[i].consume(bytes);
        }
    }

    /// Counts a frame that is dealt with, or withholds the credit for it until its cost, which is
    /// zero for what is news, is paid for at that rate. Pushes and other frames are paid for apart:
    /// a peer whose copies are slowed down is heard in all else.
    pub fn settle(&mut self, rate: Rate, now: Time, class: Class, (bytes, cost): (usize, u64)) {
        let idle = &mut self.idle[usize::from(class != Class::Push)];
        if idle.settle(rate, now, (class, bytes as u64, cost)) {
            self.consume(class, bytes as u64);
        }
    }

    /// Gives the credit that was withheld, as far as the rate allows.
    pub fn release(&mut self, rate: Rate, now: Time) {
        for place in 0..self.idle.len() {
            while let Some((class, bytes)) = self.idle[place].release(rate, now) {
                self.consume(class, bytes);
            }
        }
    }

    /// How long until more of it is to be given; `None` if none is withheld.
    pub fn withheld(&self, rate: Rate, now: Time) -> Option<Duration> {
        self.idle.iter().filter_map(|idle| idle.wait(rate, now)).min()
    }

    /// Frames that credit is withheld for.
    pub fn owed(&self) -> usize {
        self.idle.iter().map(Idle::waiting).sum()
    }

    /// Frames of a class that the peer has consumed.
    pub fn acknowledged(&self, class: Class) -> u64 {
        place(class).map_or(0, |i| self.sending[i].consumed())
    }

    /// Takes the peer's credit.
    pub fn grant(&mut self, grant: &Grant, now: Time) -> Result<(), &'static str> {
        match Class::credited(grant.class).and_then(place) {
            Some(i) => self.sending[i].grant(grant)?,
            None => return Err("credit for a class without credit"),
        }
        if grant.class == Class::Request as u8 {
            self.withholds = (!self.may_recover()).then_some(now);
        }
        Ok(())
    }

    /// Whether credit is to be sent.
    pub fn credit_state(&self) -> Granted {
        let dues = Class::CREDITED.iter().zip(&self.receiving).map(|(class, r)| r.due(*class));
        dues.max().unwrap_or(Granted::Nothing)
    }

    /// The credit to send, counted as sent.
    pub fn credit(&mut self) -> Option<Credit> {
        self.credit_due = None;
        let grants: Vec<Grant> = Class::CREDITED
            .iter()
            .zip(&mut self.receiving)
            .filter_map(|(class, receiving)| receiving.report(*class))
            .collect();
        List::new(grants).map(|grants| Credit { grants })
    }

    /// Notes how long an answer of the peer took: an average of about eight.
    pub fn answered(&mut self, took: Duration) {
        self.took = Some(self.took.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// A ticket that names no open want of this link.
    pub fn ticket(&mut self) -> u32 {
        loop {
            self.next_ticket = self.next_ticket.wrapping_add(1);
            if !self.wants.contains_key(&self.next_ticket) {
                return self.next_ticket;
            }
        }
    }

    /// As the API shows it.
    pub fn view(&self, link: LinkId) -> LinkView {
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

/// What becomes of a link when its hello comes and there is another to the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum TieBreak {
    /// There is no other.
    Only,
    /// The other one goes.
    Replaces(LinkId),
    /// This one goes.
    Loses,
}

/// All links.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Links {
    /// Ascending by name. A node has few links and gives them ascending names: searching is cheap
    /// and adding is at the end.
    links: Vec<(LinkId, Box<Link>)>,
    /// The ready link of each peer.
    peers: BTreeMap<PublicKey, LinkId>,
    /// What earlier links of each peer have used up: a new link is no new allowance.
    spent: BTreeMap<PublicKey, Spent>,
    /// How many are chosen.
    chosen: usize,
    /// No link's credit is due before this.
    next_credit: Option<Time>,
}

impl Links {
    /// A link came up.
    pub fn up(&mut self, id: LinkId, peer: PublicKey, number: u32, dialled: bool, now: Time) {
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

    /// Charges a peer for bytes that it caused to be read, whether its link is still there or not.
    pub fn charge_served(&mut self, peer: &PublicKey, rate: Rate, now: Time, bytes: u64) {
        if let Some(spent) = self.spent.get_mut(peer) {
            spent[0].charge(rate, now, bytes);
        }
        for link in self.to(*peer) {
            if let Some(held) = self.get_mut(link) {
                held.served.charge(rate, now, bytes);
            }
        }
    }

    /// Forgets a link. Another of its peer may have come up before: that is no fresh start.
    pub fn remove(&mut self, id: LinkId) -> Option<Link> {
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

    /// Chooses a link, or no longer.
    pub fn choose(&mut self, id: LinkId, chosen: bool) {
        let Some(link) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut link.chosen, chosen);
        self.chosen = self.chosen + usize::from(chosen) - usize::from(before);
    }

    /// How many links are chosen, ready or not.
    pub fn chosen(&self) -> usize {
        self.chosen
    }

    /// Sees to it that a link's credit is sent at `due`, or sooner if it was due sooner.
    pub fn credit_by(&mut self, id: LinkId, due: Time) {
        let Some(link) = self.get_mut(id) else { return };
        link.credit_due = Some(link.credit_due.map_or(due, |other| other.min(due)));
        self.next_credit = Some(self.next_credit.map_or(due, |other| other.min(due)));
    }

    /// When some link's credit may be due: not later than the first that is.
    pub fn next_credit(&self) -> Option<Time> {
        self.next_credit
    }

    /// The links whose credit is due.
    pub fn credit_due(&mut self, now: Time) -> Vec<LinkId> {
        if self.next_credit.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let dues = || self.links.iter().filter_map(|(id, link)| Some((*id, link.credit_due?)));
        let due = dues().filter(|(_, due)| *due <= now).map(|(id, _)| id).collect();
        self.next_credit = dues().map(|(_, due)| due).filter(|due| *due > now).min();
        due
    }

    /// Takes a hello and decides between this link and an older one to the same peer: the link
    /// whose dialler has the smaller key stays if the handshakes overlapped, and the newer one
    /// otherwise, as the peer has restarted or has lost the older one. What was chosen stays
    /// chosen.
    pub fn hello(&mut self, id: LinkId, own: &PublicKey, instance: Instance) -> TieBreak {
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

    /// How full it is, with its limits for so many other members. To a member there may be one link
    /// that is in use, one that it has lost and we have not, and one each way without a hello yet.
    pub fn occupy(&self, note: Note, members: usize) {
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

    /// A link by name.
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.place(id).ok().map(|place| &*self.links[place].1)
    }

    /// A link by name.
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let place = self.place(id).ok()?;
        Some(&mut *self.links[place].1)
    }

    /// Nothing is missing that a link is to be asked for.
    pub fn await_none(&mut self) {
        self.links.iter_mut().for_each(|(_, link)| link.awaited = false);
    }

    /// The ready link to a peer.
    pub fn of_peer(&self, peer: &PublicKey) -> Option<LinkId> {
        self.peers.get(peer).copied()
    }

    /// Ready links, in the order of their names.
    pub fn ready(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.iter().filter(|(_, link)| link.ready())
    }

    /// All links, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, &**link))
    }

    /// All links to a peer, ready or not.
    pub fn to(&self, peer: PublicKey) -> Vec<LinkId> {
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
