//! Access control of a local server: web pages must not reach it through a visitor's browser, and
//! if there is a token, nobody without it may.
//!
//! A page of another site can make a browser send requests here. Such requests carry a foreign
//! `Origin` or, after DNS rebinding to this address, a foreign `Host`, so both must name this
//! server. Every host name except `localhost` counts as foreign, because rebinding needs a name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr as _;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Problem;
use crate::crypto::Digest;

/// Paths that need no token: they only tell whether the node is alive and ready.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The access rules of one server.
#[derive(Clone)]
pub struct Guard {
    listen: SocketAddr,
    token: Option<Digest>,
}

impl Guard {
    /// Rules for a server that listens at `listen`, with its actual port, and asks for `token` if
    /// set.
    pub fn new(listen: SocketAddr, token: Option<&str>) -> Self {
        // Digests are compared, not tokens, so that timing does not reveal the token's length.
        Self { listen, token: token.map(|token| Digest::of(&[token.as_bytes()])) }
    }

    /// Axum middleware, for `from_fn_with_state`.
    pub async fn apply(State(guard): State<Self>, request: Request, next: Next) -> Response {
        match guard.check(request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) if problem.status == 401 => {
                let challenge = HeaderValue::from_static("Bearer");
                ([(WWW_AUTHENTICATE, challenge)], *problem).into_response()
            }
            Err(problem) => problem.into_response(),
        }
    }

    /// Checks whether a request may proceed.
    ///
    /// # Errors
    /// 400 unless there is exactly one `Host`, 421 if it is foreign, 403 if an `Origin` is foreign,
    /// 401 if the token is missing or wrong.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Box<Problem>> {
        self.check_host(uri, headers)?;
        for origin in headers.get_all(ORIGIN) {
            let host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            if !host.is_some_and(|host| self.is_own(host)) {
                let detail = "requests from web pages of other origins are refused";
                return Err(Problem::of(StatusCode::FORBIDDEN, detail).into());
            }
        }
        self.check_token(uri, headers)
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Box<Problem>> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            let detail = "a request needs exactly one Host header";
            return Err(Problem::of(StatusCode::BAD_REQUEST, detail).into());
        };
        // An authority in the request line overrides the header (RFC 9112, 3.2.2).
        let line = uri.authority().is_none_or(|authority| self.is_own(authority.as_str()));
        if line && host.to_str().is_ok_and(|host| self.is_own(host)) {
            return Ok(());
        }
        let detail = format!("Host must be {}, or localhost with that port", self.listen);
        Err(Problem::of(StatusCode::MISDIRECTED_REQUEST, detail).into())
    }

    fn check_token(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Box<Problem>> {
        let Some(expected) = &self.token else { return Ok(()) };
        if OPEN_PATHS.contains(&uri.path()) {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| Digest::of(&[token.trim().as_bytes()]))
        });
        if given.is_some_and(|given| equal(&given, expected)) {
            return Ok(());
        }
        let detail = "this server requires the header `Authorization: Bearer TOKEN`";
        Err(Problem::of(StatusCode::UNAUTHORIZED, detail).into())
    }

    /// Whether `host[:port]` names this server, by one of its addresses or as localhost.
    fn is_own(&self, text: &str) -> bool {
        let Some((host, port)) = split_port(text) else { return false };
        if port != self.listen.port() {
            return false;
        }
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let Some(ip) = parse_ip(host) else { return false };
        let own = self.listen.ip().to_canonical();
        ip.is_loopback() || ip == own || own.is_unspecified()
    }
}

/// Splits off the port, which is 80 if absent. `None` if the port is not a number below 65536.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let Some(colon) = colon else { return Some((text, 80)) };
    let digits = &text[colon + 1..];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((&text[..colon], u16::from_str(digits).ok()?))
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let ip = Ipv6Addr::from_str(rest.strip_suffix(']')?).ok()?;
            Some(IpAddr::V6(ip).to_canonical())
        }
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Compares in constant time.
fn equal(one: &Digest, other: &Digest) -> bool {
    let difference = one.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(guard: &Guard, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        guard
            .check(&uri.parse().expect("a URI"), &map)
            .map_or_else(|problem| problem.status, |()| 200)
    }

    fn guard(listen: &str) -> Guard {
        Guard::new(listen.parse().expect("an address"), None)
    }

    #[test]
    fn hosts_must_be_this_server() {
        let local = guard("127.0.0.1:7700");
        for own in
            ["127.0.0.1:7700", "127.9.9.9:7700", "localhost:7700", "LOCALHOST:7700", "[::1]:7700"]
        {
            assert_eq!(ask(&local, "/", &[("host", own)]), 200, "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7700",
            "127.0.0.1",
            "127.0.0.1:7701",
            "localhost.evil:7700",
            "127.0.0.1.evil:7700",
            "10.0.0.1:7700",
            "localhost:7700@evil",
            "",
            ":7700",
            "[::1",
            "::1:7700",
            "localhost:+7700",
            "localhost:07700x",
            "[::2]:7700",
            "0x7f.1:7700",
            "127.1:7700",
        ] {
            assert_eq!(ask(&local, "/", &[("host", foreign)]), 421, "{foreign}");
        }
        assert_eq!(ask(&local, "/", &[]), 400);
        assert_eq!(
            ask(&local, "/", &[("host", "localhost:7700"), ("host", "localhost:7700")]),
            400
        );
        let line = "http://evil.example/";
        assert_eq!(ask(&local, line, &[("host", "localhost:7700")]), 421);
        assert_eq!(ask(&guard("127.0.0.1:80"), "/", &[("host", "localhost")]), 200);
        assert_eq!(ask(&guard("10.0.0.1:7700"), "/", &[("host", "10.0.0.1:7700")]), 200);
        assert_eq!(ask(&guard("10.0.0.1:7700"), "/", &[("host", "10.0.0.2:7700")]), 421);
        assert_eq!(ask(&guard("0.0.0.0:7700"), "/", &[("host", "10.0.0.2:7700")]), 200);
        assert_eq!(ask(&guard("0.0.0.0:7700"), "/", &[("host", "evil:7700")]), 421);
    }

    #[test]
    fn origins_must_be_this_server() {
        let local = guard("127.0.0.1:7700");
        let from = |origin| ask(&local, "/", &[("host", "localhost:7700"), ("origin", origin)]);
        assert_eq!(from("http://localhost:7700"), 200);
        for foreign in
            ["http://evil.example", "null", "https://localhost:7700", "http://localhost:1", ""]
        {
            assert_eq!(from(foreign), 403, "{foreign}");
        }
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let listen = "10.0.0.1:7700".parse().expect("an address");
        let guard = Guard::new(listen, Some("secret"));
        let with = |path, token: &str| {
            ask(&guard, path, &[("host", "10.0.0.1:7700"), ("authorization", token)])
        };
        assert_eq!(with("/v1/status", "Bearer secret"), 200);
        assert_eq!(with("/v1/status", "bearer secret"), 200);
        for bad in ["Bearer secre", "Bearer secret2", "Basic secret", "secret", "Bearer ", ""] {
            assert_eq!(with("/v1/status", bad), 401, "{bad}");
        }
        assert_eq!(ask(&guard, "/metrics", &[("host", "10.0.0.1:7700")]), 401);
        assert_eq!(ask(&guard, "/healthz", &[("host", "10.0.0.1:7700")]), 200);
    }
}
