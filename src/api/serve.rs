//! Listening, connections and the end of both.

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
use super::connections::{Connections, Place};
use super::error::ApiError;
use super::io::Patient;
use super::router::router;
use crate::diagnostics::Failing;
use crate::http::Guard;
use crate::net::Handle;

/// Connections at once; for one more, an idle one ends.
const MAX_CONNECTIONS: usize = 512;
/// How long a request's head may take, idle time before it included.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may read nothing of what waits for it.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a connection that are read ahead.
const READ_AHEAD: usize = 64 << 10;
/// How long requests under way may take once the node stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Pause after a failed accept, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_TOKEN: usize = 256;

/// Where the interface listens, and for whom.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients must show as `Authorization: Bearer TOKEN`. Needed off loopback.
    pub token: Option<String>,
    /// What those must show instead who impair the node's links. Without it there is no such
    /// route.
    pub lab_token: Option<String>,
}

/// Listens, before anything else of a node is started.
///
/// # Errors
/// When the address is taken, or can be reached from elsewhere and there is no token.
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

/// Serves a node's interface until `shutdown`. Then no request is taken any more, those under way
/// get their answers, streams end, and after three seconds everything is closed.
///
/// # Errors
/// When the listener is broken from the start.
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
        tracing::warn!(open = connections.len(), "API connections are cut off");
    }
    connections.shutdown().await;
    Ok(())
}

async fn accept(listener: &TcpListener, failing: &mut Failing) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Some(failures) = failing.worked() {
                    tracing::info!(failures, "API connections are accepted again");
                }
                return stream;
            }
            Err(error) => {
                if failing.failed() {
                    tracing::warn!(%error, "an API connection cannot be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first request to its last.
async fn talk(
    stream: TcpStream,
    place: Place,
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
    // What breaks is the client's matter: a connection that it cut, a request that is no HTTP.
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
