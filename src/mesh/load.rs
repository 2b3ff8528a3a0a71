//! Load: messages posted to the honest nodes in turn, at a fixed rate, whether or not earlier ones
//! were answered (open loop), so that a slow node cannot hide its slowness by being asked less
//! often.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::crypto::Digest;

/// Longest wait before a post that was refused for being over quota is tried again.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long one message is tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// The topic of the load's messages.
pub const TOPIC: &str = "load";

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// How many messages.
    pub messages: u64,
    /// How many a second, all nodes together.
    pub rate: f64,
    /// Bytes of each payload.
    pub size: usize,
}

/// A message that was posted.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The key of the node that it was posted to.
    pub author: String,
    /// When the POST was sent, in microseconds since 1970.
    pub at: u64,
    /// SHA-256 of the payload.
    pub payload: Digest,
    /// The id that the node answered with, or why it took it not.
    pub id: Result<String, String>,
    /// The slot that the node answered with.
    pub seq: u64,
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

impl Load {
    /// Posts everything, to each of `authors` (key, client) in turn; `progress` is told how many
    /// are done.
    pub async fn publish(
        &self,
        authors: &[(String, Client)],
        mut progress: impl FnMut(u64),
    ) -> Vec<Sent> {
        let mut posts = JoinSet::new();
        let mut sent = Vec::new();
        let start = Instant::now();
        let rate = if self.rate > 0.0 { self.rate } else { f64::MIN_POSITIVE };
        for number in 0..self.messages {
            let due = Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX);
            if let Some(due) = start.checked_add(due) {
                tokio::time::sleep_until(due).await;
            }
            let turn = usize::try_from(number).unwrap_or(0) % authors.len().max(1);
            let Some((key, client)) = authors.get(turn) else { break };
            posts.spawn(post(key.clone(), client.clone(), payload(number, self.size)));
            while let Some(Ok(done)) = posts.try_join_next() {
                sent.push(done);
            }
            progress(sent.len() as u64);
        }
        while let Some(done) = posts.join_next().await {
            sent.extend(done.ok());
            progress(sent.len() as u64);
        }
        sent
    }
}

/// Payloads that differ from each other and from those of other runs, as far as their size allows.
fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("message {number} at {} ", now()).into_bytes();
    let mut block = Digest::of(&[&bytes]);
    while bytes.len() < size {
        bytes.extend_from_slice(&block.0);
        block = Digest::of(&[&block.0]);
    }
    bytes.truncate(size);
    bytes
}

/// Posts one message. Over quota, it waits as it is told; any other failure may have taken effect,
/// so the message is not sent twice.
async fn post(author: String, client: Client, payload: Vec<u8>) -> Sent {
    let at = now();
    let digest = Digest::of(&[&payload]);
    let (start, mut wait) = (Instant::now(), Duration::from_millis(20));
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
    let (id, seq) = match result {
        Ok(posted) => (Ok(posted.id), posted.seq),
        Err(error) => (Err(error.to_string()), 0),
    };
    Sent { author, at, payload: digest, id, seq }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size_and_differ() {
        for size in [0, 1, 31, 256, 1000] {
            assert_eq!(payload(3, size).len(), size);
        }
        assert_ne!(payload(1, 256), payload(2, 256));
    }
}
