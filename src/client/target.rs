//! Base URLs and the paths under them.

use hyper::Uri;

use super::ClientError;

/// The address of a node's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port` as sent in the `Host` header.
    pub authority: String,
    /// The host to connect to; an IPv6 address without brackets.
    pub host: String,
    /// The port to connect to, 80 if the URL has none.
    pub port: u16,
}

impl Target {
    /// Parses `http://HOST[:PORT]`, with or without a trailing slash.
    pub(super) fn parse(base: &str) -> Result<Self, ClientError> {
        let bad = |why: &str| {
            ClientError::Broken(format!(
                "{base:?} is not an API address: {why}; try http://127.0.0.1:7700"
            ))
        };
        let uri: Uri = base.trim().parse().map_err(|_| bad("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("TLS is not supported, so write http://")),
            _ => return Err(bad("it must begin with http://")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it must end after the port"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not contain a user name"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let port = match (authority.port_u16(), authority.as_str().ends_with(authority.host())) {
            (Some(port @ 1..), _) => port,
            (None, true) => 80,
            _ => return Err(bad("its port must be 1 to 65535")),
        };
        Ok(Self { authority: authority.as_str().to_owned(), host, port })
    }

    /// The full URL of a path, for error messages.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }
}

/// A path with query parameters; parameters without a value are left out.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    for (number, (name, value)) in given.enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

/// Percent-encodes a value as one path segment.
pub(super) fn segment(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    escape(value, &mut text);
    text
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
fn escape(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push_str(&crate::crypto::hex(&[byte]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_read_or_refused_with_a_reason() {
        let target = Target::parse("http://127.0.0.1:7700/").expect("reads");
        assert_eq!((target.host.as_str(), target.port), ("127.0.0.1", 7700));
        let target = Target::parse("http://[::1]:80").expect("reads");
        assert_eq!((target.host.as_str(), target.authority.as_str()), ("::1", "[::1]:80"));
        assert_eq!(Target::parse("http://localhost").expect("reads").port, 80);
        for (bad, hint) in [
            ("127.0.0.1:7700", "http://"),
            ("https://x", "TLS"),
            ("http://x/v1", "after the port"),
            ("http://u:p@x", "user name"),
            ("http://x y", "not a URL"),
            ("http://x:99999", "65535"),
            ("http://x:0", "65535"),
            ("http://x:", "65535"),
            ("", "not a URL"),
        ] {
            let error = Target::parse(bad).expect_err(bad).to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        let all = [("a", None), ("topic", Some("a&b=é/")), ("n", Some("1"))];
        let path = with_query("/v1/x", &all);
        assert_eq!(path, "/v1/x?topic=a%26b%3d%c3%a9%2f&n=1");
        assert_eq!(with_query("/v1/x", &[("a", None)]), "/v1/x");
        assert_eq!(segment("../x"), "..%2fx");
    }
}
