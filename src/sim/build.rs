//! Builds the world of a run.

use std::sync::Arc;
use std::time::Duration;

use super::cpu::Cpu;
use super::disk::SYNC;
use super::event::{Event, RunDigest, START};
use super::host::{Host, identity};
use super::link::{Impairments, Links};
use super::oracle::Oracle;
use super::queue::Queue;
use super::recorder::Recorder;
use super::run::is_calm;
use super::signatures::Signatures;
use super::world::{CHECK, NOBODY, World};
use crate::adversary::Spec;
use crate::crypto::{Digest, Identity, PublicKey};
use crate::protocol::{Config, Member, Network, Role, Shares, micros};
use crate::scenario::{Dice, Latency, Net, Scenario};
use crate::wire::{Batch, Entry};

/// All nodes start within this time, as processes of one launcher do.
const STARTS: Duration = Duration::from_millis(50);
/// Extra time to catch up in networks with losses, thin links or long latencies.
const SLACK: Duration = Duration::from_secs(30);
/// Number of honest members whose batches for another network are given to forgers.
const DECOYS: usize = 16;

impl World {
    /// A world in which no event has happened, of members whose keys the seed decides. The scenario
    /// must be one that `Scenario::parse` accepts.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let nodes = 0..scenario.mesh.nodes;
        let identities: Vec<Identity> = nodes.map(|node| identity(seed, node)).collect();
        let keys: Vec<PublicKey> = identities.iter().map(Identity::public).collect();
        Self::of(scenario, seed, network(seed, &keys), identities)
    }

    /// A world in which no event has happened, of the members of `network` with these identities;
    /// other keys of the network have no node.
    pub(super) fn of(
        scenario: &Scenario,
        seed: u64,
        network: Network,
        identities: Vec<Identity>,
    ) -> Self {
        let cast = scenario.specs();
        let keys: Vec<PublicKey> = identities.iter().map(Identity::public).collect();
        let network = Arc::new(network);
        let mut numbers = vec![NOBODY; network.keys().len()];
        for (node, key) in keys.iter().enumerate() {
            if let Some(number) = network.index_of(key) {
                numbers[number as usize] = node as u32;
            }
        }
        let floods = |node: usize| {
            cast[node].as_ref().is_some_and(|spec| spec.kinds().any(|kind| kind == "flood"))
        };
        let shares = |node: usize| {
            let bytes = scenario.store.max_bytes?;
            Some(Shares::new(bytes, keys.len(), keys[node]))
        };
        let host = |node: usize| {
            let honest = cast[node].is_none();
            // Liars have no simulated processor: they are as fast as possible.
            let cpu = scenario.cpu.check.filter(|_| honest).map(Cpu::new);
            Host::new(keys[node], honest, floods(node), shares(node), cpu, keys.len())
        };
        let hosts: Vec<Host> = (0..keys.len()).map(host).collect();
        let honest: Vec<bool> = cast.iter().map(Option::is_none).collect();
        let mut config = Config::default();
        config.links = scenario.mesh.links.unwrap_or(config.links);
        let mut oracle = Oracle::new(&network, honest, keys);
        oracle.expect(config.links, slack(scenario));
        let mut world = Self {
            now: START,
            seed,
            decoys: decoys(&identities, &cast, &network),
            scenario: scenario.clone(),
            network,
            numbers,
            config,
            cast,
            identities,
            queue: Queue::new(lookahead(&scenario.net)),
            hosts,
            links: Links::default(),
            dice: Dice::new(seed),
            digest: RunDigest::default(),
            signatures: Signatures::new(scenario.crypto),
            check_takes: CHECK,
            sync_takes: SYNC,
            impairments: Impairments::default(),
            recorder: Recorder::default(),
            oracle,
            events: 0,
            last: None,
            living: 0,
            linked: 0,
            #[cfg(test)]
            defects: Default::default(),
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        for node in 0..self.hosts.len() {
            let at = START.after(Duration::from_micros(self.dice.up_to(STARTS)));
            self.queue.put(at, node as u32, Event::Begin { node: node as u32 });
        }
        let scenario = &self.scenario;
        self.recorder.fault_events = scenario.fault_events(self.seed);
        self.recorder.publishers = scenario.loads.iter().map(|l| scenario.publishers(l)).collect();
    }
}

/// Extra time for a node to become level in a network that is not calm.
fn slack(scenario: &Scenario) -> Duration {
    if is_calm(scenario) { Duration::ZERO } else { SLACK }
}

/// Least latency between any two nodes, in microseconds.
fn lookahead(net: &Net) -> u64 {
    let least = match &net.latency {
        Latency::Constant(latency) => *latency,
        Latency::Uniform { min, .. } => *min,
        Latency::Normal { .. } => Duration::ZERO,
        Latency::LongTailed { median, max } => (*median / 2).min(*max),
        Latency::Regions { matrix, .. } => {
            matrix.iter().flatten().min().copied().unwrap_or_default()
        }
    };
    micros(least)
}

/// The network file. Addresses are placeholders, as no node looks them up.
fn network(seed: u64, keys: &[PublicKey]) -> Network {
    let member = |(node, key): (usize, &PublicKey)| Member {
        key: *key,
        name: format!("n{node}"),
        role: Role::Member,
        gossip: Some(([127, 0, 0, 1], 1).into()),
    };
    let nonce = Digest::of(&[b"loyal/sim/network", &seed.to_be_bytes()]).0;
    match Network::new(nonce, keys.iter().enumerate().map(member).collect()) {
        Ok(network) => network,
        // The file is made here from derived keys: only a bug in this function could make it
        // invalid.
        Err(error) => panic!("the simulated network is invalid: {error}"),
    }
}

/// Batches that honest members signed for another network.
fn decoys(identities: &[Identity], cast: &[Option<Spec>], network: &Network) -> Vec<Batch> {
    let forges = |spec: &Spec| spec.kinds().any(|kind| kind == "forge");
    if !cast.iter().flatten().any(forges) {
        return Vec::new();
    }
    let elsewhere = Digest::of(&[b"loyal/sim/decoy", &network.id().0]);
    let entry = Entry { topic: "decoy".into(), payload: b"signed for another network".to_vec() };
    let honest = (0..cast.len()).filter(|node| cast[*node].is_none()).take(DECOYS);
    let sign = |node: usize| {
        let entries = std::slice::from_ref(&entry);
        Batch::sign(&identities[node], elsewhere, 1, Digest::ZERO, START.0, entries).ok()
    };
    honest.filter_map(sign).collect()
}
