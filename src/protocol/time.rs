//! Time as a plain number that is passed in.

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

/// Whole microseconds of a duration; saturating.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds of a duration; saturating.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
}
