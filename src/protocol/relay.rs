//! Relay: which batches a node looks for, whom it asks, and which ids it still has to announce.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LinkId, Note, Time};
use crate::wire::limits::{MAX_ANNOUNCED, MAX_WANTED, MAX_WANTED_PER_LINK};
use crate::wire::{BatchId, SlotId};

/// Ids that wait to be announced on one link, at most; beyond it repair brings them.
const MAX_UNANNOUNCED: usize = 4 * MAX_ANNOUNCED;
/// How long an answer is waited for when there is nobody else to ask.
const LAST_RESORT: Duration = Duration::from_secs(5);

/// A slot that is looked for: author's key number, slot, and the batch (any, if `None`).
pub(super) type Wanted = (u32, u64, Option<BatchId>);

/// What to do about a search whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask this link.
    Ask(LinkId),
    /// All that could be asked are busy.
    Wait,
    /// Nobody is left that may answer: it is over.
    Over,
}

#[derive(Debug)]
struct Search {
    /// The link whose share it counts against: the first that said so.
    owner: LinkId,
    /// Links that should have it and were not asked yet, in the order in which they said so.
    sources: Vec<LinkId>,
    /// Links that were asked.
    asked: Vec<LinkId>,
    /// When it was first to be asked for.
    since: Time,
    due: Time,
}

/// What is looked for, and what is to be announced.
#[derive(Debug, Default)]
pub(super) struct Relay {
    searches: BTreeMap<Wanted, Search>,
    due: BTreeSet<(Time, Wanted)>,
    /// The first of them: asked for after every input.
    first_due: Option<Time>,
    /// What each link made us look for: its share of the table.
    shares: BTreeMap<LinkId, BTreeSet<Wanted>>,
    unannounced: BTreeMap<LinkId, Vec<SlotId>>,
}

impl Relay {
    /// Notes that a link has a slot that is looked for; asks it at `due` unless somebody else is
    /// asked sooner. Beyond the bounds the note is dropped: repair will find the gap again.
    pub fn want(&mut self, wanted: Wanted, source: LinkId, due: Time) {
        if let Some(search) = self.searches.get_mut(&wanted) {
            let known = search.sources.contains(&source) || search.asked.contains(&source);
            // As many as there are links: of fewer places, liars that say so first would take all.
            if !known {
                search.sources.push(source);
                if !search.asked.is_empty() && search.sources.len() == 1 {
                    // Everybody asked so far is slow: do not wait for the last resort.
                    let old = (search.due, wanted);
                    search.due = search.due.min(due);
                    let new = (search.due, wanted);
                    self.due.remove(&old);
                    self.due.insert(new);
                    self.first_due = self.due.first().map(|(due, _)| *due);
                }
            }
            return;
        }
        let share = self.shares.get(&source).map_or(0, BTreeSet::len);
        if share >= MAX_WANTED_PER_LINK || !self.has_room(share) {
            return;
        }
        self.shares.entry(source).or_default().insert(wanted);
        let (sources, asked) = (vec![source], Vec::new());
        let search = Search { owner: source, sources, asked, since: due, due };
        self.searches.insert(wanted, search);
        self.due.insert((due, wanted));
        self.first_due = Some(self.first_due.map_or(due, |first| first.min(due)));
    }

    /// Whether a link with that share may add to the table. When it is full, whoever has the most
    /// of it gives way, so that links that name what does not exist never shut out the others.
    fn has_room(&mut self, share: usize) -> bool {
        if self.searches.len() < MAX_WANTED {
            return true;
        }
        let largest = self.shares.values().max_by_key(|of| of.len());
        let given = largest.filter(|of| of.len() > share + 1).and_then(|of| of.last().copied());
        given.inspect(|wanted| self.found(wanted)).is_some()
    }

