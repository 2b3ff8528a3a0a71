//! A run with load, from a linked mesh to a report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::load::{Load, Sent};
use super::observe::{held, observe};
use super::{Mesh, MeshError, Observed, Terms, record};
use crate::client::Client;
use crate::report::{Recording, Report, judge};

/// How long messages may take to be everywhere, after the last was posted, and more for bulk.
const SETTLE: Duration = Duration::from_secs(10);
/// Payload bytes, times honest nodes, that earn a second more.
const BYTES_PER_S: u64 = 8 << 20;
/// How long liars go on at least after the last message, so that attacks are seen to the end.
const LINGER: Duration = Duration::from_secs(1);
/// How much longer it is waited for an attack that has reached nobody yet.
const EXERCISE: Duration = Duration::from_secs(3);
/// How often nodes are asked.
const ASK: Duration = Duration::from_millis(100);

/// What a run is doing, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many messages are posted.
    Posted(u64),
    /// So many honest nodes hold everything.
    Complete(usize),
    /// Waiting for attacks to reach somebody.
    Watching,
}

/// Publishes the load through the honest nodes, waits until it is everywhere and every attack was
/// tried on somebody (both with a deadline), and tells what was observed, and the verdict on it.
///
/// # Errors
/// When a node dies or an honest one does not answer.
pub async fn measure_run(
    mesh: &mut Mesh,
    load: &Load,
    (name, reproduce): (String, String),
    mut progress: impl FnMut(Progress),
) -> Result<(Recording, Report), MeshError> {
    let authors: Vec<(String, Client)> =
        mesh.honest().map(|node| (node.entry.key.clone(), node.client.clone())).collect();
    let bytes_before = bytes_received(&authors).await;
    let mut terms = Terms::plain(name, reproduce, mesh.network.f());
    terms.zero = super::load::now();
    let sent = load.publish(&authors, |count| progress(Progress::Posted(count))).await;
    mesh.check_alive()?;
    let last = Instant::now();
    let size = load.size as u64;
    let bulk = size.saturating_mul(sent.len() as u64).saturating_mul(authors.len() as u64);
    let deadline = last + SETTLE + Duration::from_secs(bulk / BYTES_PER_S);
    settle(&authors, &sent, deadline, &mut progress).await;
    mesh.check_alive()?;
    progress(Progress::Watching);
    tokio::time::sleep_until((last + LINGER).into()).await;
    let mut run = Observed {
        sent,
        start_s: mesh.start_time.map(|time| time.as_secs_f64()),
        ..Observed::default()
    };
    let patience = Instant::now() + EXERCISE;
    loop {
        run.nodes = observe(&mesh.nodes).await?;
        for node in &mut run.nodes {
            node.bytes_before = bytes_before.get(&node.key).copied().unwrap_or(0);
        }
        if judge(&record(&run, &terms)).not_exercised.is_empty() || Instant::now() > patience {
            break;
        }
        tokio::time::sleep(ASK * 2).await;
    }
    collect(mesh, &mut run, &terms, (load.size, deadline)).await?;
    run.wall_s = mesh.started.elapsed().as_secs_f64();
    mesh.check_alive()?;
    let recording = record(&run, &terms);
    let report = judge(&recording);
    Ok((recording, report))
}

/// Reads what was delivered; again while something is missing and the deadline has not come, as a
/// delivery may be a moment ahead of its row.
async fn collect(
    mesh: &Mesh,
    run: &mut Observed,
    terms: &Terms,
    (size, deadline): (usize, Instant),
) -> Result<(), MeshError> {
    let authors: Vec<String> = mesh.honest().map(|node| node.entry.key.clone()).collect();
    loop {
        let lists = held(&mesh.nodes, &authors, size).await?;
        for (node, list) in run.nodes.iter_mut().zip(lists) {
            node.held = list;
        }
        let delivery = judge(&record(run, terms)).delivery;
        if delivery.delivered >= delivery.expected || Instant::now() > deadline {
            return Ok(());
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Waits until every honest node's lanes reach the highest slot that was acknowledged.
async fn settle(
    nodes: &[(String, Client)],
    sent: &[Sent],
    deadline: Instant,
    progress: &mut impl FnMut(Progress),
) {
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for one in sent.iter().filter(|one| one.id.is_ok()) {
        let slot = wanted.entry(&one.author).or_default();
        *slot = (*slot).max(one.seq);
    }
    let mut late: Vec<&Client> = nodes.iter().map(|(_, client)| client).collect();
    while !late.is_empty() && Instant::now() < deadline {
        let mut still = Vec::new();
        for client in late {
            // A node that is stuck must not hold up the verdict on the others.
            let status = timeout_at(deadline.into(), client.status()).await;
            let complete = status.is_ok_and(|status| {
                status.is_ok_and(|status| {
                    let tip = |author: &str| status.tips.get(author).copied().unwrap_or(0);
                    wanted.iter().all(|(author, seq)| tip(author) >= *seq)
                })
            });
            if !complete {
                still.push(client);
            }
        }
        late = still;
        progress(Progress::Complete(nodes.len() - late.len()));
        if !late.is_empty() {
            tokio::time::sleep(ASK).await;
        }
    }
}

/// Link bytes that each node has received, by key.
async fn bytes_received(nodes: &[(String, Client)]) -> BTreeMap<String, u64> {
    let mut received = BTreeMap::new();
    for (key, client) in nodes {
        if let Ok(status) = client.status().await {
            received.insert(key.clone(), status.bytes_received);
        }
    }
    received
}
