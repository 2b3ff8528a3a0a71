//! Relay: which batches a node searches for, which links it asks, and which ids it still announces.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LinkId, Note, Time};
use crate::crypto::Digest;
use crate::wire::limits::{MAX_ANNOUNCED, MAX_WANTED, MAX_WANTED_PER_LINK};
use crate::wire::{BatchId, SlotId};

/// Most ids queued for announcement on one link; what exceeds it is left to repair.
const MAX_UNANNOUNCED: usize = 4 * MAX_ANNOUNCED;
/// How long to wait for an answer when no other link can be asked.
const LAST_RESORT: Duration = Duration::from_secs(5);
/// A parked search is looked at again after this, and as much longer for every 512 searches there
/// are. Normally `unpark` wakes it earlier; this covers room that never appears.
const PARKED: Duration = Duration::from_millis(150);
/// Most searches looked at in one turn, and the pause before the next turn if that limit was
/// reached.
const PER_TURN: usize = 512;
const TURN: Duration = Duration::from_millis(20);

/// A slot searched for: the author's key number, the slot, and the batch (any, if `None`).
pub(super) type Wanted = (u32, u64, Option<BatchId>);

/// What to do about a search that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask these links.
    Ask(Vec<LinkId>),
    /// No link that could be asked has room; this is the best one to wait for.
    Wait(LinkId),
    /// All links were asked, and some may still answer.
    Later,
    /// No link is left that may answer: the search has ended.
    Over,
}

/// What a parked search waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Park {
    /// Room on a link.
    Link(LinkId),
    /// Fewer open wants for an author, by its key number.
    Author(u32),
}

/// The state of a link that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Asked at this time; no answer yet.
    Open(Time),
    /// The answer is overdue, which was reported by [`Relay::take_lapsed`].
    Lapsed,
    /// The peer answered that it does not have the batch.
    Missing,
}

#[derive(Debug)]
struct Search {
    /// The link whose share this search counts against: the first that named the batch.
    owner: LinkId,
    /// Links that should have the batch and were not asked yet, in the order in which they said so.
    sources: Vec<LinkId>,
    asked: Vec<(LinkId, Asked)>,
    /// A link that may have the batch but never named it.
    unnamed: Option<LinkId>,
    /// When the batch was first due to be asked for.
    since: Time,
    /// The links asked have until this time to answer.
    patient: Time,
    /// When the last link was asked.
    last: Time,
    due: Time,
    parked: Option<Park>,
}

/// The searches, and the ids waiting to be announced.
#[derive(Debug, Default)]
pub(super) struct Relay {
    searches: BTreeMap<Wanted, Search>,
    due: BTreeSet<(Time, Wanted)>,
    /// The first entry of `due`, cached because it is needed after every input.
    first_due: Option<Time>,
    /// No search is looked at before this time. Bounds the work on searches that cannot proceed.
    not_before: Time,
    /// Searches that wait for something, the oldest first. They are also in `due`, in case it never
    /// comes.
    parked: BTreeMap<Park, BTreeSet<(Time, Wanted)>>,
    /// The searches that each link caused: its share of the table.
    shares: BTreeMap<LinkId, BTreeSet<Wanted>>,
    unannounced: BTreeMap<LinkId, Vec<SlotId>>,
    /// How often a search was looked at.
    #[cfg(test)]
    pub looks: u64,
}

impl Relay {
    /// Notes that a link may have a batch although it did not name it.
    pub(super) fn want_unnamed(&mut self, wanted: Wanted, source: LinkId, due: Time) {
        let is_source = |search: &Search| {
            search.sources.contains(&source) || search.asked.iter().any(|(link, _)| *link == source)
        };
        let named = self.searches.get(&wanted).is_some_and(is_source);
        self.want(wanted, source, due);
        if let Some(search) = self.searches.get_mut(&wanted).filter(|_| !named) {
            search.unnamed = Some(source);
        }
    }

    /// Whether a link named what is searched for, so that it is expected to give it.
    pub(super) fn was_named(&self, wanted: &Wanted, link: LinkId) -> bool {
        self.searches.get(wanted).is_some_and(|search| search.unnamed != Some(link))
    }

