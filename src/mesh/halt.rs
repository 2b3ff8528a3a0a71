//! A run that is to stop before its end.

use std::time::Duration;

use tokio::sync::watch;

/// For what is under way when a run is interrupted.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Becomes true when the run is to stop; cheap to clone.
#[derive(Clone)]
pub struct Halt(watch::Receiver<bool>);

impl Halt {
    /// When that turns true.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self(stop)
    }

    /// Whether it is to stop.
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is to stop.
    pub async fn wait(&self) {
        let mut stop = self.0.clone();
        // When nobody can say so any more, nobody will.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits so long, or until it is to stop.
    pub async fn sleep(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.wait()).await;
    }

    /// The same until a moment.
    pub async fn sleep_until(&self, at: tokio::time::Instant) {
        let _ = tokio::time::timeout_at(at, self.wait()).await;
    }

    /// What comes of `asking`, or nothing if that takes long once the run is to stop: one node that
    /// stands still must not cost what the others tell.
    pub async fn in_time<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            told = asking => Some(told),
            () = async { self.wait().await; tokio::time::sleep(GRACE / 2).await } => None,
        }
    }

    /// Returns a while after it is to stop.
    pub async fn overdue(&self) {
        self.wait().await;
        tokio::time::sleep(GRACE).await;
    }
}
