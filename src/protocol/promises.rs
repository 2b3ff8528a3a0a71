//! Promises: which members announced a batch and then did not give it.
//!
//! Nobody is blamed, as a slow node and a liar look the same: this decides only whom to ask first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Note, Time};

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
        let factor = 1u32.checked_shl(held.times).unwrap_or(u32::MAX);
        held.until = now.after(SHORTEST.saturating_mul(factor).min(LONGEST));
        held.times = held.times.saturating_add(1);
    }

    /// The rank of a member.
    pub(super) fn rank(&self, member: u32, now: Time) -> Rank {
        let held = self.broken.get(&member).filter(|held| now < held.until.after(LONGEST));
        held.map_or(Rank::default(), |held| Rank { late: now < held.until, times: held.times })
    }

    /// Reports how full the table is, with its limit for `members` members.
    pub(super) fn occupy(&self, note: Note, members: usize) {
        note("promises", self.broken.len(), members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