    /// Notes that a link has a slot that this node wants; asks it at `due` unless another link is
    /// asked sooner. Beyond the limits the note is dropped: repair will find the gap again.
    pub(super) fn want(&mut self, wanted: Wanted, source: LinkId, due: Time) {
        if let Some(search) = self.searches.get_mut(&wanted) {
            search.unnamed = search.unnamed.filter(|link| *link != source);
            let asked = search.asked.iter().any(|(link, _)| *link == source);
            // As many sources as there are links: with a lower limit, liars that answer first would
            // take every place.
            if !asked && !search.sources.contains(&source) {
                search.sources.push(source);
                if !search.asked.is_empty() && search.sources.len() == 1 {
                    // All others were asked already: this link is next when their time is up.
                    let due = search.due.min(due.max(search.patient));
                    self.reschedule(wanted, due);
                }
            }
            return;
        }
        let share = self.shares.get(&source).map_or(0, BTreeSet::len);
        if share >= MAX_WANTED_PER_LINK || !self.has_room(share) {
            return;
        }
        self.shares.entry(source).or_default().insert(wanted);
        let search = Search {
            owner: source,
            sources: vec![source],
            asked: Vec::new(),
            unnamed: None,
            since: due,
            patient: due,
            last: due,
            due,
            parked: None,
        };
        self.searches.insert(wanted, search);
        self.due.insert((due, wanted));
        self.first_due = Some(self.first_due.map_or(due, |first| first.min(due)));
    }

    /// Whether a specific batch is searched for in a slot.
    pub(super) fn seeks(&self, author: u32, seq: u64) -> bool {
        let lowest = (author, seq, Some(Digest::ZERO));
        let found = self.searches.range(lowest..).next();
        found.is_some_and(|((a, s, _), _)| (*a, *s) == (author, seq))
    }

    /// Whether a link with that share may add to the table. When the table is full, the link with
    /// the largest share loses one search, so that links that name batches which do not exist never
    /// shut out others.
    fn has_room(&mut self, share: usize) -> bool {
        if self.searches.len() < MAX_WANTED {
            return true;
        }
        let largest = self.shares.values().max_by_key(|of| of.len());
        let given = largest.filter(|of| of.len() > share + 1).and_then(|of| of.last().copied());
        given.inspect(|wanted| self.found(wanted)).is_some()
    }

