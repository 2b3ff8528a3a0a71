//! The cost of a run: wall time, CPU time and memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::diagnostics::peak_rss_mb;
use crate::report::Resources;

/// Measures wall time and the calling thread's CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts measuring now. CPU time is that of the calling thread only.
    pub fn start() -> Self {
        Self { begun: Instant::now(), cpu: cpu() }
    }

    /// Wall time since the start.
    pub fn wall(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Fills in the resources that the simulation cannot measure itself, for `runs` equal runs
    /// whose events took `stepping` altogether. Key generation and judging count in the wall time
    /// but not in the event rate. Memory is the peak of the process so far.
    pub fn fill(&self, resources: &mut Resources, runs: u64, stepping: Duration) {
        let wall = self.wall().as_secs_f64();
        resources.wall_s = Some(wall);
        resources.cpu_s = Some(cpu().saturating_sub(self.cpu).as_secs_f64());
        resources.peak_rss_mb = peak_rss_mb(std::process::id());
        let events = resources.events.unwrap_or(0).saturating_mul(runs);
        resources.events_per_s = per_second(events, stepping);
    }
}

/// A rate per second; `None` if no time passed.
pub(super) fn per_second(count: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)).saturating_add(Duration::from_nanos(part(time.tv_nsec)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_every_figure() {
        let watch = Stopwatch::start();
        let mut block = vec![1_u64; 1 << 20];
        while cpu() < watch.cpu + Duration::from_millis(20) {
            block.iter_mut().for_each(|number| *number = number.rotate_left(1));
        }
        let mut cost = Resources { events: Some(1000), ..Resources::default() };
        watch.fill(&mut cost, 1, watch.wall());
        assert!(cost.cpu_s >= Some(0.02) && cost.wall_s >= Some(0.019), "{cost:?}");
        assert!(cost.peak_rss_mb > Some(8.0), "{cost:?}");
        let rate = cost.events_per_s.expect("time passed");
        assert!((1.0..50_100.0).contains(&rate), "{rate}");
    }
}
