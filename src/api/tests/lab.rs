//! The lab's routes.

use std::time::Duration;

use serde_json::{Value, json};

use super::end_to_end::{lab_server, server};
use crate::protocol::testing::identity;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_impaired_with_the_lab_token_only() {
    let path = "/v1/lab/impairments";
    let json = "Content-Type: application/json\r\n";
    let plain = server(None).await;
    for method in ["GET", "PUT", "POST"] {
        let any = format!("{json}Authorization: Bearer lab\r\n");
        assert_eq!(plain.ask(method, path, &any, b"[]").await.status, 404);
    }
    assert!(plain.get("/openapi.json").await.json()["paths"][path].is_null());
    plain.finish().await;

    let server = lab_server(Some("secret"), Some("lab")).await;
    let put = async |token: &str, more: &str, body: &Value| {
        let headers = format!("{json}{more}Authorization: Bearer {token}\r\n");
        server.ask("PUT", path, &headers, body.to_string().as_bytes()).await
    };
    let cut = json!([{"peer": "n1", "cut": true}]);
    assert_eq!(server.ask("PUT", path, json, b"[]").await.status, 401);
    for wrong in ["la", "labs", "secret", ""] {
        assert_eq!(put(wrong, "", &cut).await.status, 401, "{wrong}");
    }
    assert_eq!(put("lab", "Origin: http://evil.example\r\n", &cut).await.status, 403);
    assert_eq!(put("lab", "Host: evil.example\r\n", &cut).await.status, 400);
    assert!(server.node.handle().lab().expect("a lab").get().is_empty(), "nothing was done");
    // The lab's token opens the lab's routes and no others.
    let token = "Authorization: Bearer lab\r\n";
    assert_eq!(server.ask("GET", "/v1/status", token, b"").await.status, 401);
    assert_eq!(server.ask("GET", path, token, b"").await.json(), json!([]));
    let late = json!([{"peer": "n1", "delay_ms": 20, "jitter_ms": 5, "bytes_per_s": 9000}]);
    for list in [&cut, &late] {
        let answer = put("lab", "", list).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()[0]["peer"], identity(2).public().to_string());
        assert_eq!(answer.json()[0]["cut"], list[0]["cut"] == true);
    }
    let lab = server.node.handle().lab().expect("a lab").get();
    let impairment = lab.values().next().expect("one");
    assert_eq!((impairment.delay, impairment.bytes_per_s), (Duration::from_millis(20), Some(9000)));
    for bad in [
        json!({}),
        json!([{"cut": true}]),
        json!([{"peer": "n1", "cot": true}]),
        json!([{"peer": "n0", "cut": true}]),
        json!([{"peer": "alice", "cut": true}]),
        json!([{"peer": "nobody", "cut": true}]),
        json!([{"peer": "n1"}, {"peer": "n1"}]),
        json!([{"peer": "n1", "delay_ms": 60_001}]),
        json!([{"peer": "n1", "jitter_ms": u64::MAX}]),
        json!([{"peer": "n1", "bytes_per_s": 0}]),
    ] {
        let answer = put("lab", "", &bad).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
    }
    assert_eq!(put("lab", "", &json!("x".repeat(2 << 20))).await.status, 413);
    assert_eq!(server.node.handle().lab().expect("a lab").get(), lab, "nothing bad was done");
    assert_eq!(put("lab", "", &json!([])).await.json(), json!([]));
    let secret = "Authorization: Bearer secret\r\n";
    let described = server.ask("GET", "/openapi.json", secret, b"").await.json();
    assert!(described["paths"][path]["put"].is_object());
    server.finish().await;
}
