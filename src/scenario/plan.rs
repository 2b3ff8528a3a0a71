//! Which nodes lie, which nodes faults strike, which nodes publish, and when: the same in both
//! worlds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::index::sample;
use rand::{RngExt as _, SeedableRng as _};

use super::{Among, FaultKind, Load, Publishers, Scenario, Who};
use crate::adversary::Spec;

/// The topic of a load's messages.
pub(crate) const LOAD_TOPIC: &str = "load";
/// How long a message is tried while its publisher is over quota, or no publisher is up.
pub(crate) const POST_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait before a post that was over quota is tried again.
pub(crate) const POST_RETRY_MAX: Duration = Duration::from_secs(1);
/// How much longer a run goes on once everything is everywhere, so that attacks finish.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// Extra time for an attack that has reached no honest node yet.
pub(crate) const EXERCISE: Duration = Duration::from_secs(3);

/// A step of a fault, at a moment of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultEvent {
    /// When it happens, from the run's zero.
    pub at: Duration,
    /// The fault that it is part of, as an index into [`Scenario::faults`].
    pub fault: usize,
    /// What happens at that moment.
    pub act: FaultAction,
}

/// What happens in a [`FaultEvent`]. Numbers are those of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// A fault of links begins: partition, isolate, loss, delay or cap.
    Impair,
    /// A fault of links ends.
    Mend,
    /// A node dies at once; what was not synced may be lost.
    Kill(usize),
    /// A dead node is started again.
    Start(usize),
    /// A node stops running, but keeps its links and memory.
    Pause(usize),
    /// A paused node runs on.
    Resume(usize),
    /// A node's disk becomes full.
    Fill(usize),
    /// A node's disk has room again.
    Free(usize),
    /// Bits flip in rows of a node's store.
    Rot(usize),
    /// A node is killed, unless it is dead already, and its disk is lost.
    Wipe(usize),
}

impl Scenario {
    /// Returns the SPEC of each node, by number; `None` for an honest one. Nodes that the scenario
    /// names lie at their own numbers. The other liars take the highest numbers that are left, in
    /// the order of the file.
    pub fn specs(&self) -> Vec<Option<Spec>> {
        let mut specs = vec![None; self.mesh.nodes];
        let mut unnamed = Vec::new();
        for group in &self.malicious {
            match &group.who {
                Who::Nodes(nodes) => {
                    for node in nodes {
                        if let Some(place) = specs.get_mut(*node) {
                            *place = Some(group.behave.clone());
                        }
                    }
                }
                who => {
                    let count = who.count(self.mesh.nodes).min(self.mesh.nodes);
                    unnamed.extend(std::iter::repeat_n(&group.behave, count));
                }
            }
        }
        let free: Vec<usize> = (0..specs.len()).filter(|i| specs[*i].is_none()).collect();
        let last = free.len().saturating_sub(unnamed.len());
        for (node, spec) in free[last..].iter().zip(unnamed) {
            specs[*node] = Some(spec.clone());
        }
        specs
    }

    /// Returns the numbers of the nodes that a fault strikes, ascending. Unless they are named, the
    /// seed chooses them.
    pub fn struck(&self, fault: usize, seed: u64) -> Vec<usize> {
        let Some(select) = self.faults.get(fault).map(|fault| &fault.select) else {
            return Vec::new();
        };
        if let Who::Nodes(nodes) = &select.who {
            let there = nodes.iter().copied().filter(|node| *node < self.mesh.nodes);
            let mut nodes: Vec<usize> = there.collect();
            nodes.sort_unstable();
            nodes.dedup();
            return nodes;
        }
        let specs = self.specs();
        let fits = |lies: bool| match select.of {
            Among::All => true,
            Among::Honest => !lies,
            Among::Malicious => lies,
        };
        let among: Vec<usize> = (0..specs.len()).filter(|i| fits(specs[*i].is_some())).collect();
        let mut rng = self.rng(fault, seed);
        let wanted = select.who.count(among.len()).min(among.len());
        let mut chosen: Vec<usize> =
            sample(&mut rng, among.len(), wanted).into_iter().map(|i| among[i]).collect();
        chosen.sort_unstable();
        chosen
    }

