//! The node's view of itself: state, health, and its attempts if it is a liar.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::error::Failure;
use super::peers::by_reason;
use crate::http::{AttemptDto, AttemptKind, AttemptsDto, StatusDto};
use crate::protocol::Snapshot;

/// The node's state.
#[utoipa::path(
    get, path = "/v1/status",
    responses((status = 200, body = StatusDto), (status = 503))
)]
pub(super) async fn status(State(app): State<App>) -> Result<Json<StatusDto>, Failure> {
    let snapshot = app.snapshot().await?;
    let handle = app.handle();
    let network = handle.network();
    let traffic = handle.traffic();
    let tips = snapshot.lanes.iter().map(|lane| (lane.author.to_string(), lane.tip));
    let counters = &snapshot.counters;
    let trouble = handle.trouble();
    let (rejected, knocks) = by_reason(&counters.rejected, counters.copies);
    Ok(Json(StatusDto {
        key: handle.key().to_string(),
        name: network.get(&handle.key()).map(|key| key.name.clone()).unwrap_or_default(),
        network: network.id().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes: network.n(),
        f: network.f(),
        quorum: network.quorum(),
        ready: trouble.is_none() && is_ready(network.n(), &snapshot),
        trouble,
        links: snapshot.ready_links(),
        bans: snapshot.bans(),
        malicious: handle.malicious().map(ToString::to_string),
        started_at: handle.started_at().0,
        generation: handle.reader().generation(),
        quarantined: handle.reader().quarantined(),
        published: snapshot.counters.published,
        delivered: snapshot.counters.delivered,
        duplicates: snapshot.counters.duplicates,
        waiting: snapshot.waiting,
        rejected,
        knocks,
        copies: snapshot.counters.copies,
        bytes_sent: traffic.bytes_sent,
        bytes_received: traffic.bytes_received,
        tips: tips.collect(),
    }))
}

/// Whether the node can reach the network: at least one link is ready, or it is the only member.
fn is_ready(members: usize, snapshot: &Snapshot) -> bool {
    members == 1 || snapshot.ready_links() > 0
}

/// Attempts of a malicious node. An honest node answers 404.
#[utoipa::path(
    get, path = "/v1/attempts",
    responses(
        (status = 200, body = AttemptsDto),
        (status = 404, description = "The node is honest"),
        (status = 503),
    )
)]
pub(super) async fn attempts(State(app): State<App>) -> Result<Json<AttemptsDto>, Failure> {
    if app.handle().malicious().is_none() {
        return Err(Failure::absent("this node is honest; only malicious nodes make attempts"));
    }
    let attempts = app.handle().attempts().await.ok_or_else(Failure::stopping)?;
    let totals = attempts.totals.iter().map(|(kind, totals)| {
        let totals = AttemptKind { attempted: totals.attempted, affected: totals.affected };
        ((*kind).to_owned(), totals)
    });
    let newest = attempts.newest.iter().map(|attempt| AttemptDto {
        kind: attempt.kind.to_owned(),
        detail: attempt.detail.to_owned(),
        at: attempt.at.0,
        link: attempt.link.map(|key| key.to_string()),
        frame: attempt.frame.map(|digest| digest.to_string()),
        id: attempt.id.map(|id| id.to_string()),
    });
    Ok(Json(AttemptsDto { totals: totals.collect(), attempts: newest.collect() }))
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "alive\n"
}

/// Whether the node has a ready link (or is the only member) and its threads and files work.
#[utoipa::path(
    get, path = "/readyz",
    responses((status = 200, body = String), (status = 503))
)]
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Failure> {
    if let Some(trouble) = app.handle().trouble() {
        return Err(Failure::unready(trouble));
    }
    let snapshot = app.snapshot().await?;
    if is_ready(app.handle().network().n(), &snapshot) {
        return Ok("ready\n");
    }
    Err(Failure::unready("no link is ready yet"))
}
