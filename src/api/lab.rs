//! Impairments of the node's links, for a lab. A node that was started without a lab token does not
//! have these routes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::Failure;
use super::input;
use crate::crypto::PublicKey;
use crate::http::ImpairmentDto;
use crate::net::{Handle, Impairment, Impairments};
use crate::protocol::millis;

/// Longest body in bytes: room for every peer of a mesh of several thousand.
const MAX_JSON: usize = 1 << 20;
/// Longest delay and longest jitter, in milliseconds: no link survives more.
pub(super) const MAX_LATE_MS: u64 = 60_000;

/// The lab's routes; the caller puts them behind the lab token.
pub(super) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, replace))
}

/// Impairments of this node's links, by peer.
#[utoipa::path(
    get, path = "/v1/lab/impairments",
    responses(
        (status = 200, body = Vec<ImpairmentDto>),
        (status = 401, description = "Lab token missing or wrong"),
    )
)]
async fn list(State(app): State<App>) -> Result<Json<Vec<ImpairmentDto>>, Failure> {
    Ok(Json(in_force(lab(&app)?)))
}

/// Replace all impairments of this node's links, including links that are up.
///
/// Delay and rate apply to what this node writes to the peer, a cut to both directions.
#[utoipa::path(
    put, path = "/v1/lab/impairments", request_body = Vec<ImpairmentDto>,
    responses(
        (status = 200, description = "The impairments now in force", body = Vec<ImpairmentDto>),
        (status = 400),
        (status = 401, description = "Lab token missing or wrong"),
        (status = 413),
        (status = 415),
    )
)]
async fn replace(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Vec<ImpairmentDto>>, Failure> {
    let lab = lab(&app)?;
    if !input::is_json(request.headers()) {
        let detail = "the body must be application/json";
        return Err(Failure::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let received = input::receive(app.bodies(), request, MAX_JSON).await?;
    let list: Vec<ImpairmentDto> = serde_json::from_slice(&received.bytes)
        .map_err(|error| Failure::bad(format!("not a list: {}", input::cut(&error.to_string()))))?;
    lab.set(table(app.handle(), &list)?);
    Ok(Json(in_force(lab)))
}

/// The node's impairments. They always exist where these routes do.
fn lab(app: &App) -> Result<&Impairments, Failure> {
    app.handle().lab().ok_or_else(|| Failure::absent("this node was started without a lab"))
}

fn table(
    handle: &Handle,
    list: &[ImpairmentDto],
) -> Result<BTreeMap<PublicKey, Impairment>, Failure> {
    let network = handle.network();
    let mut table = BTreeMap::new();
    for one in list {
        let peer = input::key(network, "peer", Some(&one.peer))?;
        let peer = peer.filter(|peer| network.is_member(peer) && *peer != handle.key());
        let name = input::cut(&one.peer);
        let Some(peer) = peer else {
            return Err(Failure::bad(format!("{name} is not another member of the network")));
        };
        if one.delay_ms > MAX_LATE_MS || one.jitter_ms > MAX_LATE_MS {
            let detail = format!("delay_ms and jitter_ms must be at most {MAX_LATE_MS}");
            return Err(Failure::bad(detail));
        }
        if one.bytes_per_s == Some(0) {
            return Err(Failure::bad("bytes_per_s is at least 1; use `cut` to let nothing pass"));
        }
        let impairment = Impairment {
            cut: one.cut,
            delay: Duration::from_millis(one.delay_ms),
            jitter: Duration::from_millis(one.jitter_ms),
            bytes_per_s: one.bytes_per_s,
        };
        if table.insert(peer, impairment).is_some() {
            return Err(Failure::bad(format!("{name} is listed twice")));
        }
    }
    table.retain(|_, impairment: &mut Impairment| !impairment.is_none());
    Ok(table)
}

fn in_force(lab: &Impairments) -> Vec<ImpairmentDto> {
    let dto = |(peer, impairment): (PublicKey, Impairment)| ImpairmentDto {
        peer: peer.to_string(),
        cut: impairment.cut,
        delay_ms: millis(impairment.delay),
        jitter_ms: millis(impairment.jitter),
        bytes_per_s: impairment.bytes_per_s,
    };
    lab.get().into_iter().map(dto).collect()
}
