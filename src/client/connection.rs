//! Connections to one node, which are reused.

use std::sync::Mutex;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::StatusCode;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ClientError, target::Target};
use crate::http::Problem;

/// Most idle connections that are kept.
const MAX_IDLE: usize = 8;
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

type Sender = SendRequest<Full<Bytes>>;

/// How long a server may be silent before `/healthz` is asked, and how long that answer may take.
const SILENCE: Duration = Duration::from_millis(2500);
const SIGN_OF_LIFE: Duration = Duration::from_millis(1500);
/// Longest answer to `/healthz`, in bytes: one word, or a problem document.
const MAX_SIGN: usize = 4096;
/// Longest `Server` or `Content-Type` value in a message, in characters.
const MAX_NAME: usize = 60;

/// An answer that was read completely.
pub(super) struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// Its content type and server, for error messages; see [`origin`].
    pub origin: String,
    /// The whole body, within [`Bounds::bytes`].
    pub body: Bytes,
}

/// Limits on the time and the size of an exchange.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// From connecting until the last byte of the answer is read.
    pub time: Duration,
    /// Longest body of an answer, in bytes.
    pub bytes: usize,
}

/// Connections to one target.
pub(super) struct Connections {
    target: Target,
    token: Option<HeaderValue>,
    /// Whether to give up early on a server that says nothing.
    watchful: bool,
    idle: Mutex<Vec<Sender>>,
}

impl Connections {
    /// Prepares connections to `target`; none is made yet. Fails if the token does not fit a
    /// header.
    pub(super) fn new(target: Target, token: Option<String>) -> Result<Self, ClientError> {
        let token = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    ClientError::Broken("a token has printable ASCII characters only".into())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { target, token, watchful: false, idle: Mutex::new(Vec::new()) })
    }

    /// Gives up early on a server that says nothing; see [`Connections::silent`].
    pub(super) fn watchful(mut self) -> Self {
        self.watchful = true;
        self
    }

    /// The full URL of a path, for error messages.
    pub(super) fn url(&self, path: &str) -> String {
        self.target.url(path)
    }

    /// Sends one request and reads its whole answer.
    pub(super) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Answer, ClientError> {
        let url = self.url(&request.uri().to_string());
        let exchange = async {
            let (response, sender) = self.send(request, &url).await?;
            let (status, origin) = (response.status().as_u16(), origin(&response));
            let body = read(response.into_body(), bounds.bytes, &url).await?;
            self.keep(sender);
            Ok(Answer { status, origin, body })
        };
        let exchange = timeout(bounds.time, exchange);
        let answer = if self.watchful {
            tokio::select! {
                answer = exchange => answer,
                () = self.silent() => return Err(silent(&url)),
            }
        } else {
            exchange.await
        };
        answer.unwrap_or_else(|_| Err(late(&url, bounds.time)))
    }

    /// Returns once the server has been silent for a while and does not answer `/healthz` either.
    /// Never returns if it does: a slow node is waited for.
    async fn silent(&self) {
        tokio::time::sleep(SILENCE).await;
        let url = self.url("/healthz");
        let ask = async {
            let mut sender = self.connect(&url).await?;
            let request = Request::get("/healthz").body(Full::default());
            let request = request.map_err(|error| ClientError::Broken(error.to_string()))?;
            let sent = sender.send_request(self.complete(request)).await;
            let answer = sent.map_err(|error| broke(&url, &error))?;
            let told = origin(&answer).contains("problem+json");
            let body = read(answer.into_body(), MAX_SIGN, &url).await?;
            Ok(told || body.starts_with(b"alive"))
        };
        let answer: Result<Result<bool, ClientError>, _> = timeout(SIGN_OF_LIFE, ask).await;
        if answer.is_ok_and(|answer| answer.is_ok_and(|is_node| is_node)) {
            std::future::pending::<()>().await;
        }
    }

    /// Sends a request whose answer is a stream, on a connection of its own. The limit covers the
    /// answer's head.
    pub(super) async fn open(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let url = self.url(&request.uri().to_string());
        let open = async {
            let mut sender = self.connect(&url).await?;
            let sent = sender.send_request(self.complete(request)).await;
            sent.map_err(|error| broke(&url, &error))
        };
        timeout(limit, open).await.unwrap_or_else(|_| Err(late(&url, limit)))
    }

    /// Sends on an idle connection or a new one. A request that an idle connection certainly did
    /// not send (the server had closed it) is sent again. A GET is sent again in any case, up to
    /// once per idle connection.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        url: &str,
    ) -> Result<(Response<Incoming>, Sender), ClientError> {
        let mut request = self.complete(request);
        let spare = request.method().is_safe().then(|| request.clone());
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message().or_else(|| spare.clone()) {
                    Some(again) => request = again,
                    None => return Err(broke(url, error.error())),
                },
            }
        }
        let mut sender = self.connect(url).await?;
        let response = sender.send_request(request).await.map_err(|error| broke(url, &error))?;
        Ok((response, sender))
    }

    async fn connect(&self, url: &str) -> Result<Sender, ClientError> {
        let address = (self.target.host.as_str(), self.target.port);
        let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Err(_) => return Err(late(url, CONNECT_LIMIT)),
            Ok(Err(error)) => {
                return Err(ClientError::Unreachable(format!("{url}: cannot connect: {error}")));
            }
            Ok(Ok(stream)) => stream,
        };
        // Do not hold back a small request until the previous one is acknowledged.
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| broke(url, &error))?;
        // The task ends with its sender and the body being read; they see its errors.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn complete(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        if let Ok(host) = HeaderValue::try_from(&self.target.authority) {
            request.headers_mut().insert(HOST, host);
        }
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        request
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().ok()?;
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep(&self, sender: Sender) {
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < MAX_IDLE
            && !sender.is_closed()
        {
            idle.push(sender);
        }
    }
}

