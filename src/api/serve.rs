//! Listening, serving connections, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::app::App;
use super::connections::{Connection, Connections, Patient};
use super::error::ApiError;
use super::router::router;
use crate::diagnostics::Failing;
use crate::http::Guard;
use crate::net::Handle;

/// Most open connections; one more ends an idle one.
const MAX_CONNECTIONS: usize = 512;
/// Limit on reading a request's head, including the idle time before it.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How long a write may make no progress because the client does not read.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Largest read buffer of a connection, in bytes.
const READ_AHEAD: usize = 64 << 10;
/// How long requests in progress may take once the node stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Pause after a failed accept, which usually means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_TOKEN: usize = 256;

/// Where the API listens, and which tokens it asks for.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// Token that clients must send as `Authorization: Bearer TOKEN`. Required unless `listen` is a
    /// loopback address.
    pub token: Option<String>,
    /// Token for the routes that impair the node's links, sent in the same way. Without it these
    /// routes do not exist.
    pub lab_token: Option<String>,
}

/// Binds the API's address, before anything else of a node is started.
///
/// # Errors
/// When a token is malformed, the address cannot be bound, or it is not a loopback address and
/// there is no token.
pub async fn bind(options: &ApiOptions) -> Result<TcpListener, ApiError> {
    match &options.token {
        None if !options.listen.ip().to_canonical().is_loopback() => {
            return Err(ApiError::NoToken(options.listen));
        }
        Some(token) if !usable(token) => return Err(ApiError::BadToken("--api-token-file")),
        _ => {}
    }
    if options.lab_token.as_deref().is_some_and(|token| !usable(token)) {
        return Err(ApiError::BadToken("--lab-token-file or --lab-token"));
    }
    let address = options.listen;
    TcpListener::bind(address).await.map_err(|source| ApiError::Bind { address, source })
}

fn usable(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Serves a node's API until `shutdown` completes. Then no request is accepted any more, requests
/// in progress get their answers, streams end, and after 3 s every connection is closed.
///
/// # Errors
/// When the listener's own address cannot be read.
pub async fn serve(
    listener: TcpListener,
    options: ApiOptions,
    handle: Handle,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ApiError> {
    let address = listener.local_addr()?;
    let guard = Guard::new(address, options.token.as_deref());
    let lab = options.lab_token.as_deref().map(|token| Guard::new(address, Some(token)));
    let (stop, stopping) = watch::channel(false);
    let router = router(App::new(handle, stopping.clone()), guard, lab);
    let (open, mut failing) = (Arc::new(Connections::default()), Failing::default());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            stream = accept(&listener, &mut failing) => {
                let place = open.add(MAX_CONNECTIONS);
                connections.spawn(talk(stream, place, router.clone(), stopping.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let ended =
        timeout(STOP_LIMIT, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(open = connections.len(), "closing API connections");
    }
    connections.shutdown().await;
    Ok(())
}

async fn accept(listener: &TcpListener, failing: &mut Failing) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Some(failures) = failing.worked() {
                    tracing::info!(failures, "accepting API connections works again");
                }
                return stream;
            }
            Err(error) => {
                if failing.failed() {
                    tracing::warn!(%error, "cannot accept API connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection from its first request to its last.
async fn talk(
    stream: TcpStream,
    place: Connection,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|asked| {
        let (request, answer) = (place.request(), router.call(asked));
        async { answer.await.map(|response| request.until_sent(response)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(READ_AHEAD)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_LIMIT)), service);
    tokio::pin!(connection);
    // Errors are ignored, as they are the client's doing: it closed the connection, or did not
    // speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.wanted() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: &str, token: Option<&str>) -> ApiOptions {
        ApiOptions {
            listen: listen.parse().expect("an address"),
            token: token.map(str::to_owned),
            lab_token: None,
        }
    }

    #[tokio::test]
    async fn only_loopback_is_served_without_a_token() {
        assert!(bind(&options("127.0.0.1:0", None)).await.is_ok());
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let error = bind(&options(open, None)).await.expect_err(open);
            assert!(matches!(error, ApiError::NoToken(_)), "{error}");
        }
        for bad in ["", "two words", "ü"] {
            let error = bind(&options("127.0.0.1:0", Some(bad))).await.expect_err(bad);
            assert!(matches!(error, ApiError::BadToken(_)), "{error}");
        }
        let mut lab = options("127.0.0.1:0", None);
        lab.lab_token = Some(String::new());
        let error = bind(&lab).await.expect_err("no token").to_string();
        assert!(error.contains("--lab-token"), "{error}");
        let taken = bind(&options("127.0.0.1:0", Some("secret"))).await.expect("binds");
        let address = taken.local_addr().expect("an address").to_string();
        let error = bind(&options(&address, None)).await.expect_err("taken");
        assert!(error.to_string().contains(&address), "{error}");
    }
}
