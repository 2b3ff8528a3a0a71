//! A clock that does not jump: the wall clock at the start, and the monotonic time since. Nodes and
//! the lab tell times by it; what the wall clock does meanwhile is noticed, and said.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::Time;

/// Steps of the wall clock below this are its usual corrections.
const STEP: Duration = Duration::from_secs(1);

/// Never goes backwards, whatever is done to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Time,
    begun: Instant,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self { wall: wall(), begun: Instant::now() }
    }

    /// What it says now.
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

/// How far the wall clock stepped, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Against this clock; below 0 backwards.
    pub by: i64,
    /// How much of it the machine was asleep.
    pub slept: i64,
}

/// Notices when the wall clock is set, or the machine slept: people read times by that clock.
#[derive(Debug)]
pub struct Steps {
    /// How far it was ahead of the clock when that was said last, in microseconds.
    ahead: i64,
    /// How long the machine had slept by then, since it was started.
    slept: i64,
}

impl Default for Steps {
    /// What was before counts for nothing.
    fn default() -> Self {
        Self { ahead: 0, slept: slept() }
    }
}

impl Steps {
    /// How far it stepped since the last look, if that is worth a line.
    pub fn look(&mut self, clock: &Clock) -> Option<Step> {
        self.notice((wall(), clock.now()), slept())
    }

    /// How far the wall clock was ahead of this one when a step was said last, in microseconds.
    pub fn ahead(&self) -> i64 {
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

/// How long the machine has slept since it was started, in microseconds: of two clocks that nobody
/// sets, one goes on meanwhile. 0 where there is no such clock.
#[cfg(target_os = "linux")]
fn slept() -> i64 {
    let micros = |id| {
        let time = clock_gettime(id);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
    };
    // In this order, what passes between the two looks is no sleep.
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