    /// Searches whose time has come, at most `most`, and since when each has been looked for: the
    /// longest first, so that what is new never takes the credit from what has waited.
    pub fn take_due(&self, now: Time, most: usize) -> Vec<(Time, Wanted)> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(most);
        let since = |wanted: &Wanted| self.searches.get(wanted).map_or(now, |s| s.since);
        let mut due: Vec<(Time, Wanted)> = due.map(|(_, w)| (since(w), *w)).collect();
        due.sort_unstable();
        due
    }

    /// Whom to ask next: the first that is there and not busy, so that one that leaves everything
    /// unanswered holds up nothing that another has. Ends the search when nobody is left.
    pub fn next_source(
        &mut self,
        wanted: &Wanted,
        usable: impl Fn(LinkId) -> bool,
        busy: impl Fn(LinkId) -> bool,
    ) -> Turn {
        let Some(search) = self.searches.get_mut(wanted) else { return Turn::Over };
        search.sources.retain(|link| usable(*link));
        if search.sources.is_empty() {
            self.found(wanted);
            return Turn::Over;
        }
        let free = search.sources.iter().copied().find(|link| !busy(*link));
        free.map_or(Turn::Wait, Turn::Ask)
    }

    /// Notes that a link was asked: another will be after `patience`, or nobody for long.
    pub fn asked(&mut self, wanted: Wanted, link: LinkId, now: Time, patience: Duration) {
        if let Some(search) = self.searches.get_mut(&wanted) {
            search.sources.retain(|source| *source != link);
            search.asked.push(link);
            let wait = if search.sources.is_empty() { LAST_RESORT } else { patience };
            self.reschedule(wanted, now.after(wait));
        }
    }

    /// Looks at a search again later: the one to ask cannot be asked now.
    pub fn postpone(&mut self, wanted: Wanted, until: Time) {
        self.reschedule(wanted, until);
    }

    /// A link that was asked does not have it: ask the next at once, or end the search.
    pub fn missing(&mut self, wanted: &Wanted, now: Time) {
        match self.searches.get(wanted) {
            Some(search) if search.sources.is_empty() => self.found(wanted),
            Some(_) => self.reschedule(*wanted, now),
            None => {}
        }
    }

    fn reschedule(&mut self, wanted: Wanted, due: Time) {
        if let Some(search) = self.searches.get_mut(&wanted) {
            self.due.remove(&(search.due, wanted));
            search.due = due;
            self.due.insert((due, wanted));
            self.first_due = self.due.first().map(|(due, _)| *due);
        }
    }

    /// Ends a search, and gives its owner back that part of its share.
    pub fn found(&mut self, wanted: &Wanted) {
        let Some(search) = self.searches.remove(wanted) else { return };
        self.due.remove(&(search.due, *wanted));
        if self.first_due == Some(search.due) {
            self.first_due = self.due.first().map(|(due, _)| *due);
        }
        if let Some(share) = self.shares.get_mut(&search.owner) {
            share.remove(wanted);
        }
    }

    /// The links that said that they have a batch.
    pub fn holders(&self, wanted: &Wanted) -> Vec<LinkId> {
        let search = self.searches.get(wanted);
        search.map_or_else(Vec::new, |s| s.asked.iter().chain(&s.sources).copied().collect())
    }

    /// How full it is, with its limits for so many links.
    pub fn occupy(&self, note: Note, links: usize) {
        let fullest = self.shares.values().map(BTreeSet::len).max().unwrap_or(0);
        let unannounced = self.unannounced.values().map(Vec::len);
        note("relay.searches", self.searches.len(), MAX_WANTED);
        note("relay.due", self.due.len(), MAX_WANTED);
        note("relay.shares", self.shares.len(), links);
        note("relay.fullest_share", fullest, MAX_WANTED_PER_LINK);
        note("relay.announcing", self.unannounced.len(), links);
        note("relay.unannounced", unannounced.max().unwrap_or(0), MAX_UNANNOUNCED);
    }

    /// How many batches are looked for.
    #[cfg(test)]
    pub fn searching(&self) -> usize {
        self.searches.len()
    }

    /// When the next search is due.
    pub fn next_due(&self) -> Option<Time> {
        debug_assert_eq!(self.first_due, self.due.first().map(|(due, _)| *due));
        self.first_due
    }

    /// Notes an id to announce on a link; says whether there was room.
    pub fn announce(&mut self, link: LinkId, item: SlotId) -> bool {
        let queue = self.unannounced.entry(link).or_default();
        let room = queue.len() < MAX_UNANNOUNCED;
        if room {
            queue.push(item);
        }
        room
    }

    /// Whether something waits to be announced on a link.
    pub fn is_announcing(&self, link: LinkId) -> bool {
        self.unannounced.contains_key(&link)
    }

    /// Links with something to announce.
    pub fn announcing(&self) -> Vec<LinkId> {
        self.unannounced.keys().copied().collect()
    }

    /// The next ids to announce on a link, at most one frame of them.
    pub fn take_announcement(&mut self, link: LinkId) -> Vec<SlotId> {
        let Some(queue) = self.unannounced.get_mut(&link) else { return Vec::new() };
        let items = queue.drain(..queue.len().min(MAX_ANNOUNCED)).collect();
        if queue.is_empty() {
            self.unannounced.remove(&link);
        }
        items
    }

    /// Forgets a link.
    pub fn link_down(&mut self, link: LinkId, now: Time) {
        self.unannounced.remove(&link);
        self.shares.remove(&link);
        let affected: Vec<Wanted> = self
            .searches
            .iter()
            .filter(|(_, s)| s.sources.contains(&link) || s.asked.contains(&link))
            .map(|(wanted, _)| *wanted)
            .collect();
        for wanted in affected {
            if let Some(search) = self.searches.get_mut(&wanted) {
                search.sources.retain(|source| *source != link);
                search.asked.retain(|asked| *asked != link);
                if search.owner == link {
                    let share = |link: &LinkId| self.shares.get(link).map_or(0, BTreeSet::len);
                    let has_room = |link: &&LinkId| share(link) < MAX_WANTED_PER_LINK;
                    // Without an heir that has room it is over: repair will find the gap again.
                    let Some(heir) = search.sources.iter().find(has_room).copied() else {
                        self.found(&wanted);
                        continue;
                    };
                    search.owner = heir;
                    self.shares.entry(heir).or_default().insert(wanted);
                }
            }
            self.missing(&wanted, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Digest;

    const PATIENCE: Duration = Duration::from_millis(150);

    #[test]
    fn what_does_not_come_is_asked_of_another() {
        let mut relay = Relay::default();
        let wanted = (1, 1, Some(Digest::ZERO));
        relay.want(wanted, LinkId(1), Time(10));
        relay.want(wanted, LinkId(2), Time(10));
        assert_eq!(relay.take_due(Time(9), 9), []);
        assert_eq!(relay.take_due(Time(10), 9), [(Time(10), wanted)]);
        assert_eq!(relay.next_source(&wanted, |_| true, |_| false), Turn::Ask(LinkId(1)));
        relay.asked(wanted, LinkId(1), Time(10), PATIENCE);
        assert_eq!(relay.next_due(), Some(Time(10).after(PATIENCE)));
        assert_eq!(relay.next_source(&wanted, |_| true, |_| false), Turn::Ask(LinkId(2)));
        relay.asked(wanted, LinkId(2), Time(10), PATIENCE);
        relay.missing(&wanted, Time(20));
        assert_eq!(relay.searches.len(), 0, "nobody is left");
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
        relay.postpone(old, Time(50));
        relay.want(new, LinkId(1), Time(20));
        assert_eq!(relay.take_due(Time(20), 9), [(Time(20), new)], "it is not its turn yet");
        assert_eq!(relay.take_due(Time(50), 9), [(Time(10), old), (Time(20), new)]);
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
