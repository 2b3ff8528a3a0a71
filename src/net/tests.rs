//! Whole nodes, linked over loopback.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use super::{Handle, Impairment, Malice, PublishFailure, Running, Settings, StartError, start};
use crate::protocol::testing::{entry, identity, member, network_of};
use crate::protocol::{Config, Member, Network};
use crate::store;
use crate::wire::Entry;

/// A network whose members listen on free loopback ports.
fn network(members: u8) -> Arc<Network> {
    let held: Vec<TcpListener> = (0..members)
        .map(|number| SocketAddr::from(([127, 0, 1, number + 1], 0)))
        .map(|address| TcpListener::bind(address).expect("a free port"))
        .collect();
    let gossip = |n: u16| held[usize::from(n)].local_addr().ok();
    network_of((0..u16::from(members)).map(|n| Member { gossip: gossip(n), ..member(n) }))
}

fn settings(network: &Arc<Network>, seed: u8, folder: &TempDir) -> Settings {
    let identity = identity(seed);
    let listed = network.get(&identity.public()).and_then(|member| member.gossip);
    Settings {
        gossip: listed.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        data: folder.path().join(format!("n{seed}")),
        network: network.clone(),
        config: Config::default(),
        store: store::Options::default(),
        lab: false,
        malicious: None,
        identity,
    }
}

async fn delivered(handle: &Handle) -> u64 {
    handle.snapshot().await.map_or(0, |snapshot| snapshot.counters.delivered)
}

