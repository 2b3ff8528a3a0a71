//! The node's clock: the wall clock at the start, and the monotonic time since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::protocol::Time;

/// Steps of the wall clock below this are its usual corrections.
const STEP: Duration = Duration::from_secs(1);

/// Never goes backwards, whatever is done to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Time,
    begun: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { wall: wall(), begun: Instant::now() }
    }

    pub fn now(&self) -> Time {
        self.wall.after(self.begun.elapsed())
    }

    /// When it will be `time`; `None` if that is too far away to be named.
    pub fn instant(&self, time: Time) -> Option<Instant> {
        self.begun.checked_add(time.since(self.wall))
    }
}

fn wall() -> Time {
    Time(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// Notices when the wall clock is set, or the machine slept: people read times by that clock.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// How far it was ahead of the node's clock, in microseconds, when that was said last.
    ahead: i64,
}

impl Steps {
    /// How far it stepped since the last look, in microseconds, if that is worth a line.
    pub fn look(&mut self, clock: &Clock) -> Option<i64> {
        self.notice(wall(), clock.now())
    }

    fn notice(&mut self, wall: Time, now: Time) -> Option<i64> {
        let micros = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX);
        let ahead = micros(wall).saturating_sub(micros(now));
        let step = ahead.saturating_sub(self.ahead);
        if u128::from(step.unsigned_abs()) < STEP.as_micros() {
            return None;
        }
        self.ahead = ahead;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_noticed_once_and_corrections_are_not() {
        let mut steps = Steps::default();
        let at = |s: u64| Time(s * 1_000_000);
        assert_eq!(steps.notice(at(100), at(100)), None);
        assert_eq!(steps.notice(Time(110_500_000), at(110)), None, "half a second");
        assert_eq!(steps.notice(at(7320), at(120)), Some(7_200_000_000));
        assert_eq!(steps.notice(at(7330), at(130)), None);
        assert_eq!(steps.notice(at(140), at(140)), Some(-7_200_000_000));
        assert!(steps.notice(Time(u64::MAX), Time(0)).is_some(), "extremes do no harm");
        assert!(steps.notice(Time(0), Time(u64::MAX)).is_some());
        assert_eq!(Steps::default().look(&Clock::start()), None);
    }

    #[test]
    fn times_become_instants_and_extremes_do_no_harm() {
        let clock = Clock::start();
        let soon = clock.now().after(Duration::from_secs(1));
        let instant = clock.instant(soon).expect("near");
        assert!(instant > Instant::now());
        assert!(instant <= Instant::now() + Duration::from_secs(1));
        assert_eq!(clock.instant(Time(0)), Some(clock.begun));
        let _ = clock.instant(Time(u64::MAX));
    }
}
