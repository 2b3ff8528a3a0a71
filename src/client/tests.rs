//! The client against servers that follow a script.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Client, ClientError, RejectionFilter, StreamEvent};

/// What a scripted server does with one connection: it answers each request with the next string,
/// then hangs up.
type Connection = Vec<String>;

struct Scripted {
    base: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

async fn scripted(connections: Vec<Connection>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let task = tokio::spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            for answer in answers {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("text").to_lowercase();
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                stream.read_exact(&mut body).await.expect("a body");
                seen.lock().expect("not poisoned").push(head);
                stream.write_all(answer.as_bytes()).await.expect("writes");
            }
        }
    });
    Scripted { base, heads, task }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn events(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{body}")
}

const POSTED: &str = r#"{"id":"ab.0","author":"cd","seq":1,"index":0}"#;

#[tokio::test]
async fn connections_are_used_again_and_replaced_when_they_are_gone() {
    let posted = || answer("201 Created", POSTED);
    let server = scripted(vec![vec![posted(), posted()], vec![posted()]]).await;
    let client = Client::new(&server.base, Some("secret".into())).expect("a client");
    for _ in 0..3 {
        let posted = client.post("a b", b"payload").await.expect("posts");
        assert_eq!((posted.id.as_str(), posted.seq), ("ab.0", 1));
        // The script hangs up after the second request. The client must notice before it sends the
        // third.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for head in server.heads() {
        assert!(head.starts_with("post /v1/messages?topic=a%20b "), "{head}");
        assert!(head.contains("authorization: bearer secret"), "{head}");
        assert!(head.contains(&format!("host: {}", &server.base["http://".len()..])), "{head}");
    }
}

#[tokio::test]
async fn failures_say_what_and_where() {
    let problem =
        r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"slot 3","expected":3}"#;
    let server = scripted(vec![vec![
        answer("409 Conflict", problem),
        answer("502 Bad Gateway", "<html>\u{1b}[31m"),
        answer("200 OK", "[1, 2"),
        answer("404 Not Found", problem),
        answer("200 OK", &" ".repeat(100_000)),
    ]])
    .await;
    let client = Client::new(&server.base, None).expect("a client");
    let Err(ClientError::Refused(problem)) = client.status().await else { panic!("refused") };
    assert_eq!((problem.status, problem.expected), (409, Some(3)));
    let error = client.peers().await.expect_err("refused").to_string();
    assert!(error.contains(&format!("{}/v1/peers: 502", server.base)), "{error}");
    assert!(!error.contains('\u{1b}'), "{error}");
    let error = client.peers().await.expect_err("broken");
    assert!(matches!(&error, ClientError::Broken(text) if text.contains("/v1/peers")), "{error}");
    assert!(client.attempts().await.expect("an answer").is_none());
    assert!(!client.ready().await, "an answer that is too long is no yes");
    let nobody = Client::new("http://127.0.0.1:1", None).expect("a client");
    let error = nobody.status().await.expect_err("nobody there");
    assert!(
        matches!(&error, ClientError::Unreachable(text) if text.contains("127.0.0.1:1/v1/status"))
    );
}

/// A node whose database cannot be read any more ends its streams like this.
#[tokio::test]
async fn a_stream_that_ends_whenever_it_begins_is_an_error() {
    let server = scripted((0..100).map(|_| vec![events("")]).collect()).await;
    let client = Client::new(&server.base, None).expect("a client");
    let filter = RejectionFilter::default();
    let mut stream = client.rejection_stream(&filter, Some("start")).await.expect("opens");
    let error = stream.next().await.expect_err("it never goes on").to_string();
    assert!(error.contains("ends at once"), "{error}");
    assert!(server.heads().len() < 10, "pauses grow");
}

