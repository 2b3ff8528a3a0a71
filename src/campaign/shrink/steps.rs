//! The scenarios that are one step simpler than a given one.

use std::time::Duration;

use crate::adversary::Spec;
use crate::protocol::millis;
use crate::scenario::{
    Cryptography, Fault, FaultKind, Group, Latency, Net, Ppm, Publishers, Scenario, Select, Start,
    Who,
};

/// Latency used where it does not matter for the failure.
const PLAIN: Latency = Latency::Constant(Duration::from_millis(10));
/// Shortest duration that is tried.
const SHORTEST: Duration = Duration::from_millis(100);

/// All valid scenarios that are one step simpler, big steps first.
pub(super) fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut steps = Steps { of: scenario, found: Vec::new() };
    steps.leave_out();
    steps.nodes();
    steps.liars();
    steps.faults();
    steps.loads();
    steps.net();
    steps.rest();
    let (bound, alive) = (within_bound(scenario), publishers_live(scenario));
    let mut found = steps.found;
    found.retain(|one| {
        one != scenario
            && (!bound || within_bound(one))
            && (!alive || publishers_live(one))
            && sound(one)
    });
    found
}

/// Whether at most `f` nodes lie; nothing is promised beyond that.
fn within_bound(scenario: &Scenario) -> bool {
    let liars = scenario.specs().iter().flatten().count();
    liars <= scenario.mesh.nodes.saturating_sub(1) / 3
}

/// Whether all publishers are honest and none of them dies for good. Otherwise messages may be
/// missing without a bug.
fn publishers_live(scenario: &Scenario) -> bool {
    let specs = scenario.specs();
    let for_good = |fault: &&Fault| fault.kind == FaultKind::Kill && fault.until.is_none();
    let gone: Vec<&Who> =
        scenario.faults.iter().filter(for_good).map(|fault| &fault.select.who).collect();
    let lives = |node: usize| {
        gone.iter().all(|who| match who {
            Who::Nodes(list) => !list.contains(&node),
            // The seed decides which nodes are struck: it may be any.
            Who::Count(_) | Who::Fraction(_) => false,
        })
    };
    scenario
        .loads
        .iter()
        .flat_map(|load| scenario.publishers(load))
        .all(|node| specs.get(node).is_some_and(Option::is_none) && lives(node))
}

/// Whether the scenario, written to a file, is read back unchanged.
fn sound(scenario: &Scenario) -> bool {
    Scenario::parse(&scenario.to_toml(), &[]).is_ok_and(|read| read == *scenario)
}

struct Steps<'a> {
    of: &'a Scenario,
    found: Vec<Scenario>,
}

impl Steps<'_> {
    fn add(&mut self, change: impl FnOnce(&mut Scenario)) {
        let mut one = self.of.clone();
        change(&mut one);
        self.found.push(one);
    }

    /// Leaves out all faults, half of them, or one of them; the same with liars, loads and
    /// expectations.
    fn leave_out(&mut self) {
        for part in parts(self.of.faults.len(), 0) {
            self.add(|one| drop(one.faults.drain(part)));
        }
        for part in parts(self.of.malicious.len(), 0) {
            self.add(|one| drop(one.malicious.drain(part)));
        }
        // At least one load stays: without any, no message could be missing.
        for part in parts(self.of.loads.len(), 1) {
            self.add(|one| drop(one.loads.drain(part)));
        }
        for part in parts(self.of.expects.len(), 0) {
            self.add(|one| drop(one.expects.drain(part)));
        }
    }

    fn nodes(&mut self) {
        let nodes = self.of.mesh.nodes;
        for fewer in [nodes / 4, nodes / 2, nodes * 3 / 4, nodes.saturating_sub(3), nodes - 1] {
            if (1..nodes).contains(&fewer) {
                self.add(|one| {
                    one.mesh.nodes = fewer;
                    one.loads.iter_mut().for_each(|load| fold(&mut load.publishers, fewer));
                });
            }
        }
    }

    fn liars(&mut self) {
        for (at, group) in self.of.malicious.iter().enumerate() {
            for who in fewer(&group.who, self.of.mesh.nodes) {
                self.add(|one| one.malicious[at].who = who);
            }
            for behave in tamer(&group.behave) {
                self.add(|one| one.malicious[at].behave = behave);
            }
        }
        // All groups with the behaviours of the first one.
        if let [first, _, ..] = &*self.of.malicious {
            let behave = first.behave.clone();
            let alike = |group: &Group| Group { who: group.who.clone(), behave: behave.clone() };
            self.add(|one| one.malicious = one.malicious.iter().map(alike).collect());
        }
    }

    fn faults(&mut self) {
        for (at, fault) in self.of.faults.iter().enumerate() {
            let Select { who, .. } = &fault.select;
            for who in fewer(who, self.of.mesh.nodes) {
                self.add(|one| one.faults[at].select.who = who);
            }
            if let Some(until) = fault.until {
                let half = whole_ms(until.saturating_sub(fault.at) / 2);
                if !half.is_zero() {
                    self.add(|one| one.faults[at].until = Some(fault.at + half));
                }
            }
        }
    }

    fn loads(&mut self) {
        for (at, load) in self.of.loads.iter().enumerate() {
            if let Some(count) = load.count {
                for fewer in [1, count / 4, count / 2, count - count / 4, count.saturating_sub(1)] {
                    if (1..count).contains(&fewer) {
                        self.add(|one| one.loads[at].count = Some(fewer));
                    }
                }
            }
            for smaller in [0, 16, load.size / 8, load.size / 2] {
                if smaller < load.size {
                    self.add(|one| one.loads[at].size = smaller);
                }
            }
            if let Publishers::Nodes(list) = &load.publishers {
                for left in without_parts(list) {
                    self.add(|one| one.loads[at].publishers = Publishers::Nodes(left));
                }
            }
            if let Publishers::Count(count) = load.publishers {
                for less in less(count) {
                    self.add(|one| one.loads[at].publishers = Publishers::Count(less));
                }
            }
            if !load.from.is_zero() {
                self.add(|one| one.loads[at].from = Duration::ZERO);
            }
        }
    }

    fn net(&mut self) {
        let plain = Net {
            latency: PLAIN,
            jitter: Duration::ZERO,
            loss: Ppm::default(),
            duplicate: Ppm::default(),
            reorder: Ppm::default(),
            bandwidth: None,
        };
        self.add(|one| one.net = plain);
        self.add(|one| one.net.latency = PLAIN);
        self.add(|one| one.net.jitter = Duration::ZERO);
        self.add(|one| one.net.loss = Ppm::default());
        self.add(|one| one.net.duplicate = Ppm::default());
        self.add(|one| one.net.reorder = Ppm::default());
        self.add(|one| one.net.bandwidth = None);
    }

    fn rest(&mut self) {
        let half = whole_ms(self.of.duration / 2);
        if half >= SHORTEST {
            self.add(|one| one.duration = half);
        }
        self.add(|one| one.mesh.links = None);
        self.add(|one| one.mesh.start = Start::Linked);
        self.add(|one| one.crypto = Cryptography::Real);
    }
}

