//! What handlers read from requests: parameters, filters, bodies.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::Failure;
use crate::crypto::PublicKey;
use crate::protocol::{Network, Reason, Time, micros};
use crate::store::Cursor;

/// Rows of a page if the client sets no limit.
pub(super) const USUAL_LIMIT: usize = 100;
/// Largest limit that a client may set for a page, in rows.
pub(super) const MAX_LIMIT: usize = 1000;
/// Limit on receiving a body, including the wait for memory.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// How much of an oversized body is read and discarded, in bytes, so that the client gets to read
/// the answer…
const MAX_DRAIN: usize = 96 << 20;
/// … and for how long.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Memory for bodies that are being read or published, in KiB, shared by all requests.
pub(super) const BODY_KIB: usize = 32 << 10;

/// Query parameters; answers 400 with a problem document if they do not parse.
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if !is_text(parts.uri.query().unwrap_or_default()) {
            return Err(Failure::bad("a parameter is not UTF-8"));
        }
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::bad(cut(&error.body_text()))),
        }
    }
}

/// The variable segment of a path.
pub(super) struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(error) => Err(Failure::bad(cut(&error.body_text()))),
        }
    }
}

/// Whether a query decodes to UTF-8. Its parser would silently substitute replacement characters.
fn is_text(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *byte == b'%');
        let pair = digits.and_then(|digits| str::from_utf8(digits).ok());
        let escaped = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    str::from_utf8(&bytes).is_ok()
}

/// Cuts a client's text to 300 characters, for a problem's detail.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Parses the rows of a page: 1 to 1000, or 100 if not given.
pub(super) fn limit(given: Option<usize>) -> Result<usize, Failure> {
    match given.unwrap_or(USUAL_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Failure::bad(format!("limit must be 1 to {MAX_LIMIT}"))),
    }
}

/// Parses a cursor, of this or another store.
pub(super) fn cursor(given: Option<&str>) -> Result<Option<Cursor>, Failure> {
    let bad = |_| Failure::bad("cursor is not valid; take one from a list, a row or an event");
    given.map(|text| Cursor::from_str(text).map_err(bad)).transpose()
}

pub(super) fn reason(given: Option<&str>) -> Result<Option<Reason>, Failure> {
    let find = |name| {
        Reason::from_name(name).ok_or_else(|| {
            let names = Reason::ALL.map(Reason::name).join(", ");
            Failure::bad(format!("unknown reason; choose from {names}"))
        })
    };
    given.map(find).transpose()
}

/// Parses a key in hex, or looks up a name in the network file. `what` names the parameter.
pub(super) fn key(
    network: &Network,
    what: &str,
    given: Option<&str>,
) -> Result<Option<PublicKey>, Failure> {
    let find = |text: &str| {
        let named = || network.keys().iter().find(|key| key.name == text).map(|key| key.key);
        PublicKey::from_hex(text).or_else(named).ok_or_else(|| {
            Failure::bad(format!("{what} must be a key in hex or a name in the network file"))
        })
    };
    given.map(find).transpose()
}

/// Parses a point in time: microseconds since 1970, an RFC 3339 time, or a duration before `now`.
pub(super) fn since(given: Option<&str>, now: Time) -> Result<Option<Time>, Failure> {
    let read = |text: &str| {
        if let Ok(micros) = text.parse() {
            return Ok(Time(micros));
        }
        if let Ok(duration) = humantime::parse_duration(text) {
            let micros = micros(duration);
            return Ok(Time(now.0.saturating_sub(micros)));
        }
        if let Ok(time) = jiff::Timestamp::from_str(text) {
            return Ok(Time(u64::try_from(time.as_microsecond()).unwrap_or(0)));
        }
        Err(Failure::bad(
            "since must be microseconds since 1970, a time like 2026-01-31T12:00:00Z, or a \
             duration like 5m",
        ))
    };
    given.map(read).transpose()
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A body, with its share of the memory for bodies, which is freed on drop.
pub(super) struct Received {
    pub bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Reads a body of at most `most` bytes. Nothing of a longer one is kept, but it is read for a
/// while longer: a client that is still writing would otherwise see a broken connection instead of
/// the answer.
pub(super) async fn receive(
    memory: &Arc<Semaphore>,
    request: Request,
    most: usize,
) -> Result<Received, Failure> {
    let too_long = || Failure::too_long(format!("a body here has at most {most} bytes"));
    let headers = request.headers();
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    // With `Expect: 100-continue` the client sends nothing until told to, so there is nothing to
    // drain.
    let waits = headers.contains_key(EXPECT);
    let mut body = request.into_body();
    if announced.is_some_and(|length: usize| length > most) {
        if !waits {
            drain(&mut body).await;
        }
        return Err(too_long());
    }
    let deadline = Instant::now() + BODY_LIMIT;
    let kib = u32::try_from(announced.unwrap_or(most).div_ceil(1024)).unwrap_or(u32::MAX);
    let share = timeout_at(deadline, Arc::clone(memory).acquire_many_owned(kib)).await;
    let Ok(Ok(share)) = share else {
        return Err(Failure::busy("too many long bodies are being received"));
    };
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(most));
    loop {
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            return Err(Failure::of(StatusCode::REQUEST_TIMEOUT, "the body took too long"));
        };
        match frame {
            None => return Ok(Received { bytes: bytes.into(), _share: share }),
            Some(Err(_)) => return Err(Failure::bad("the body is incomplete")),
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                if bytes.len() + data.len() > most {
                    drop((bytes, share));
                    drain(&mut body).await;
                    return Err(too_long());
                }
                bytes.extend_from_slice(data);
            }
        }
    }
}