async fn all_deliver(nodes: &[Running], count: u64) {
    let begun = Instant::now();
    for node in nodes {
        while delivered(&node.handle()).await < count {
            let late = begun.elapsed() >= Duration::from_secs(30);
            assert!(!late, "{:?}", (node.handle().snapshot().await, node.handle().traffic()));
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_all_deliver_and_a_stopped_node_takes_nothing() {
    let (network, folder) = (network(4), TempDir::new().expect("a folder"));
    let mut nodes = vec![];
    for seed in 0..4 {
        nodes.push(start(settings(&network, seed, &folder)).await.expect("starts"));
    }
    for round in 0..10 {
        for (number, node) in nodes.iter().enumerate() {
            let text = entry("t", format!("{round} of {number}"));
            let (_, seq) = node.handle().publish(text).await.expect("published");
            assert!(seq > 0);
        }
    }
    let large = Entry { topic: String::new(), payload: vec![7; 1 << 20] };
    nodes[0].handle().publish(large).await.expect("published");
    all_deliver(&nodes, 41).await;
    for node in &nodes {
        let handle = node.handle();
        let snapshot = handle.snapshot().await.expect("at work");
        assert_eq!((snapshot.counters.delivered, snapshot.bans()), (41, 0));
        assert!(handle.attempts().await.is_none() && handle.malicious().is_none());
        let traffic = handle.traffic();
        assert!(traffic.bytes_sent > 0 && traffic.verify.count >= 30, "{traffic:?}");
        assert_eq!(traffic.dropped.values().sum::<u64>(), 0);
    }
    for node in nodes {
        let handle = node.handle();
        let begun = Instant::now();
        node.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(handle.publish(entry("t", "late")).await, Err(PublishFailure::Stopping));
        assert!(handle.snapshot().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liars_are_refused_and_the_rest_goes_on() {
    let (network, folder) = (network(4), TempDir::new().expect("a folder"));
    let mut liar = settings(&network, 3, &folder);
    let spec = "forge+flood".parse().expect("a specification");
    liar.malicious = Some(Malice { spec, decoys: vec![] });
    let liar = start(liar).await.expect("starts");
    let mut nodes = vec![];
    for seed in 0..3 {
        nodes.push(start(settings(&network, seed, &folder)).await.expect("starts"));
    }
    assert!(liar.handle().malicious().is_some());
    for round in 0..10 {
        for node in &nodes {
            node.handle().publish(entry("t", format!("{round}"))).await.expect("published");
            sleep(Duration::from_millis(10)).await;
        }
    }
    all_deliver(&nodes, 30).await;
    let key = identity(3).public();
    for node in &nodes {
        let snapshot = node.handle().snapshot().await.expect("at work");
        let banned = snapshot.peers.iter().filter(|peer| peer.ban.is_some());
        assert!(banned.map(|peer| peer.peer).all(|peer| peer == key));
    }
    let attempts = liar.handle().attempts().await.expect("a liar");
    assert!(!attempts.totals.is_empty());
    liar.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_folded_when_a_node_stops_is_in_its_log() {
    let (network, folder) = (network(4), TempDir::new().expect("a folder"));
    let mut liar = settings(&network, 3, &folder);
    let spec = "flood:rate=200:what=duplicate".parse().expect("a specification");
    liar.malicious = Some(Malice { spec, decoys: vec![] });
    let liar = start(liar).await.expect("starts");
    let honest = settings(&network, 0, &folder);
    let data = honest.data.clone();
    let node = start(honest).await.expect("starts");
    node.handle().publish(entry("t", "x")).await.expect("published");
    let refused = async || {
        let snapshot = node.handle().snapshot().await.expect("at work");
        snapshot.counters.rejected.values().sum::<u64>()
    };
    let begun = Instant::now();
    while refused().await < 100 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the flood comes");
        sleep(Duration::from_millis(10)).await;
    }
    let counted = refused().await;
    node.stop().await;
    let reader = store::Reader::open_stopped(&data).expect("opens");
    let all = reader.rejection_summary(&store::RejectionQuery::default()).expect("reads");
    let written: u64 = all.iter().map(|row| row.count).sum();
    assert!(written >= counted, "{written} of {counted}");
    liar.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why() {
    let (network, folder) = (network(2), TempDir::new().expect("a folder"));
    let stranger = start(settings(&network, 9, &folder)).await;
    assert!(matches!(stranger, Err(StartError::NotMember { .. })));
    let mut first = settings(&network, 0, &folder);
    let taken = TcpListener::bind(first.gossip).expect("a free port");
    let error = start(first).await.err().expect("the port is taken").to_string();
    assert!(error.contains(&taken.local_addr().expect("bound").to_string()), "{error}");
    drop(taken);
    first = settings(&network, 0, &folder);
    start(first).await.expect("starts now").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_late_fetches_large_batches() {
    let (network, folder) = (network(4), TempDir::new().expect("a folder"));
    let mut nodes = vec![];
    for seed in 0..3 {
        nodes.push(start(settings(&network, seed, &folder)).await.expect("starts"));
    }
    for number in 0..12 {
        let large = Entry { topic: String::new(), payload: vec![number; 1 << 20] };
        nodes[0].handle().publish(large).await.expect("published");
    }
    all_deliver(&nodes, 12).await;
    nodes.push(start(settings(&network, 3, &folder)).await.expect("starts"));
    all_deliver(&nodes, 12).await;
    for node in nodes {
        node.stop().await;
    }
}

/// Sets the impairment of both nodes' links to each other.
fn impair(nodes: &[Running], impairment: Impairment) {
    for (node, other) in [(0, 1), (1, 0)] {
        let handle = nodes[node].handle();
        let lab = handle.lab().expect("started for a lab");
        lab.set([(nodes[other].handle().key(), impairment)].into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stops_messages_and_mended_they_flow_and_nobody_is_blamed() {
    let (network, folder) = (network(2), TempDir::new().expect("a folder"));
    let mut nodes = vec![];
    for seed in 0..2 {
        let mut settings = settings(&network, seed, &folder);
        settings.lab = true;
        settings.config.ping_every = Duration::from_millis(200);
        settings.config.idle_limit = Duration::from_secs(1);
        nodes.push(start(settings).await.expect("starts"));
    }
    nodes[0].handle().publish(entry("t", "before")).await.expect("published");
    all_deliver(&nodes, 1).await;
    let cut = Impairment { cut: true, ..Impairment::default() };
    // The first cut is shorter than the idle limit of links. The second is longer: links end, and
    // no new one comes up.
    for (round, time) in [(1, Duration::from_millis(500)), (2, Duration::from_millis(2500))] {
        impair(&nodes, cut);
        for node in &nodes {
            node.handle().publish(entry("t", format!("during {round}"))).await.expect("published");
        }
        sleep(time).await;
        for node in &nodes {
            let snapshot = node.handle().snapshot().await.expect("at work");
            assert_eq!(snapshot.counters.delivered, 2 * round, "only its own passes");
            assert_eq!(snapshot.ready_links() > 0, round == 1);
        }
        impair(&nodes, Impairment::default());
        all_deliver(&nodes, 1 + 2 * round).await;
    }
    // A delayed link loses nothing.
    let delay = Duration::from_millis(100);
    impair(&nodes, Impairment { delay, jitter: delay / 4, bytes_per_s: Some(200_000), cut: false });
    let begun = Instant::now();
    let large = Entry { topic: String::new(), payload: vec![7; 100_000] };
    nodes[0].handle().publish(large).await.expect("published");
    all_deliver(&nodes, 6).await;
    assert!(begun.elapsed() >= delay + Duration::from_millis(450), "{:?}", begun.elapsed());
    for node in nodes {
        let snapshot = node.handle().snapshot().await.expect("at work");
        assert_eq!((snapshot.bans(), snapshot.counters.rejected.len()), (0, 0));
        node.stop().await;
    }
}
