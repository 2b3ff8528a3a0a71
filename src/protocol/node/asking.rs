//! Whom to ask: the open wants per author, and which members announced a batch and then did not
//! give it.
//!
//! Requested batches are accepted even if they take the author's quota into debt, so only a few may
//! be requested at once. Nobody is blamed for a broken promise, as a slow node and a liar look the
//! same: this decides only whom to ask first.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::time::doubled;
use crate::protocol::{LinkId, Note, Time};
use crate::wire::limits::{ASKED_OF_A_LINK, ASKED_OF_ALL, MAX_OPEN_WANTS};

#[derive(Debug, Default)]
struct OfLink {
    /// Whether the peer broke a promise lately; its wants then take no room from those of others.
    late: bool,
    /// By the author's key number.
    open: BTreeMap<u32, usize>,
}

/// The open wants that count towards a limit.
#[derive(Debug, Default)]
pub(super) struct Asking {
    links: BTreeMap<LinkId, OfLink>,
    /// By author, on links whose peers are not late.
    all: BTreeMap<u32, usize>,
}

impl Asking {
    /// Whether one more want may be opened on a link: always a few, so that every peer can be
    /// asked, and more while few are open in all, unless the peer is late.
    pub(super) fn may_ask(&self, author: u32, link: LinkId, late: bool) -> bool {
        let of_link = self.links.get(&link).and_then(|of| of.open.get(&author));
        let all = self.all.get(&author).copied().unwrap_or(0);
        of_link.is_none_or(|open| *open < ASKED_OF_A_LINK) || (!late && all < ASKED_OF_ALL)
    }

    pub(super) fn opened(&mut self, author: u32, link: LinkId, late: bool) {
        self.set_late(link, late);
        *self.links.entry(link).or_default().open.entry(author).or_default() += 1;
        if !late {
            *self.all.entry(author).or_default() += 1;
        }
    }

    pub(super) fn closed(&mut self, author: u32, link: LinkId) {
        let Some(of_link) = self.links.get_mut(&link) else { return };
        less(&mut of_link.open, author, 1);
        if !of_link.late {
            less(&mut self.all, author, 1);
        }
        if of_link.open.is_empty() {
            self.links.remove(&link);
        }
    }

    pub(super) fn set_late(&mut self, link: LinkId, late: bool) {
        let Some(of_link) = self.links.get_mut(&link).filter(|of| of.late != late) else {
            if late {
                self.links.entry(link).or_default().late = true;
            }
            return;
        };
        of_link.late = late;
        for (author, count) in &of_link.open {
            match late {
                true => less(&mut self.all, *author, *count),
                false => *self.all.entry(*author).or_default() += count,
            }
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.set_late(link, true);
        self.links.remove(&link);
    }

    pub(super) fn occupy(&self, note: Note, links: usize) {
        let fullest = self.links.values().map(|of| of.open.values().sum()).max().unwrap_or(0);
        note("asking.links", self.links.len(), links);
        note("asking.fullest", fullest, MAX_OPEN_WANTS);
        note("asking.authors", self.all.len(), links * MAX_OPEN_WANTS);
    }
}

fn less(counts: &mut BTreeMap<u32, usize>, author: u32, by: usize) {
    let Some(count) = counts.get_mut(&author) else { return };
    *count = count.saturating_sub(by);
    if *count == 0 {
        counts.remove(&author);
    }
}

/// How long a member that broke a promise is asked last; doubles each time up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Broken {
    until: Time,
    times: u32,
}

/// A member's rank when several could be asked: the lowest is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Whether the member broke a promise lately and its term is not over.
    pub late: bool,
    times: u32,
}

/// Members that broke a promise, by key number. An hour after its term ends, a record counts no
/// more.
#[derive(Debug, Default)]
pub(super) struct Promises {
    broken: BTreeMap<u32, Broken>,
}

impl Promises {
    /// Notes that a member broke a promise. Promises broken within a term count as one.
    pub(super) fn broke(&mut self, member: u32, now: Time) {
        let fresh = Broken { until: Time::default(), times: 0 };
        let held = self.broken.entry(member).or_insert(fresh);
        if now < held.until {
            return;
        }
        if held.times > 0 && now >= held.until.after(LONGEST) {
            held.times = 0;
        }
        held.until = now.after(doubled(SHORTEST, held.times, LONGEST));
        held.times = held.times.saturating_add(1);
    }

    pub(super) fn rank(&self, member: u32, now: Time) -> Rank {
        let held = self.broken.get(&member).filter(|held| now < held.until.after(LONGEST));
        held.map_or(Rank::default(), |held| Rank { late: now < held.until, times: held.times })
    }

    pub(super) fn occupy(&self, note: Note, members: usize) {
        note("promises", self.broken.len(), members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LinkId = LinkId(1);
    const TWO: LinkId = LinkId(2);

    #[test]
    fn one_that_leaves_wants_open_takes_no_room_from_another() {
        let mut asking = Asking::default();
        let ask = |asking: &mut Asking, link, late| {
            let mut count = 0;
            while asking.may_ask(7, link, late) {
                asking.opened(7, link, late);
                count += 1;
            }
            count
        };
        assert_eq!(ask(&mut asking, ONE, false), ASKED_OF_ALL);
        assert_eq!(ask(&mut asking, TWO, false), ASKED_OF_A_LINK, "a few of anybody");
        asking.set_late(ONE, true);
        assert_eq!(ask(&mut asking, TWO, false), ASKED_OF_ALL - ASKED_OF_A_LINK);
        assert_eq!(ask(&mut asking, ONE, true), 0);
        (0..ASKED_OF_ALL).for_each(|_| asking.closed(7, ONE));
        assert_eq!(ask(&mut asking, ONE, true), ASKED_OF_A_LINK);
        asking.link_down(TWO);
        asking.set_late(ONE, false);
        assert_eq!(asking.all, [(7, ASKED_OF_A_LINK)].into());
        asking.link_down(ONE);
        assert!(asking.all.is_empty() && asking.links.is_empty());
    }

    #[test]
    fn terms_double_up_to_an_hour_and_are_forgiven_by_time() {
        let (mut promises, mut now) = (Promises::default(), Time(1));
        let mut terms = vec![];
        for _ in 0..40 {
            promises.broke(7, now);
            promises.broke(7, now.after(Duration::from_secs(1)));
            assert!(promises.rank(7, now).late && promises.rank(8, now) < promises.rank(7, now));
            let until = promises.broken[&7].until;
            terms.push(until.since(now).as_secs());
            now = until;
            assert!(!promises.rank(7, now).late, "the term is over");
            assert!(promises.rank(7, now) > promises.rank(8, now), "and not forgotten");
        }
        assert_eq!(terms[..7], [60, 120, 240, 480, 960, 1920, 3600]);
        assert_eq!(terms[39], 3600);
        now = now.after(LONGEST);
        assert_eq!(promises.rank(7, now), Rank::default());
        promises.broke(7, now);
        assert_eq!(promises.broken[&7].until.since(now), SHORTEST);
        promises.broke(7, Time(u64::MAX));
    }
}
