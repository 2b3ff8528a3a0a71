//! Routes, and what the tests of a real node share.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::{ApiError, ApiOptions, bind, serve};
use crate::crypto::{Digest, Identity};
use crate::net::{self, Running, Settings};
use crate::protocol::testing::{self, identity, member, network_of};
use crate::protocol::{Config, Member, Network};
use crate::store;
use crate::wire::{Batch, Entry};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A node in a network of one member and one author, and its API.
pub(super) struct Server {
    address: SocketAddr,
    pub network: Arc<Network>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ApiError>>,
    pub node: Running,
    _data: TempDir,
}

pub(super) struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(super) fn author() -> Identity {
    identity(9)
}

pub(super) async fn server(token: Option<&str>) -> Server {
    lab_server(token, None).await
}

pub(super) async fn lab_server(token: Option<&str>, lab_token: Option<&str>) -> Server {
    server_on(token, lab_token, |_, _| ()).await
}

/// A node whose data folder `prepare` fills before it starts.
pub(super) async fn server_on(
    token: Option<&str>,
    lab_token: Option<&str>,
    prepare: impl FnOnce(&Path, &Network),
) -> Server {
    let gossip: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let mut keys = vec![
        Member { name: "n0".into(), ..member(1) },
        Member { name: "alice".into(), ..testing::author(9) },
    ];
    if lab_token.is_some() {
        keys.push(Member { name: "n1".into(), ..member(2) });
    }
    let network = network_of(keys);
    let data = TempDir::new().expect("a folder");
    prepare(data.path(), &network);
    let node = net::start(Settings {
        identity: identity(1),
        network: Arc::clone(&network),
        gossip,
        data: data.path().to_owned(),
        config: Config::default(),
        store: store::Options::default(),
        lab: lab_token.is_some(),
        malicious: None,
    })
    .await
    .expect("starts");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let options = ApiOptions {
        listen,
        token: token.map(str::to_owned),
        lab_token: lab_token.map(str::to_owned),
    };
    let listener = bind(&options).await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(listener, options, node.handle(), shutdown));
    Server { address, network, stop, serving, node, _data: data }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    /// Sends raw bytes, and reads the answer until the connection ends.
    async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("writes");
        let mut text = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("in time").expect("reads");
        let text = String::from_utf8(text).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head: head.to_lowercase(), body: body.into() }
    }

    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             {headers}\r\n",
            self.address,
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"").await
    }

    async fn post(&self, payload: &str) -> Value {
        let answer = self.ask("POST", "/v1/messages?topic=t", "", payload.as_bytes()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()
    }

    async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        self.ask("POST", path, headers, body.to_string().as_bytes()).await
    }

    pub(super) async fn stream(&self, path: &str, headers: &str) -> Lines<BufReader<TcpStream>> {
        let mut stream = self.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut lines = BufReader::new(stream).lines();
        let first = next(&mut lines).await.expect("a head");
        assert!(first.contains(" 200 "), "{first}");
        while next(&mut lines).await.is_some_and(|line| !line.is_empty()) {}
        lines
    }

    pub(super) async fn finish(self) {
        self.stop.send(()).expect("it runs");
        let served = timeout(Duration::from_secs(5), self.serving).await.expect("in time");
        served.expect("no panic").expect("served");
        self.node.stop().await;
    }
}

async fn next(lines: &mut Lines<BufReader<TcpStream>>) -> Option<String> {
    timeout(PATIENCE, lines.next_line()).await.expect("in time").ok().flatten()
}

/// Returns the next line of an event stream that starts with `start`, without that prefix. Skips
/// chunk sizes.
pub(super) async fn line(lines: &mut Lines<BufReader<TcpStream>>, start: &str) -> String {
    loop {
        let line = next(lines).await.expect("the stream goes on");
        if let Some(rest) = line.strip_prefix(start) {
            return rest.trim().to_owned();
        }
    }
}

