//! Builds the recording of a run from what was observed of its processes. The simulator fills the
//! same form, so that both worlds are judged by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::impairments::not_modelled;
use super::posts::{Names, Posts};
use super::{NodeView, Sent};
use crate::crypto::{Digest, PublicKey, parse_hex};
use crate::http::{AttemptsDto, RejectionDto};
use crate::protocol::{CountsAs, micros};
use crate::report::{
    Backend, BanRecord, ClockStep, FaultRecord, NodeRecord, Recording, Refused, Resources, Tried,
    TriedOne,
};
use crate::scenario::{Fault, Scenario};

/// What a run was to be, as its recording states it.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// What was played.
    pub scenario: &'a Scenario,
    /// The seed that chose the nodes that faults strike; `None` for a run by arguments, which chose
    /// none.
    pub seed: Option<u64>,
    /// A command line that repeats the run.
    pub reproduce: String,
    /// The number of liars that the network tolerates.
    pub f: usize,
    /// The run's zero, in microseconds since 1970.
    pub zero: u64,
}

/// A whole run, as observed from outside.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The nodes, by number.
    pub nodes: Vec<NodeView>,
    /// All messages that were due.
    pub sent: Vec<Sent>,
    /// From the start of the first process to the observation, in seconds.
    pub wall_s: f64,
    /// From the start of the first process until all honest nodes were linked, in seconds.
    pub start_s: Option<f64>,
    /// Steps of the wall clock that were noticed.
    pub clock_steps: Vec<ClockStep>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

/// Builds the recording of a run.
pub fn record(run: &Observed, terms: &Terms<'_>) -> Recording {
    let names = Names::of(&run.nodes);
    let mut posts = Posts::of(&run.sent, &names, terms.zero);
    let mut arrivals = Vec::new();
    for (number, seen) in (0u32..).zip(&run.nodes) {
        posts.arrive(number, seen, &names, terms.zero, &mut arrivals);
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    let mut links = Vec::new();
    for (number, seen) in (0u32..).zip(&run.nodes) {
        links.extend(seen.chosen.iter().filter_map(|key| Some((number, names.get(key)?))));
    }
    let scenario = terms.scenario;
    Recording {
        name: scenario.name.clone(),
        backend: Backend::Processes,
        seed: terms.seed,
        digest: None,
        reproduce: terms.reproduce.clone(),
        f: terms.f,
        nodes: run.nodes.iter().map(|seen| node(seen, &names, terms.zero)).collect(),
        posts: posts.posts,
        batches: posts.batches,
        arrivals,
        links,
        violations: vec![],
        counted: BTreeMap::new(),
        faults: terms.seed.map_or_else(Vec::new, |seed| faults(scenario, seed)),
        not_modelled: not_modelled(scenario),
        skipped: vec![],
        expects: scenario.expects.clone(),
        expected_verdict: scenario.verdict,
        settle_us: terms.seed.map(|_| micros(scenario.settle)),
        real_crypto: true,
        resources: resources(run),
        clock_steps: run.clock_steps.clone(),
        interrupted: run.interrupted,
    }
}

fn faults(scenario: &Scenario, seed: u64) -> Vec<FaultRecord> {
    let record = |(number, fault): (usize, &Fault)| {
        let struck = scenario.struck(number, seed);
        FaultRecord {
            what: fault.words(struck.len()),
            at: micros(fault.at),
            until: fault.until.map(micros),
            nodes: struck.iter().filter_map(|node| u32::try_from(*node).ok()).collect(),
        }
    };
    scenario.faults.iter().enumerate().map(record).collect()
}

fn key(hex: &str) -> Option<PublicKey> {
    parse_hex(hex).map(PublicKey)
}

fn node(seen: &NodeView, names: &Names<'_>, zero: u64) -> NodeRecord {
    let bytes = |row: &RejectionDto| STANDARD.decode(row.frame_base64.as_deref()?).ok();
    let refused = |row: &RejectionDto| Refused {
        row: Some(row.row),
        at: row.time.saturating_sub(zero),
        reason: row.reason.clone(),
        link: row.link.as_deref().and_then(|key| names.get(key)),
        author: row.author.as_deref().and_then(key),
        proven: row.proven,
        seq: row.seq,
        id: row.id.as_deref().and_then(Digest::from_hex),
        hops: row.hops,
        size: row.size,
        detail: row.detail.clone(),
        frame: Digest::from_hex(&row.frame).unwrap_or(Digest::ZERO),
        bytes: bytes(row).map(Arc::from),
        counts_as: CountsAs::from_name(&row.counts_as).unwrap_or(CountsAs::Refusal),
        count: row.count,
    };
    let ban = |(key, reason): &(String, Option<String>)| {
        // Nodes do not report when they banned a peer: take the first rejection that explains the
        // ban.
        let why = |row: &&RejectionDto| {
            row.link.as_ref() == Some(key) && reason.as_ref().is_none_or(|why| *why == row.reason)
        };
        let at = seen.rejections.iter().find(why).map_or(0, |row| row.time.saturating_sub(zero));
        Some(BanRecord { peer: names.get(key)?, at, reason: reason.clone().unwrap_or_default() })
    };
    let (duplicates, received) =
        seen.status.as_ref().map_or((0, 0), |status| (status.duplicates, status.bytes_received));
    NodeRecord {
        name: seen.name.clone(),
        key: key(&seen.key).unwrap_or(PublicKey([0; 32])),
        spec: seen.spec.clone(),
        kinds: seen.kinds.clone(),
        dead: seen.dead,
        duplicates,
        bytes_received: received.saturating_sub(seen.bytes_before),
        bans: seen.banned.iter().filter_map(ban).collect(),
        rejections: seen.rejections.iter().map(refused).collect(),
        attempts: seen.attempts.as_ref().map(|attempts| tried(attempts, names)),
    }
}

fn tried(attempts: &AttemptsDto, names: &Names<'_>) -> Tried {
    let totals = attempts.totals.iter();
    Tried {
        totals: totals.map(|(kind, t)| (kind.clone(), (t.attempted, t.affected))).collect(),
        newest: attempts
            .attempts
            .iter()
            .map(|one| TriedOne {
                kind: one.kind.clone(),
                link: one.link.as_deref().and_then(|key| names.get(key)),
                frame: one.frame.as_deref().and_then(Digest::from_hex),
                id: one.id.as_deref().and_then(Digest::from_hex),
            })
            .collect(),
    }
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

#[cfg(test)]
mod tests;
