//! The end of a run: waits, within a bound, until every message is everywhere, then reads what
//! happened from the nodes and judges it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::load::Sent;
use super::observe::{held, observe};
use super::restarts::Restarts;
use super::stop::GRACE;
use super::{Mesh, MeshError, Observed, Stop, Terms, record};
use crate::http::StatusDto;
use crate::report::{Recording, Report, judge};
use crate::scenario::{EXERCISE, LINGER};

/// Interval between two queries of the nodes.
const ASK: Duration = Duration::from_millis(100);

/// The progress of a run, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This many nodes are linked.
    Linked(usize),
    /// The run's zero has come.
    Begun,
    /// Time since the run's zero, and the number of messages posted.
    At(Duration, u64),
    /// A step of a fault happened; described in words.
    Struck(String),
    /// Everything is posted, and this many honest nodes hold it.
    Complete(usize),
    /// Waiting for attacks to reach an honest node.
    Watching,
}

/// A run whose load is posted and whose faults are over.
pub(super) struct PlayedOut<'a> {
    /// All messages that were due.
    pub sent: Vec<Sent>,
    /// Bytes of the largest payload.
    pub size: usize,
    /// Bytes that nodes had received on links before the load, by key.
    pub bytes_before: BTreeMap<String, u64>,
    /// When the load and the faults were over.
    pub last: Instant,
    /// When every message must be everywhere.
    pub deadline: Instant,
    /// Whether the run is to stop.
    pub stop: &'a Stop,
}

/// Waits until every message is everywhere and every liar has reached an honest node, both with a
/// deadline; then reads what was delivered and refused, and judges it. If the run is to stop, waits
/// for nothing; the verdict is then `Interrupted`.
///
/// # Errors
/// If a node dies or an honest one does not answer.
pub(super) async fn conclude(
    mesh: &mut Mesh,
    ending: PlayedOut<'_>,
    terms: &Terms<'_>,
    restarts: &Restarts,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Recording, Report), MeshError> {
    let PlayedOut { sent, size, bytes_before, last, deadline, stop } = ending;
    settle(mesh, &sent, (deadline, stop), progress).await?;
    if mesh.honest().count() < mesh.nodes.len() {
        progress(Progress::Watching);
        stop.sleep_until((last + LINGER).into()).await;
    }
    let start_s = mesh.start_time.map(|time| time.as_secs_f64());
    let mut run = Observed { sent, start_s, ..Observed::default() };
    let patience = Instant::now() + EXERCISE;
    loop {
        run.nodes = tokio::select! {
            seen = observe(&mesh.nodes, stop) => seen?,
            () = stop.overdue() => return Err(MeshError::Interrupted(GRACE)),
        };
        for node in &mut run.nodes {
            node.bytes_before = bytes_before.get(&node.key).copied().unwrap_or(0);
        }
        restarts.complete(mesh, &mut run.nodes);
        if judge(&record(&run, terms)).idle_liars.is_empty()
            || Instant::now() > patience
            || stop.asked()
        {
            break;
        }
        stop.sleep(ASK * 2).await;
    }
    tokio::select! {
        read = collect(mesh, &mut run, terms, (size, deadline), stop) => read?,
        () = stop.overdue() => return Err(MeshError::Interrupted(GRACE)),
    }
    run.wall_s = mesh.started.elapsed().as_secs_f64();
    run.interrupted = stop.asked();
    run.clock_steps = mesh.clock.found(terms.zero);
    if !run.interrupted {
        mesh.check_alive()?;
    }
    let recording = record(&run, terms);
    let report = judge(&recording);
    Ok((recording, report))
}

/// Reads what was delivered. Reads again until nothing is missing or the deadline has passed, since
/// a node's counters may be ahead of its stored rows.
async fn collect(
    mesh: &Mesh,
    run: &mut Observed,
    terms: &Terms<'_>,
    (size, deadline): (usize, Instant),
    stop: &Stop,
) -> Result<(), MeshError> {
    let authors: Vec<String> = mesh.honest().map(|node| node.entry.key.clone()).collect();
    loop {
        let lists = held(&mesh.nodes, &authors, size, stop).await?;
        for (node, list) in run.nodes.iter_mut().zip(lists).filter(|(node, _)| !node.dead) {
            node.held = list;
        }
        let delivery = judge(&record(run, terms)).delivery;
        let enough = delivery.delivered >= delivery.expected || Instant::now() > deadline;
        if enough || stop.asked() {
            return Ok(());
        }
        stop.sleep(ASK).await;
    }
}

/// Waits until every living honest node holds every lane up to the highest acknowledged slot; for
/// the lane of a killed author, up to the highest slot that a living node holds.
async fn settle(
    mesh: &mut Mesh,
    sent: &[Sent],
    (deadline, stop): (Instant, &Stop),
    progress: &mut dyn FnMut(Progress),
) -> Result<(), MeshError> {
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for one in sent.iter().filter(|one| one.id.is_ok()) {
        let slot = wanted.entry(&one.author).or_default();
        *slot = (*slot).max(one.seq);
    }
    while !stop.asked() {
        let mut seen: Vec<Option<StatusDto>> = Vec::new();
        for node in mesh.honest().filter(|node| !node.killed) {
            // A node that hangs must not delay the verdict on the others.
            let status = timeout_at(deadline.into(), node.client.status());
            let status = tokio::select! {
                status = status => status.ok().and_then(Result::ok),
                () = stop.wait() => return Ok(()),
            };
            seen.push(status);
        }
        mesh.check_alive()?;
        let tip = |status: &StatusDto, author: &str| status.tips.get(author).copied().unwrap_or(0);
        let mut reachable = wanted.clone();
        for node in mesh.nodes.iter().filter(|node| node.killed) {
            if let Some(slot) = reachable.get_mut(&*node.entry.key) {
                let tips = seen.iter().flatten().map(|status| tip(status, &node.entry.key));
                *slot = tips.max().unwrap_or(0).min(*slot);
            }
        }
        let has_all =
            |status: &&StatusDto| reachable.iter().all(|(author, seq)| tip(status, author) >= *seq);
        let complete = seen.iter().flatten().filter(has_all).count();
        progress(Progress::Complete(complete));
        if complete == seen.len() || Instant::now() >= deadline {
            return Ok(());
        }
        stop.sleep(ASK).await;
    }
    Ok(())
}

/// Bytes that each honest node has received on links, by key.
pub(super) async fn bytes_received(mesh: &Mesh, stop: &Stop) -> BTreeMap<String, u64> {
    let mut received = BTreeMap::new();
    for node in mesh.honest() {
        if let Some(Ok(status)) = stop.in_time(node.client.status()).await {
            received.insert(node.entry.key.clone(), status.bytes_received);
        }
    }
    received
}