fn payload(message: &Value) -> String {
    let text = message["payload_base64"].as_str().unwrap_or_else(|| panic!("{message}"));
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_published_and_read_back() {
    let server = server(None).await;
    let first = server.post("one").await;
    let body = json!({"topic": "u", "payload_base64": STANDARD.encode("two")});
    let second = server.post_json("/v1/messages", &body).await;
    assert_eq!(second.status, 201, "{}", second.body);
    assert!(second.json()["seq"].as_u64() > first["seq"].as_u64());
    let id = first["id"].as_str().expect("an id");
    let seen = server.get(&format!("/v1/messages/{id}")).await.json();
    assert_eq!((payload(&seen).as_str(), seen["topic"].as_str()), ("one", Some("t")));
    assert_eq!((seen["author_name"].as_str(), seen["hops"].as_u64()), (Some("n0"), Some(0)));
    let list = server.get("/v1/messages?author=n0&limit=1").await.json();
    assert!(list["items"].is_array(), "{list}");
    assert_eq!((payload(&list["items"][0]).as_str(), list["more"].as_bool()), ("one", Some(true)));
    let path = format!("/v1/messages?cursor={}", list["next"].as_str().expect("a cursor"));
    let list = server.get(&path).await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((payload(&list["items"][0]).as_str(), list["more"].as_bool()), ("two", Some(false)));
    assert_eq!(server.get("/v1/messages?topic=u").await.json()["items"][0]["topic"], "u");
    let status = server.get("/v1/status").await.json();
    assert_eq!((status["published"].as_u64(), status["ready"].as_bool()), (Some(2), Some(true)));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem_with_its_status() {
    let server = server(None).await;
    let host = server.address;
    let none = format!("{}.0", "0".repeat(64));
    for (method, path, headers, status) in [
        ("GET", "/none", "", 404),
        ("GET", &*format!("/v1/messages/{none}"), "", 404),
        ("GET", "/v1/messages/x", "", 400),
        ("GET", "/v1/messages/%ff", "", 400),
        ("GET", "/v1/attempts", "", 404),
        ("GET", "/v1/messages?limit=0", "", 400),
        ("GET", "/v1/messages?limit=x", "", 400),
        ("GET", "/v1/messages?nope=1", "", 400),
        ("GET", "/v1/messages?cursor=x", "", 400),
        ("GET", "/v1/messages?author=nobody", "", 400),
        ("GET", "/v1/rejections?reason=nope", "", 400),
        ("GET", "/v1/rejections?since=nope", "", 400),
        ("GET", "/v1/messages/stream", "Last-Event-ID: x\r\n", 400),
        ("DELETE", "/v1/messages", "", 405),
        ("POST", "/v1/status", "", 405),
        ("POST", "/v1/messages/signed", "", 415),
        ("POST", "/v1/messages", "Content-Type: application/json\r\n", 400),
        ("POST", "/v1/messages", "Origin: http://evil.example\r\n", 403),
        ("POST", "/v1/messages", "Host: evil.example\r\n", 400),
    ] {
        let answer = server.ask(method, path, headers, b"").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"), "{path}");
        assert_eq!(answer.json()["status"], status, "{path}");
    }
    let long = format!("/v1/messages?topic={}", "t".repeat(65));
    assert_eq!(server.ask("POST", &long, "", b"x").await.status, 400);
    for (head, status) in [
        ("POST /v1/messages HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(), 421),
        (
            format!(
                "GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ),
            421,
        ),
        ("GET / HTTP/1.0\r\n\r\n".into(), 400),
    ] {
        assert_eq!(server.raw(head.as_bytes()).await.status, status, "{head}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_bodies_get_their_answer() {
    let server = server(None).await;
    let mebibyte = vec![b'x'; 1 << 20];
    assert_eq!(server.ask("POST", "/v1/messages", "", &mebibyte).await.status, 201);
    let long = vec![b'x'; 24 << 20];
    let answer = server.ask("POST", "/v1/messages", "", &long).await;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (413, Some(413)));
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        server.address
    );
    let mut chunked = head.into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend_from_slice(&mebibyte);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(server.raw(&chunked).await.status, 413);
    // The node refuses a client that waits for `100 Continue` at once.
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999999\r\n\
         Expect: 100-continue\r\n\r\n",
        server.address
    );
    assert_eq!(server.raw(head.as_bytes()).await.status, 413);
    assert_eq!(server.get("/healthz").await.status, 200);
    server.finish().await;
}

fn signed(batch: &Batch) -> Value {
    json!({
        "network": batch.header.network.to_string(),
        "author": batch.header.author.to_string(),
        "seq": batch.header.seq,
        "prev": batch.header.prev.to_string(),
        "created_at": batch.header.created_at,
        "count": batch.header.count,
        "content": batch.header.content.to_string(),
        "signature": batch.signature.to_string(),
        "body_base64": STANDARD.encode(&*batch.body),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_batches_are_taken_in_order_and_forged_ones_refused() {
    let server = server(None).await;
    let sign = |identity: &Identity, seq, prev| {
        let entries = [Entry { topic: "t".into(), payload: b"signed".to_vec() }];
        Batch::sign(identity, server.network.id(), seq, prev, 7, &entries).expect("signs")
    };
    let first = sign(&author(), 1, Digest::ZERO);
    for _ in 0..2 {
        let answer = server.post_json("/v1/messages/signed", &signed(&first)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(answer.json()["id"], format!("{}.0", first.id()));
    }
    let late = sign(&author(), 7, first.id());
    let answer = server.post_json("/v1/messages/signed", &signed(&late)).await;
    assert_eq!((answer.status, answer.json()["expected"].as_u64()), (409, Some(2)));
    let mut forged = sign(&author(), 2, first.id());
    forged.signature.0[3] ^= 1;
    let answer = server.post_json("/v1/messages/signed", &signed(&forged)).await;
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (422, Some("bad_signature")));
    let member = sign(&identity(1), 1, Digest::ZERO);
    assert_eq!(server.post_json("/v1/messages/signed", &signed(&member)).await.status, 403);
    let nonsense = server.post_json("/v1/messages/signed", &json!({"nonsense": 1})).await;
    assert_eq!(nonsense.status, 400);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_resume_where_they_stopped_and_say_when_they_cannot() {
    let server = server(None).await;
    server.post("before").await;
    let mut lines = server.stream("/v1/messages/stream", "").await;
    let start = line(&mut lines, "id:").await;
    server.post("one").await;
    let event: Value = serde_json::from_str(&line(&mut lines, "data:").await).expect("JSON");
    assert_eq!(payload(&event), "one");
    drop(lines);
    server.post("two").await;
    for (resume, expected) in
        [(start.as_str(), "one"), (event["cursor"].as_str().expect("one"), "two")]
    {
        let mut lines =
            server.stream("/v1/messages/stream", &format!("Last-Event-ID: {resume}\r\n")).await;
        let event: Value = serde_json::from_str(&line(&mut lines, "data:").await).expect("JSON");
        assert_eq!(payload(&event), expected);
    }
    let foreign = format!("/v1/messages/stream?cursor={}-1-0", "0".repeat(16));
    let mut lines = server.stream(&foreign, "").await;
    assert_eq!(line(&mut lines, "event:").await, "gap");
    let gap: Value = serde_json::from_str(&line(&mut lines, "data:").await).expect("JSON");
    assert!(gap["why"].as_str().is_some_and(|why| why.contains("generation")));
    let event: Value = serde_json::from_str(&line(&mut lines, "data:").await).expect("JSON");
    assert_eq!(payload(&event), "before");
    // When the API ends, its streams end within its time limit.
    server.finish().await;
    while next(&mut lines).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_posts_show_in_the_rejection_log() {
    let server = server(None).await;
    let mut lines = server.stream("/v1/rejections/stream?author=alice", "").await;
    let entries = [Entry { topic: "t".into(), payload: vec![] }];
    let batch =
        Batch::sign(&author(), Digest([7; 32]), 1, Digest::ZERO, 7, &entries).expect("signs");
    let answer = server.post_json("/v1/messages/signed", &signed(&batch)).await;
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (422, Some("wrong_network")));
    let event: Value = serde_json::from_str(&line(&mut lines, "data:").await).expect("JSON");
    assert_eq!((event["reason"].as_str(), event["link"].as_str()), (Some("wrong_network"), None));
    let list = server.get("/v1/rejections?reason=wrong_network&since=5m").await.json();
    assert_eq!(list["items"][0]["row"], event["row"]);
    let summary = server.get("/v1/rejections/summary").await.json();
    assert_eq!((summary[0]["count"].as_u64(), summary[0]["link"].as_str()), (Some(1), None));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_find_what_they_need_and_only_with_the_token() {
    let server = server(Some("secret")).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    let closed = server.get("/metrics").await;
    assert_eq!(closed.status, 401);
    assert!(closed.head.contains("www-authenticate: bearer"), "{}", closed.head);
    let token = "Authorization: Bearer secret\r\n";
    let metrics = server.ask("GET", "/metrics", token, b"").await.body;
    for name in [
        "loyal_messages_published_total 0",
        "loyal_messages_delivered_total 0",
        "loyal_messages_duplicate_total 0",
        "loyal_messages_rejected_total{reason=\"bad_signature\"} 0",
        "loyal_copies_total 0",
        "loyal_knocks_total 0",
        "loyal_links{direction=\"inbound\"} 0",
        "loyal_bans 0",
        "loyal_bytes_sent_total 0",
        "loyal_bytes_received_total 0",
        "loyal_frames_total{kind=\"push\",direction=\"sent\"} 0",
        "loyal_delivery_hops_bucket{le=\"+Inf\"} 0",
        "loyal_verify_seconds_count 0",
        "loyal_verify_queue 0",
        "loyal_dropped_total{cause=\"push\"} 0",
    ] {
        assert!(metrics.contains(&format!("\n{name}\n")), "{name} in:\n{metrics}");
    }
    assert!(!metrics.contains("reason=\"banned\""), "a knock is no rejection");
    let network = server.ask("GET", "/v1/network", token, b"").await.json();
    assert_eq!(
        (network["n"].as_u64(), network["keys"].as_array().map(Vec::len)),
        (Some(1), Some(2))
    );
    let openapi = server.ask("GET", "/openapi.json", token, b"").await.json();
    assert!(openapi["paths"]["/v1/messages"].is_object());
    let index = server.ask("GET", "/", token, b"").await;
    assert!(index.body.contains("/v1/messages/stream"), "{}", index.body);
    server.finish().await;
}
