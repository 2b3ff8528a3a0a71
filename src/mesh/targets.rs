//! The state of each node for the tasks that post to it, while nodes die, pause and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::client::Client;

/// Interval between two health checks of a node that is starting.
const ASK: Duration = Duration::from_millis(10);

/// All nodes, by number.
pub(super) type PostTargets = Arc<Vec<PostTarget>>;

/// A node as a target of posts.
pub(super) struct PostTarget {
    /// The node's key, in hex.
    pub key: String,
    /// A client of the node's HTTP interface.
    pub client: Client,
    /// Permits for posts under way.
    pub permits: Arc<Semaphore>,
    /// Whether the process is running and has answered.
    up: AtomicBool,
    paused: AtomicBool,
    deaths: AtomicU64,
}

impl PostTarget {
    /// Creates the target of a node that is not up yet, with at most `posts_at_once` posts under
    /// way.
    pub(super) fn new(key: String, client: Client, posts_at_once: usize) -> Self {
        Self {
            key,
            client,
            permits: Arc::new(Semaphore::new(posts_at_once)),
            up: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            deaths: AtomicU64::new(0),
        }
    }

    /// Marks the node as up.
    pub(super) fn came_up(&self) {
        self.up.store(true, SeqCst);
    }

    /// Whether the node accepts posts.
    pub(super) fn is_open(&self) -> bool {
        self.up.load(SeqCst) && !self.paused.load(SeqCst)
    }

    /// How often the node was killed.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths.load(SeqCst)
    }

    /// Marks the node as dying. Call this before killing it, so that posts that fail from now on
    /// are excused.
    pub(super) fn dies(&self) {
        self.deaths.fetch_add(1, SeqCst);
        self.up.store(false, SeqCst);
        self.paused.store(false, SeqCst);
    }

    /// Marks the node as paused or resumed.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, SeqCst);
    }

    /// Waits until a started node answers, or is killed before it does.
    pub(super) async fn await_up(&self) {
        let deaths = self.deaths();
        while self.deaths() == deaths {
            if self.client.healthy().await {
                // If the node was killed meanwhile, it is not up.
                self.came_up();
                if self.deaths() != deaths {
                    self.up.store(false, SeqCst);
                }
                return;
            }
            tokio::time::sleep(ASK).await;
        }
    }
}
