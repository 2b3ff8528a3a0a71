//! A clock that does not jump: the wall clock at the start plus the monotonic time since. Nodes and
//! the lab take times from it; later steps of the wall clock are detected and reported.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::Time;

/// Smaller steps of the wall clock are ordinary corrections.
const STEP: Duration = Duration::from_secs(1);

/// A clock that never goes backwards, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Time,
    begun: Instant,
}

impl Clock {
    /// Starts a clock at the present wall-clock time.
    pub(crate) fn start() -> Self {
        Self { wall: wall(), begun: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        self.wall.after(self.begun.elapsed())
    }

    /// The instant at which this clock shows `time`; `None` if that is too far away to represent.
    pub(crate) fn instant(&self, time: Time) -> Option<Instant> {
        self.begun.checked_add(time.since(self.wall))
    }
}

/// The wall clock's time; 0 if it is set to before 1970.
pub(crate) fn wall() -> Time {
    Time(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// A step of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Size of the step relative to this clock, in microseconds; negative if backwards.
    pub by: i64,
    /// How long the machine was suspended meanwhile, in microseconds.
    pub slept: i64,
}

/// Detects steps of the wall clock and suspends of the machine: people compare times with the wall
/// clock.
#[derive(Debug)]
pub(crate) struct Steps {
    /// How far the wall clock was ahead of this clock at the last report, in microseconds.
    ahead: i64,
    /// Total time suspended since boot, as of the last report, in microseconds.
    slept: i64,
}

impl Default for Steps {
    /// Starts without a step; time suspended before counts for nothing.
    fn default() -> Self {
        Self { ahead: 0, slept: slept() }
    }
}

impl Steps {
    /// Returns the step since the last report, if it or the time suspended is at least a second.
    pub(crate) fn look(&mut self, clock: &Clock) -> Option<Step> {
        self.notice((wall(), clock.now()), slept())
    }

    /// How far the wall clock was ahead of this clock at the last report, in microseconds.
    pub(crate) fn ahead(&self) -> i64 {
        self.ahead
    }

    fn notice(&mut self, (wall, now): (Time, Time), slept: i64) -> Option<Step> {
        let micros = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX);
        let ahead = micros(wall).saturating_sub(micros(now));
        let by = ahead.saturating_sub(self.ahead);
        let step = Step { by, slept: slept.saturating_sub(self.slept) };
        let small = |micros: i64| u128::from(micros.unsigned_abs()) < STEP.as_micros();
        if small(step.by) && small(step.slept) {
            return None;
        }
        (self.ahead, self.slept) = (ahead, slept);
        Some(step)
    }
}

/// How long the machine has been suspended since boot, in microseconds: of two clocks that cannot
/// be set, one keeps running while suspended. 0 on other systems than Linux.
#[cfg(target_os = "linux")]
fn slept() -> i64 {
    let micros = |id| {
        let time = clock_gettime(id);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
    };
    // Boottime first, so that the time between the two reads does not count as suspended.
    let boot = micros(ClockId::Boottime);
    boot.saturating_sub(micros(ClockId::Monotonic)).max(0)
}

#[cfg(not(target_os = "linux"))]
fn slept() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_noticed_once_and_corrections_are_not() {
        let mut steps = Steps { ahead: 0, slept: 5 };
        let at = |s: u64| Time(s * 1_000_000);
        let by = |seconds: i64| Some(Step { by: seconds * 1_000_000, slept: 0 });
        assert_eq!(steps.notice((at(100), at(100)), 5), None);
        assert_eq!(steps.notice((Time(110_500_000), at(110)), 5), None, "half a second");
        assert_eq!(steps.notice((at(7320), at(120)), 5), by(7200));
        assert_eq!(steps.notice((at(7330), at(130)), 5), None);
        assert_eq!(steps.notice((at(140), at(140)), 5), by(-7200));
        let extremes = [(u64::MAX, 0, i64::MAX), (0, u64::MAX, 0)];
        for (wall, now, slept) in extremes {
            assert!(steps.notice((Time(wall), Time(now)), slept).is_some(), "no harm");
        }
        assert_eq!(Steps::default().look(&Clock::start()), None);
    }

    #[test]
    fn a_sleep_is_told_from_a_clock_that_was_set() {
        let mut steps = Steps { ahead: 0, slept: 0 };
        let at = |s: u64| Time(s * 1_000_000);
        let slept = Some(Step { by: 60_000_000, slept: 60_000_000 });
        assert_eq!(steps.notice((at(170), at(110)), 60_000_000), slept);
        assert_eq!(steps.notice((at(180), at(120)), 60_000_000), None, "once");
        // A sleep is noticed also where the wall clock was set back by as much.
        let unseen = Some(Step { by: 0, slept: 60_000_000 });
        assert_eq!(steps.notice((at(190), at(130)), 120_000_000), unseen);
    }

    #[test]
    fn times_become_instants_and_extremes_do_no_harm() {
        let clock = Clock::start();
        let soon = clock.now().after(Duration::from_secs(1));
        let instant = clock.instant(soon).expect("near");
        assert!(instant > Instant::now());
        // Times are at the next whole microsecond.
        assert!(instant <= Instant::now() + Duration::from_micros(1_000_001));
        assert_eq!(clock.instant(Time(0)), Some(clock.begun));
        let _ = clock.instant(Time(u64::MAX));
    }
}
