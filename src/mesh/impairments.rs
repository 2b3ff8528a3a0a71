//! The network of a scenario on real processes: tells each node how to impair its links, from the
//! latency of each pair and the faults in force.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Mesh, MeshError};
use crate::client::Client;
use crate::http::ImpairmentDto;
use crate::scenario::{Cryptography, FaultKind, Ppm, Scenario};

/// Pause before a node that did not answer is told again.
const AGAIN: Duration = Duration::from_millis(30);
/// How long each node may take to accept its first impairments.
const PATIENCE: Duration = Duration::from_secs(20);
/// Maximum delay and jitter that a node accepts, in milliseconds.
const MAX_LATE_MS: u128 = 60_000;

/// Lists what real processes cannot model of a scenario, in words.
pub(super) fn not_modelled(scenario: &Scenario) -> Vec<String> {
    let net = &scenario.net;
    let any = |is: fn(&FaultKind) -> bool| scenario.faults.iter().any(|fault| is(&fault.kind));
    let lossy = any(|kind| matches!(kind, FaultKind::Loss(_)));
    let parts = [
        (net.loss > Ppm(0) || lossy, "packet loss"),
        (net.duplicate > Ppm(0), "duplicated packets"),
        (net.reorder > Ppm(0), "reordered packets"),
        (any(|kind| *kind == FaultKind::DiskFull), "full disks"),
        (any(|kind| matches!(kind, FaultKind::Rot(_))), "bit rot"),
        (scenario.store.max_bytes.is_some(), "limits on the store"),
        (scenario.cpu.check.is_some(), "the cost of signature checks"),
        (scenario.crypto == Cryptography::Modelled, "modelled signatures (they are real here)"),
    ];
    let missing = parts.iter().filter(|(asked, _)| *asked);
    missing.map(|(_, what)| format!("{what}: not modelled on real processes")).collect()
}

/// The impairments that node `own` applies to its links while these faults are in force. Delay and
/// rate apply to what `own` sends, since the other end does the same; cuts apply at both ends.
fn impairments(
    scenario: &Scenario,
    seed: u64,
    keys: &[String],
    in_force: &[(FaultKind, BTreeSet<usize>)],
    own: usize,
) -> Vec<ImpairmentDto> {
    let others = keys.iter().enumerate().filter(|(peer, _)| *peer != own);
    let of_peer = |(peer, key): (usize, &String)| {
        let mut delay = scenario.net.one_way(own, peer, seed);
        let (mut cut, mut rate) = (false, scenario.net.bandwidth);
        for (kind, struck) in in_force {
            let (one, other) = (struck.contains(&own), struck.contains(&peer));
            match kind {
                FaultKind::Partition => cut |= one != other,
                FaultKind::Isolate => cut |= one || other,
                FaultKind::Delay(by) if one || other => delay = delay.saturating_add(*by),
                FaultKind::Cap(cap) if one || other => {
                    rate = Some(rate.map_or(*cap, |rate| rate.min(*cap)));
                }
                _ => {}
            }
        }
        ImpairmentDto {
            peer: key.clone(),
            cut,
            delay_ms: millis(delay),
            jitter_ms: millis(scenario.net.jitter),
            bytes_per_s: rate.map(|rate| rate.max(1)),
        }
    };
    let nothing = |dto: &ImpairmentDto| {
        !dto.cut && dto.delay_ms == 0 && dto.jitter_ms == 0 && dto.bytes_per_s.is_none()
    };
    others.map(of_peer).filter(|dto| !nothing(dto)).collect()
}

/// Rounds to the nearest millisecond, which is also the resolution of timers.
fn millis(time: Duration) -> u64 {
    let nearest = time.as_micros().saturating_add(500) / 1000;
    u64::try_from(nearest.min(MAX_LATE_MS)).unwrap_or(u64::MAX)
}

type Instruction = (u64, Vec<ImpairmentDto>);

