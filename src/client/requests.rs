//! The client's methods, one for each route.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ClientError;
use super::connection::{Answer, Bounds, Connections, refusal, request};
use super::events::EventStream;
use super::target::{Target, segment, with_query};
use crate::http::{
    AttemptsDto, ImpairmentDto, ListDto, MessageDto, NetworkDto, PeerDto, Posted, RejectionDto,
    SignedDto, StatusDto, SummaryRow,
};

/// Longer than the server's own request limit, so that its answer comes first.
const USUAL: Bounds = Bounds { time: Duration::from_secs(40), bytes: 64 << 20 };
/// For probes: an answer later than this counts as a no.
const PROBE: Bounds = Bounds { time: Duration::from_secs(2), bytes: 64 << 10 };

/// Selects rejections. Keys are hex or names in the network file; `since` is microseconds since
/// 1970, an RFC 3339 time, or a duration before now like `5m`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RejectionFilter {
    pub reason: Option<String>,
    pub peer: Option<String>,
    pub author: Option<String>,
    pub since: Option<String>,
    /// Whether to include the stored bytes of each frame.
    pub frames: bool,
}

/// A client of one node. Clones are cheap and share the connections. Unless it says otherwise, a
/// method may return any [`ClientError`].
#[derive(Clone)]
pub struct Client {
    connections: Arc<Connections>,
}

impl Client {
    /// A client of the API at `base`, `http://HOST:PORT`. It does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the address or the token cannot be used.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let connections = Connections::new(Target::parse(base)?, token)?;
        Ok(Self { connections: Arc::new(connections) })
    }

    /// Like [`Client::new`], for interactive use: gives up within 5 s on a server that says
    /// nothing, even for a request that may take longer.
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the address or the token cannot be used.
    pub fn watchful(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let connections = Connections::new(Target::parse(base)?, token)?.watchful();
        Ok(Self { connections: Arc::new(connections) })
    }

    /// Returns whether the node answers `/healthz` within two seconds.
    pub async fn healthy(&self) -> bool {
        self.probe("/healthz").await
    }

    /// Returns whether the node answers `/readyz` with 200 within two seconds: it has a ready link,
    /// or is the only member, and its threads and files work.
    pub async fn ready(&self) -> bool {
        self.probe("/readyz").await
    }

    /// Publishes a payload of arbitrary bytes; returns once it is durable.
    pub async fn post(&self, topic: &str, payload: &[u8]) -> Result<Posted, ClientError> {
        let topic = (!topic.is_empty()).then_some(topic);
        let path = with_query("/v1/messages", &[("topic", topic)]);
        let body = Bytes::copy_from_slice(payload);
        self.send(Method::POST, &path, Some(("application/octet-stream", body))).await
    }

    /// Publishes a batch that its author signed.
    ///
    /// # Errors
    /// See [`ClientError`]; the problem of a refusal has `reason` (422) or `expected` (409).
    pub async fn post_signed(&self, batch: &SignedDto) -> Result<Posted, ClientError> {
        let body = encode(batch)?;
        self.send(Method::POST, "/v1/messages/signed", Some(("application/json", body))).await
    }

    /// The node's state.
    pub async fn status(&self) -> Result<StatusDto, ClientError> {
        self.get("/v1/status").await
    }

    /// Every other member, and its state as this node sees it.
    pub async fn peers(&self) -> Result<Vec<PeerDto>, ClientError> {
        self.get("/v1/peers").await
    }

    /// The network file as the node read it.
    pub async fn network(&self) -> Result<NetworkDto, ClientError> {
        self.get("/v1/network").await
    }

    /// The attempts of a malicious node; `None` for an honest one.
    pub async fn attempts(&self) -> Result<Option<AttemptsDto>, ClientError> {
        absent(self.get("/v1/attempts").await)
    }

    /// Replaces all impairments of the node's links and returns those in force. The client needs
    /// the node's lab token.
    pub async fn impair(
        &self,
        impairments: &[ImpairmentDto],
    ) -> Result<Vec<ImpairmentDto>, ClientError> {
        let body = encode(&impairments)?;
        self.send(Method::PUT, "/v1/lab/impairments", Some(("application/json", body))).await
    }

    /// A page of messages after a cursor, oldest first. `author` is a key or a name in the network
    /// file; `limit` is 1 to 1000.
    pub async fn messages(
        &self,
        topic: Option<&str>,
        author: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListDto<MessageDto>, ClientError> {
        let limit = limit.to_string();
        let path = with_query(
            "/v1/messages",
            &[("topic", topic), ("author", author), ("cursor", after), ("limit", Some(&limit))],
        );
        self.get(&path).await
    }

    /// One message; `None` if the node does not hold it.
    pub async fn message(&self, id: &str) -> Result<Option<MessageDto>, ClientError> {
        absent(self.get(&format!("/v1/messages/{}", segment(id))).await)
    }

    /// A page of rejections after a cursor, oldest first.
    pub async fn rejections(
        &self,
        filter: &RejectionFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListDto<RejectionDto>, ClientError> {
        self.get(&filter.path("/v1/rejections", after, Some(&limit.to_string()))).await
    }

    /// One rejection with the stored bytes of its frame; `None` if the log has no such row.
    pub async fn rejection(&self, row: i64) -> Result<Option<RejectionDto>, ClientError> {
        absent(self.get(&format!("/v1/rejections/{row}")).await)
    }

    /// Counts of rejections by reason, peer and how they count.
    pub async fn rejection_summary(
        &self,
        filter: &RejectionFilter,
    ) -> Result<Vec<SummaryRow>, ClientError> {
        self.get(&filter.path("/v1/rejections/summary", None, None)).await
    }

    /// Streams rejections: without a cursor from now on (or from `since`), with one from just after
    /// it.
    ///
    /// # Errors
    /// When the first connection fails; later failures are retried.
    pub async fn rejection_stream(
        &self,
        filter: &RejectionFilter,
        after: Option<&str>,
    ) -> Result<EventStream<RejectionDto>, ClientError> {
        let path = filter.path("/v1/rejections/stream", None, None);
        EventStream::open(Arc::clone(&self.connections), path, after).await
    }

    async fn probe(&self, path: &str) -> bool {
        let Ok(request) = request(Method::GET, path, None) else { return false };
        self.connections.exchange(request, PROBE).await.is_ok_and(|answer| answer.status == 200)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<T, ClientError> {
        let answer = self.connections.exchange(request(method, path, body)?, USUAL).await?;
        let url = self.connections.url(path);
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&answer, url));
        }
        serde_json::from_slice(&answer.body).map_err(|error| foreign(&url, &answer, &error))
    }
}

impl RejectionFilter {
    fn path(&self, path: &str, after: Option<&str>, limit: Option<&str>) -> String {
        with_query(
            path,
            &[
                ("reason", self.reason.as_deref()),
                ("peer", self.peer.as_deref()),
                ("author", self.author.as_deref()),
                ("since", self.since.as_deref()),
                ("cursor", after),
                ("limit", limit),
                ("frames", self.frames.then_some("true")),
            ],
        )
    }
}

/// The error for an answer that no node gives; it names the server that gave it.
fn foreign(url: &str, answer: &Answer, error: &serde_json::Error) -> ClientError {
    let (status, origin) = (answer.status, &answer.origin);
    ClientError::Broken(format!(
        "{url}: answered {status} ({origin}), but not as a loyal node does: {error}; is --api \
         right?"
    ))
}

fn absent<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| ClientError::Broken(format!("cannot be written as JSON: {error}")))
}