#[tokio::test]
async fn streams_go_on_after_a_break() {
    let row = |number: u32| {
        format!(
            "id: c{number}\nevent: rejection\ndata: {{\"row\":{number},\"time\":1,\
             \"reason\":\"replayed\",\"size\":1,\"detail\":\"\",\"frame\":\"\",\"head\":\"\",\
             \"count\":1,\"cursor\":\"c{number}\"}}\n\n"
        )
    };
    let gap = "event: gap\ndata: {\"why\":\"pruned\",\"cursor\":\"c9\"}\n\n";
    let server = scripted(vec![
        vec![events(&format!("id: c0\n\n: beat\n\n{}event: rejection\ndata: {{cut", row(1)))],
        vec![answer("503 Service Unavailable", "")],
        vec![events(&format!("{gap}{}", row(2)))],
        vec![answer("401 Unauthorized", "")],
    ])
    .await;
    let client = Client::new(&server.base, None).expect("a client");
    let filter = RejectionFilter { peer: Some("n1".into()), ..RejectionFilter::default() };
    let mut stream = client.rejection_stream(&filter, Some("start")).await.expect("opens");
    for expected in [Some(1), None, Some(2)] {
        let seen = match stream.next().await.expect("an event") {
            StreamEvent::Item(row) => Some(row.row),
            StreamEvent::Gap(gap) => {
                assert_eq!(gap.why, "pruned");
                None
            }
        };
        assert_eq!(seen, expected);
    }
    assert_eq!(stream.cursor(), Some("c2"));
    assert_eq!(stream.next().await.expect_err("refused").status(), Some(401));
    let heads = server.heads();
    let ids = heads.iter().map(|head| head.split("last-event-id: ").nth(1).map(|id| &id[..2]));
    assert_eq!(ids.collect::<Vec<_>>(), [Some("st"), Some("c1"), Some("c1"), Some("c2")]);
    assert!(heads[0].starts_with("get /v1/rejections/stream?peer=n1 "), "{}", heads[0]);
}

#[tokio::test]
async fn who_answers_and_is_no_node_is_named() {
    let html = "HTTP/1.1 200 OK\r\nServer: nginx/9\r\nContent-Type: text/html\r\n\
                Content-Length: 6\r\n\r\n<html>";
    let lost = html.replace("200 OK", "404 Not Found");
    let server = scripted(vec![
        vec![html.into(), lost.clone(), lost],
        vec![html.into()],
        vec!["SSH-2.0-x\r\n".into()],
    ])
    .await;
    let client = Client::new(&server.base, None).expect("a client");
    for status in ["200", "404"] {
        let error = client.status().await.expect_err("no node").to_string();
        assert!(error.contains(status) && error.contains("text/html, from nginx/9"), "{error}");
        assert!(error.contains("is --api right?"), "{error}");
    }
    let error = client.rejection(1).await.expect_err("not a node's word").to_string();
    assert!(error.contains("404") && error.contains("is --api right?"), "{error}");
    let stream = client.rejection_stream(&RejectionFilter::default(), None).await;
    let error = stream.err().expect("no stream").to_string();
    assert!(error.contains("not with events") && error.contains("nginx/9"), "{error}");
    let error = client.status().await.expect_err("no HTTP").to_string();
    assert!(error.contains("does not speak HTTP"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_one_that_is_slow_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let alive = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let lives = Arc::clone(&alive);
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if lives.load(std::sync::atomic::Ordering::SeqCst) {
                let mut head = [0; 13];
                stream.read_exact(&mut head).await.expect("a head");
                let (wait, answer) = match head.starts_with(b"GET /healthz") {
                    true => (0, answer("200 OK", "alive")),
                    false => (6, answer("503 Service Unavailable", "{}")),
                };
                open.push(tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    std::future::pending::<()>().await;
                }));
            } else {
                open.push(tokio::spawn(async move {
                    let _stream = stream;
                    std::future::pending::<()>().await;
                }));
            }
        }
    });
    let begun = tokio::time::Instant::now();
    let client = Client::watchful(&base, None).expect("a client");
    let error = client.status().await.expect_err("silent").to_string();
    assert!(error.contains("none from /healthz"), "{error}");
    assert!(begun.elapsed() <= std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    alive.store(true, std::sync::atomic::Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    assert_eq!(client.status().await.expect_err("busy").status(), Some(503));
    assert!(begun.elapsed() >= std::time::Duration::from_secs(6), "{:?}", begun.elapsed());
    task.abort();
}