    fn rng(&self, fault: usize, seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed ^ (fault as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns all steps of all faults, ordered by time. Where faults overlap, a node is killed
    /// once and started when the last of them ends; steps that would change nothing are left out.
    pub fn fault_events(&self, seed: u64) -> Vec<FaultEvent> {
        let mut fault_events = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            let struck = self.struck(number, seed);
            let mut add = |at, act| fault_events.push(FaultEvent { at, fault: number, act });
            type Act = fn(usize) -> FaultAction;
            let (begins, ends, until): (Act, Act, _) = match fault.kind {
                FaultKind::Kill => (FaultAction::Kill, FaultAction::Start, fault.until),
                FaultKind::Restart(down) => {
                    (FaultAction::Kill, FaultAction::Start, Some(fault.at.saturating_add(down)))
                }
                FaultKind::Pause => (FaultAction::Pause, FaultAction::Resume, fault.until),
                FaultKind::DiskFull => (FaultAction::Fill, FaultAction::Free, fault.until),
                FaultKind::Rot(_) => (FaultAction::Rot, FaultAction::Rot, None),
                FaultKind::Wipe => (FaultAction::Wipe, FaultAction::Start, fault.until),
                FaultKind::Churn { every, down } => {
                    let until = fault.until.unwrap_or(self.duration);
                    let mut rng = self.rng(number, !seed);
                    churn((fault.at, until), (every, down), &struck, &mut rng, &mut add);
                    continue;
                }
                _ => {
                    add(fault.at, FaultAction::Impair);
                    if let Some(until) = fault.until {
                        add(until, FaultAction::Mend);
                    }
                    continue;
                }
            };
            for node in struck {
                add(fault.at, begins(node));
                if let Some(until) = until {
                    add(until, ends(node));
                }
            }
        }
        fault_events.sort_by_key(|event| event.at);
        without_overlaps(fault_events)
    }

    /// Returns the numbers of the nodes that publish a load.
    pub fn publishers(&self, load: &Load) -> Vec<usize> {
        let honest = || {
            let specs = self.specs();
            (0..specs.len()).filter(move |i| specs[*i].is_none())
        };
        match &load.publishers {
            Publishers::Honest => honest().collect(),
            Publishers::Count(count) => honest().take(*count).collect(),
            Publishers::Nodes(nodes) => {
                nodes.iter().copied().filter(|node| *node < self.mesh.nodes).collect()
            }
        }
    }

    /// Returns when message `k` of a load is published, from 0; `None` once the load is over.
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

    /// Returns when the last message is due, the last fault has ended and the duration is over.
    pub fn ends(&self, seed: u64) -> Duration {
        let fault_events = self.fault_events(seed).last().map(|event| event.at);
        let loads = self.loads.iter().filter_map(|load| self.last_due(load));
        loads.chain(fault_events).fold(self.duration, Duration::max)
    }

    fn last_due(&self, load: &Load) -> Option<Duration> {
        match load.count {
            Some(count) => {
                let last = count.checked_sub(1)?;
                self.due(load, last).or(load.until)
            }
            None => load.until.or(Some(self.duration)),
        }
    }
}

/// Kills one node after another. Each is started again before it can be killed again, and all are
/// up again at the end.
fn churn(
    (from, until): (Duration, Duration),
    (every, down): (Duration, Duration),
    struck: &[usize],
    rng: &mut ChaCha8Rng,
    add: &mut impl FnMut(Duration, FaultAction),
) {
    let mut up = struck.to_vec();
    // All are down for the same time, so the first to die is the first to come back.
    let mut dead: VecDeque<(Duration, usize)> = VecDeque::new();
    let mut at = from;
    while at < until && !every.is_zero() {
        while let Some((_, node)) = dead.pop_front_if(|(back, _)| *back < at) {
            up.push(node);
        }
        if !up.is_empty() {
            let node = up.swap_remove(rng.random_range(0..up.len()));
            let back = at.saturating_add(down).min(until);
            add(at, FaultAction::Kill(node));
            add(back, FaultAction::Start(node));
            dead.push_back((back, node));
        }
        at = at.saturating_add(every);
    }
}

/// Leaves out steps that change nothing where faults overlap: a node that two faults hold down dies
/// once, and starts when the last of them ends. The same holds for pauses and full disks.
fn without_overlaps(fault_events: Vec<FaultEvent>) -> Vec<FaultEvent> {
    let mut held: BTreeMap<(char, usize), u32> = BTreeMap::new();
    let changes = |event: &FaultEvent| {
        let (key, takes) = match event.act {
            FaultAction::Kill(node) | FaultAction::Wipe(node) => (('d', node), true),
            FaultAction::Start(node) => (('d', node), false),
            FaultAction::Pause(node) => (('p', node), true),
            FaultAction::Resume(node) => (('p', node), false),
            FaultAction::Fill(node) => (('f', node), true),
            FaultAction::Free(node) => (('f', node), false),
            FaultAction::Impair | FaultAction::Mend | FaultAction::Rot(_) => return true,
        };
        let holders = held.entry(key).or_default();
        let before = *holders;
        *holders = if takes { before.saturating_add(1) } else { before.saturating_sub(1) };
        // A wipe counts even if the node is dead already: it loses its disk.
        matches!(event.act, FaultAction::Wipe(_)) || (before == 0) != (*holders == 0)
    };
    fault_events.into_iter().filter(changes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(rest: &str) -> Scenario {
        let text = format!("name = 'x'\nduration = '20s'\n{rest}");
        Scenario::parse(&text, &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn unnamed_liars_come_last_in_the_order_of_the_file() {
        let it = scenario(
            "[mesh]\nnodes = 7\n[[malicious]]\ncount = 1\nbehave = 'forge'\n[[malicious]]\nnodes = \
             ['n5']\nbehave = 'stall'\n[[malicious]]\nfraction = 0.3\nbehave = 'drop'\n",
        );
        let specs: Vec<_> = it
            .specs()
            .iter()
            .map(|spec| spec.as_ref().map_or("", |s| s.kinds().next().unwrap()))
            .collect();
        assert_eq!(specs, ["", "", "", "forge", "drop", "stall", "drop"]);
    }

    #[test]
    fn impossible_counts_harm_nobody() {
        let mut it = scenario("[mesh]\nnodes = 4\n[[malicious]]\ncount = 1\nbehave = 'drop'\n");
        it.malicious[0].who = Who::Count(usize::MAX);
        assert_eq!(it.specs().len(), 4);
        it.malicious[0].who = Who::Nodes(vec![99]);
        assert!(it.specs().iter().all(Option::is_none));
        assert_eq!(it.struck(99, 1), Vec::<usize>::new());
    }

    const STRUCK: &str = "[mesh]\nnodes = 40\n[[malicious]]\ncount = 10\nbehave = 'drop'\n";

    fn struck(select: &str, seed: u64) -> Vec<usize> {
        let fault = "[[fault]]\nkind = 'pause'\nat = '1s'\nuntil = '2s'\nselect = ";
        scenario(&format!("{STRUCK}{fault}{select}\n")).struck(0, seed)
    }

    #[test]
    fn whom_a_fault_strikes_hangs_on_the_seed_and_on_nothing_else() {
        let ten = |seed| struck("{ count = 10 }", seed);
        assert_eq!(ten(1), ten(1));
        assert_ne!(ten(1), ten(2));
        assert_eq!(ten(1), [0, 3, 5, 6, 7, 8, 13, 15, 16, 27], "on any machine");
        assert!(ten(3).is_sorted_by(|a, b| a < b), "ascending, each once");
        assert_eq!(struck("{ nodes = ['n9', 'n2'] }", 1), [2, 9]);
    }

    #[test]
    fn whom_a_fault_strikes_is_among_those_selected() {
        assert!(struck("{ count = 30, of = 'honest' }", 1).iter().all(|node| *node < 30));
        assert_eq!(struck("{ fraction = 0.5, of = 'malicious' }", 1).len(), 5);
        assert!(struck("{ count = 9, of = 'malicious' }", 1).iter().all(|node| *node >= 30));
        let all = |seed| struck("{ count = 20, of = 'all' }", seed);
        assert!((1..9).any(|seed| all(seed).iter().any(|node| *node >= 30)));
    }

    const CHURN: &str = "[mesh]\nnodes = 4\n[[fault]]\nkind = 'churn'\nat = '1s'\nuntil = '15s'\n\
                         every = '100ms'\ndown = '1s'\nselect = { count = 3 }\n";

    /// Checks that only the living die and only the dead start; how many died.
    fn deaths(fault_events: &[FaultEvent], nodes: usize) -> usize {
        let mut up = vec![true; nodes];
        let mut deaths = 0;
        for event in fault_events {
            match event.act {
                FaultAction::Kill(node) => {
                    assert!(std::mem::replace(&mut up[node], false), "{event:?} of a dead node");
                    deaths += 1;
                }
                FaultAction::Start(node) => {
                    assert!(!std::mem::replace(&mut up[node], true), "{event:?} of a living node");
                }
                _ => {}
            }
        }
        assert!(up.iter().all(|up| *up), "all are back in the end");
        deaths
    }

    #[test]
    fn churn_kills_the_living_only_and_all_come_back() {
        for seed in 0..50 {
            let fault_events = scenario(CHURN).fault_events(seed);
            assert!(deaths(&fault_events, 4) > 30, "three nodes, each dead most of 14 seconds");
            assert!(fault_events.iter().all(|s| s.at >= seconds(1.0) && s.at <= seconds(15.0)));
            assert!(fault_events.is_sorted_by_key(|event| event.at));
        }
        assert_ne!(scenario(CHURN).fault_events(1), scenario(CHURN).fault_events(2));
    }

    #[test]
    fn faults_that_overlap_kill_once_and_start_once() {
        let more = "[[fault]]\nkind = 'kill'\nat = '2s'\nuntil = '18s'\nselect = { nodes = ['n0', \
                    'n1', 'n2', 'n3'] }\n[[fault]]\nkind = 'restart'\nat = '3s'\nselect = { nodes \
                    = ['n0'] }\n";
        for seed in 0..50 {
            let fault_events = scenario(&format!("{CHURN}{more}")).fault_events(seed);
            assert!(deaths(&fault_events, 4) >= 4);
            let starts = fault_events.iter().filter(|s| matches!(s.act, FaultAction::Start(_)));
            assert_eq!(starts.filter(|s| s.at == seconds(18.0)).count(), 4, "the last lets go");
        }
    }

    #[test]
    fn messages_are_due_in_step_until_count_or_time_is_over() {
        let it = scenario(
            "[mesh]\nnodes = 4\n[[load]]\nrate = 10\ncount = 3\nfrom = '1s'\n[[load]]\nrate = \
             1\nuntil = '3s'\n[[load]]\nrate = 1\n[[load]]\nrate = 1\ncount = 9\nuntil = '2s'\n",
        );
        let due = |load: usize| -> Vec<f64> {
            (0..).map_while(|k| it.due(&it.loads[load], k)).map(|at| at.as_secs_f64()).collect()
        };
        assert_eq!(due(0), [1.0, 1.1, 1.2]);
        assert_eq!(due(1), [0.0, 1.0, 2.0], "until is no moment of it");
        assert_eq!(due(2).len(), 20, "the scenario's duration");
        assert_eq!(due(3), [0.0, 1.0]);
        assert_eq!(it.due(&it.loads[2], u64::MAX), None);
        assert_eq!(it.publishers(&it.loads[0]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_run_ends_with_its_duration_its_last_message_and_its_last_fault() {
        let base = "[mesh]\nnodes = 4\n";
        assert_eq!(scenario(base).ends(1), seconds(20.0));
        let load = scenario(&format!("{base}[[load]]\nrate = 1\ncount = 31\n"));
        assert_eq!(load.ends(1), seconds(30.0));
        let fault = "[[fault]]\nkind = 'isolate'\nat = '1s'\nuntil = '25s'\nselect = { count = 1 }";
        assert_eq!(scenario(&format!("{base}{fault}\n")).ends(1), seconds(25.0));
        let kill = "[[fault]]\nkind = 'kill'\nat = '40s'\nselect = { count = 1 }\n";
        assert_eq!(scenario(&format!("{base}{kill}")).ends(1), seconds(40.0));
    }
}
