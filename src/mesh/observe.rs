//! Reads what nodes report over HTTP, and what the kernel reports about their processes.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use super::launch::MeshNode;
use super::{MeshError, NodeEntry, Stop};
use crate::client::{Client, ClientError, RejectionFilter};
use crate::crypto::Digest;
use crate::diagnostics::peak_rss_mb;
use crate::http::{AttemptsDto, MessageDto, RejectionDto, StatusDto};

/// A message that a node holds.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// The message id, `<batch id>.<index>`.
    pub id: String,
    /// The author's key, in hex.
    pub author: String,
    /// The batch's slot in the author's lane.
    pub seq: u64,
    /// Links crossed, as the last sender claims.
    pub hops: u64,
    /// Key of the neighbour that the message came from; `None` at the author.
    pub from: Option<String>,
    /// When it was delivered, in microseconds since 1970.
    pub delivered_at: u64,
    /// SHA-256 of the payload; `None` once the payload is pruned.
    pub payload: Option<Digest>,
}

/// What was observed of one node.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Name in the network file.
    pub name: String,
    /// The node's key, in hex.
    pub key: String,
    /// The node's SPEC; `None` if it is honest.
    pub spec: Option<String>,
    /// The names of the behaviours in `spec`.
    pub kinds: Vec<String>,
    /// Whether it is dead and will not be started again: no delivery is expected of it.
    pub dead: bool,
    /// Messages that it delivered in honest authors' names; honest nodes only.
    pub held: Vec<HeldMessage>,
    /// The node's rejection log; honest nodes only.
    pub rejections: Vec<RejectionDto>,
    /// What the node tried; liars only.
    pub attempts: Option<AttemptsDto>,
    /// Keys that it has banned at any time, and the reason; honest nodes only.
    pub banned: Vec<(String, Option<String>)>,
    /// Keys of the peers that it has chosen a link to.
    pub chosen: Vec<String>,
    /// The node's counters; `None` if it did not answer.
    pub status: Option<StatusDto>,
    /// Bytes that it had received on links before the load began.
    pub bytes_before: u64,
    /// CPU time of the process, in seconds.
    pub cpu_s: Option<f64>,
    /// Peak resident memory of the process, in MiB.
    pub peak_rss_mb: Option<f64>,
}

impl NodeView {
    /// Creates the entry of a node that nothing is known about yet.
    pub fn new(entry: &NodeEntry, kinds: &[String]) -> Self {
        Self {
            name: entry.name.clone(),
            key: entry.key.clone(),
            spec: entry.malicious.clone(),
            kinds: kinds.to_vec(),
            ..Self::default()
        }
    }

    /// Whether the node was started as an honest node.
    pub fn honest(&self) -> bool {
        self.spec.is_none()
    }
}

/// Rows per request.
const PAGE: usize = 1000;
/// Maximum refused frames read from one node, in bytes of base64.
const FRAMES: usize = 4 << 20;
/// Maximum bytes of payload per request.
const PAGE_BYTES: usize = 8 << 20;
/// Maximum rows read from one list: bounds time and memory, far above what a run produces.
const MAX_ROWS: usize = 2_000_000;

/// Ticks per second in `/proc`: `USER_HZ`, which is 100 on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

/// Reads everything but messages from every node that was not killed, concurrently.
///
/// # Errors
/// If an honest node does not answer. Liars may stay silent, and so may any node once the run is
/// being stopped.
pub(super) async fn observe(nodes: &[MeshNode], stop: &Stop) -> Result<Vec<NodeView>, MeshError> {
    let mut asking = JoinSet::new();
    for (number, node) in nodes.iter().enumerate() {
        let (client, pid) = (node.client.clone(), node.entry.pid);
        let mut seen = NodeView::new(&node.entry, &node.kinds);
        let (dead, stop) = (node.killed, stop.clone());
        asking.spawn(async move {
            if dead {
                return Ok((number, seen));
            }
            let result = stop.in_time(look(&client, pid, &mut seen)).await.unwrap_or(Ok(()));
            let name = seen.name.clone();
            match result {
                Err(error) if seen.honest() && !stop.asked() => {
                    Err(MeshError::Node { name, why: error.to_string() })
                }
                _ => Ok((number, seen)),
            }
        });
    }
    Ok(answers(asking).await?.into_iter().map(|(_, seen)| seen).collect())
}

/// Waits for all nodes that are being asked. Returns their answers by number.
async fn answers<T: 'static>(
    mut asking: JoinSet<Result<(usize, T), MeshError>>,
) -> Result<Vec<(usize, T)>, MeshError> {
    let mut all = Vec::with_capacity(asking.len());
    while let Some(done) = asking.join_next().await {
        let broken = |error: tokio::task::JoinError| MeshError::Node {
            name: "observer".into(),
            why: error.to_string(),
        };
        all.push(done.map_err(broken)??);
    }
    all.sort_by_key(|(number, _)| *number);
    Ok(all)
}