async fn drain(body: &mut Body) {
    let deadline = Instant::now() + DRAIN_LIMIT;
    let mut left = MAX_DRAIN;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let now = Time(10_000_000_000);
        let read = |text| since(Some(text), now).map(|time| time.map(|time| time.0));
        assert_eq!(read("1234567").expect("micros"), Some(1_234_567));
        assert_eq!(read("5m").expect("a duration"), Some(10_000_000_000 - 300_000_000));
        assert_eq!(read("250ms").expect("a duration"), Some(10_000_000_000 - 250_000));
        assert_eq!(read("900y").expect("a long duration"), Some(0));
        assert_eq!(read("1970-01-01T00:00:02Z").expect("a time"), Some(2_000_000));
        assert_eq!(read("1970-01-01T01:00:02+01:00").expect("a time"), Some(2_000_000));
        assert_eq!(read("1960-01-01T00:00:02Z").expect("an old time"), Some(0));
        for bad in ["", "yesterday", "-5m", "5", "2026-01-31"] {
            assert_eq!(read(bad).is_err(), bad != "5", "{bad}");
        }
    }

    #[test]
    fn queries_stand_for_text() {
        for text in ["", "topic=a%20b", "topic=%C3%a9", "a=%", "a=%4", "a=%zz", "%00", "a=é"] {
            assert!(is_text(text), "{text}");
        }
        for other in ["topic=%ff", "a=%c3", "a=%C3%28", "a=1&b=%80"] {
            assert!(!is_text(other), "{other}");
        }
    }

    #[test]
    fn limits_and_reasons_are_checked() {
        assert_eq!(limit(None).expect("usual"), USUAL_LIMIT);
        assert!(limit(Some(0)).is_err() && limit(Some(1001)).is_err());
        assert_eq!(reason(Some("replayed")).expect("known"), Some(Reason::Replayed));
        let error = reason(Some("nope")).expect_err("unknown");
        assert!(error.problem.detail.contains("bad_signature"));
        for bad in ["", "x", "0-0-0", &"f".repeat(200)] {
            assert!(cursor(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_what_says_so() {
        let mut headers = HeaderMap::new();
        assert!(!is_json(&headers));
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonx", false),
            ("text/plain", false),
        ] {
            headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
            assert_eq!(is_json(&headers), expected, "{kind}");
        }
    }

    #[tokio::test]
    async fn long_bodies_are_refused_and_their_share_is_given_back() {
        let memory = Arc::new(Semaphore::new(BODY_KIB));
        let ask = |body: Body| receive(&memory, Request::new(body), 4096);
        let good = ask(Body::from(vec![1; 4096])).await.map(|body| body.bytes.len());
        assert_eq!(good.map_err(|failure| failure.problem.status), Ok(4096));
        let long = ask(Body::from(vec![1; 4097])).await.map(|body| body.bytes.len());
        assert_eq!(long.map_err(|failure| failure.problem.status), Err(413));
        let mut announced = Request::new(Body::empty());
        announced.headers_mut().insert(CONTENT_LENGTH, "99999999999".parse().expect("a value"));
        let long = receive(&memory, announced, 4096).await.map(|body| body.bytes.len());
        assert_eq!(long.map_err(|failure| failure.problem.status), Err(413));
        assert_eq!(memory.available_permits(), BODY_KIB);
    }
}
