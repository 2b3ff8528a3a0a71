//! A run with load, from a linked mesh to the report.

use std::time::{Duration, Instant};

use super::collect::{Ending, Progress, bytes_received, conclude};
use super::load::Load;
use super::restarts::Restarts;
use super::steps::now;
use super::{Halt, Mesh, MeshError, Terms};
use crate::client::Client;
use crate::report::{Recording, Report};

/// How long messages may take to be everywhere after the last was posted; more for bulk.
const SETTLE: Duration = Duration::from_secs(10);
/// Payload bytes, times honest nodes, that add a second to `SETTLE`.
const BYTES_PER_S: u64 = 8 << 20;

/// Publishes the load through the honest nodes, waits until every message is everywhere and every
/// liar has reached an honest node (both with a deadline), and returns the recording and the
/// report. A run that is stopped reports what was observed until then.
///
/// # Errors
/// If a node dies or an honest one does not answer.
pub async fn measure_run(
    mesh: &mut Mesh,
    load: &Load,
    (name, reproduce): (String, String),
    halt: &Halt,
    mut progress: impl FnMut(Progress),
) -> Result<(Recording, Report), MeshError> {
    let authors: Vec<(String, Client)> =
        mesh.honest().map(|node| (node.entry.key.clone(), node.client.clone())).collect();
    let bytes_before = bytes_received(mesh, halt).await;
    let mut terms = Terms::plain(name, reproduce, mesh.network.f());
    terms.zero = now();
    let sent = load.publish(&authors, halt, |count| progress(Progress::Posted(count))).await;
    mesh.check_alive()?;
    let (last, size) = (Instant::now(), load.size);
    let bulk = (size as u64).saturating_mul(sent.len() as u64).saturating_mul(authors.len() as u64);
    let deadline = last + SETTLE + Duration::from_secs(bulk / BYTES_PER_S);
    let ending = Ending { sent, size, bytes_before, last, deadline, halt };
    let restarts = Restarts::new(mesh, size);
    conclude(mesh, ending, &terms, &restarts, progress).await
}
