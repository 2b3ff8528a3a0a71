//! Load: messages posted to the honest nodes in turn at a fixed rate, whether or not earlier ones
//! were answered (open loop), so that a slow node cannot hide its latency by being asked less
//! often.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::halt::Halt;
use super::steps::now;
use crate::client::{Client, ClientError};
use crate::crypto::Digest;

/// Maximum wait before a post that was over quota is tried again.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long one message is tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Concurrent posts to one node, and their bytes: half of what a node accepts. Further posts wait
/// here without a payload, and the wait counts towards their latency.
pub(super) const AT_ONCE: usize = 64;
pub(super) const AT_ONCE_BYTES: usize = 16 << 20;
/// Maximum posts that wait or are under way, over all nodes.
pub(super) const WAITING: usize = 16 << 10;
/// The topic of the load's messages.
pub(super) const TOPIC: &str = "load";

/// The load of a run without a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Number of messages.
    pub messages: u64,
    /// Messages per second, all nodes together.
    pub rate: f64,
    /// Bytes of each payload.
    pub size: usize,
}

/// A message that was due to be posted.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The key of the node that it was posted to, in hex.
    pub author: String,
    /// When the message was due, in microseconds since 1970. If it has to wait because too many
    /// posts to the node are under way, the wait is part of the latency.
    pub at: u64,
    /// SHA-256 of the payload; zero if nothing was sent.
    pub payload: Digest,
    /// Bytes of the payload.
    pub size: usize,
    /// The id that the node answered with, or why it did not accept the message.
    pub id: Result<String, String>,
    /// The slot that the node answered with; 0 if it did not accept the message.
    pub seq: u64,
    /// The node was killed before it answered: the message counts as neither refused nor published.
    pub excused: bool,
}

impl Load {
    /// Posts all messages, to each of `authors` (key, client) in turn. Calls `progress` with the
    /// number of finished posts. Stops posting once the run is to stop.
    pub async fn publish(
        &self,
        authors: &[(String, Client)],
        halt: &Halt,
        mut progress: impl FnMut(u64),
    ) -> Vec<Sent> {
        let mut posts = JoinSet::new();
        let mut sent = Vec::new();
        let start = Instant::now();
        let rate = if self.rate > 0.0 { self.rate } else { f64::MIN_POSITIVE };
        let places = (AT_ONCE_BYTES / self.size.max(1)).clamp(1, AT_ONCE);
        let places: Vec<_> = authors.iter().map(|_| Arc::new(Semaphore::new(places))).collect();
        for number in 0..self.messages {
            let due = Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX);
            if let Some(due) = start.checked_add(due) {
                halt.sleep_until(due).await;
            }
            if halt.asked() {
                break;
            }
            let turn = usize::try_from(number).unwrap_or(0) % authors.len().max(1);
            let (Some((key, client)), Some(places)) = (authors.get(turn), places.get(turn)) else {
                break;
            };
            let post = Post { author: key.clone(), at: now(), number, size: self.size };
            posts.spawn(post.send(client.clone(), Arc::clone(places)));
            while posts.len() >= WAITING && !halt.asked() {
                tokio::select! {
                    Some(done) = posts.join_next() => sent.extend(done.ok()),
                    () = halt.wait() => {}
                }
            }
            while let Some(Ok(done)) = posts.try_join_next() {
                sent.push(done);
            }
            progress(sent.len() as u64);
        }
        finish(posts, &mut sent, halt, progress).await;
        sent
    }
}

/// Waits for the posts under way; only for a short time once the run is to stop.
pub(super) async fn finish(
    mut posts: JoinSet<Sent>,
    sent: &mut Vec<Sent>,
    halt: &Halt,
    mut progress: impl FnMut(u64),
) {
    loop {
        tokio::select! {
            done = posts.join_next() => match done {
                Some(done) => sent.extend(done.ok()),
                None => return,
            },
            () = halt.overdue() => return,
        }
        progress(sent.len() as u64);
    }
}

/// Creates a payload that differs from all others, in this run and in other runs, as far as its
/// size allows.
pub(super) fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("message {number} at {} ", now()).into_bytes();
    let mut block = Digest::of(&[&bytes]);
    while bytes.len() < size {
        bytes.extend_from_slice(&block.0);
        block = Digest::of(&[&block.0]);
    }
    bytes.truncate(size);
    bytes
}

/// One message that is due.
struct Post {
    author: String,
    at: u64,
    number: u64,
    size: usize,
}

impl Post {
    /// Posts the message once the node has room for it.
    async fn send(self, client: Client, places: Arc<Semaphore>) -> Sent {
        let Self { author, at, number, size } = self;
        let start = Instant::now();
        let place = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
        let (payload, result) = match place {
            // Boxed, so that a post that only waits stays small.
            Ok(_place) => Box::pin(post(&client, payload(number, size), start)).await,
            Err(_) => {
                let why = format!("earlier posts to this node took it more than {PATIENCE:?}");
                (Digest::ZERO, Err(why))
            }
        };
        let (id, seq) = match result {
            Ok((id, seq)) => (Ok(id), seq),
            Err(why) => (Err(why), 0),
        };
        Sent { author, at, payload, size, id, seq, excused: false }
    }
}

/// Posts one message. If it is over quota, tries again with exponential backoff. After any other
/// error the message may have been published, so it is not sent twice.
pub(super) async fn post(
    client: &Client,
    payload: Vec<u8>,
    start: Instant,
) -> (Digest, Result<(String, u64), String>) {
    let digest = Digest::of(&[&payload]);
    let mut wait = Duration::from_millis(20);
    let result = loop {
        match client.post(TOPIC, &payload).await {
            Err(ClientError::Refused(problem))
                if problem.status == 429 && start.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            other => break other,
        }
    };
    let result = result.map(|posted| (posted.id, posted.seq)).map_err(|error| error.to_string());
    (digest, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_is_too_much_for_a_node_waits_here() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let client = Client::new(&url, None).expect("a URL");
        let most = Arc::new(std::sync::Mutex::new(0));
        let seen = Arc::clone(&most);
        tokio::task::spawn_blocking(move || {
            // Nobody answers: what is under way after the first connections is all that ever is.
            let mut open = Vec::new();
            while open.len() < AT_ONCE {
                open.extend(listener.accept().ok());
            }
            listener.set_nonblocking(true).expect("sets");
            std::thread::sleep(Duration::from_millis(200));
            while let Ok(more) = listener.accept() {
                open.push(more);
            }
            *seen.lock().expect("no panic") = open.len();
        });
        let (_never, stop) = tokio::sync::watch::channel(false);
        let halt = Halt::new(stop);
        let load = Load { messages: 1000, rate: 1e6, size: 10 };
        let sent = load.publish(&[("a".into(), client)], &halt, |_| {}).await;
        assert_eq!((sent.len(), sent.iter().filter(|one| one.id.is_ok()).count()), (1000, 0));
        assert_eq!(*most.lock().expect("no panic"), AT_ONCE);
    }

    #[test]
    fn payloads_have_their_size_and_differ() {
        for size in [0, 1, 31, 256, 1000] {
            assert_eq!(payload(3, size).len(), size);
        }
        assert_ne!(payload(1, 256), payload(2, 256));
    }
}
