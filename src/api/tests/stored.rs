//! What readers get from a store with holes and damaged rows.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::end_to_end::{PATIENCE, author, line, server_on};
use crate::crypto::Digest;
use crate::protocol::testing::{batch, identity, stored};
use crate::protocol::{Durability, Hole, Network, Record, Token};
use crate::store;

/// Writes records in order: `Ok` is a slot of the author, `Err` a tip and a hole below it.
fn fill(dir: &Path, network: &Network, records: &[Result<u64, (u64, Hole)>]) {
    let (tell, answers) = std::sync::mpsc::channel();
    let answer = Box::new(move |input| tell.send(input).unwrap_or(()));
    let own = identity(1).public();
    let (store, _) =
        store::Store::open(dir, network, own, store::Options::default(), answer).expect("opens");
    for (number, record) in (0..).zip(records) {
        let author = author().public();
        let record = match *record {
            Err((tip, hole)) => Record::Holes { author, tip, holes: vec![hole] },
            Ok(seq) => {
                let prev = if seq == 1 { Digest::ZERO } else { Digest([1; 32]) };
                Record::Batch(stored(batch(9, network.id(), seq, prev, [b'x'; 50])))
            }
        };
        store.write(Token(number), record, Durability::Lazy);
        answers.recv().expect("an answer");
    }
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_hear_of_slots_that_are_given_up_in_their_place() {
    let gone = Hole { from: 3, to: 9, gone: true };
    let server = server_on(None, None, |dir, network| {
        fill(dir, network, &[Ok(1), Ok(2), Err((9, gone)), Ok(10)]);
    })
    .await;
    let list = server.get("/v1/messages?author=alice").await.json();
    let seqs = list["items"].as_array().expect("items").iter().map(|item| item["seq"].as_u64());
    assert_eq!(seqs.collect::<Vec<_>>(), [Some(1), Some(2), Some(10)]);
    let gap = &list["gaps"][0];
    assert_eq!(list["gaps"].as_array().map(Vec::len), Some(1));
    assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(3), Some(9)));
    assert_eq!(gap["author"], author().public().to_string());
    assert_eq!(list["gap"], Value::Null);
    // One stream goes on after the second message, another one after the gap.
    let second = list["items"][1]["cursor"].as_str().expect("a cursor");
    let after = |id: &str| format!("Last-Event-ID: {id}\r\n");
    let mut lines = server.stream("/v1/messages/stream", &after(second)).await;
    assert_eq!(line(&mut lines, "event: ").await, "gap");
    let id = line(&mut lines, "id: ").await;
    let data: Value = serde_json::from_str(&line(&mut lines, "data: ").await).expect("JSON");
    assert_eq!((&data["from"], data["cursor"].as_str()), (&gap["from"], Some(&*id)));
    assert_eq!(line(&mut lines, "event: ").await, "message");
    let mut lines = server.stream("/v1/messages/stream", &after(&id)).await;
    assert_eq!(line(&mut lines, "event: ").await, "message");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_message_is_absent_and_the_node_says_so() {
    let server = server_on(None, None, |dir, network| {
        fill(dir, network, &[Ok(1), Ok(2), Ok(3)]);
        let db = rusqlite::Connection::open(dir.join("node.sqlite")).expect("opens");
        let sql = "UPDATE batches SET body = zeroblob(57) WHERE row = 2";
        assert_eq!(db.execute(sql, []), Ok(1));
    })
    .await;
    let list = server.get("/v1/messages").await.json();
    let seqs = list["items"].as_array().expect("items").iter().map(|item| item["seq"].as_u64());
    assert_eq!(seqs.collect::<Vec<_>>(), [Some(1), Some(3)]);
    let first = list["items"][0]["id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("/v1/messages/{first}")).await.status, 200);
    let id = batch(9, server.network.id(), 2, Digest([1; 32]), [b'x'; 50]).id();
    assert_eq!(server.get(&format!("/v1/messages/{id}.0")).await.status, 404);
    let until = std::time::Instant::now() + PATIENCE;
    while server.get("/v1/status").await.json()["quarantined"] != 1 {
        assert!(std::time::Instant::now() < until, "the row is not set aside");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.finish().await;
}