/// Reads everything but messages from one node. If the node stops answering, `seen` keeps what it
/// reported so far.
///
/// # Errors
/// If the node does not answer.
pub(super) async fn look(
    client: &Client,
    pid: u32,
    seen: &mut NodeView,
) -> Result<(), ClientError> {
    (seen.cpu_s, seen.peak_rss_mb) = (cpu_s(pid), peak_rss_mb(pid));
    ask(client, seen).await
}

async fn ask(client: &Client, seen: &mut NodeView) -> Result<(), ClientError> {
    if !seen.honest() {
        seen.attempts = client.attempts().await?;
    }
    seen.status = Some(client.status().await?);
    for peer in client.peers().await? {
        if peer.link.is_some_and(|link| link.chosen) {
            seen.chosen.push(peer.key.clone());
        }
        if peer.strikes > 0 && seen.honest() {
            seen.banned.push((peer.key, peer.ban_reason));
        }
    }
    if seen.honest() {
        let (mut filter, mut after, mut kept) = (RejectionFilter::default(), None, 0);
        while seen.rejections.len() < MAX_ROWS {
            filter.frames = kept < FRAMES;
            let page = client.rejections(&filter, after.as_deref(), PAGE).await?;
            if page.items.is_empty() {
                break;
            }
            let frames = page.items.iter().filter_map(|row| row.frame_base64.as_ref());
            kept += frames.map(String::len).sum::<usize>();
            seen.rejections.extend(page.items);
            after = Some(page.next);
        }
    }
    Ok(())
}

/// Reads what every living honest node delivered in the names of these authors. Returns one list
/// per node, in the order of `nodes`. Payloads are read, but only their digests are kept.
///
/// # Errors
/// If an honest node does not answer, unless the run is being stopped.
pub(super) async fn held(
    nodes: &[MeshNode],
    authors: &[String],
    size: usize,
    stop: &Stop,
) -> Result<Vec<Vec<HeldMessage>>, MeshError> {
    let mut asking = JoinSet::new();
    for (number, node) in nodes.iter().enumerate() {
        if node.entry.malicious.is_some() || node.killed {
            continue;
        }
        let (client, authors, name) =
            (node.client.clone(), authors.to_vec(), node.entry.name.clone());
        let stop = stop.clone();
        asking.spawn(async move {
            let mut all = Vec::new();
            let reading = held_by(&client, &authors, size, &mut all);
            match stop.in_time(reading).await.unwrap_or(Ok(())) {
                Err(error) if !stop.asked() => {
                    Err(MeshError::Node { name, why: error.to_string() })
                }
                _ => Ok((number, all)),
            }
        });
    }
    let mut all: Vec<Vec<HeldMessage>> = nodes.iter().map(|_| Vec::new()).collect();
    for (number, rows) in answers(asking).await? {
        if let Some(list) = all.get_mut(number) {
            *list = rows;
        }
    }
    Ok(all)
}

/// Reads what one node delivered in the names of these authors. If the node stops answering, `all`
/// keeps what it reported so far.
///
/// # Errors
/// If the node does not answer.
pub(super) async fn held_by(
    client: &Client,
    authors: &[String],
    size: usize,
    all: &mut Vec<HeldMessage>,
) -> Result<(), ClientError> {
    let limit = (PAGE_BYTES / size.max(1)).clamp(1, PAGE);
    for author in authors {
        read_author(client, author, limit, all).await?;
    }
    Ok(())
}

async fn read_author(
    client: &Client,
    author: &str,
    limit: usize,
    all: &mut Vec<HeldMessage>,
) -> Result<(), ClientError> {
    let mut after: Option<String> = None;
    while all.len() < MAX_ROWS {
        let page = client.messages(None, Some(author), after.as_deref(), limit).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        all.extend(page.items.into_iter().map(summarise));
        after = Some(page.next);
    }
    Ok(())
}

fn summarise(message: MessageDto) -> HeldMessage {
    let payload = message.payload_base64.as_deref().and_then(|text| STANDARD.decode(text).ok());
    HeldMessage {
        id: message.id,
        author: message.author,
        seq: message.seq,
        hops: u64::from(message.hops),
        from: message.from,
        delivered_at: message.delivered_at,
        payload: payload.map(|bytes| Digest::of(&[&bytes])),
    }
}

/// CPU time that a process has used, in seconds.
fn cpu_s(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain spaces; fields 14 and 15 are user and system ticks.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_time() {
        let own = std::process::id();
        assert!(cpu_s(own).is_some());
        assert!(peak_rss_mb(own).is_some_and(|mb| mb > 0.5));
        assert_eq!((cpu_s(u32::MAX), peak_rss_mb(u32::MAX)), (None, None));
    }
}
