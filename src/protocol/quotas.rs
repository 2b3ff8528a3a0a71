//! Quotas: how much an author may publish before other nodes stop keeping and relaying it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::{Bucket, Rate};
use super::{Note, Time};
use crate::wire::limits::{
    AUTHOR_BATCH_BURST, AUTHOR_BATCHES_PER_S, AUTHOR_BYTE_BURST, AUTHOR_BYTES_PER_S,
    RESTART_BATCHES,
};

const BATCHES: Rate = Rate { per_s: AUTHOR_BATCHES_PER_S, burst: AUTHOR_BATCH_BURST };
const BYTES: Rate = Rate { per_s: AUTHOR_BYTES_PER_S, burst: AUTHOR_BYTE_BURST };

fn batches_of(restarts: bool) -> u64 {
    if restarts { RESTART_BATCHES } else { 1 }
}

/// An author's two buckets: one for batches, one for bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    batches: (Rate, Bucket),
    bytes: (Rate, Bucket),
}

impl Default for Quota {
    /// What every node grants every author.
    fn default() -> Self {
        Self { batches: (BATCHES, Bucket::default()), bytes: (BYTES, Bucket::default()) }
    }
}

impl Quota {
    /// What a node allows itself: less than others grant, as batches may bunch up on the way.
    pub(super) fn own() -> Self {
        let less = |rate: Rate| Rate { per_s: rate.per_s * 9 / 10, burst: rate.burst / 2 };
        Self {
            batches: (less(BATCHES), Bucket::default()),
            bytes: (less(BYTES), Bucket::default()),
        }
    }

    /// How long until a batch of `bytes` bytes fits; zero if now. A restart header counts for
    /// [`RESTART_BATCHES`] batches.
    pub(super) fn wait(&self, now: Time, bytes: u64, restarts: bool) -> Duration {
        let ((batch_rate, batches), (byte_rate, bucket)) = (self.batches, self.bytes);
        let count = batches_of(restarts);
        batches.wait(batch_rate, now, count).max(bucket.wait(byte_rate, now, bytes))
    }

    /// Charges a batch of `bytes` bytes.
    pub(super) fn charge(&mut self, now: Time, bytes: u64, restarts: bool) {
        self.batches.1.charge(self.batches.0, now, batches_of(restarts));
        self.bytes.1.charge(self.bytes.0, now, bytes);
    }
}

/// The quotas of all authors that published, by key number.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    authors: BTreeMap<u32, Quota>,
}

impl Quotas {
    /// How long until a batch fits; zero if now. Charges nothing: an unverified batch must not cost
    /// its author anything.
    pub(super) fn wait(&self, author: u32, now: Time, bytes: u64, restarts: bool) -> Duration {
        let quota = self.authors.get(&author);
        quota.map_or(Duration::ZERO, |quota| quota.wait(now, bytes, restarts))
    }

    pub(super) fn occupy(&self, note: Note, keys: usize) {
        note("quotas", self.authors.len(), keys);
    }

    /// Charges a batch to its author once its signature is verified.
    pub(super) fn charge(&mut self, author: u32, now: Time, bytes: u64, restarts: bool) {
        self.authors.entry(author).or_default().charge(now, bytes, restarts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_still_gives_nothing_more() {
        let mut quotas = Quotas::default();
        let now = Time(7);
        for _ in 0..AUTHOR_BATCH_BURST {
            assert!(quotas.wait(3, now, 100, false).is_zero());
            quotas.charge(3, now, 100, false);
        }
        assert!(!quotas.wait(3, now, 100, false).is_zero());
        assert!(quotas.wait(4, now, 100, false).is_zero(), "one author's quota is not another's");
        for _ in 0..AUTHOR_BATCH_BURST / RESTART_BATCHES {
            assert!(quotas.wait(4, now, 100, true).is_zero());
            quotas.charge(4, now, 100, true);
        }
        assert!(!quotas.wait(4, now, 100, false).is_zero(), "restarts use it up soon");
    }
}