    /// The searches that are due, with the time each began, the oldest first, so that new searches
    /// never take the credit from those that have waited.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<(Time, Wanted)> {
        if now < self.not_before {
            return Vec::new();
        }
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(PER_TURN);
        let since = |wanted: &Wanted| self.searches.get(wanted).map_or(now, |s| s.since);
        let mut due: Vec<(Time, Wanted)> = due.map(|(_, w)| (since(w), *w)).collect();
        due.sort_unstable();
        if due.len() == PER_TURN {
            self.not_before = now.after(TURN);
        }
        due
    }

    /// The links that a search has waited for too long; each is returned once.
    pub(super) fn take_lapsed(
        &mut self,
        wanted: &Wanted,
        now: Time,
        patience: Duration,
    ) -> Vec<LinkId> {
        let mut lapsed = Vec::new();
        for (link, asked) in self.searches.get_mut(wanted).iter_mut().flat_map(|s| &mut s.asked) {
            if matches!(asked, Asked::Open(since) if now.since(*since) >= patience) {
                *asked = Asked::Lapsed;
                lapsed.push(*link);
            }
        }
        lapsed
    }

    /// Chooses the links to ask next among those that are usable and have room. At first one link,
    /// the one of the lowest rank. If that did not bring the batch, as many more as make `enough`
    /// in all, so that a peer that never answers cannot hold up what another peer has. Ends the
    /// search when no link is left.
    pub(super) fn next_sources<R: Ord>(
        &mut self,
        (wanted, now, enough): (&Wanted, Time, usize),
        usable: impl Fn(LinkId) -> bool,
        has_room: impl Fn(LinkId, bool) -> bool,
        rank: impl Fn(LinkId) -> R,
    ) -> Turn {
        #[cfg(test)]
        (self.looks += 1);
        let Some(search) = self.searches.get_mut(wanted) else { return Turn::Over };
        search.sources.retain(|link| usable(*link));
        search.sources.sort_by_key(|link| rank(*link));
        let first = search.asked.is_empty();
        let Some(best) = search.sources.first().copied() else {
            let waits = search.asked.iter().any(|(_, asked)| *asked != Asked::Missing);
            let until = search.last.after(LAST_RESORT);
            if waits && now < until {
                self.reschedule(*wanted, until);
                return Turn::Later;
            }
            self.found(wanted);
            return Turn::Over;
        };
        let count = if first { 1 } else { enough.saturating_sub(search.asked.len()).max(1) };
        let free = search.sources.iter().copied().filter(|link| has_room(*link, first));
        match free.take(count).collect::<Vec<_>>() {
            none if none.is_empty() => Turn::Wait(best),
            links => Turn::Ask(links),
        }
    }

    /// Notes that a link was asked; others will be asked after `patience`.
    pub(super) fn asked(&mut self, wanted: Wanted, link: LinkId, now: Time, patience: Duration) {
        if let Some(search) = self.searches.get_mut(&wanted) {
            search.sources.retain(|source| *source != link);
            search.asked.push((link, Asked::Open(now)));
            (search.last, search.patient) = (now, now.after(patience));
            let due = search.patient;
            self.reschedule(wanted, due);
        }
    }

    /// Parks a search until `unpark` is called for what it waits for, or until a pause that grows
    /// with the number of searches is over.
    pub(super) fn park(&mut self, wanted: Wanted, park: Park, now: Time) {
        let crowd = u32::try_from(self.searches.len() / PER_TURN).unwrap_or(u32::MAX);
        let until = now.after(PARKED.saturating_mul(crowd.saturating_add(1)));
        self.reschedule(wanted, until);
        if let Some(search) = self.searches.get_mut(&wanted) {
            search.parked = Some(park);
            self.parked.entry(park).or_default().insert((search.since, wanted));
        }
    }

    /// Makes up to `most` of the searches parked for `park` due now.
    pub(super) fn unpark(&mut self, park: Park, most: usize, now: Time) {
        let Some(parked) = self.parked.get(&park) else { return };
        let first: Vec<Wanted> = parked.iter().take(most).map(|(_, wanted)| *wanted).collect();
        for wanted in first {
            self.reschedule(wanted, now);
        }
    }

    /// Notes that a link does not have the batch: asks others at once, or ends the search.
    pub(super) fn missing(&mut self, wanted: &Wanted, link: LinkId, now: Time) {
        let Some(search) = self.searches.get_mut(wanted) else { return };
        for (_, asked) in search.asked.iter_mut().filter(|(other, _)| *other == link) {
            *asked = Asked::Missing;
        }
        self.go_on(wanted, now);
    }

    fn go_on(&mut self, wanted: &Wanted, now: Time) {
        let Some(search) = self.searches.get(wanted) else { return };
        if !search.sources.is_empty() {
            self.reschedule(*wanted, now);
        } else if search.asked.iter().all(|(_, asked)| *asked == Asked::Missing) {
            self.found(wanted);
        }
    }

    /// Looks at a search again at `due`, because what it needs is not available now.
    pub(super) fn reschedule(&mut self, wanted: Wanted, due: Time) {
        self.unnote(&wanted);
        if let Some(search) = self.searches.get_mut(&wanted) {
            search.due = due;
            self.due.insert((due, wanted));
            self.first_due = self.due.first().map(|(due, _)| *due);
        }
    }

    /// Removes a search from the tables of due and parked searches.
    fn unnote(&mut self, wanted: &Wanted) {
        let Some(search) = self.searches.get_mut(wanted) else { return };
        self.due.remove(&(search.due, *wanted));
        if self.first_due == Some(search.due) {
            self.first_due = self.due.first().map(|(due, _)| *due);
        }
        if let Some(park) = search.parked.take()
            && let Some(parked) = self.parked.get_mut(&park)
        {
            parked.remove(&(search.since, *wanted));
            if parked.is_empty() {
                self.parked.remove(&park);
            }
        }
    }

    /// Ends a search, and returns its place in its owner's share.
    pub(super) fn found(&mut self, wanted: &Wanted) {
        self.unnote(wanted);
        let Some(search) = self.searches.remove(wanted) else { return };
        if let Some(share) = self.shares.get_mut(&search.owner) {
            share.remove(wanted);
        }
    }

    /// Ends the searches for any batch of slots up to a tip, because recovery asks for those.
    pub(super) fn end_below(&mut self, author: u32, tip: u64) {
        let below = self.searches.range((author, 0, None)..=(author, tip, None));
        let below: Vec<Wanted> =
            below.map(|(wanted, _)| *wanted).filter(|w| w.2.is_none()).collect();
        below.iter().for_each(|wanted| self.found(wanted));
    }

    /// The links that should have a batch.
    pub(super) fn holders(&self, wanted: &Wanted) -> Vec<LinkId> {
        let search = self.searches.get(wanted);
        let all =
            |s: &Search| s.asked.iter().map(|(link, _)| *link).chain(s.sources.clone()).collect();
        search.map_or_else(Vec::new, all)
    }

    pub(super) fn occupy(&self, note: Note, links: usize) {
        let fullest = self.shares.values().map(BTreeSet::len).max().unwrap_or(0);
        let unannounced = self.unannounced.values().map(Vec::len);
        note("relay.searches", self.searches.len(), MAX_WANTED);
        note("relay.due", self.due.len(), MAX_WANTED);
        note("relay.parked", self.parked.values().map(BTreeSet::len).sum(), MAX_WANTED);
        note("relay.shares", self.shares.len(), links);
        note("relay.fullest_share", fullest, MAX_WANTED_PER_LINK);
        note("relay.announcing", self.unannounced.len(), links);
        note("relay.unannounced", unannounced.max().unwrap_or(0), MAX_UNANNOUNCED);
    }

    /// How many batches are looked for.
    #[cfg(test)]
    pub(super) fn searching(&self) -> usize {
        self.searches.len()
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        debug_assert_eq!(self.first_due, self.due.first().map(|(due, _)| *due));
        self.first_due.map(|due| due.max(self.not_before))
    }

    /// Queues an id for announcement on a link. Returns whether there was room.
    pub(super) fn announce(&mut self, link: LinkId, item: SlotId) -> bool {
        let queue = self.unannounced.entry(link).or_default();
        let room = queue.len() < MAX_UNANNOUNCED;
        if room {
            queue.push(item);
        }
        room
    }

    pub(super) fn is_announcing(&self, link: LinkId) -> bool {
        self.unannounced.contains_key(&link)
    }

    pub(super) fn announcing(&self) -> Vec<LinkId> {
        self.unannounced.keys().copied().collect()
    }

    /// Takes the next ids to announce on a link, at most as many as fit one frame.
    pub(super) fn take_announcement(&mut self, link: LinkId) -> Vec<SlotId> {
        let Some(queue) = self.unannounced.get_mut(&link) else { return Vec::new() };
        let items = queue.drain(..queue.len().min(MAX_ANNOUNCED)).collect();
        if queue.is_empty() {
            self.unannounced.remove(&link);
        }
        items
    }

    /// Forgets a link: its queue, its share, and its place in every search.
    pub(super) fn link_down(&mut self, link: LinkId, now: Time) {
        self.unannounced.remove(&link);
        self.shares.remove(&link);
        let affected: Vec<Wanted> = self
            .searches
            .iter()
            .filter(|(_, s)| {
                s.sources.contains(&link) || s.asked.iter().any(|(asked, _)| *asked == link)
            })
            .map(|(wanted, _)| *wanted)
            .collect();
        for wanted in affected {
            if let Some(search) = self.searches.get_mut(&wanted) {
                search.sources.retain(|source| *source != link);
                search.asked.retain(|(asked, _)| *asked != link);
                if search.owner == link {
                    let share = |link: &LinkId| self.shares.get(link).map_or(0, BTreeSet::len);
                    let has_room = |link: &&LinkId| share(link) < MAX_WANTED_PER_LINK;
                    // Without an heir that has room the search ends: repair will find the gap
                    // again.
                    let Some(heir) = search.sources.iter().find(has_room).copied() else {
                        self.found(&wanted);
                        continue;
                    };
                    search.owner = heir;
                    self.shares.entry(heir).or_default().insert(wanted);
                }
            }
            self.go_on(&wanted, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(150);

    #[test]
    fn what_does_not_come_is_asked_of_another() {
        let mut relay = Relay::default();
        let wanted = (1, 1, Some(Digest::ZERO));
        relay.want(wanted, LinkId(1), Time(10));
        relay.want(wanted, LinkId(2), Time(10));
        assert_eq!(relay.take_due(Time(9)), []);
        assert_eq!(relay.take_due(Time(10)), [(Time(10), wanted)]);
        assert_eq!(turn(&mut relay, &wanted, Time(10)), Turn::Ask(vec![LinkId(1)]));
        relay.asked(wanted, LinkId(1), Time(10), PATIENCE);
        let later = Time(10).after(PATIENCE);
        assert_eq!(relay.next_due(), Some(later));
        assert_eq!(relay.take_lapsed(&wanted, Time(11), PATIENCE), []);
        assert_eq!(relay.take_lapsed(&wanted, later, PATIENCE), [LinkId(1)]);
        assert_eq!(relay.take_lapsed(&wanted, later, PATIENCE), [], "each once");
        assert_eq!(turn(&mut relay, &wanted, later), Turn::Ask(vec![LinkId(2)]));
        relay.asked(wanted, LinkId(2), later, PATIENCE);
        relay.missing(&wanted, LinkId(2), later);
        assert_eq!(relay.searches.len(), 1, "the first may still answer");
        assert_eq!(turn(&mut relay, &wanted, later), Turn::Later);
        assert_eq!(turn(&mut relay, &wanted, later.after(LAST_RESORT)), Turn::Over);
        assert_eq!(relay.searches.len(), 0, "nobody is left");
    }

    /// Among 31 links, with 4 to be asked at the most.
    fn turn(relay: &mut Relay, wanted: &Wanted, now: Time) -> Turn {
        relay.next_sources((wanted, now, 4), |_| true, |_, _| true, |link| link.0 / 100)
    }

    #[test]
    fn as_many_as_it_takes_are_asked_once_the_first_is_late() {
        let mut relay = Relay::default();
        let wanted = (1, 1, Some(Digest::ZERO));
        (101..109).chain(1..3).for_each(|link| relay.want(wanted, LinkId(link), Time(0)));
        assert_eq!(turn(&mut relay, &wanted, Time(0)), Turn::Ask(vec![LinkId(1)]), "by rank");
        relay.asked(wanted, LinkId(1), Time(0), PATIENCE);
        let more = [2, 101, 102].map(LinkId);
        assert_eq!(turn(&mut relay, &wanted, Time(0).after(PATIENCE)), Turn::Ask(more.to_vec()));
        more.iter().for_each(|link| relay.asked(wanted, *link, Time(0), PATIENCE));
        assert_eq!(turn(&mut relay, &wanted, Time(9)), Turn::Ask(vec![LinkId(103)]));
    }

    #[test]
    fn what_waits_for_room_is_due_when_there_is_some() {
        let mut relay = Relay::default();
        let park = Park::Link(LinkId(1));
        for seq in 1..4 {
            relay.want((1, seq, None), LinkId(1), Time(seq));
            relay.park((1, seq, None), park, Time(5));
        }
        relay.unpark(park, 2, Time(6));
        let due: Vec<Wanted> = relay.take_due(Time(6)).into_iter().map(|(_, w)| w).collect();
        assert_eq!(due, [(1, 1, None), (1, 2, None)], "the longest looked for");
        relay.found(&(1, 3, None));
        assert!(relay.parked.is_empty());
    }

    #[test]
    fn an_heir_keeps_within_its_own_share() {
        let mut relay = Relay::default();
        let most = MAX_WANTED_PER_LINK as u64;
        for seq in 1..=most {
            relay.want((1, seq, None), LinkId(1), Time(0));
            relay.want((1, seq, None), LinkId(2), Time(0));
            relay.want((2, seq, None), LinkId(if seq < 10 { 3 } else { 2 }), Time(0));
        }
        relay.link_down(LinkId(1), Time(0));
        let share = |link| relay.shares.get(&LinkId(link)).map_or(0, BTreeSet::len);
        assert_eq!((share(1), share(2), share(3)), (0, MAX_WANTED_PER_LINK, 9));
        assert_eq!(relay.searches.len(), MAX_WANTED_PER_LINK + 9, "each search is in one share");
    }

    #[test]
    fn what_has_been_looked_for_longest_is_asked_for_first() {
        let mut relay = Relay::default();
        let (old, new) = ((9, 9, None), (1, 1, None));
        relay.want(old, LinkId(1), Time(10));
        relay.reschedule(old, Time(50));
        relay.want(new, LinkId(1), Time(20));
        assert_eq!(relay.take_due(Time(20)), [(Time(20), new)], "it is not its turn yet");
        assert_eq!(relay.take_due(Time(50)), [(Time(10), old), (Time(20), new)]);
    }

    #[test]
    fn one_link_cannot_fill_the_table() {
        let mut relay = Relay::default();
        for seq in 1..5000 {
            relay.want((1, seq, None), LinkId(1), Time(0));
        }
        assert_eq!(relay.searches.len(), MAX_WANTED_PER_LINK);
        relay.want((2, 1, None), LinkId(2), Time(0));
        assert!(relay.searches.contains_key(&(2, 1, None)));
        relay.link_down(LinkId(1), Time(0));
        assert_eq!(relay.searches.len(), 1, "and takes its searches with it");
        let item = SlotId { author: crate::crypto::PublicKey([0; 32]), seq: 1, id: Digest::ZERO };
        assert_eq!((0..5000).filter(|_| relay.announce(LinkId(2), item)).count(), MAX_UNANNOUNCED);
        assert_eq!(relay.take_announcement(LinkId(2)).len(), MAX_ANNOUNCED);
    }
}
