//! A node as a process of its own, and just enough HTTP to talk to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time limit: a process that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A loopback address at which no process listened a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A process that is killed when the test ends, if not earlier.
pub(crate) struct Process {
    child: Child,
    /// Where its API listens.
    pub api: SocketAddr,
}

impl Process {
    /// Starts `loyal node` with the network file and the key in `dir`, and waits until its API
    /// answers.
    pub(crate) fn start(dir: &Path, name: &str, gossip: SocketAddr, api: SocketAddr) -> Self {
        Self::start_with(dir, name, (gossip, api), |_| {})
    }

    /// The same, with a change to the command.
    pub(crate) fn start_with(
        dir: &Path,
        name: &str,
        (gossip, api): (SocketAddr, SocketAddr),
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
        command
            .arg("node")
            .args([Path::new("--network"), &dir.join("network.toml")])
            .args([Path::new("--key"), &dir.join(format!("{name}.pem"))])
            .args([Path::new("--data"), &dir.join(name)])
            .args(["--gossip", &gossip.to_string(), "--api", &api.to_string()]);
        more(&mut command);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Self { child: quiet.spawn().expect("it starts"), api };
        let until = Instant::now() + PATIENCE;
        while request(api, "GET", "/healthz", b"").is_none_or(|(status, _)| status != 200) {
            let ended = process.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{name} ended: {ended:?}");
            assert!(Instant::now() < until, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// Kills the process with `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request. Returns its status and body; `None` if no whole answer comes.
pub(crate) fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> Option<(u16, Value)> {
    request_with(to, method, path, "Content-Type: application/octet-stream\r\n", body)
}

/// The same with header lines, each with its line end.
pub(crate) fn request_with(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
