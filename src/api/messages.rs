//! Publishing and reading messages.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::app::App;
use super::error::Failure;
use super::input::{self, Params, Segment};
use crate::http::{GapDto, ListDto, MessageDto, PostMessage, Posted};
use crate::protocol::Network;
use crate::store::{LaneGap, MessageQuery, MessageRow, Reader, StoreError};
use crate::wire::limits::{MAX_PAYLOAD, MAX_TOPIC};
use crate::wire::{Entry, MessageId};

/// Longest JSON body in bytes: a payload of 1 MiB with every byte escaped as six, and room for the
/// other fields.
const MAX_JSON: usize = 6 * MAX_PAYLOAD + (64 << 10);
/// Payload bytes after which a page ends early. What the store reads at a time is bounded too.
const PAGE_BYTES: usize = 4 << 20;
/// Gaps after which a page ends early.
const MAX_GAPS: usize = 10_000;
/// How long a search for rows that match a filter may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

/// Query parameters of a POST of raw bytes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishParams {
    /// Topic of the message, for a body of raw bytes; at most 64 bytes.
    topic: Option<String>,
}

/// Query parameters that select messages.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageParams {
    /// Only messages of this topic.
    topic: Option<String>,
    /// Only messages of this author: a key, or a name in the network file.
    author: Option<String>,
    /// Only entries after this cursor.
    cursor: Option<String>,
    /// Most rows of a page, 1 to 1000; 100 if absent.
    limit: Option<usize>,
}

impl MessageParams {
    /// Parses the parameters; answers 400 if one is invalid.
    pub(super) fn query(&self, network: &Network) -> Result<MessageQuery, Failure> {
        Ok(MessageQuery {
            topic: self.topic.clone(),
            author: input::key(network, "author", self.author.as_deref())?,
            after: input::cursor(self.cursor.as_deref())?,
            limit: input::limit(self.limit)?,
        })
    }
}

/// Publish a message.
///
/// A body of type `application/json` follows the schema; a body of any other type, or of none, is
/// the payload itself. The answer comes once the message is on disk.
#[utoipa::path(
    post, path = "/v1/messages", params(PublishParams),
    request_body(content(
        (PostMessage = "application/json"), (Vec<u8> = "application/octet-stream")
    )),
    responses(
        (status = 201, description = "Published and durable", body = Posted),
        (status = 400),
        (status = 413, description = "Payload above 1 MiB"),
        (status = 429, description = "Over the author's quota: see Retry-After"),
        (status = 503, description = "Not written to disk, or stopping"),
    )
)]
pub(super) async fn publish(
    State(app): State<App>,
    Params(parameters): Params<PublishParams>,
    request: Request,
) -> Result<(StatusCode, Json<Posted>), Failure> {
    let json = input::is_json(request.headers());
    let most = if json { MAX_JSON } else { MAX_PAYLOAD };
    let received = input::receive(app.bodies(), request, most).await?;
    let entry = if json {
        if parameters.topic.is_some() {
            return Err(Failure::bad("with a JSON body, give the topic in the body"));
        }
        read_json(&received.bytes)?
    } else {
        Entry { topic: parameters.topic.unwrap_or_default(), payload: received.bytes.to_vec() }
    };
    check(&entry)?;
    let (id, seq) = app.handle().publish(entry).await?;
    Ok((StatusCode::CREATED, Json(posted(&app, id, seq))))
}

fn posted(app: &App, id: MessageId, seq: u64) -> Posted {
    let author = app.handle().key().to_string();
    Posted { id: id.to_string(), author, seq, index: id.index }
}

fn read_json(bytes: &Bytes) -> Result<Entry, Failure> {
    let message: PostMessage = serde_json::from_slice(bytes).map_err(|error| {
        Failure::bad(format!("not a message: {}", input::cut(&error.to_string())))
    })?;
    let payload = match (message.payload, message.payload_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| Failure::bad(format!("payload_base64 is not base64: {error}")))?,
        _ => return Err(Failure::bad("give exactly one of payload and payload_base64")),
    };
    Ok(Entry { topic: message.topic, payload })
}

fn check(entry: &Entry) -> Result<(), Failure> {
    if entry.topic.len() > MAX_TOPIC {
        return Err(Failure::bad(format!("a topic has at most {MAX_TOPIC} bytes")));
    }
    if entry.payload.len() > MAX_PAYLOAD {
        return Err(Failure::too_long(format!("a payload has at most {MAX_PAYLOAD} bytes")));
    }
    Ok(())
}

/// List messages.
///
/// Oldest first, in the order of their delivery at this node. A page may be shorter than the limit;
/// `more` says whether the list goes on. `gaps` are slots that readers need not wait for any
/// longer. Each is listed once, in the order of cursors.
#[utoipa::path(
    get, path = "/v1/messages", params(MessageParams),
    responses((status = 200, body = ListDto<MessageDto>), (status = 400))
)]
pub(super) async fn list(
    State(app): State<App>,
    Params(parameters): Params<MessageParams>,
) -> Result<Json<ListDto<MessageDto>>, Failure> {
    let network = app.handle().network().clone();
    let query = parameters.query(&network)?;
    Ok(Json(app.read(move |reader| page(reader, query, &network)).await?))
}

