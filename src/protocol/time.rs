//! Time as a plain number that is passed in, and token buckets that use it.
//!
//! The generic cell rate algorithm (ITU-T I.371, Annex A): a bucket is a single number, the time at
//! which everything charged so far will have been paid.

use std::time::Duration;

/// Microseconds since 1970 by the caller's clock, or since the start of a simulation. Never goes
/// backwards within one run. All arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This time plus `by`, rounded up to a whole microsecond. Rounding down would wake a waiter
    /// before its wait is over, and it would wait again for the same remainder without time
    /// advancing.
    pub fn after(self, by: Duration) -> Self {
        let micros = by.as_nanos().div_ceil(1000);
        Self(self.0.saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// The time elapsed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A wait that doubles each time: `first` at first, then twice as long as the last, up to `most`.
pub(super) fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}

/// Whole microseconds of a duration; saturating.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds of a duration; saturating.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A rate: units per second in the long run, and a burst after a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Units per second, at least 1.
    pub per_s: u64,
    /// Units at once, when the bucket is full.
    pub burst: u64,
}

impl Rate {
    fn nanos(self, units: u64) -> u64 {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.per_s.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// A token bucket; starts full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    /// The theoretical arrival time, in nanoseconds.
    paid_at: u64,
}

impl Bucket {
    /// How long until `units` can be charged: zero if now, `Duration::MAX` if never.
    pub(crate) fn wait(&self, rate: Rate, now: Time, units: u64) -> Duration {
        let now = now.0.saturating_mul(1000);
        let burst = rate.nanos(rate.burst);
        let Some(paid_at) = self.paid_at.max(now).checked_add(rate.nanos(units)) else {
            return Duration::MAX;
        };
        if units > rate.burst {
            return Duration::MAX;
        }
        Duration::from_nanos(paid_at.saturating_sub(now).saturating_sub(burst))
    }

    /// Charges `units` even if that takes the bucket into debt.
    pub(crate) fn charge(&mut self, rate: Rate, now: Time, units: u64) {
        let now = now.0.saturating_mul(1000);
        self.paid_at = self.paid_at.max(now).saturating_add(rate.nanos(units));
    }

    /// Charges `units` if they are available. Returns whether they were.
    pub(crate) fn take(&mut self, rate: Rate, now: Time, units: u64) -> bool {
        let there = self.wait(rate, now, units).is_zero();
        if there {
            self.charge(rate, now, units);
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_microsecond_is_waited_for_too() {
        assert_eq!(Time(7).after(Duration::from_nanos(1)), Time(8));
        assert_eq!(Time(7).after(Duration::from_nanos(2000)), Time(9));
        assert_eq!(Time(7).after(Duration::MAX), Time(u64::MAX));
    }

    const TEN: Rate = Rate { per_s: 10, burst: 5 };

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let start = Time(1_000_000);
        assert_eq!((0..9).filter(|_| bucket.take(TEN, start, 1)).count(), 5);
        assert_eq!(bucket.wait(TEN, start, 1), Duration::from_millis(100));
        let mut taken = 0;
        for ms in 0..10_000 {
            taken += u64::from(bucket.take(TEN, start.after(Duration::from_millis(ms)), 1));
        }
        assert!((99..=100).contains(&taken), "{taken}");
    }

    #[test]
    fn extreme_values_saturate() {
        let mut bucket = Bucket::default();
        for now in [0, 1, u64::MAX / 1000, u64::MAX] {
            for units in [0, 1, 5, 6, u64::MAX] {
                let _ = bucket.wait(TEN, Time(now), units);
                assert!(!bucket.take(TEN, Time(now), 6), "more than a burst never fits");
            }
        }
        bucket.charge(TEN, Time(u64::MAX), u64::MAX);
        assert!(!bucket.take(TEN, Time(0), 1));
        let none = Rate { per_s: 0, burst: 1 };
        assert!(Bucket::default().take(none, Time(0), 1));
    }
}