/// Tells nodes how to impair their links, each as soon as it answers: a node that is dead or paused
/// is told once it is back.
pub(super) struct ImpairmentControl {
    keys: Vec<String>,
    names: Vec<String>,
    in_force: Vec<(usize, FaultKind, BTreeSet<usize>)>,
    seed: u64,
    wanted: Vec<watch::Sender<Instruction>>,
    told: Vec<watch::Receiver<u64>>,
    /// One task per node; they end when this value is dropped.
    _tasks: JoinSet<()>,
}

impl ImpairmentControl {
    /// Starts with the scenario's net and no fault.
    pub(super) fn new(mesh: &Mesh, scenario: &Scenario, seed: u64) -> Self {
        let keys: Vec<String> = mesh.nodes.iter().map(|node| node.entry.key.clone()).collect();
        let names = mesh.nodes.iter().map(|node| node.entry.name.clone()).collect();
        let (mut wanted, mut told, mut tasks) = (vec![], vec![], JoinSet::new());
        for (number, node) in mesh.nodes.iter().enumerate() {
            let list = impairments(scenario, seed, &keys, &[], number);
            // A node that was just started has none, but if it will be told of faults, it shows now
            // that it can be.
            let tells = !list.is_empty() || !scenario.faults.is_empty();
            let instruction = (u64::from(tells), list);
            let (sender, instructions) = watch::channel(instruction);
            let (done, receiver) = watch::channel(0);
            tasks.spawn(tell(node.lab.clone(), instructions, done));
            wanted.push(sender);
            told.push(receiver);
        }
        Self { keys, names, in_force: vec![], seed, wanted, told, _tasks: tasks }
    }

    /// Waits until every node has accepted its latest impairments.
    ///
    /// # Errors
    /// Names a node that does not answer in time.
    pub(super) async fn told(&mut self) -> Result<(), MeshError> {
        let nodes = self.told.iter_mut().zip(&self.wanted).zip(&self.names);
        for ((told, wanted), name) in nodes {
            let latest = wanted.borrow().0;
            let known = timeout(PATIENCE, told.wait_for(|known| *known >= latest)).await;
            if !matches!(known, Ok(Ok(_))) {
                let why = format!("it did not accept its impairments within {PATIENCE:?}");
                return Err(MeshError::Node { name: name.clone(), why });
            }
        }
        Ok(())
    }

    /// Begins a fault of links.
    pub(super) fn impair(&mut self, scenario: &Scenario, fault: usize) {
        if let Some(kind) = scenario.faults.get(fault).map(|fault| fault.kind) {
            let struck = scenario.struck(fault, self.seed).into_iter().collect();
            self.in_force.push((fault, kind, struck));
            self.change(scenario);
        }
    }

    /// Ends a fault of links.
    pub(super) fn mend(&mut self, scenario: &Scenario, fault: usize) {
        self.in_force.retain(|(number, ..)| *number != fault);
        self.change(scenario);
    }

    /// Tells a node that was started again, and has no impairments yet.
    pub(super) fn tell_again(&self, number: usize) {
        if let Some(wanted) = self.wanted.get(number) {
            wanted.send_modify(|(number, _)| *number += 1);
        }
    }

    fn change(&mut self, scenario: &Scenario) {
        let in_force: Vec<_> =
            self.in_force.iter().map(|(_, kind, struck)| (*kind, struck.clone())).collect();
        for (number, wanted) in self.wanted.iter().enumerate() {
            let list = impairments(scenario, self.seed, &self.keys, &in_force, number);
            wanted.send_if_modified(|instruction| {
                let differs = instruction.1 != list;
                if differs {
                    *instruction = (instruction.0 + 1, list);
                }
                differs
            });
        }
    }
}

