//! Diagnostics of a running process: folding of repeated log lines, so that others cannot decide
//! how much is logged; whether threads are at work; what a panic said; memory.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Equal lines within this time are folded into one.
const FOLD: Duration = Duration::from_secs(60);

/// An operation that may fail again and again; only changes are worth logging.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    count: u64,
}

impl Failing {
    /// Counts a failure; returns whether it is the first in a row.
    pub(crate) fn failed(&mut self) -> bool {
        self.count = self.count.saturating_add(1);
        self.count == 1
    }

    /// Notes a success; returns the number of failures since the last one, if there were any.
    pub(crate) fn worked(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.count)).filter(|count| *count > 0)
    }
}

/// Folds equal log lines, by key. The caller must keep the number of keys small.
#[derive(Debug)]
pub(crate) struct Folds<K> {
    said: BTreeMap<K, (Instant, u64)>,
}

impl<K> Default for Folds<K> {
    fn default() -> Self {
        Self { said: BTreeMap::new() }
    }
}

impl<K: Ord> Folds<K> {
    /// Adds `count` events of a kind. Returns the number that a line must now report, these
    /// included; `None` if no line is due.
    pub(crate) fn add(&mut self, key: K, count: u64, now: Instant) -> Option<u64> {
        let Some((until, folded)) = self.said.get_mut(&key) else {
            self.said.insert(key, (now + FOLD, 0));
            return Some(count);
        };
        *folded = folded.saturating_add(count);
        if now < *until {
            return None;
        }
        *until = now + FOLD;
        Some(std::mem::take(folded))
    }
}

/// Whether a thread is at work, as seen from other threads.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    begun: Instant,
    /// Milliseconds from `begun` to the start of the current piece of work, plus 1; 0 while idle.
    busy: AtomicU64,
    gone: AtomicBool,
}

/// Held by the thread. Dropping it marks the thread as ended, even if it panicked.
#[derive(Debug)]
pub(crate) struct Beat {
    pulse: Pulse,
}

impl Default for Pulse {
    fn default() -> Self {
        let (busy, gone) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { inner: Arc::new(Inner { begun: Instant::now(), busy, gone }) }
    }
}

impl Pulse {
    /// The beat that the thread holds.
    pub(crate) fn beat(&self) -> Beat {
        Beat { pulse: self.clone() }
    }

    /// Whether the thread has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.inner.gone.load(Ordering::Relaxed)
    }

    /// How long the thread has been at the current piece of work; zero while idle.
    pub(crate) fn busy_for(&self) -> Duration {
        match self.inner.busy.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.inner.begun.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

impl Beat {
    /// Marks the start of a piece of work.
    pub(crate) fn begins(&self) {
        let inner = &self.pulse.inner;
        let since = u64::try_from(inner.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        inner.busy.store(since.saturating_add(1), Ordering::Relaxed);
    }

    /// Call when the work has ended: the thread is idle again.
    pub(crate) fn ends(&self) {
        self.pulse.inner.busy.store(0, Ordering::Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.pulse.inner.gone.store(true, Ordering::Relaxed);
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}

/// Peak resident memory of a process, in MiB; `None` where `/proc` does not tell.
pub(crate) fn peak_rss_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let mut failing = Failing::default();
        assert_eq!(failing.worked(), None);
        assert_eq!((failing.failed(), failing.failed(), failing.failed()), (true, false, false));
        assert_eq!((failing.worked(), failing.worked()), (Some(3), None));
        assert!(failing.failed());
    }

    #[test]
    fn equal_lines_come_once_a_minute_and_none_is_uncounted() {
        let (mut folds, begun) = (Folds::default(), Instant::now());
        let (mut lines, mut total) = (0, 0);
        for ms in 0..=300_000 {
            let now = begun + Duration::from_millis(ms);
            if let Some(count) = folds.add("a", 1, now) {
                (lines, total) = (lines + 1, total + count);
            }
        }
        assert_eq!((lines, total), (6, 300_001));
        assert_eq!(folds.add("b", 7, begun), Some(7), "another kind");
    }

    #[test]
    fn a_thread_that_hangs_or_ends_is_seen() {
        let pulse = Pulse::default();
        let beat = pulse.beat();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        beat.begins();
        std::thread::sleep(Duration::from_millis(30));
        assert!(pulse.busy_for() >= Duration::from_millis(20), "{:?}", pulse.busy_for());
        beat.ends();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        assert!(!pulse.is_gone());
        let thread = std::thread::Builder::new().spawn(move || {
            let _beat = beat;
            std::panic::resume_unwind(Box::new("gone"));
        });
        assert!(thread.expect("a thread").join().is_err());
        assert!(pulse.is_gone(), "a panic ends it, too");
    }
}
