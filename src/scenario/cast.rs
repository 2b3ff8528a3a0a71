//! Who lies, whom faults strike, who publishes what and when: the same in both worlds.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::index::sample;
use rand::{RngExt as _, SeedableRng as _};

use super::{Among, FaultKind, Load, Publishers, Scenario, Who};
use crate::adversary::Spec;

/// Something that happens to the mesh at a moment of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// When, from the run's zero.
    pub at: Duration,
    /// The fault that it is part of, by index.
    pub fault: usize,
    /// What happens.
    pub act: Act,
}

/// What happens in a [`Strike`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A fault of links begins: partition, isolate, loss, delay, cap.
    Impair,
    /// It ends.
    Mend,
    /// A node dies.
    Kill(usize),
    /// A dead node starts again.
    Start(usize),
    /// A node stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
}

impl Scenario {
    /// The SPEC of each node, by number; `None` of an honest one. Nodes that are named lie where
    /// they are; the others are the last that are left, in the order of the file.
    pub fn cast(&self) -> Vec<Option<Spec>> {
        let mut cast = vec![None; self.mesh.nodes];
        let mut unnamed = Vec::new();
        for group in &self.malicious {
            match &group.who {
                Who::Nodes(nodes) => {
                    for node in nodes {
                        if let Some(place) = cast.get_mut(*node) {
                            *place = Some(group.behave.clone());
                        }
                    }
                }
                who => {
                    let count = count(who, self.mesh.nodes);
                    unnamed.extend(std::iter::repeat_n(&group.behave, count));
                }
            }
        }
        let free: Vec<usize> = (0..cast.len()).filter(|i| cast[*i].is_none()).collect();
        let last = free.len().saturating_sub(unnamed.len());
        for (node, spec) in free[last..].iter().zip(unnamed) {
            cast[*node] = Some(spec.clone());
        }
        cast
    }

    /// Whom a fault strikes, ascending; chosen by the seed.
    pub fn struck(&self, fault: usize, seed: u64) -> Vec<usize> {
        let Some(select) = self.faults.get(fault).map(|fault| &fault.select) else {
            return Vec::new();
        };
        if let Who::Nodes(nodes) = &select.who {
            let mut nodes = nodes.clone();
            nodes.sort_unstable();
            return nodes;
        }
        let cast = self.cast();
        let fits = |lies: bool| match select.of {
            Among::All => true,
            Among::Honest => !lies,
            Among::Malicious => lies,
        };
        let among: Vec<usize> = (0..cast.len()).filter(|i| fits(cast[*i].is_some())).collect();
        let mut rng = self.dice(fault, seed);
        let wanted = count(&select.who, among.len()).min(among.len());
        let mut chosen: Vec<usize> =
            sample(&mut rng, among.len(), wanted).into_iter().map(|i| among[i]).collect();
        chosen.sort_unstable();
        chosen
    }

    fn dice(&self, fault: usize, seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed ^ (fault as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Everything that faults do, in the order of time.
    pub fn strikes(&self, seed: u64) -> Vec<Strike> {
        let mut strikes = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            let struck = self.struck(number, seed);
            let mut add = |at, act| strikes.push(Strike { at, fault: number, act });
            match fault.kind {
                FaultKind::Kill => {
                    for node in struck {
                        add(fault.at, Act::Kill(node));
                        if let Some(until) = fault.until {
                            add(until, Act::Start(node));
                        }
                    }
                }
                FaultKind::Restart(down) => {
                    for node in struck {
                        add(fault.at, Act::Kill(node));
                        add(fault.at.saturating_add(down), Act::Start(node));
                    }
                }
                FaultKind::Pause => {
                    for node in struck {
                        add(fault.at, Act::Pause(node));
                        if let Some(until) = fault.until {
                            add(until, Act::Resume(node));
                        }
                    }
                }
                FaultKind::Churn { every, down } => {
                    let until = fault.until.unwrap_or(self.duration);
                    let mut rng = self.dice(number, !seed);
                    churn((fault.at, until), (every, down), &struck, &mut rng, &mut add);
                }
                _ => {
                    add(fault.at, Act::Impair);
                    if let Some(until) = fault.until {
                        add(until, Act::Mend);
                    }
                }
            }
        }
        strikes.sort_by_key(|strike| strike.at);
        strikes
    }

    /// Who publishes a load, by number.
    pub fn publishers(&self, load: &Load) -> Vec<usize> {
        let honest = || {
            let cast = self.cast();
            (0..cast.len()).filter(move |i| cast[*i].is_none())
        };
        match &load.publishers {
            Publishers::Honest => honest().collect(),
            Publishers::Count(count) => honest().take(*count).collect(),
            Publishers::Nodes(nodes) => nodes.clone(),
        }
    }

    /// When message number `k` of a load is published; `None` once the load is over.
    pub fn due(&self, load: &Load, k: u64) -> Option<Duration> {
        if load.count.is_some_and(|count| k >= count) {
            return None;
        }
        let nanos = load.every.as_nanos().saturating_mul(u128::from(k));
        let after = Duration::from_nanos(u64::try_from(nanos).ok()?);
        let at = load.from.checked_add(after)?;
        let until = load.until.or(load.count.is_none().then_some(self.duration));
        until.is_none_or(|until| at < until).then_some(at)
    }

    /// When the last message is due, the last fault ends and the duration is over.
    pub fn ends(&self, seed: u64) -> Duration {
        let strikes = self.strikes(seed).last().map(|strike| strike.at);
        let loads = self.loads.iter().filter_map(|load| self.last_due(load));
        loads.chain(strikes).fold(self.duration, Duration::max)
    }

    fn last_due(&self, load: &Load) -> Option<Duration> {
        match load.count {
            Some(count) => (0..count).rev().take(1).find_map(|k| self.due(load, k)).or(load.until),
            None => load.until.or(Some(self.duration)),
        }
    }
}

fn count(who: &Who, of: usize) -> usize {
    match who {
        Who::Count(count) => *count,
        Who::Fraction(share) => usize::try_from(share.of(of as u64)).unwrap_or(usize::MAX),
        Who::Nodes(nodes) => nodes.len(),
    }
}

/// Kills one node after another, each started again before it may die anew.
fn churn(
    (from, until): (Duration, Duration),
    (every, down): (Duration, Duration),
    struck: &[usize],
    rng: &mut ChaCha8Rng,
    add: &mut impl FnMut(Duration, Act),
) {
    let mut back = vec![Duration::ZERO; struck.len()];
    let mut at = from;
    while at < until && !every.is_zero() {
        let free: Vec<usize> = (0..struck.len()).filter(|i| back[*i] <= at).collect();
        if !free.is_empty() {
            let one = free[rng.random_range(0..free.len())];
            back[one] = at.saturating_add(down).saturating_add(Duration::from_millis(1));
            add(at, Act::Kill(struck[one]));
            add(at.saturating_add(down).min(until), Act::Start(struck[one]));
        }
        at = at.saturating_add(every);
    }
}