/// Ranges of a list to leave out: all of it, each half, each item. At least `stay` items remain.
fn parts(length: usize, stay: usize) -> Vec<std::ops::Range<usize>> {
    let mut parts = vec![0..length, 0..length / 2, length / 2..length];
    parts.extend((0..length).map(|at| at..at + 1));
    parts.retain(|part| !part.is_empty() && length - part.len() >= stay);
    parts
}

/// Smaller counts, but at least 1.
fn less(count: usize) -> impl Iterator<Item = usize> {
    let less = [1, count / 2, count.saturating_sub(1)];
    less.into_iter().filter(move |less| (1..count).contains(less))
}

/// The list without each of its [`parts`], never empty.
fn without_parts(list: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    parts(list.len(), 1).into_iter().map(|part| {
        let mut left = list.to_vec();
        left.drain(part);
        left
    })
}

/// Maps named publishers into a mesh of fewer nodes.
fn fold(publishers: &mut Publishers, nodes: usize) {
    if let Publishers::Nodes(list) = publishers {
        list.iter_mut().for_each(|node| *node %= nodes);
        list.sort_unstable();
        list.dedup();
    }
}

fn fewer(who: &Who, nodes: usize) -> Vec<Who> {
    match who {
        Who::Nodes(list) => {
            let mut found: Vec<Who> = without_parts(list).map(Who::Nodes).collect();
            found.push(Who::Count(list.len()));
            found
        }
        Who::Count(count) => less(*count).map(Who::Count).collect(),
        Who::Fraction(share) => {
            let count = usize::try_from(share.of(nodes as u64)).unwrap_or(nodes);
            let less = [1, count / 2, count];
            less.into_iter().filter(|less| *less > 0).map(Who::Count).collect()
        }
    }
}

/// Leaves out one of several behaviours, or the time or the parameters of one.
fn tamer(spec: &Spec) -> Vec<Spec> {
    let text = spec.to_string();
    let parts: Vec<&str> = text.split('+').collect();
    let mut found = Vec::new();
    let mut add = |parts: Vec<&str>| found.extend(parts.join("+").parse::<Spec>());
    if parts.len() > 1 {
        for left_out in 0..parts.len() {
            let mut left = parts.clone();
            left.remove(left_out);
            add(left);
        }
    }
    for (at, part) in parts.iter().enumerate() {
        let mut plainer = parts.clone();
        if let Some((what, _)) = part.split_once('@') {
            plainer[at] = what;
            add(plainer.clone());
        }
        if let Some((kind, _)) = part.split_once(':') {
            plainer[at] = kind;
            add(plainer);
        }
    }
    found.retain(|one| one != spec);
    found
}

fn whole_ms(time: Duration) -> Duration {
    Duration::from_millis(millis(time))
}
