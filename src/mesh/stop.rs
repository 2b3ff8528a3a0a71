//! Stopping a run before its end.

use std::time::Duration;

use tokio::sync::watch;

/// How long work under way may take once the run is interrupted.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Becomes true when the run is to stop. Cheap to clone.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Creates a value that follows `stop`.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self(stop)
    }

    /// Whether the run is to stop.
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the run is to stop.
    pub async fn wait(&self) {
        let mut stop = self.0.clone();
        // If the sender is gone, the run can no longer be stopped.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps for `time`, or until the run is to stop.
    pub async fn sleep(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.wait()).await;
    }

    /// Sleeps until `at`, or until the run is to stop.
    pub async fn sleep_until(&self, at: tokio::time::Instant) {
        let _ = tokio::time::timeout_at(at, self.wait()).await;
    }

    /// Returns the result of `asking`; `None` if it takes longer than half of `GRACE` once the run
    /// is to stop, so that one node that hangs does not cost the reports of the others.
    pub async fn in_time<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            told = asking => Some(told),
            () = async { self.wait().await; tokio::time::sleep(GRACE / 2).await } => None,
        }
    }

    /// Returns `GRACE` (2 s) after the run is to stop.
    pub async fn overdue(&self) {
        self.wait().await;
        tokio::time::sleep(GRACE).await;
    }
}
