//! The nodes of a mesh as those see them who post to them while they die, stand still and come
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Mesh;
use crate::client::Client;

/// How often a node that is starting is asked whether it answers.
const ASK: Duration = Duration::from_millis(10);

/// All nodes, by number.
pub(super) type Roster = Arc<Vec<Endpoint>>;

/// Where one node is posted to.
pub(super) struct Endpoint {
    /// Its key.
    pub key: String,
    /// A client of it.
    pub client: Client,
    /// Room for posts under way.
    pub places: Arc<Semaphore>,
    /// Whether its process lives and has answered.
    up: AtomicBool,
    paused: AtomicBool,
    deaths: AtomicU64,
}

/// All nodes of a mesh; none is known to answer yet.
pub(super) fn roster(mesh: &Mesh, places: usize) -> Roster {
    let endpoint = |node: &super::launch::MeshNode| Endpoint {
        key: node.entry.key.clone(),
        client: node.client.clone(),
        places: Arc::new(Semaphore::new(places)),
        up: AtomicBool::new(false),
        paused: AtomicBool::new(false),
        deaths: AtomicU64::new(0),
    };
    Arc::new(mesh.nodes.iter().map(endpoint).collect())
}

impl Endpoint {
    /// Whether it takes posts.
    pub fn is_open(&self) -> bool {
        self.up.load(SeqCst) && !self.paused.load(SeqCst)
    }

    /// How often it was killed.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(SeqCst)
    }

    /// It is about to be killed. To be said before it is: what fails from now on fails for that.
    pub fn dies(&self) {
        self.deaths.fetch_add(1, SeqCst);
        self.up.store(false, SeqCst);
        self.paused.store(false, SeqCst);
    }

    /// It stands still, or goes on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, SeqCst);
    }

    /// Waits until a started node answers, or is killed before it does.
    pub async fn await_up(&self) {
        let deaths = self.deaths();
        while self.deaths() == deaths {
            if self.client.healthy().await {
                // A death meanwhile has the last word.
                self.up.store(true, SeqCst);
                if self.deaths() != deaths {
                    self.up.store(false, SeqCst);
                }
                return;
            }
            tokio::time::sleep(ASK).await;
        }
    }
}
