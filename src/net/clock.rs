//! The node's clock: the wall clock at the start, and the monotonic time since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::protocol::Time;

/// Never goes backwards, whatever is done to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Time,
    begun: Instant,
}

impl Clock {
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { wall: Time(0).after(wall), begun: Instant::now() }
    }

    pub fn now(&self) -> Time {
        self.wall.after(self.begun.elapsed())
    }

    /// When it will be `time`; `None` if that is too far away to be named.
    pub fn instant(&self, time: Time) -> Option<Instant> {
        self.begun.checked_add(time.since(self.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
