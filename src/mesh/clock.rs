//! The clock of a run, and the steps of the wall clock that are noticed during the run.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{Clock, Steps};
use crate::report::ClockStep;

/// Interval between two looks at the wall clock.
const LOOK: Duration = Duration::from_millis(200);
/// The smallest step that counts as the clock being set: far more than a latency.
const SET: Duration = Duration::from_secs(1);
/// Maximum number of steps that are kept.
const MOST: usize = 100;

/// Microseconds since 1970: the wall clock at the first call, and the monotonic clock from then on.
pub(super) fn now() -> u64 {
    clock().now().0
}

fn clock() -> &'static Clock {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::start)
}

/// Watches the wall clock until it is dropped.
pub(super) struct ClockWatch {
    /// When each step was noticed, by the run's clock, and the step.
    found: Arc<Mutex<Vec<(u64, crate::clock::Step)>>>,
    task: JoinHandle<()>,
}

impl ClockWatch {
    /// Starts to watch; earlier steps are ignored.
    pub(super) fn start() -> Self {
        let found = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut steps) = (Arc::clone(&found), Steps::default());
        let _ = steps.look(clock());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(step) = steps.look(clock()) else { continue };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.len() < MOST {
                    seen.push((now(), step));
                }
            }
        });
        Self { found, task }
    }

    /// Returns how far the wall clock has been set in all, if at least `SET`. Time that the machine
    /// slept does not count.
    pub(super) fn set(&self) -> Option<Duration> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let by = found.iter().map(|(_, step)| step.by.saturating_sub(step.slept)).sum::<i64>();
        Some(Duration::from_micros(by.unsigned_abs())).filter(|by| *by >= SET)
    }

    /// Returns the steps noticed; `zero` is the run's zero in microseconds since 1970.
    pub(super) fn found(&self, zero: u64) -> Vec<ClockStep> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let step = |(at, step): &(u64, crate::clock::Step)| ClockStep {
            at_ms: at.saturating_sub(zero) as f64 / 1e3,
            by_ms: step.by as f64 / 1e3,
            slept_ms: step.slept as f64 / 1e3,
        };
        found.iter().map(step).collect()
    }
}

impl Drop for ClockWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Step;

    #[tokio::test]
    async fn a_clock_that_was_set_is_told_from_a_machine_that_slept() {
        let watch = ClockWatch::start();
        let steps = |by, slept| {
            watch.found.lock().expect("whole").push((0, Step { by, slept }));
            watch.set()
        };
        assert_eq!(watch.set(), None);
        assert_eq!(steps(9_000_000, 9_000_000), None);
        let hours = steps(-7_200_000_000, 0);
        assert_eq!(hours, Some(Duration::from_secs(7200)));
        assert_eq!(watch.found(0).len(), 2);
    }
}
