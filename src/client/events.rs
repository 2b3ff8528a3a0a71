//! Server-sent events (WHATWG HTML, 9.2), parsed within bounds and resumed after a lost connection.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::ClientError;
use super::connection::{Answer, Connections, origin, refusal, request};
use crate::http::GapDto;

/// Content type of an event stream.
const EVENTS: &str = "text/event-stream";
/// Limit on connecting and reading the answer's head.
const OPEN_LIMIT: Duration = Duration::from_secs(4);
/// A stream that is silent for this long is dead: servers send a heartbeat every 10 s.
const SILENCE: Duration = Duration::from_secs(35);
/// How long to retry a lost stream before the caller gets the error; shorter in tests.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// First and longest pause between retries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Longest event in bytes: a message of 1 MiB in base64, with room for its other fields.
const MAX_EVENT: usize = 4 << 20;
/// Longest body of an error answer, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// An event of a stream.
#[derive(Clone, Debug)]
pub enum StreamEvent<T> {
    /// The next row of the log or list.
    Item(T),
    /// Rows may be missing at this point; the gap says why.
    Gap(GapDto),
}

/// A stream of rows that survives reconnections and gives each row once.
pub struct EventStream<T> {
    connections: Arc<Connections>,
    path: String,
    last_id: Option<String>,
    body: Option<Incoming>,
    parser: Parser,
    /// When retrying began and how long the next pause is; `None` once bytes have arrived since. A
    /// stream that opens and ends at once thus counts as lost, like one that does not open.
    lost: Option<(Instant, Duration)>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> EventStream<T> {
    pub(super) async fn open(
        connections: Arc<Connections>,
        path: String,
        after: Option<&str>,
    ) -> Result<Self, ClientError> {
        let mut stream = Self {
            connections,
            path,
            last_id: after.map(str::to_owned),
            body: None,
            parser: Parser::default(),
            lost: None,
            items: PhantomData,
        };
        stream.connect().await?;
        Ok(stream)
    }

    /// The cursor of the last event seen, to resume from later.
    pub fn cursor(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event. Waits until there is one; cancel safe.
    ///
    /// # Errors
    /// When the node refuses, is unreachable for half a minute, or sends an event that cannot be
    /// read.
    pub async fn next(&mut self) -> Result<StreamEvent<T>, ClientError> {
        loop {
            if let Some(event) = self.parser.ready.pop_front() {
                if let Some(id) = event.id {
                    self.last_id = Some(id);
                }
                match event.name.as_str() {
                    _ if event.data.is_empty() => {}
                    "gap" => return Ok(StreamEvent::Gap(self.decode(&event.data)?)),
                    "message" | "rejection" => {
                        return Ok(StreamEvent::Item(self.decode(&event.data)?));
                    }
                    _ => {}
                }
            } else if !self.fill().await? {
                self.body = None;
                self.reconnect().await?;
            }
        }
    }

    /// Reads some bytes; `false` if the connection is lost.
    async fn fill(&mut self) -> Result<bool, ClientError> {
        let Some(body) = &mut self.body else { return Ok(false) };
        let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await else { return Ok(false) };
        if let Some(data) = frame.data_ref() {
            self.lost = None;
            self.parser.feed(data).map_err(|TooLong| {
                let url = self.connections.url(&self.path);
                ClientError::Broken(format!("{url}: an event is longer than {MAX_EVENT} bytes"))
            })?;
        }
        Ok(true)
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        let (since, mut pause) = self.lost.unwrap_or((Instant::now(), PAUSES.0));
        if since.elapsed() >= PATIENCE {
            let url = self.connections.url(&self.path);
            return Err(ClientError::Broken(format!("{url}: the stream ends at once")));
        }
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match self.connect().await {
                Ok(()) => break,
                Err(ClientError::Refused(problem)) if problem.status != 503 => {
                    return Err(ClientError::Refused(problem));
                }
                Err(error @ ClientError::Broken(_)) => return Err(error),
                Err(error) if since.elapsed() >= PATIENCE => return Err(error),
                Err(_) => {}
            }
        }
        self.lost = Some((since, pause));
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        // The first connection passes its cursor like later ones: this header and `?cursor=` mean
        // the same.
        let mut request = request(Method::GET, &self.path, None)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(EVENTS));
        if let Some(id) = &self.last_id {
            let id = HeaderValue::from_str(id)
                .map_err(|_| ClientError::Broken(format!("{id:?} is not a cursor")))?;
            request.headers_mut().insert("last-event-id", id);
        }
        let response = self.connections.open(request, OPEN_LIMIT).await?;
        let (status, origin) = (response.status().as_u16(), origin(&response));
        if status != 200 {
            let body = http_body_util::Limited::new(response.into_body(), MAX_REFUSAL).collect();
            let body = timeout(OPEN_LIMIT, body).await;
            let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes());
            let answer = Answer { status, origin, body: body.unwrap_or_default() };
            return Err(refusal(&answer, self.connections.url(&self.path)));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes())) {
            let url = self.connections.url(&self.path);
            return Err(ClientError::Broken(format!(
                "{url}: answered {status} ({origin}), but not with events; is --api right?"
            )));
        }
        self.parser = Parser::default();
        self.body = Some(response.into_body());
        Ok(())
    }

    fn decode<D: DeserializeOwned>(&self, data: &str) -> Result<D, ClientError> {
        serde_json::from_str(data).map_err(|error| {
            let url = self.connections.url(&self.path);
            ClientError::Broken(format!("{url}: unexpected event: {error}"))
        })
    }
}

/// An event is longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    name: String,
    data: String,
}

/// Parses bytes into events. Lines end with LF or CR LF. A lone CR is not a line end: our servers
/// never send one.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    event: Event,
    ready: VecDeque<Event>,
}

impl Parser {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(line.strip_suffix(b"\r").unwrap_or(&line));
        }
        self.extend(bytes)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.event.data.len() + bytes.len() > MAX_EVENT {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event != Event::default() {
                self.ready.push_back(event);
            }
            return;
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        ": beat\n\nid: 7\n\nevent: message\nid:8\r\ndata: {\"a\":\ndata: 1}\n\ndata: x";

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        let event = |id: &str, name: &str, data: &str| Event {
            id: Some(id.into()),
            name: name.into(),
            data: data.into(),
        };
        for size in 1..=TEXT.len() {
            let mut parser = Parser::default();
            for piece in TEXT.as_bytes().chunks(size) {
                parser.feed(piece).expect("fits");
            }
            let expected = [event("7", "", ""), event("8", "message", "{\"a\":\n1}")];
            assert_eq!(Vec::from(parser.ready), expected, "{size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let piece = [b'x'; 1 << 16];
        assert!((0..100).any(|_| parser.feed(&piece) == Err(TooLong)));
        let mut parser = Parser::default();
        let piece = format!("data: {}\n", "x".repeat(1 << 16));
        assert!((0..100).any(|_| parser.feed(piece.as_bytes()) == Err(TooLong)));
    }
}
