//! The clock of a run, and what is noticed of the wall clock while the run goes on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{Clock, Steps};
use crate::report::ClockStep;

/// How often the wall clock is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What counts as set: far more than a latency.
const SET: Duration = Duration::from_secs(1);
/// Steps that are kept.
const MOST: usize = 100;

/// Microseconds since 1970, by the wall clock when this was first asked, and the monotonic clock
/// since.
pub(super) fn now() -> u64 {
    clock().now().0
}

fn clock() -> &'static Clock {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::start)
}

/// Looks at the wall clock until it is dropped.
pub(super) struct Watch {
    /// When it was, by the run's clock, and how far.
    found: Arc<Mutex<Vec<(u64, crate::clock::Step)>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// From now on; a step before counts for nothing.
    pub fn start() -> Self {
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

    /// How far the wall clock was set so far, if it was; not what the machine slept.
    pub fn set(&self) -> Option<Duration> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let by = found.iter().map(|(_, step)| step.by.saturating_sub(step.slept)).sum::<i64>();
        Some(Duration::from_micros(by.unsigned_abs())).filter(|by| *by >= SET)
    }

    /// What was noticed, in a run that began then.
    pub fn found(&self, zero: u64) -> Vec<ClockStep> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let step = |(at, step): &(u64, crate::clock::Step)| ClockStep {
            at_ms: at.saturating_sub(zero) as f64 / 1e3,
            by_ms: step.by as f64 / 1e3,
            slept_ms: step.slept as f64 / 1e3,
        };
        found.iter().map(step).collect()
    }
}

impl Drop for Watch {
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
        let watch = Watch::start();
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