/// Tells one node its latest impairments, until the sender is dropped.
async fn tell(
    client: Client,
    mut instructions: watch::Receiver<Instruction>,
    done: watch::Sender<u64>,
) {
    loop {
        let (number, list) = instructions.borrow_and_update().clone();
        while number > 0 && client.impair(&list).await.is_err() {
            sleep(AGAIN).await;
            if instructions.has_changed().unwrap_or(true) {
                break;
            }
        }
        if !instructions.has_changed().unwrap_or(true) {
            done.send_replace(number);
        }
        if instructions.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        let head = "name = 'x'\n[mesh]\nnodes = 4\n";
        let near = if text.contains("[net]") { "" } else { "[net]\nlatency = '0ms'\n" };
        Scenario::parse(&format!("{head}{near}{text}"), &[]).expect("a scenario")
    }

    fn of(text: &str, own: usize) -> Vec<(String, bool, u64, u64, Option<u64>)> {
        let scenario = scenario(text);
        let keys: Vec<String> = (0..4).map(|number| format!("k{number}")).collect();
        let faults = scenario.faults.iter().enumerate();
        let in_force: Vec<_> = faults
            .map(|(number, fault)| (fault.kind, scenario.struck(number, 7).into_iter().collect()))
            .collect();
        let list = impairments(&scenario, 7, &keys, &in_force, own);
        let tuple =
            |dto: ImpairmentDto| (dto.peer, dto.cut, dto.delay_ms, dto.jitter_ms, dto.bytes_per_s);
        list.into_iter().map(tuple).collect()
    }

    fn fault(kind: &str, more: &str) -> String {
        let window = "at = '1s'\nuntil = '2s'";
        format!(
            "[[fault]]\nkind = '{kind}'\n{window}\n{more}\nselect = {{ nodes = ['n0', 'n1'] }}\n"
        )
    }

    #[test]
    fn nothing_is_said_of_links_that_are_not_impaired() {
        assert_eq!(of("", 0), []);
        let cut = of(&fault("partition", ""), 0);
        assert_eq!(cut, [("k2".into(), true, 0, 0, None), ("k3".into(), true, 0, 0, None)]);
        assert_eq!(of(&fault("partition", ""), 2).len(), 2);
        assert_eq!(of(&fault("isolate", ""), 0).len(), 3);
        let outside = of(&fault("isolate", ""), 2);
        assert_eq!(outside.iter().map(|one| &*one.0).collect::<Vec<_>>(), ["k0", "k1"]);
    }

    #[test]
    fn latencies_are_those_of_the_pair_and_faults_come_on_top() {
        let net = "[net]\nlatency = { kind = 'uniform', min = '5ms', max = '90ms' }\n\
                   jitter = '3ms'\nbandwidth = 50000\n";
        for (a, b) in [(0, 1), (0, 3), (2, 3)] {
            let ms = |own, peer: usize| {
                let list = of(net, own);
                let found = list.iter().find(|one| one.0 == format!("k{peer}")).expect("impaired");
                assert_eq!((found.1, found.3, found.4), (false, 3, Some(50_000)));
                found.2
            };
            assert!((5..=90).contains(&ms(a, b)) && ms(a, b) == ms(b, a));
        }
        let base = of(net, 2);
        let late = of(&format!("{net}{}", fault("delay", "by = '100ms'")), 2);
        let added: Vec<u64> = base.iter().zip(&late).map(|(was, is)| is.2 - was.2).collect();
        assert_eq!(added, [100, 100, 0], "only with those struck");
        let slow = of(&format!("{net}{}", fault("cap", "bandwidth = 1000")), 2);
        let rates: Vec<_> = slow.iter().map(|one| one.4).collect();
        assert_eq!(rates, [Some(1000), Some(1000), Some(50_000)]);
    }

    #[test]
    fn what_is_not_modelled_is_said() {
        assert_eq!(not_modelled(&scenario("")), Vec::<String>::new());
        let lossy = scenario("[net]\nloss = 0.1\nduplicate = 0.1\nreorder = 0.1\n");
        assert_eq!(not_modelled(&lossy).len(), 3);
        let fault = scenario(&fault("loss", "p = 0.5"));
        assert!(not_modelled(&fault)[0].contains("packet loss"));
        let modelled = Scenario { crypto: Cryptography::Modelled, ..scenario("") };
        assert!(not_modelled(&modelled)[0].contains("signatures"));
    }
}
