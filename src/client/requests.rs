//! One method for each route.

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

/// Longer than a server takes at most, so that its own answer comes first.
const USUAL: Bounds = Bounds { time: Duration::from_secs(40), bytes: 64 << 20 };
/// For questions whose late answer is a no.
const PROBE: Bounds = Bounds { time: Duration::from_secs(2), bytes: 64 << 10 };

/// Which rejections. Keys are hex or names of the network file; `since` is microseconds since 1970,
/// a time by RFC 3339, or a duration like `5m`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RejectionFilter {
    pub reason: Option<String>,
    pub peer: Option<String>,
    pub author: Option<String>,
    pub since: Option<String>,
    /// With what is kept of each frame.
    pub frames: bool,
}

/// A client of one node. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    connections: Arc<Connections>,
}

impl Client {
    /// A client of the API at `base`, `http://HOST:PORT`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address or the token cannot be used.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let connections = Connections::new(Target::parse(base)?, token)?;
        Ok(Self { connections: Arc::new(connections) })
    }

    /// The same for a person who waits: a server that says nothing is given up within 5 s, also
    /// where an answer may take longer.
    ///
    /// # Errors
    /// When the address or the token cannot be used.
    pub fn watchful(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let connections = Connections::new(Target::parse(base)?, token)?.watchful();
        Ok(Self { connections: Arc::new(connections) })
    }

    /// Whether the node answers `/healthz` within two seconds.
    pub async fn healthy(&self) -> bool {
        self.probe("/healthz").await
    }

    /// Whether the node is linked.
    pub async fn ready(&self) -> bool {
        self.probe("/readyz").await
    }

    /// Publishes a payload of any bytes; answered after it is durable.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(&self, topic: &str, payload: &[u8]) -> Result<Posted, ClientError> {
        let topic = (!topic.is_empty()).then_some(topic);
        let path = with_query("/v1/messages", &[("topic", topic)]);
        let body = Bytes::copy_from_slice(payload);
        self.send(Method::POST, &path, Some(("application/octet-stream", body))).await
    }

    /// Publishes a batch that an author signed.
    ///
    /// # Errors
    /// See [`ClientError`]; a refusal carries `reason` (422) or `expected` (409).
    pub async fn post_signed(&self, batch: &SignedDto) -> Result<Posted, ClientError> {
        let body = encode(batch)?;
        self.send(Method::POST, "/v1/messages/signed", Some(("application/json", body))).await
    }

    /// The node's state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<StatusDto, ClientError> {
        self.get("/v1/status").await
    }

    /// Every other member, and how this node stands with it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<PeerDto>, ClientError> {
        self.get("/v1/peers").await
    }

    /// The network file, as the node read it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn network(&self) -> Result<NetworkDto, ClientError> {
        self.get("/v1/network").await
    }

    /// What a malicious node tried; `None` from an honest one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attempts(&self) -> Result<Option<AttemptsDto>, ClientError> {
        absent(self.get("/v1/attempts").await)
    }

    /// Replaces what is done to the node's links; the client needs the node's lab token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn impair(
        &self,
        impairments: &[ImpairmentDto],
    ) -> Result<Vec<ImpairmentDto>, ClientError> {
        let body = encode(&impairments)?;
        self.send(Method::PUT, "/v1/lab/impairments", Some(("application/json", body))).await
    }

    /// A page of messages after a cursor, oldest first. `author` is a key or a name.
    ///
    /// # Errors
    /// See [`ClientError`].
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

    /// One message; `None` if the node does not have it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn message(&self, id: &str) -> Result<Option<MessageDto>, ClientError> {
        absent(self.get(&format!("/v1/messages/{}", segment(id))).await)
    }

    /// A page of rejections after a cursor, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rejections(
        &self,
        filter: &RejectionFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListDto<RejectionDto>, ClientError> {
        self.get(&filter.path("/v1/rejections", after, Some(&limit.to_string()))).await
    }

    /// One rejection, with what is kept of its frame; `None` if the log has no such row.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rejection(&self, row: i64) -> Result<Option<RejectionDto>, ClientError> {
        absent(self.get(&format!("/v1/rejections/{row}")).await)
    }

    /// Rejections counted by reason and link.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rejection_summary(
        &self,
        filter: &RejectionFilter,
    ) -> Result<Vec<SummaryRow>, ClientError> {
        self.get(&filter.path("/v1/rejections/summary", None, None)).await
    }

    /// Rejections as they happen, or all after a cursor and then those that happen.
    ///
    /// # Errors
    /// When the first connection fails; later ones are tried again.
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

/// An answer that no node gives names who gave it.
fn foreign(url: &str, answer: &Answer, error: &serde_json::Error) -> ClientError {
    let (status, origin) = (answer.status, &answer.origin);
    ClientError::Broken(format!(
        "{url}: answered {status} ({origin}), and not as a loyal node does: {error}; is --api right?"
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
