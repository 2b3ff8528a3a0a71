//! From observations to a report. Nothing in it is taken from what an attacker intended: what was
//! accepted and who was banned is counted at honest nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::attribute::Attribution;
use super::{NodeEntry, Sent};
use crate::crypto::Digest;
use crate::http::{AttemptsDto, RejectionDto, StatusDto};
use crate::report::{
    Attack, Backend, Bans, Certified, Delivery, Evidence, Malicious, Rejections, Report, Resources,
    SCHEMA, hops, latency,
};
use crate::scenario::{Facts, Verdict};

/// A message that a node holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// `<batch id>.<index>`.
    pub id: String,
    /// Its author's key.
    pub author: String,
    /// Its slot.
    pub seq: u64,
    /// Links crossed, as claimed.
    pub hops: u64,
    /// Key of the neighbour that it came from.
    pub from: Option<String>,
    /// When it was delivered, in microseconds since 1970.
    pub delivered_at: u64,
    /// SHA-256 of its payload; `None` once pruned.
    pub payload: Option<Digest>,
}

impl Held {
    /// The id of its batch.
    pub fn batch(&self) -> &str {
        self.id.split_once('.').map_or(&*self.id, |(batch, _)| batch)
    }
}

/// What was seen of one node.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Its SPEC, if it is a liar.
    pub spec: Option<String>,
    /// The behaviours in it.
    pub kinds: Vec<String>,
    /// What it delivered in honest authors' names; honest nodes only.
    pub held: Vec<Held>,
    /// Its rejection log; honest nodes only.
    pub rejections: Vec<RejectionDto>,
    /// What it tried; liars only.
    pub attempts: Option<AttemptsDto>,
    /// Keys that it has banned, at any time.
    pub banned: Vec<String>,
    /// Its counters.
    pub status: Option<StatusDto>,
    /// CPU time of its process, in seconds.
    pub cpu_s: Option<f64>,
    /// Peak resident memory of its process, in MiB.
    pub peak_rss_mb: Option<f64>,
}

impl Seen {
    /// Nothing seen yet of this node.
    pub fn new(entry: &NodeEntry, kinds: &[String]) -> Self {
        Self {
            name: entry.name.clone(),
            key: entry.key.clone(),
            spec: entry.malicious.clone(),
            kinds: kinds.to_vec(),
            ..Self::default()
        }
    }

    /// Whether it was started as an honest node.
    pub fn honest(&self) -> bool {
        self.spec.is_none()
    }
}

/// A whole run, as seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What it is called.
    pub name: String,
    /// The command line that runs it again.
    pub reproduce: String,
    /// Liars that are tolerated.
    pub f: usize,
    /// Every node.
    pub nodes: Vec<Seen>,
    /// Every message that was posted.
    pub sent: Vec<Sent>,
    /// Bytes of each payload.
    pub size: usize,
    /// Link bytes that honest nodes had received before the load.
    pub bytes_before: u64,
    /// From the first process being started to the observation, in seconds.
    pub wall_s: f64,
    /// From the first process being started to all being linked, in seconds.
    pub start_s: Option<f64>,
}

/// The report on a run.
pub fn report(run: &Observed) -> Report {
    let tally = Tally::of(run);
    let mut attribution = Attribution::of(&run.nodes);
    for held in &tally.accepted {
        attribution.accept(&run.nodes, held);
    }
    let attacks = attribution.by_kind();
    let not_exercised: Vec<String> = attacks
        .iter()
        .filter(|(_, attack)| attack.reached_honest == 0)
        .map(|(kind, _)| kind.clone())
        .collect();
    let bans = bans(&run.nodes);
    let liars: Vec<&Seen> = run.nodes.iter().filter(|node| !node.honest()).collect();
    let refused_posts = run.sent.iter().filter(|sent| sent.id.is_err()).count() as u64;
    let delivery = tally.delivery(run);
    let verdict = Verdict::of(&Facts {
        accepted: tally.accepted.len() as u64,
        honest_banned: bans.honest,
        refused_posts,
        expected: delivery.expected,
        delivered: delivery.delivered,
        not_exercised: not_exercised.clone(),
    });
    Report {
        schema: SCHEMA,
        name: run.name.clone(),
        backend: Backend::Processes,
        seed: None,
        digest: None,
        nodes: run.nodes.len(),
        f: run.f,
        quorum: run.nodes.len().saturating_sub(run.f),
        within_bound: liars.len() <= run.f,
        honest: run.nodes.len() - liars.len(),
        malicious: liars.iter().map(|liar| malicious(liar, &attribution)).collect(),
        published: run.sent.iter().filter(|sent| sent.id.is_ok()).count() as u64,
        refused_posts,
        delivery,
        certified: Certified::default(),
        attacks,
        rejections: rejections(&run.nodes, &attribution),
        evidence: Evidence::default(),
        bans,
        faults: vec![],
        resources: resources(run),
        expectations: vec![],
        not_exercised,
        verdict,
        reproduce: run.reproduce.clone(),
    }
}

fn malicious(liar: &Seen, attribution: &Attribution) -> Malicious {
    let attacks: BTreeMap<String, Attack> = attribution.of_liar(&liar.key);
    Malicious { node: liar.name.clone(), behave: liar.spec.clone().unwrap_or_default(), attacks }
}

fn rejections(nodes: &[Seen], attribution: &Attribution) -> Rejections {
    let mut all = Rejections { by_behaviour: attribution.behaviours.clone(), ..Default::default() };
    for row in nodes.iter().filter(|node| node.honest()).flat_map(|node| &node.rejections) {
        all.total = all.total.saturating_add(row.count);
        *all.by_reason.entry(row.reason.clone()).or_default() += row.count;
    }
    all
}

