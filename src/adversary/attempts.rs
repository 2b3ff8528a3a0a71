//! What a liar tried: totals, and its newest attempts.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::{Digest, PublicKey};
use crate::protocol::Time;
use crate::wire::BatchId;

/// Most attempts kept in full; the totals count all of them.
const MOST: usize = 4096;

/// Totals of one behaviour since the start. They never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Actions since the start, also those that no list keeps.
    pub attempted: u64,
    /// Honest batches (for `stall`: links) that it swallowed, delayed or altered in transit.
    pub affected: u64,
}

/// One action of a liar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Name of the behaviour, as in a SPEC.
    pub kind: &'static str,
    /// Name of the behaviour's variant.
    pub detail: &'static str,
    /// When the liar acted, by its own clock.
    pub at: Time,
    /// Key of the peer that was attacked, if one was.
    pub link: Option<PublicKey>,
    /// SHA-256 of the frame sent, without its length prefix; SHA-256 of the four bytes of the
    /// prefix if no frame may have such a length; `None` if no frame was sent.
    pub frame: Option<Digest>,
    /// The batch concerned, if any.
    pub id: Option<BatchId>,
}

/// All attempts of a liar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// By behaviour; contains every behaviour of the SPEC from the start.
    pub totals: BTreeMap<&'static str, Totals>,
    /// The newest attempts, oldest first, at most 4096. When it is full, the oldest attempt of the
    /// behaviour with the most entries is dropped, so that a flood does not displace the others.
    pub newest: VecDeque<Attempt>,
    kept: BTreeMap<&'static str, usize>,
}

impl Attempts {
    pub(super) fn new(kinds: impl Iterator<Item = &'static str>) -> Self {
        let totals = kinds.map(|kind| (kind, Totals::default())).collect();
        Self { totals, ..Self::default() }
    }

    /// Counts and keeps an attempt that affected `affected` honest batches or links.
    pub(super) fn record(&mut self, attempt: Attempt, affected: u64) {
        let totals = self.totals.entry(attempt.kind).or_default();
        totals.attempted = totals.attempted.saturating_add(1);
        totals.affected = totals.affected.saturating_add(affected);
        if self.newest.len() >= MOST {
            self.forget_one();
        }
        *self.kept.entry(attempt.kind).or_default() += 1;
        self.newest.push_back(attempt);
    }

    fn forget_one(&mut self) {
        let Some((&kind, _)) = self.kept.iter().max_by_key(|(_, count)| **count) else { return };
        let Some(oldest) = self.newest.iter().position(|attempt| attempt.kind == kind) else {
            return;
        };
        self.newest.remove(oldest);
        if let Some(count) = self.kept.get_mut(kind) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_neither_grows_the_record_nor_hides_the_rest() {
        let mut attempts = Attempts::new(["flood", "forge", "drop"].into_iter());
        let attempt = |kind, at| Attempt {
            kind,
            detail: "",
            at: Time(at),
            link: None,
            frame: None,
            id: None,
        };
        attempts.record(attempt("forge", 0), 0);
        for at in 1..10_000 {
            attempts.record(attempt("flood", at), 1);
        }
        assert_eq!(attempts.newest.len(), MOST);
        assert_eq!(attempts.newest.front().map(|a| (a.kind, a.at)), Some(("forge", Time(0))));
        assert_eq!(attempts.newest.back().map(|a| a.at), Some(Time(9_999)));
        assert_eq!(attempts.totals["flood"], Totals { attempted: 9_999, affected: 9_999 });
        assert_eq!(attempts.totals["drop"], Totals::default());
    }
}
