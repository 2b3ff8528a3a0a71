//! Messages and rejections as server-sent events.
//!
//! A stream reads pages of the store, one after the other, and waits for commits. It therefore
//! skips nothing, and a slow client costs one page of memory. The id of every event is a cursor
//! from which a client can resume.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::app::App;
use super::error::Failure;
use super::input::{self, Params};
use super::messages::{self, MessageParams};
use super::rejections::{self, RejectionParams};
use crate::crypto::PublicKey;
use crate::http::GapDto;
use crate::protocol::{Network, Time};
use crate::store::{
    Cursor, LaneGap, MessageQuery, Page, Reader, RejectionQuery, RejectionRow, StoreError,
};

/// Interval of heartbeats on a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Rows read at a time: initially, and at most.
const STEPS: (usize, usize) = (8, 128);
/// Payload bytes of a chunk after which it ends; the last row may exceed it.
const HELD: usize = 512 << 10;

type Events = Sse<axum::response::sse::KeepAliveStream<ReceiverStream<Result<Event, Infallible>>>>;

/// What a stream reads.
#[derive(Clone)]
enum Feed {
    Messages(MessageQuery),
    Rejections(RejectionQuery),
}

/// An event, the cursor after it, and the length of its payload in bytes.
type Encoded = (Cursor, usize, Result<Event, axum::Error>);

/// Some events, and the cursor to continue from.
struct Chunk {
    gap: Option<String>,
    events: Vec<Event>,
    first: Cursor,
    next: Cursor,
    more: bool,
    /// Whether rows were left for the next chunk because of [`HELD`].
    cut: bool,
}

/// Messages as they are delivered.
///
/// Events are named `message` and follow the schema `MessageDto`. The stream resumes after
/// `Last-Event-ID` or `cursor`; without either it begins with the next message delivered. A `gap`
/// event (`GapDto`) says that something may be missing; if it has `author`, `from` and `to`, those
/// slots are given up.
#[utoipa::path(
    get, path = "/v1/messages/stream", params(MessageParams),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 400),
        (status = 503, description = "Too many streams"),
    )
)]
pub(super) async fn messages(
    State(app): State<App>,
    Params(parameters): Params<MessageParams>,
    headers: HeaderMap,
) -> Result<Events, Failure> {
    let mut query = parameters.query(app.handle().network())?;
    query.limit = STEPS.0;
    query.after = match last_id(&headers)?.or(query.after) {
        Some(cursor) => Some(cursor),
        None => Some(app.read(end_of_messages).await?),
    };
    open(app, Feed::Messages(query))
}

/// Rejections as they happen.
///
/// Events are named `rejection` and follow the schema `RejectionDto`. The stream resumes after
/// `Last-Event-ID` or `cursor`; without either it begins at `since`, or with the next rejection. A
/// `gap` event (`GapDto`) says that something may be missing.
#[utoipa::path(
    get, path = "/v1/rejections/stream", params(RejectionParams),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 400),
        (status = 503, description = "Too many streams"),
    )
)]
pub(super) async fn rejections(
    State(app): State<App>,
    Params(parameters): Params<RejectionParams>,
    headers: HeaderMap,
) -> Result<Events, Failure> {
    let mut query = parameters.query(app.handle())?;
    query.limit = STEPS.0;
    query.after = last_id(&headers)?.or(query.after);
    if query.after.is_none() && query.since.is_none() {
        query.after = Some(app.read(end_of_rejections).await?);
    }
    open(app, Feed::Rejections(query))
}

/// The cursor after the newest message, found as the end of a query that matches nothing.
fn end_of_messages(reader: &Reader) -> Result<Cursor, StoreError> {
    // This key is of small order, so no network file can list it, and the index by author has no
    // entry for it.
    let author = Some(PublicKey([0; 32]));
    let query = |after| MessageQuery { topic: None, author, after, limit: 1 };
    end(|after| reader.messages(&query(after)))
}

/// The cursor after the newest rejection, found in the same way.
fn end_of_rejections(reader: &Reader) -> Result<Cursor, StoreError> {
    let since = Some(Time(u64::MAX));
    let query = |after| RejectionQuery { since, after, limit: 1, ..RejectionQuery::default() };
    end(|after| reader.rejections(&query(after)))
}