/// Members that at least one honest node has banned.
fn bans(nodes: &[Seen]) -> Bans {
    let banned: BTreeSet<&String> =
        nodes.iter().filter(|node| node.honest()).flat_map(|node| &node.banned).collect();
    let count = |honest: bool| {
        nodes.iter().filter(|node| node.honest() == honest && banned.contains(&node.key)).count()
    };
    Bans { malicious: count(false) as u64, honest: count(true) as u64 }
}

fn resources(run: &Observed) -> Resources {
    let cpu: Vec<f64> = run.nodes.iter().filter_map(|node| node.cpu_s).collect();
    let peaks = run.nodes.iter().filter(|node| node.honest()).filter_map(|node| node.peak_rss_mb);
    Resources {
        cpu_s: (!cpu.is_empty()).then(|| cpu.iter().sum()),
        peak_rss_mb: peaks.reduce(f64::max),
        wall_s: Some(run.wall_s),
        start_s: run.start_s,
        ..Resources::default()
    }
}

/// What honest nodes delivered, compared with what was posted.
struct Tally {
    /// Deliveries of posted messages, each message once a node.
    delivered: u64,
    /// Those at other nodes than the author's.
    relayed: u64,
    /// Batches that came to other nodes than the author's.
    batches: u64,
    duplicates: u64,
    unpublished: u64,
    latencies: Vec<u64>,
    hops: Vec<u64>,
    /// What must not have been delivered.
    accepted: Vec<Held>,
}

impl Tally {
    fn of(run: &Observed) -> Self {
        let honest: BTreeSet<&String> =
            run.nodes.iter().filter(|node| node.honest()).map(|node| &node.key).collect();
        let posts = Posts::of(&run.sent);
        let mut tally = Self {
            delivered: 0,
            relayed: 0,
            batches: 0,
            duplicates: 0,
            unpublished: 0,
            latencies: vec![],
            hops: vec![],
            accepted: vec![],
        };
        for node in run.nodes.iter().filter(|node| node.honest()) {
            let (mut seen, mut slots) = (BTreeSet::new(), BTreeMap::new());
            let mut batches = BTreeSet::new();
            for held in node.held.iter().filter(|held| honest.contains(&held.author)) {
                let first = *slots.entry((&held.author, held.seq)).or_insert(held.batch());
                if !seen.insert(&held.id) || first != held.batch() {
                    tally.duplicates += 1;
                    tally.accepted.push(held.clone());
                } else if let Some(sent) = posts.find(held) {
                    tally.count(node, held, sent);
                    if held.author != node.key {
                        batches.insert(held.batch());
                    }
                } else {
                    tally.unpublished += 1;
                    tally.accepted.push(held.clone());
                }
            }
            tally.batches += batches.len() as u64;
        }
        tally
    }

    fn count(&mut self, node: &Seen, held: &Held, sent: &Sent) {
        // A POST whose answer was lost may have taken effect: genuine, but not among the expected.
        if sent.id.is_err() {
            return;
        }
        self.delivered += 1;
        self.latencies.push(held.delivered_at.saturating_sub(sent.at));
        if held.author != node.key {
            self.relayed += 1;
            self.hops.push(held.hops);
        }
    }

    fn delivery(&self, run: &Observed) -> Delivery {
        let honest = run.nodes.iter().filter(|node| node.honest());
        let status: Vec<&StatusDto> =
            honest.clone().filter_map(|node| node.status.as_ref()).collect();
        let published = run.sent.iter().filter(|sent| sent.id.is_ok()).count() as u64;
        let expected = published.saturating_mul(honest.count() as u64);
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        let copies: u64 = status.iter().map(|status| status.duplicates).sum();
        let received: u64 = status.iter().map(|status| status.bytes_received).sum();
        Delivery {
            expected,
            delivered: self.delivered,
            ratio: ratio(self.delivered, expected),
            duplicates: self.duplicates,
            unpublished: self.unpublished,
            latency_ms: latency(self.latencies.clone()),
            hops: hops(self.hops.clone()),
            copies_per_delivery: ratio(self.batches.saturating_add(copies), self.batches),
            bytes_per_payload_byte: ratio(
                received.saturating_sub(run.bytes_before),
                self.relayed.saturating_mul(run.size as u64),
            ),
        }
    }
}

/// What was posted, to be found again.
struct Posts<'a> {
    by_id: BTreeMap<&'a str, &'a Sent>,
    unanswered: BTreeMap<(&'a str, Digest), &'a Sent>,
}

impl<'a> Posts<'a> {
    fn of(sent: &'a [Sent]) -> Self {
        let mut posts = Self { by_id: BTreeMap::new(), unanswered: BTreeMap::new() };
        for one in sent {
            match &one.id {
                Ok(id) => {
                    posts.by_id.insert(id, one);
                }
                Err(_) => {
                    posts.unanswered.insert((&one.author, one.payload), one);
                }
            }
        }
        posts
    }

    /// The post that this delivery is of: same id, author, slot and payload (as far as it is kept).
    fn find(&self, held: &Held) -> Option<&'a Sent> {
        if let Some(sent) = self.by_id.get(&*held.id) {
            let same = held.payload.is_none_or(|payload| payload == sent.payload);
            return (same && sent.author == held.author && sent.seq == held.seq).then_some(sent);
        }
        self.unanswered.get(&(&*held.author, held.payload?)).copied()
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