/// Reads a body of at most `most` bytes; a longer one is an error.
async fn read(mut body: Incoming, most: usize, url: &str) -> Result<Bytes, ClientError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broke(url, &error))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > most {
                return Err(ClientError::Broken(format!(
                    "{url}: the answer is longer than {most} bytes"
                )));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.into())
}

fn late(url: &str, limit: Duration) -> ClientError {
    let limit = humantime::format_duration(limit);
    ClientError::Unreachable(format!("{url}: no answer within {limit}"))
}

fn silent(url: &str) -> ClientError {
    ClientError::Unreachable(format!(
        "{url}: no answer, and none from /healthz; is a node listening there, and is it running?"
    ))
}

/// The content type and server of an answer, with unprintable characters escaped.
pub(super) fn origin<T>(response: &Response<T>) -> String {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        let text = String::from_utf8_lossy(value.as_bytes());
        Some(text.chars().take(MAX_NAME).collect::<String>().escape_debug().to_string())
    };
    let kind = header("content-type").unwrap_or_else(|| "no content type".into());
    header("server").map_or_else(|| kind.clone(), |server| format!("{kind}, from {server}"))
}

fn broke(url: &str, error: &hyper::Error) -> ClientError {
    if error.is_parse() {
        return ClientError::Broken(format!(
            "{url}: the server there does not speak HTTP, so it is not a loyal node's API ({error})"
        ));
    }
    ClientError::Unreachable(format!("{url}: the connection broke: {error}"))
}

/// Builds a request without `Host`, which [`Connections`] adds.
pub(super) fn request(
    method: Method,
    path: &str,
    body: Option<(&'static str, Bytes)>,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let builder = Request::builder().method(method).uri(path).header(ACCEPT, "*/*");
    let (builder, body) = match body {
        Some((kind, body)) => (builder.header(CONTENT_TYPE, kind), body),
        None => (builder, Bytes::new()),
    };
    builder
        .body(Full::new(body))
        .map_err(|error| ClientError::Broken(format!("{path}: not a valid request: {error}")))
}

/// The error for an answer with an error status, even if it is not a problem document.
pub(super) fn refusal(answer: &Answer, url: String) -> ClientError {
    // A node answers every error with a problem document.
    let told: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let foreign = told.is_none();
    let problem = told.unwrap_or_else(|| {
        let status =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        let (text, origin) = (text.escape_debug(), &answer.origin);
        Problem::of(
            status,
            format!("{text} ({origin}: not a loyal node's answer; is --api right?)"),
        )
    });
    let problem = Problem { status: answer.status, instance: Some(url), ..problem };
    let refused = ClientError::Refused(Box::new(problem));
    // A 404 of another server does not mean that a node has no such row.
    if foreign && answer.status == 404 {
        return ClientError::Broken(refused.to_string());
    }
    refused
}
