//! `kill -9` at random moments of a process to which messages are posted: nothing that it
//! acknowledged is lost, and no slot is used twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

use crate::process::{Process, free_address, request};
use crate::support::lay_out;

const KILLS: usize = 20;
const POSTERS: usize = 3;

/// What a POST acknowledged: the id of the message and its slot.
type Posted = (String, u64);

/// Posts messages until it is told to stop. Returns what was acknowledged.
fn post(api: SocketAddr, stop: &AtomicBool) -> Vec<Posted> {
    let mut posted = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match request(api, "POST", "/v1/messages?topic=t", b"payload") {
            Some((201, body)) => {
                let id = body["id"].as_str().expect("an id").to_owned();
                posted.push((id, body["seq"].as_u64().expect("a slot")));
            }
            // The node is over its quota, or the process was just killed.
            Some(_) | None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    posted
}

/// Posts from several threads, and kills the process after a while. Returns what was acknowledged.
fn post_and_kill(victim: &mut Process, after: Duration) -> Vec<Posted> {
    let stop = Arc::new(AtomicBool::new(false));
    let posters: Vec<_> = (0..POSTERS)
        .map(|_| {
            let (api, stop) = (victim.api, stop.clone());
            std::thread::spawn(move || post(api, &stop))
        })
        .collect();
    std::thread::sleep(after);
    victim.kill();
    stop.store(true, Ordering::Relaxed);
    posters.into_iter().flat_map(|poster| poster.join().expect("a poster")).collect()
}

/// What a node says about itself, for the message of a failed test.
fn state(api: SocketAddr) -> String {
    let paths = ["/v1/status", "/v1/peers", "/v1/rejections/summary"];
    let told = paths.map(|path| format!("{path}: {:?}", request(api, "GET", path, b"")));
    told.join("\n")
}

fn expect_held(by: &Process, posted: &[Posted], whose: &str) {
    let until = Instant::now() + Duration::from_secs(40);
    for (id, seq) in posted {
        let path = format!("/v1/messages/{id}");
        while request(by.api, "GET", &path, b"").is_none_or(|(status, _)| status != 200) {
            let late = Instant::now() >= until;
            assert!(!late, "slot {seq}, {id} is lost to {whose}\n{}", state(by.api));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_slot_is_used_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let gossip = [free_address(), free_address()];
    lay_out(dir.path(), &gossip);
    let api = [free_address(), free_address()];
    let witness = Process::start(dir.path(), "n1", gossip[1], api[1]);
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut posted = Vec::new();
    for _ in 0..KILLS {
        let mut victim = Process::start(dir.path(), "n0", gossip[0], api[0]);
        let after = Duration::from_millis(rng.random_range(5..250));
        posted.extend(post_and_kill(&mut victim, after));
    }
    assert!(posted.len() > KILLS, "only {} posts were acknowledged", posted.len());
    let survivor = Process::start(dir.path(), "n0", gossip[0], api[0]);
    expect_held(&survivor, &posted, "the node itself");
    expect_held(&witness, &posted, "its neighbour");
    let mut slots = BTreeMap::new();
    for (id, seq) in &posted {
        let batch = id.split('.').next().expect("a batch").to_owned();
        let other = slots.insert(*seq, batch.clone());
        assert!(other.is_none_or(|other| other == batch), "slot {seq} was used twice");
    }
    for process in [&survivor, &witness] {
        let path = "/v1/rejections?reason=equivocation";
        let (status, body) = request(process.api, "GET", path, b"").expect("an answer");
        assert_eq!(status, 200);
        assert_eq!(body["items"].as_array().map(Vec::len), Some(0), "{body}");
    }
}
