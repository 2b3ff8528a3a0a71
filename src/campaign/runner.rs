//! Runs all seeds of a range on all cores.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::tally::{Failure, FailureKind, SeedResult, Summary};
use crate::diagnostics::panic_text;

/// Stack of a thread, in bytes: as large as the main thread's usually is.
const STACK: usize = 8 << 20;

/// Which seeds to run, and how many at once.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Name of the campaign, for display.
    pub name: String,
    /// The seeds to run, both ends inclusive.
    pub seeds: RangeInclusive<u64>,
    /// Number of threads, hence of concurrent runs; at least 1.
    pub jobs: usize,
}

impl Campaign {
    /// Number of seeds in the range.
    pub fn count(&self) -> u64 {
        let (first, last) = (*self.seeds.start(), *self.seeds.end());
        last.checked_sub(first).map_or(0, |between| between.saturating_add(1))
    }
}

/// Runs `work` for every seed. If it returns `None`, it was stopped, and no further seed is begun.
/// A panic in it fails its own seed only. `watch` is called with each result, one at a time, and
/// with the summary so far.
pub fn run(
    campaign: &Campaign,
    reproduce: &(dyn Fn(u64) -> String + Sync),
    work: &(dyn Fn(u64) -> Option<SeedResult> + Sync),
    watch: &mut (dyn FnMut(&SeedResult, &Summary) + Send),
) -> Summary {
    let begun = Instant::now();
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let summary = Summary::new(&campaign.name, &campaign.seeds, campaign.jobs.max(1));
    let shared = Mutex::new((summary, watch));
    let crew = || {
        while !stopped.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= campaign.count() {
                return;
            }
            let seed = campaign.seeds.start() + number;
            let result = catch_panic(|| work(seed)).unwrap_or_else(|what| {
                let (kind, reproduce) = (FailureKind::Panicked, reproduce(seed));
                Some(SeedResult::failed(Failure { seed, kind, what, reproduce, shrunk: None }))
            });
            let Some(result) = result else {
                stopped.store(true, Ordering::Relaxed);
                return;
            };
            // Only the watcher can panic under this lock; that is no reason to stop.
            let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let (summary, watch) = &mut *shared;
            summary.add(result.clone());
            summary.close(begun.elapsed(), false);
            watch(&result, summary);
        }
    };
    thread::scope(|scope| {
        for _ in 1..campaign.jobs {
            // If a thread cannot be started, the others run its seeds.
            let thread = thread::Builder::new().stack_size(STACK);
            let _ = thread.spawn_scoped(scope, crew);
        }
        crew();
    });
    let (mut summary, _) = shared.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary.close(begun.elapsed(), stopped.into_inner());
    summary
}

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Silences panic messages in all threads of the process from now on; [`catch_panic`] returns the
/// message and where it was raised.
pub fn quiet_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let text = panic_text(info.payload()) + &place.unwrap_or_default();
        LAST.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// Runs `work` and catches a panic. What `work` owns is dropped then, so no broken state is seen.
///
/// # Errors
/// The message of the panic; with its location if [`quiet_panics`] was called.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    LAST.with(|last| last.borrow_mut().take());
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        LAST.with(|last| last.borrow_mut().take()).unwrap_or_else(|| panic_text(&*payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Verdict;

    fn campaign(seeds: RangeInclusive<u64>, jobs: usize) -> Campaign {
        Campaign { name: "x".into(), seeds, jobs }
    }

    fn passed(seed: u64) -> Option<SeedResult> {
        Some(SeedResult { seed, verdict: Some(Verdict::Pass), ..SeedResult::default() })
    }

    fn line(seed: u64) -> String {
        format!("again {seed}")
    }

    #[test]
    fn every_seed_is_run_once_with_as_many_at_a_time_as_asked() {
        let (alive, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |seed| {
            most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(1));
            alive.fetch_sub(1, Ordering::SeqCst);
            passed(seed)
        };
        let mut seen = Vec::new();
        let summary = run(&campaign(5..=44, 3), &line, &work, &mut |result, summary| {
            seen.push(result.seed);
            assert_eq!(summary.ran, seen.len() as u64);
        });
        seen.sort_unstable();
        assert_eq!(seen, (5..=44).collect::<Vec<_>>());
        assert_eq!((summary.ran, summary.met, summary.interrupted), (40, 40, false));
        assert!((2..=3).contains(&most.into_inner()));
    }

    #[test]
    fn the_ends_of_the_numbers_are_seeds_too() {
        let last = u64::MAX;
        let summary = run(&campaign(last - 1..=last, 2), &line, &passed, &mut |_, _| {});
        assert_eq!((summary.ran, summary.seeds), (2, [last - 1, last]));
        assert_eq!(campaign(0..=u64::MAX, 1).count(), u64::MAX);
        #[allow(clippy::reversed_empty_ranges)]
        let none = campaign(3..=2, 1);
        assert_eq!(none.count(), 0);
    }

    #[test]
    fn a_panic_is_a_failure_of_its_own_seed_only() {
        let work = |seed| if seed == 3 { panic!("seed {seed} breaks") } else { passed(seed) };
        let summary = run(&campaign(1..=6, 2), &line, &work, &mut |_, _| {});
        assert_eq!((summary.ran, summary.met, summary.failed), (6, 5, 1));
        let failure = &summary.failures[0];
        assert_eq!((failure.seed, &failure.kind), (3, &FailureKind::Panicked));
        assert!(failure.what.contains("seed 3 breaks") && failure.reproduce == "again 3");
        assert_eq!(summary.exit_code, 1);
    }

    #[test]
    fn a_stop_keeps_what_was_found() {
        let work = |seed| if seed < 4 { passed(seed) } else { None };
        let summary = run(&campaign(0..=9_999_999, 2), &line, &work, &mut |_, _| {});
        assert!(summary.interrupted);
        assert_eq!(summary.ran, 4);
    }

    #[test]
    fn a_panic_is_a_result_with_its_message() {
        assert_eq!(catch_panic(|| 5), Ok(5));
        let error = catch_panic(|| panic!("no {}", "way")).map(|()| 0).expect_err("panics");
        assert!(error.starts_with("no way"), "{error}");
        assert_eq!(catch_panic(|| 6), Ok(6));
    }
}
