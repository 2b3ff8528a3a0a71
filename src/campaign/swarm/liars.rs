//! The liars of a swarm and their behaviours.

use super::random::Random;
use crate::adversary::{FLOODS, KINDS, Spec, TALES};
use crate::scenario::{Group, Ppm, Who};

/// Draws at most `f` liars: often exactly `f`, often none.
pub(super) fn liars(random: &mut Random, nodes: usize) -> Vec<Group> {
    let f = nodes.saturating_sub(1) / 3;
    let count = match random.range(0..=3) {
        0 => 0,
        1 => random.count(0..=f),
        _ => f,
    };
    let mut kinds = random.subset(&KINDS);
    if count == 0 || kinds.is_empty() {
        kinds = vec!["drop"];
    }
    let times = random.one_in(2);
    let spec = |random: &mut Random| spec(random, &kinds, nodes, times);
    match random.range(0..=4) {
        _ if count == 0 => Vec::new(),
        // All alike, given as a share of all nodes.
        0 => {
            let share = (count as u64 * u64::from(Ppm::ONE.0)).div_ceil(nodes as u64);
            let who = Who::Fraction(Ppm(u32::try_from(share).unwrap_or(0)));
            vec![Group { who, behave: spec(random) }]
        }
        // All alike, given as a count.
        1 => vec![Group { who: Who::Count(count), behave: spec(random) }],
        // Each with its own behaviours, at nodes that are drawn.
        2 => {
            let all: Vec<usize> = (0..nodes).collect();
            let places = random.some(&all, count);
            let group = |node| Group { who: Who::Nodes(vec![node]), behave: spec(random) };
            places.into_iter().map(group).collect()
        }
        // Each with its own behaviours.
        _ => (0..count).map(|_| Group { who: Who::Count(1), behave: spec(random) }).collect(),
    }
}

/// One to three behaviours that do not contradict each other.
fn spec(random: &mut Random, kinds: &[&str], nodes: usize, times: bool) -> Spec {
    let wanted = random.count(1..=3);
    let mut chosen: Option<(String, Spec)> = None;
    for kind in random.some(kinds, wanted) {
        let mut text = behaviour(random, kind, nodes);
        if kind == "flood" && !text.contains("rate=") {
            // Briefly only: a second of such a flood costs more than the rest of the run.
            let from = random.range(0..=3000);
            text += &format!("@between={from}ms..{}ms", from + random.range(20..=150));
        } else if text.contains("size=1048576") {
            // Briefly only: the thinnest network drawn carries no more in time.
            let from = random.range(0..=2000);
            text += &format!("@between={from}ms..{}ms", from + random.range(200..=600));
        } else if times && random.one_in(2) {
            text += &when(random);
        }
        let joined = match &chosen {
            None => text,
            Some((before, _)) => format!("{before}+{text}"),
        };
        // A behaviour that contradicts the earlier ones is left out.
        if let Ok(spec) = joined.parse() {
            chosen = Some((joined, spec));
        }
    }
    chosen.map_or_else(plain, |(_, spec)| spec)
}

/// The simplest liar, for seeds whose draw left no valid behaviour.
fn plain() -> Spec {
    #[allow(clippy::expect_used)]
    "drop".parse().expect("a SPEC")
}

fn behaviour(random: &mut Random, kind: &str, nodes: usize) -> String {
    let mut parameter = || match kind {
        "drop" if random.one_in(2) => format!(":p={}", thousandths(random.range(50..=950))),
        "delay" if random.one_in(2) => format!(":by={}ms", random.range(10..=3000)),
        "censor" => {
            let all: Vec<usize> = (0..nodes).collect();
            let wanted = random.count(1..=3);
            let authors = random.some(&all, wanted);
            authors.iter().map(|author| format!(":author=n{author}")).collect()
        }
        "flood" => {
            let what = random.pick(&FLOODS).copied().unwrap_or("garbage");
            // Floods that make honest nodes ask and answer make a run many times as costly.
            let most = if ["announce", "request"].contains(&what) { 60 } else { 400 };
            // One in eight floods as fast as its links allow.
            let rate = if random.one_in(8) { None } else { Some(random.range(10..=most)) };
            let rate = rate.map(|rate| format!(":rate={rate}")).unwrap_or_default();
            format!("{rate}:what={what}")
        }
        "promise" if random.one_in(2) => format!(":rate={}", random.range(1..=100)),
        "restart" if random.one_in(2) => format!(":rate={}", random.range(1..=60)),
        "false-credit" if random.one_in(2) => {
            format!(":what={}", random.pick(&TALES).copied().unwrap_or("crumbs"))
        }
        "gap" => gap(random),
        _ => String::new(),
    };
    format!("{kind}{}", parameter())
}

/// Half of the draws may exceed an author's quota, in batches or in bytes.
fn gap(random: &mut Random) -> String {
    let every =
        if random.one_in(2) { format!(":every={}", random.range(2..=9)) } else { String::new() };
    let (rate, size) = match random.range(0..=3) {
        0 => (random.range(100..=300), random.range(0..=512)),
        1 => (random.range(1..=4), 1 << 20),
        _ => (random.range(1..=60), random.range(0..=4096)),
    };
    format!("{every}:rate={rate}:size={size}")
}

fn when(random: &mut Random) -> String {
    match random.range(0..=2) {
        0 => format!("@after={}ms", random.range(1..=3000)),
        1 => {
            let from = random.range(0..=2000);
            format!("@between={from}ms..{}ms", from + random.range(100..=3000))
        }
        _ => format!("@p={}", thousandths(random.range(50..=950))),
    }
}

fn thousandths(number: u64) -> String {
    format!("0.{number:03}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_comes_alone_and_joined_and_with_times() {
        let mut seen = BTreeSet::new();
        let (mut joined, mut timed) = (0, 0);
        for seed in 0..400 {
            let mut random = Random::new(seed);
            for group in liars(&mut random, 31) {
                seen.extend(group.behave.kinds());
                joined += usize::from(group.behave.kinds().count() > 1);
                timed += usize::from(group.behave.to_string().contains('@'));
            }
        }
        assert_eq!(seen, KINDS.into_iter().collect());
        assert!(joined > 100 && timed > 100, "{joined} {timed}");
    }

    #[test]
    fn a_seed_leaves_kinds_out() {
        let kinds = |seed| {
            let groups = liars(&mut Random::new(seed), 31);
            groups.iter().flat_map(|group| group.behave.kinds()).collect::<BTreeSet<_>>().len()
        };
        let most = (0..200).map(kinds).max();
        let few = (0..200).filter(|seed| (1..=3).contains(&kinds(*seed))).count();
        assert!(most >= Some(6) && few > 40, "{most:?} {few}");
    }
}
