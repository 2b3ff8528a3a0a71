//! The routes of the rejection log.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::app::App;
use super::error::Failure;
use super::input::{self, Params, Segment};
use crate::crypto::hex;
use crate::http::{ListDto, RejectionDto, SummaryRow};
use crate::net::Handle;
use crate::store::{Page, Reader, RejectionQuery, RejectionRow, StoreError};

/// Query parameters that select rejections.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RejectionParams {
    /// Only rejections for this reason, by its name.
    reason: Option<String>,
    /// Only rejections of this peer's frames: a key, or a name in the network file.
    peer: Option<String>,
    /// Only rejections that name this author: a key, or a name in the network file.
    author: Option<String>,
    /// Only rejections since this time: microseconds since 1970, an RFC 3339 time, or a duration
    /// before now like `5m`.
    since: Option<String>,
    /// Only entries after this cursor.
    cursor: Option<String>,
    /// Most rows of a page, 1 to 1000; 100 if absent.
    limit: Option<usize>,
    /// Whether to include the stored bytes of each frame; a page then has at most 100 rows.
    #[serde(default)]
    frames: bool,
}

impl RejectionParams {
    /// Parses the parameters; answers 400 if one is invalid.
    pub(super) fn query(&self, handle: &Handle) -> Result<RejectionQuery, Failure> {
        let network = handle.network();
        Ok(RejectionQuery {
            reason: input::reason(self.reason.as_deref())?,
            peer: input::key(network, "peer", self.peer.as_deref())?,
            author: input::key(network, "author", self.author.as_deref())?,
            since: input::since(self.since.as_deref(), handle.now())?,
            after: input::cursor(self.cursor.as_deref())?,
            limit: input::limit(self.limit)?,
            frames: self.frames,
        })
    }
}

/// List rejections.
///
/// Oldest first. A page may be shorter than the limit; `more` says whether the list goes on.
#[utoipa::path(
    get, path = "/v1/rejections", params(RejectionParams),
    responses((status = 200, body = ListDto<RejectionDto>), (status = 400))
)]
pub(super) async fn list(
    State(app): State<App>,
    Params(parameters): Params<RejectionParams>,
) -> Result<Json<ListDto<RejectionDto>>, Failure> {
    let query = parameters.query(app.handle())?;
    let page = app.read(move |reader| search(reader, query)).await?;
    let items = page.rows.into_iter().map(rejection_dto).collect();
    let (next, gaps) = (page.next.to_string(), vec![]);
    Ok(Json(ListDto { items, next, more: page.more, gap: page.gap, gaps }))
}

/// One rejection, with the stored bytes of its frame.
#[utoipa::path(
    get, path = "/v1/rejections/{row}",
    params(("row" = i64, Path, description = "The row's number in this store, from 1")),
    responses((status = 200, body = RejectionDto), (status = 400), (status = 404))
)]
pub(super) async fn one(
    State(app): State<App>,
    Segment(row): Segment,
) -> Result<Json<RejectionDto>, Failure> {
    let row: i64 = row.parse().map_err(|_| Failure::bad("a row must be a number from 1"))?;
    match app.read(move |reader| reader.rejection(row)).await? {
        Some(row) => Ok(Json(rejection_dto(row))),
        None => Err(Failure::absent("the log has no such row; it may have been deleted")),
    }
}

/// Returns the next page that has a row, if there is one. The log is bounded, and so is this
/// search.
fn search(reader: &Reader, mut query: RejectionQuery) -> Result<Page<RejectionRow>, StoreError> {
    let mut gap = None;
    loop {
        let mut page = reader.rejections(&query)?;
        gap = gap.or(page.gap.take());
        if !page.more || !page.rows.is_empty() {
            return Ok(Page { gap, ..page });
        }
        query.after = Some(page.next);
    }
}

/// Counts of rejections by reason and peer: lies first, knocks last.
#[utoipa::path(
    get, path = "/v1/rejections/summary", params(RejectionParams),
    responses((status = 200, body = Vec<SummaryRow>), (status = 400))
)]
pub(super) async fn summary(
    State(app): State<App>,
    Params(parameters): Params<RejectionParams>,
) -> Result<Json<Vec<SummaryRow>>, Failure> {
    let query = parameters.query(app.handle())?;
    let rows = app.read(move |reader| reader.rejection_summary(&query)).await?;
    Ok(Json(rows.into_iter().map(summary_dto).collect()))
}

/// A row of the summary as the API shows it.
pub fn summary_dto(row: crate::store::SummaryRow) -> SummaryRow {
    SummaryRow {
        reason: row.reason.name().to_owned(),
        link: row.link.map(|key| key.to_string()),
        link_name: row.link_name,
        counts_as: row.counts_as.name().to_owned(),
        count: row.count,
        proven: row.proven,
        first: row.first.0,
        last: row.last.0,
    }
}

/// A row of the rejection log as the API shows it.
pub fn rejection_dto(row: RejectionRow) -> RejectionDto {
    let rejection = row.rejection;
    RejectionDto {
        row: row.row,
        time: rejection.at.0,
        reason: rejection.reason.name().to_owned(),
        link: rejection.link.map(|key| key.to_string()),
        link_name: row.link_name,
        author: rejection.author.map(|key| key.to_string()),
        proven: rejection.proven,
        seq: rejection.seq,
        id: rejection.id.map(|id| id.to_string()),
        topic: rejection.topic,
        hops: rejection.hops,
        size: rejection.size,
        detail: rejection.detail,
        frame: rejection.frame.to_string(),
        head: hex(&rejection.head),
        counts_as: rejection.counts_as.name().to_owned(),
        frame_kept: row.kept,
        frame_base64: rejection.bytes.map(|bytes| STANDARD.encode(bytes)),
        count: rejection.count,
        cursor: row.cursor.to_string(),
    }
}
