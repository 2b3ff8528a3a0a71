//! The open connections. When there are too many, one that has no request ends, so that idle
//! clients cannot lock others out. Writes have a deadline: a client that stops reading is dropped,
//! and the buffers held for it are freed.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{self, Sleep, sleep};

/// All connections of one API server.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    held: BTreeMap<u64, Held>,
}

struct Held {
    /// Number of requests whose answers are not sent yet.
    requests: usize,
    /// When the connection began, or when its last answer ended.
    since: Instant,
    end: Arc<Notify>,
}

/// One connection's entry, removed on drop.
pub(super) struct Connection {
    all: Arc<Connections>,
    number: u64,
    end: Arc<Notify>,
}

/// A request in progress, until the last byte of its answer.
pub(super) struct Request {
    all: Arc<Connections>,
    number: u64,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. If there are `most` already, the one that has been idle for longest is
    /// told to end; if none is idle, the one that has gone longest without completing an answer.
    pub(super) fn add(self: &Arc<Self>, most: usize) -> Connection {
        let mut open = self.lock();
        if open.held.len() >= most {
            let idle = |held: &&Held| (held.requests > 0, held.since);
            if let Some(held) = open.held.values().min_by_key(idle) {
                held.end.notify_one();
            }
        }
        let (number, end) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        let (since, told) = (Instant::now(), end.clone());
        open.held.insert(number, Held { requests: 0, since, end: told });
        Connection { all: self.clone(), number, end }
    }
}

impl Connection {
    /// Counts a request that begins on this connection.
    pub(super) fn request(&self) -> Request {
        if let Some(held) = self.all.lock().held.get_mut(&self.number) {
            held.requests += 1;
        }
        Request { all: self.all.clone(), number: self.number }
    }

    /// Resolves when this connection must end to make room for another.
    pub(super) async fn wanted(&self) {
        self.end.notified().await;
    }
}

impl Request {
    /// Ties this request to the answer's body: it ends when the body is dropped.
    pub(super) fn until_sent(self, response: Response) -> Response {
        response.map(|body| Body::new(Answer { body, _request: self }))
    }
}

/// A body, and the request that ends with it.
struct Answer {
    body: Body,
    _request: Request,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(held) = self.all.lock().held.get_mut(&self.number) {
            held.requests = held.requests.saturating_sub(1);
            held.since = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.lock().held.remove(&self.number);
    }
}

/// A TCP stream whose writes fail if they make no progress for longer than `limit`.
pub(super) struct Patient {
    stream: TcpStream,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Patient {
    /// Wraps a stream; a write that waits for `limit` fails with `TimedOut`.
    pub(super) fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, timer: Box::pin(sleep(limit)), waiting: false }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            self.timer.as_mut().reset(time::Instant::now() + self.limit);
        }
        self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn ended(place: &Connection) -> bool {
        tokio::time::timeout(Duration::from_millis(10), place.wanted()).await.is_ok()
    }

    #[tokio::test]
    async fn whoever_is_idle_for_longest_gives_way() {
        let all = Arc::new(Connections::default());
        let places: Vec<Connection> = (0..3).map(|_| all.add(3)).collect();
        let busy = places[0].request();
        drop(places[1].request());
        let fourth = all.add(3);
        assert!(ended(&places[2]).await, "it was idle before the one that was answered");
        drop(busy);
        for place in [&places[0], &places[1], &fourth] {
            assert!(!ended(place).await);
        }
    }

    #[tokio::test]
    async fn a_request_lasts_until_its_answer_is_sent() {
        let all = Arc::new(Connections::default());
        let place = all.add(8);
        let answer = place.request().until_sent(Response::new(Body::from("x")));
        let requests = || all.lock().held[&place.number].requests;
        assert_eq!((requests(), answer.body().size_hint().exact()), (1, Some(1)));
        answer.into_body().collect().await.expect("a body");
        assert_eq!(requests(), 0);
        let number = place.number;
        drop(place);
        assert!(!all.lock().held.contains_key(&number));
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let _silent = TcpStream::connect(address).await.expect("connects");
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut patient = Patient::new(stream, Duration::from_millis(100));
        let piece = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = patient.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
