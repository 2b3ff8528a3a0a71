//! Judges a recording: report and verdict. Only what honest nodes did counts, never what an
//! attacker intended: acceptances and bans are counted at honest nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::attribution::Attribution;
use super::tally::Tally;
use super::{
    Attack, Bans, Breach, Certified, Evidence, Malicious, NodeRecord, Recording, Rejections,
    Report, SCHEMA, expect,
};
use crate::protocol::CountsAs;
use crate::scenario::{Facts, Verdict};

/// Maximum number of violations that a report lists; the verdict counts all.
const MOST_BREACHES: usize = 1000;

/// Returns the report on a run, verdict included.
pub fn judge(run: &Recording) -> Report {
    let tally = Tally::of(run);
    let mut attribution = Attribution::of(run);
    attribution.accept(&tally.accepted);
    let mut report = describe(run, &tally, &attribution);
    report.expectations = expect::evaluate(&run.expects, &report);
    let violations = |liveness: bool| {
        run.violations.iter().filter(|one| one.liveness == liveness).count() as u64
    };
    let verdict = Verdict::of(&Facts {
        accepted: tally.accepted.len() as u64,
        honest_banned: report.bans.honest,
        refused_posts: tally.refused,
        expected: tally.expected,
        delivered: tally.delivered,
        broken: violations(false),
        overdue: violations(true),
        missed: report.expectations.iter().filter(|one| !one.pass).count() as u64,
        idle_liars: report.idle_liars.len() as u64,
    });
    report.verdict = if run.interrupted { Verdict::Interrupted } else { verdict };
    report
}

/// Fills the report, except for expectations and verdict.
fn describe(run: &Recording, tally: &Tally, attribution: &Attribution<'_>) -> Report {
    let attacks = attribution.by_kind();
    let untried = attacks.iter().filter(|(_, attack)| attack.reached_honest == 0);
    let not_exercised = untried.map(|(kind, _)| kind.clone()).collect();
    let liars = || run.nodes.iter().enumerate().filter(|(_, node)| !node.honest());
    let dead = run.nodes.iter().filter(|node| node.dead).map(|node| node.name.clone());
    Report {
        schema: SCHEMA,
        name: run.name.clone(),
        backend: run.backend,
        seed: run.seed,
        digest: run.digest.clone(),
        nodes: run.nodes.len(),
        f: run.f,
        quorum: run.nodes.len().saturating_sub(run.f),
        within_bound: liars().count() <= run.f,
        honest: run.nodes.len() - liars().count(),
        dead: dead.collect(),
        idle_liars: idle(run, &attacks),
        malicious: liars()
            .map(|(number, liar)| Malicious {
                node: liar.name.clone(),
                behave: liar.spec.clone().unwrap_or_default(),
                attacks: attribution.of_liar(number),
            })
            .collect(),
        published: tally.published,
        refused_posts: tally.refused,
        delivery: tally.delivery(run),
        certified: Certified::default(),
        attacks,
        rejections: rejections(run, attribution),
        evidence: Evidence::default(),
        bans: bans(run),
        faults: run.faults.iter().map(|fault| fault.what.clone()).collect(),
        resources: run.resources.clone(),
        expectations: vec![],
        not_exercised,
        violations: breaches(run),
        counted: run.counted.clone(),
        not_modelled: run.not_modelled.clone(),
        real_crypto: run.real_crypto,
        settle_s: run.settle_us.map(|micros| micros as f64 / 1e6),
        verdict: Verdict::Pass,
        expected_verdict: run.expected_verdict,
        clock_steps: run.clock_steps.clone(),
        reproduce: run.reproduce.clone(),
    }
}

/// Liars none of whose behaviours reached an honest node, no matter which liar tried them. One
/// behaviour of a SPEC may keep another from being exercised: a forger is banned before it can
/// tamper.
fn idle(run: &Recording, attacks: &BTreeMap<String, Attack>) -> Vec<String> {
    let reached = |kind: &String| attacks.get(kind).is_some_and(|all| all.reached_honest > 0);
    let idle = |node: &&NodeRecord| !node.kinds.is_empty() && !node.kinds.iter().any(reached);
    let liars = run.nodes.iter().filter(|node| !node.honest());
    liars.filter(idle).map(|liar| liar.name.clone()).collect()
}

fn rejections(run: &Recording, attribution: &Attribution<'_>) -> Rejections {
    let mut all = Rejections { by_behaviour: attribution.behaviours.clone(), ..Default::default() };
    for row in run.nodes.iter().filter(|node| node.honest()).flat_map(|node| &node.rejections) {
        let apart = match row.counts_as {
            CountsAs::Copy => Some(&mut all.copies),
            CountsAs::Knock => Some(&mut all.knocks),
            CountsAs::Lie | CountsAs::Refusal => None,
        };
        if let Some(apart) = apart {
            *apart = apart.saturating_add(row.count);
            continue;
        }
        if row.counts_as == CountsAs::Lie {
            all.lies = all.lies.saturating_add(row.count);
        }
        all.total = all.total.saturating_add(row.count);
        match all.by_reason.get_mut(&row.reason) {
            Some(count) => *count = count.saturating_add(row.count),
            None => {
                all.by_reason.insert(row.reason.clone(), row.count);
            }
        }
    }
    all
}

/// Members that at least one honest node has banned.
fn bans(run: &Recording) -> Bans {
    let honest = run.nodes.iter().filter(|node| node.honest());
    let banned: BTreeSet<u32> = honest.flat_map(|node| &node.bans).map(|ban| ban.peer).collect();
    let known = banned.iter().filter(|peer| (**peer as usize) < run.nodes.len());
    let honest = known.clone().filter(|peer| run.is_honest(**peer)).count();
    Bans { malicious: (known.count() - honest) as u64, honest: honest as u64 }
}

fn breaches(run: &Recording) -> Vec<Breach> {
    let breach = |one: &super::Violation| Breach {
        invariant: one.invariant.clone(),
        liveness: one.liveness,
        at_ms: one.at as f64 / 1000.0,
        node: one.node.map(|node| run.node_name(node).to_owned()),
        what: one.what.clone(),
    };
    run.violations.iter().take(MOST_BREACHES).map(breach).collect()
}

#[cfg(test)]
mod tests;
