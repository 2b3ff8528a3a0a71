//! The clock of a run, and what is noticed of the wall clock while the run goes on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{Clock, Steps};
use crate::report::ClockStep;

/// How often the wall clock is looked at.
const LOOK: Duration = Duration::from_millis(200);
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