/// The cursor after the last page, which `read` reads one by one.
fn end<T>(
    read: impl Fn(Option<Cursor>) -> Result<Page<T>, StoreError>,
) -> Result<Cursor, StoreError> {
    let mut page = read(None)?;
    while page.more {
        page = read(Some(page.next))?;
    }
    Ok(page.next)
}

/// The last event that a reconnecting client has seen, from `Last-Event-ID`.
fn last_id(headers: &HeaderMap) -> Result<Option<Cursor>, Failure> {
    match headers.get("last-event-id") {
        None => Ok(None),
        Some(value) => input::cursor(Some(value.to_str().unwrap_or_default())),
    }
}

fn open(app: App, feed: Feed) -> Result<Events, Failure> {
    let place = app.stream_place()?;
    let (events, receiver) = mpsc::channel(1);
    tokio::spawn(run(app, feed, events, place));
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(heartbeat))
}

/// Feeds one stream until the client is gone or the API stops.
async fn run(
    app: App,
    mut feed: Feed,
    events: mpsc::Sender<Result<Event, Infallible>>,
    _place: OwnedSemaphorePermit,
) {
    let mut stopping = app.stopping();
    let mut commits = app.handle().commits();
    let told = async {
        // An id without data is not an event, but a client that is cut off now resumes from here.
        if let Some(start) = feed.after() {
            events.send(Ok(Event::default().id(start.to_string()))).await.ok()?;
        }
        loop {
            // Marked as seen before the page is read, so that a later commit wakes the next wait.
            commits.borrow_and_update();
            let chunk = feed.read(&app).await?;
            feed.go_on(&chunk);
            for event in chunk.gap_event().into_iter().chain(chunk.events) {
                events.send(Ok(event)).await.ok()?;
            }
            if !chunk.more {
                commits.changed().await.ok()?;
            }
        }
    };
    tokio::select! {
        None::<Infallible> = told => {}
        () = events.closed() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

impl Chunk {
    /// The gap event has no id, so that a client that reconnects after it is told again.
    fn gap_event(&self) -> Option<Event> {
        let why = self.gap.clone()?;
        let data = GapDto { why, cursor: self.first.to_string(), ..GapDto::default() };
        Event::default().event("gap").json_data(data).ok()
    }
}

impl Feed {
    fn after(&mut self) -> &mut Option<Cursor> {
        match self {
            Self::Messages(query) => &mut query.after,
            Self::Rejections(query) => &mut query.after,
        }
    }

    /// Continues after a chunk, with a step that suits the size of its rows.
    fn go_on(&mut self, chunk: &Chunk) {
        *self.after() = Some(chunk.next);
        let limit = match self {
            Self::Messages(query) => &mut query.limit,
            Self::Rejections(query) => &mut query.limit,
        };
        *limit = if chunk.cut { chunk.events.len() } else { *limit * 2 }.clamp(1, STEPS.1);
    }

    async fn read(&self, app: &App) -> Option<Chunk> {
        let (feed, network) = (self.clone(), Arc::clone(app.handle().network()));
        let chunk = app.read(move |reader| feed.chunk(reader, &network)).await;
        // The store has logged the failure. The client reconnects, and nothing is lost.
        chunk.ok()
    }

    fn chunk(&self, reader: &Reader, network: &Network) -> Result<Chunk, StoreError> {
        Ok(match self {
            Self::Messages(query) => Chunk::of(
                reader.messages(query)?,
                |row| {
                    let size = row.payload.as_ref().map_or(0, Vec::len);
                    let event = Event::default().event("message").id(row.cursor.to_string());
                    (row.cursor, size, event.json_data(messages::dto(row, network)))
                },
                // With an id, so that it is sent once, in its place.
                |gap| {
                    let event = Event::default().event("gap").id(gap.cursor.to_string());
                    (gap.cursor, 0, event.json_data(messages::gap_dto(&gap, network)))
                },
            ),
            Self::Rejections(query) => {
                let row = |row: RejectionRow| {
                    let event = Event::default().event("rejection").id(row.cursor.to_string());
                    (row.cursor, 0, event.json_data(rejections::rejection_dto(row)))
                };
                // The rejection log has no gaps.
                let gap = |gap: LaneGap| (gap.cursor, 0, Ok(Event::default()));
                Chunk::of(reader.rejections(query)?, row, gap)
            }
        })
    }
}

impl Chunk {
    /// Encodes rows and the gaps between them until [`HELD`] is reached, and leaves the rest for
    /// the next chunk.
    fn of<T>(page: Page<T>, row: impl Fn(T) -> Encoded, gap: impl Fn(LaneGap) -> Encoded) -> Self {
        let (next, more, mut bytes) = (page.next, page.more, 0);
        let mut chunk = Self { gap: page.gap, events: vec![], first: next, next, more, cut: false };
        let mut rows = page.rows.into_iter().map(row).peekable();
        let mut gaps = page.gaps.into_iter().map(gap).peekable();
        while rows.peek().is_some() || gaps.peek().is_some() {
            if bytes >= HELD {
                (chunk.cut, chunk.more) = (true, true);
                return chunk;
            }
            let before = |(gap, ..): &Encoded| rows.peek().is_none_or(|(row, ..)| gap < row);
            let Some((cursor, size, event)) = gaps.next_if(before).or_else(|| rows.next()) else {
                break;
            };
            if chunk.events.is_empty() {
                chunk.first = cursor;
            }
            (bytes, chunk.next) = (bytes + size, cursor);
            // Cannot fail, as the rows hold only strings and numbers.
            chunk.events.extend(event);
        }
        chunk.next = next;
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(row: i64) -> Cursor {
        Cursor { generation: [1; 8], row, index: 0 }
    }

    #[test]
    fn a_chunk_holds_few_bytes_and_says_where_it_stopped() {
        let author = PublicKey([1; 32]);
        let lane_gap = |row| LaneGap { author, from: 1, to: 2, cursor: cursor(row) };
        let page = |rows: &[(i64, usize)], gaps: &[i64]| {
            let (rows, gaps) = (rows.to_vec(), gaps.iter().copied().map(lane_gap).collect());
            let page = Page { rows, gaps, next: cursor(99), gap: None, more: false };
            let row = |(row, size)| (cursor(row), size, Ok(Event::default()));
            Chunk::of(page, row, |gap| (gap.cursor, 0, Ok(Event::default())))
        };
        let chunk = |rows: &[(i64, usize)]| page(rows, &[]);
        let mixed = page(&[(2, HELD), (4, 1)], &[1, 3]);
        assert_eq!((mixed.events.len(), mixed.next, mixed.first), (2, cursor(2), cursor(1)));
        let mixed = page(&[(2, 1), (4, HELD)], &[1, 3, 5]);
        assert_eq!((mixed.events.len(), mixed.next), (4, cursor(4)), "the last waits for its turn");
        let gaps = page(&[], &[7, 8]);
        assert_eq!((gaps.events.len(), gaps.next, gaps.first), (2, cursor(99), cursor(7)));
        let seen = chunk(&[(1, 10), (2, HELD), (3, 1)]);
        assert_eq!((seen.events.len(), seen.next, seen.first), (2, cursor(2), cursor(1)));
        assert!(seen.cut && seen.more);
        let all = chunk(&[(1, HELD - 1), (2, 4 * HELD)]);
        assert_eq!((all.events.len(), all.next), (2, cursor(99)));
        assert!(!all.cut && !all.more);
        let none = chunk(&[]);
        assert_eq!((none.events.len(), none.next, none.first), (0, cursor(99), cursor(99)));
    }

    #[test]
    fn steps_follow_the_size_of_rows() {
        let mut feed = Feed::Messages(MessageQuery { limit: STEPS.0, ..MessageQuery::default() });
        let limit = |feed: &Feed| match feed {
            Feed::Messages(query) => query.limit,
            Feed::Rejections(query) => query.limit,
        };
        let at = cursor(5);
        let chunk = |number: usize, cut| Chunk {
            gap: None,
            events: (0..number).map(|_| Event::default()).collect(),
            first: at,
            next: at,
            more: true,
            cut,
        };
        for expected in [16, 32, 64, 128, 128] {
            feed.go_on(&chunk(3, false));
            assert_eq!(limit(&feed), expected);
        }
        feed.go_on(&chunk(2, true));
        assert_eq!((limit(&feed), *feed.after()), (2, Some(at)));
    }
}