/// One message.
#[utoipa::path(
    get, path = "/v1/messages/{id}", params(("id" = String, Path, description = "`BATCH.INDEX`")),
    responses((status = 200, body = MessageDto), (status = 400), (status = 404))
)]
pub(super) async fn one(
    State(app): State<App>,
    Segment(id): Segment,
) -> Result<Json<MessageDto>, Failure> {
    let id: MessageId = id
        .parse()
        .map_err(|()| Failure::bad("an id must be 64 hex digits, a dot and a number below 256"))?;
    match app.read(move |reader| reader.message(id)).await? {
        Some(row) => Ok(Json(dto(row, app.handle().network()))),
        None => Err(Failure::absent("this node does not have that message")),
    }
}

/// Reads pages of the store, which are bounded in bytes and rows scanned, until the list is long
/// enough: a client should not see an empty page before the end of the list.
fn page(
    reader: &Reader,
    mut query: MessageQuery,
    network: &Network,
) -> Result<ListDto<MessageDto>, StoreError> {
    let end = Instant::now() + SEARCH_LIMIT;
    let (wanted, mut bytes) = (query.limit, 0);
    let (items, gaps, next) = (Vec::new(), Vec::new(), String::new());
    let mut list = ListDto { items, next, more: false, gap: None, gaps };
    loop {
        query.limit = wanted - list.items.len();
        let page = reader.messages(&query)?;
        bytes +=
            page.rows.iter().map(|row| row.payload.as_ref().map_or(0, Vec::len)).sum::<usize>();
        list.gap = list.gap.or(page.gap);
        list.gaps.extend(page.gaps.into_iter().map(|gap| gap_dto(&gap, network)));
        list.next = page.next.to_string();
        list.more = page.more;
        list.items.extend(page.rows.into_iter().map(|row| dto(row, network)));
        // Clients take a page without items for the end, so gaps alone do not end a page unless
        // there are very many.
        let full = list.items.len() >= wanted || list.gaps.len() >= MAX_GAPS;
        let enough = full || bytes >= PAGE_BYTES;
        if enough || !page.more || Instant::now() >= end {
            return Ok(list);
        }
        query.after = Some(page.next);
    }
}

/// Slots that are given up, as the API shows them.
pub(super) fn gap_dto(gap: &LaneGap, network: &Network) -> GapDto {
    let name = network.get(&gap.author).map_or("an unknown author", |key| &key.name);
    GapDto {
        why: format!("slots {} to {} of {name} are given up: pruned or void", gap.from, gap.to),
        author: Some(gap.author.to_string()),
        from: Some(gap.from),
        to: Some(gap.to),
        cursor: gap.cursor.to_string(),
    }
}

/// A message as the API shows it.
pub(super) fn dto(row: MessageRow, network: &Network) -> MessageDto {
    MessageDto {
        id: row.id.to_string(),
        author: row.author.to_string(),
        author_name: network.get(&row.author).map(|key| key.name.clone()).unwrap_or_default(),
        seq: row.seq,
        index: row.id.index,
        topic: row.topic,
        payload_base64: row.payload.map(|payload| STANDARD.encode(payload)),
        created_at: row.created_at,
        delivered_at: row.delivered_at,
        hops: row.hops,
        from: row.from.map(|key| key.to_string()),
        cursor: row.cursor.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Entry, u16> {
        let entry = read_json(&Bytes::copy_from_slice(json.as_bytes()));
        entry.and_then(|entry| check(&entry).map(|()| entry)).map_err(|f| f.problem.status)
    }

    #[test]
    fn json_messages_have_one_payload() {
        let entry =
            |topic: &str, payload: &[u8]| Entry { topic: topic.into(), payload: payload.into() };
        assert_eq!(read(r#"{"payload":"hé"}"#), Ok(entry("", "hé".as_bytes())));
        assert_eq!(read(r#"{"topic":"t","payload_base64":"AP8="}"#), Ok(entry("t", &[0, 255])));
        assert_eq!(read(r#"{"payload":""}"#), Ok(entry("", b"")));
        for bad in [
            "",
            "{}",
            "[]",
            "nonsense",
            r#"{"payload":"a","payload_base64":"AA=="}"#,
            r#"{"payload_base64":"A"}"#,
            r#"{"payload":"a","other":1}"#,
            r#"{"payload":1}"#,
            r#"{"payload":"a","payload":"b"}"#,
            r#"{"payload":"\ud800"}"#,
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
        assert_eq!(read(&format!(r#"{{"topic":"{}","payload":""}}"#, "t".repeat(65))), Err(400));
        let long = "x".repeat(MAX_PAYLOAD + 1);
        assert_eq!(read(&format!(r#"{{"payload":"{long}"}}"#)), Err(413));
        assert!(read(&format!(r#"{{"payload":"{}"}}"#, &long[1..])).is_ok());
    }
}
