//! Recordings of runs, for tests of this module.

use std::collections::BTreeMap;

use super::Recording;
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{CountsAs, Reason};
use crate::report::{
    Arrival, Backend, BatchRecord, NodeRecord, Post, Refused, Resources, Tried, TriedOne,
};
use crate::scenario::Verdict;

fn node(number: u8) -> NodeRecord {
    NodeRecord {
        name: format!("n{number}"),
        key: PublicKey([number; 32]),
        spec: None,
        kinds: vec![],
        dead: false,
        duplicates: 0,
        bytes_received: 0,
        bans: vec![],
        rejections: vec![],
        attempts: None,
    }
}

pub(super) fn refused(link: u32, reason: &str, frame: u8, count: u64) -> Refused {
    Refused {
        row: None,
        bytes: None,
        counts_as: match Reason::from_name(reason) {
            Some(Reason::Replayed) => CountsAs::Copy,
            reason => CountsAs::of(reason.expect("a reason"), false),
        },
        at: 1200,
        reason: reason.into(),
        link: Some(link),
        author: None,
        proven: false,
        seq: Some(2),
        id: Some(Digest([0xbb; 32])),
        hops: Some(1),
        size: 300,
        detail: "no good".into(),
        frame: Digest([frame; 32]),
        count,
    }
}

pub(super) fn arrival(node: u32, batch: u32, at: u64, hops: u8, from: Option<u32>) -> Arrival {
    Arrival { node, batch, at, hops, from }
}

/// Nodes n0, n1 and n2, and the liar n3. One message goes n0 → n3 → n1 and n0 → n2.
pub(super) fn clean() -> Recording {
    let mut nodes: Vec<NodeRecord> = (0..4).map(node).collect();
    nodes[1].rejections.push(refused(3, "bad_signature", 0xf1, 5));
    nodes[1].bytes_received = 512;
    nodes[1].duplicates = 1;
    nodes[3].spec = Some("forge+drop".into());
    nodes[3].kinds = vec!["forge".into(), "drop".into()];
    nodes[3].attempts = Some(Tried {
        totals: BTreeMap::from([("forge".into(), (9, 0)), ("drop".into(), (4, 4))]),
        newest: vec![TriedOne {
            kind: "forge".into(),
            link: Some(1),
            frame: Some(Digest([0xf1; 32])),
            id: Some(Digest([0xbb; 32])),
        }],
    });
    Recording {
        name: "test".into(),
        backend: Backend::Simulated,
        seed: Some(7),
        digest: Some("d1".repeat(32)),
        reproduce: "loyal sim test --seed 7".into(),
        f: 1,
        nodes,
        posts: vec![Post { author: 0, at: 1000, size: 256, taken: Some((0, 0)), excused: false }],
        batches: vec![
            BatchRecord { id: Digest([0xaa; 32]), author: Some(0), seq: 1, posts: vec![0] },
            BatchRecord { id: Digest([0xbb; 32]), author: Some(0), seq: 2, posts: vec![] },
            BatchRecord { id: Digest([0xcc; 32]), author: Some(0), seq: 1, posts: vec![] },
        ],
        arrivals: vec![
            arrival(0, 0, 1000, 0, None),
            arrival(3, 0, 1400, 1, Some(0)),
            arrival(2, 0, 1500, 1, Some(0)),
            arrival(1, 0, 2500, 1, Some(3)),
        ],
        links: vec![(0, 3), (3, 1), (0, 2), (1, 2)],
        violations: vec![],
        counted: BTreeMap::new(),
        faults: vec![],
        not_modelled: vec![],
        skipped: vec![],
        expects: vec![],
        expected_verdict: Verdict::Pass,
        settle_us: Some(2_000_000),
        real_crypto: true,
        resources: Resources::default(),
        clock_steps: vec![],
        interrupted: false,
    }
}

/// A run of `nodes` nodes and `messages` messages, each passed on along a tree of degree eight.
pub(super) fn big(nodes: u32, messages: u32) -> Recording {
    let mut run = clean();
    run.nodes =
        (0..nodes).map(|number| NodeRecord { name: format!("n{number}"), ..node(0) }).collect();
    run.f = (nodes as usize - 1) / 3;
    run.posts.clear();
    run.batches.clear();
    run.arrivals.clear();
    for message in 0..messages {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&message.wrapping_mul(2_654_435_761).to_be_bytes());
        let taken = Some((message, 0));
        run.posts.push(Post {
            author: message % nodes,
            at: u64::from(message),
            size: 64,
            taken,
            excused: false,
        });
        let author = Some(message % nodes);
        let seq = u64::from(message / nodes) + 1;
        run.batches.push(BatchRecord { id: Digest(id), author, seq, posts: vec![message] });
        for step in 0..nodes {
            let place = |step: u32| (step + message) % nodes;
            let from = (step > 0).then(|| place((step - 1) / 8));
            let hops = u8::try_from((step + 1).ilog2() / 3 + 1).unwrap_or(9);
            let at = u64::from(message) + u64::from(step) * 7;
            run.arrivals.push(arrival(place(step), message, at, hops, from));
        }
    }
    run
}
