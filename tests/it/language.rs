//! A small language for tests of nodes in the simulator:
//! `mesh(7).liar("forge").publish(50).run(5.0).expect_all()`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use loyal::adversary::{Actor, Attempts};
use loyal::crypto::{Digest, PublicKey};
use loyal::protocol::{Config, LinkId, Member, Network, Reason, Role, Snapshot};
use loyal::report::BatchRecord;
use loyal::scenario::Scenario;
use loyal::sim::Sim;
use loyal::wire::{Batch, BatchId};

use crate::support::{entry, hello, identity, network, wide_identity};

/// A mesh that runs. The oracle watches it: what it sees fails the test.
pub(crate) struct Mesh {
    /// The run underneath, for anything that these methods do not cover.
    pub sim: Sim,
    nodes: u8,
    liars: Vec<usize>,
    messages: usize,
    taken: usize,
    signed_elsewhere: bool,
}

/// Describes a mesh of `n` nodes, which are honest unless they are declared otherwise. Node 0 has
/// identity 1.
pub(crate) fn mesh(n: u8) -> Described {
    Described {
        n,
        liars: vec![],
        raw: 0,
        authors: 0,
        seed: 1,
        latency: Duration::from_millis(2),
        times: (Duration::from_micros(100), Duration::from_millis(1)),
        config: Config::default(),
        more: String::new(),
    }
}

/// Describes a mesh in which node 0 alone is honest, and the test plays members 1 to 3.
pub(crate) fn alone() -> Described {
    mesh(4).raw().raw().raw()
}

/// A mesh before it starts.
pub(crate) struct Described {
    n: u8,
    liars: Vec<String>,
    raw: u8,
    authors: u16,
    seed: u64,
    latency: Duration,
    times: (Duration, Duration),
    config: Config,
    more: String,
}

impl Described {
    /// Makes one more of the `n` members a liar. Liars have the highest numbers.
    pub(crate) fn liar(mut self, spec: &str) -> Self {
        self.liars.push(spec.into());
        self
    }

    /// Makes one more of the `n` members a raw peer, played by the test. Raw peers come right
    /// before the liars.
    pub(crate) fn raw(mut self) -> Self {
        self.raw += 1;
        self
    }

    /// Adds authors without a node: the wide identities from 0 on.
    pub(crate) fn authors(mut self, count: u16) -> Self {
        self.authors = count;
        self
    }

    /// Sets the seed, which changes the order of events.
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the one-way latency of links, in microseconds.
    pub(crate) fn latency(mut self, micros: u64) -> Self {
        self.latency = Duration::from_micros(micros);
        self
    }

    /// Sets how long signature checks and synced writes take, in microseconds.
    pub(crate) fn times(mut self, check: u64, sync: u64) -> Self {
        self.times = (Duration::from_micros(check), Duration::from_micros(sync));
        self
    }

    /// Changes the configuration of every node.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Adds to the scenario. Its times count from the start of the mesh.
    pub(crate) fn scenario(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self
    }

    fn text(&self) -> String {
        let mut text = format!(
            "name = 'test'\nduration = '24h'\nmesh = {{ nodes = {}, start = 'cold' }}\n\
             net = {{ latency = '{}us', bandwidth = 20_000_000 }}\n",
            self.n,
            self.latency.as_micros(),
        );
        let raw = std::iter::repeat_n("drop", self.raw.into()).map(String::from);
        for spec in raw.chain(self.liars.iter().cloned()) {
            write!(text, "[[malicious]]\ncount = 1\nbehave = '{spec}'\n").expect("a string");
        }
        text + &self.more
    }

    /// The mesh, with no node started yet.
    pub(crate) fn down(self) -> Mesh {
        let scenario = Scenario::parse(&self.text(), &[]).unwrap_or_else(|why| panic!("{why}"));
        let mut members = network(self.n).keys().to_vec();
        members.extend((0..self.authors).map(|i| Member {
            key: wide_identity(i).public(),
            name: format!("a{i}"),
            role: Role::Author,
            gossip: None,
        }));
        let network = Network::new([5; 32], members).expect("sound");
        let identities = (1..=self.n).map(identity).collect();
        let mut sim = Sim::of_network(&scenario, self.seed, network, identities);
        sim.set_times(self.times.0, self.times.1);
        *sim.config() = self.config;
        let honest = usize::from(self.n - self.raw) - self.liars.len();
        let first = honest + usize::from(self.raw);
        (honest..first).for_each(|raw| sim.play(raw));
        let liars = (first..usize::from(self.n)).collect();
        Mesh { sim, nodes: self.n, liars, messages: 0, taken: 0, signed_elsewhere: false }
    }

    /// Starts all members, and lets them link for two seconds.
    pub(crate) fn up(self) -> Mesh {
        self.down().run(2.0)
    }
}

impl Mesh {
    /// The numbers of the honest nodes that run.
    pub(crate) fn honest(&self) -> Vec<usize> {
        let honest = |i: &usize| matches!(self.sim.actor(*i), Some(Actor::Honest(_)));
        (0..usize::from(self.nodes)).filter(honest).collect()
    }

    /// Links a raw peer to a node. Returns the raw peer's end.
    pub(crate) fn connect(&mut self, raw: usize, to: usize) -> LinkId {
        self.sim.connect(raw, to).expect("the node runs")
    }

    /// Links a raw peer to a node and says hello. Returns the raw peer's end.
    pub(crate) fn join(&mut self, raw: usize, to: usize) -> LinkId {
        let link = self.connect(raw, to);
        let frame = hello(self.sim.network(), raw as u8);
        self.sim.say(link, &frame.encode());
        self.pass(50);
        link
    }

    /// Publishes `count` messages through the honest nodes in turn, one every 20 ms.
    pub(crate) fn publish(mut self, count: usize) -> Self {
        let honest = self.honest();
        for _ in 0..count {
            let text = format!("message {}", self.messages);
            let by = honest[self.messages % honest.len()];
            self.messages += 1;
            let answer = self.sim.publish(by, entry("t", text.as_bytes()));
            self.taken += usize::from(matches!(answer, Some(Ok(_))));
            self.pass(20);
        }
        self
    }

    /// Lets simulated milliseconds pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.sim.run(Duration::from_millis(ms));
    }

    /// Lets simulated seconds pass.
    pub(crate) fn run(mut self, seconds: f64) -> Self {
        self.sim.run(Duration::from_secs_f64(seconds));
        self
    }

    /// The test signs batches with the key of an honest node, which the oracle takes for forgeries
    /// (I1).
    pub(crate) fn signed_elsewhere(mut self) -> Self {
        self.signed_elsewhere = true;
        self
    }

    /// Does something to the run.
    pub(crate) fn then(mut self, act: impl FnOnce(&mut Sim)) -> Self {
        act(&mut self.sim);
        self
    }

    /// The snapshot of a node.
    pub(crate) fn snapshot(&self, number: usize) -> Snapshot {
        self.sim.actor(number).expect("it runs").snapshot()
    }

    /// The attempts of a liar.
    pub(crate) fn attempts(&self, number: usize) -> &Attempts {
        self.sim.actor(number).and_then(Actor::attempts).expect("a liar")
    }

    /// How often a node delivered a batch.
    pub(crate) fn delivered(&self, number: usize, batch: &Batch) -> usize {
        self.sim.delivered(number).filter(|held| held.id == batch.id()).count()
    }

    /// How often honest nodes refused something for a reason. Folded rows count in full.
    pub(crate) fn refused(&self, reason: Reason) -> u64 {
        let rows = self.honest().into_iter().flat_map(|i| self.sim.rejections(i));
        rows.filter(|row| row.reason == reason).map(|row| row.count).sum()
    }

    fn key(number: usize) -> PublicKey {
        identity(number as u8 + 1).public()
    }

    /// Asserts that each honest node has delivered every message that an honest node published,
    /// once, and nothing else in an honest author's name.
    pub(crate) fn expect_all(self) -> Self {
        self.expect_all_but(0)
    }

    /// Like [`Self::expect_all`], except that `refused` messages may not have been accepted for
    /// publication.
    pub(crate) fn expect_all_but(self, refused: usize) -> Self {
        assert!(self.taken + refused >= self.messages, "{} of {}", self.taken, self.messages);
        let honest = self.honest();
        let mut published: BTreeMap<BatchId, usize> = BTreeMap::new();
        for number in &honest {
            for id in self.sim.published(*number) {
                *published.entry(id.batch).or_default() += 1;
            }
        }
        assert_eq!(
            published.values().sum::<usize>(),
            self.taken,
            "all that was taken is published"
        );
        for &number in &honest {
            let mut slots = BTreeMap::new();
            for BatchRecord { id, author, seq, .. } in self.sim.delivered(number) {
                let twice = slots.insert((*author, *seq), *id);
                assert!(twice.is_none(), "node {number} delivered slot {seq} twice");
                let of_honest = author.is_some_and(|author| honest.contains(&(author as usize)));
                let genuine = !of_honest || published.contains_key(id);
                assert!(genuine, "node {number} delivered a forgery");
            }
            let held = |id: &BatchId| slots.values().any(|held| held == id);
            let missing = published.keys().filter(|id| !held(id)).count();
            assert_eq!(missing, 0, "node {number} lacks {missing} of {} batches", published.len());
        }
        self
    }

    /// Asserts that no honest node has banned an honest node.
    pub(crate) fn expect_no_honest_ban(self) -> Self {
        let honest = self.honest();
        let keys: Vec<PublicKey> = honest.iter().map(|i| Self::key(*i)).collect();
        for number in honest {
            for ban in self.sim.bans(number) {
                assert!(!keys.contains(&ban.peer), "node {number} banned an honest one: {ban:?}");
            }
        }
        self
    }

    /// Asserts that each liar was banned by an honest node or, if not `expected`, that none of them
    /// was.
    pub(crate) fn expect_bans(self, expected: bool) -> Self {
        let honest = self.honest();
        for liar in &self.liars {
            let bans = honest.iter().flat_map(|i| self.sim.bans(*i));
            let why: Vec<_> = bans.filter(|ban| ban.peer == Self::key(*liar)).collect();
            assert_eq!(!why.is_empty(), expected, "liar {liar}: {why:?}");
        }
        self
    }

    /// Asserts that a frame of some attempt of this kind was refused by an honest node.
    pub(crate) fn expect_reached(self, kind: &str) -> Self {
        let refused: Vec<Digest> = self
            .honest()
            .into_iter()
            .flat_map(|i| self.sim.rejections(i).map(|row| row.frame))
            .collect();
        let reached = self.liars.iter().flat_map(|liar| &self.attempts(*liar).newest).any(|try_| {
            try_.kind == kind && try_.frame.is_some_and(|frame| refused.contains(&frame))
        });
        let tried: u64 = self.tried(kind);
        assert!(reached, "{tried} attempts of {kind}, {} refusals, none of one", refused.len());
        self
    }

    /// The number of attempts of a kind.
    pub(crate) fn tried(&self, kind: &str) -> u64 {
        let totals = self.liars.iter().filter_map(|liar| self.attempts(*liar).totals.get(kind));
        totals.map(|totals| totals.attempted).sum()
    }

    /// The number of frames or links of honest nodes that attempts of a kind affected.
    pub(crate) fn affected(&self, kind: &str) -> u64 {
        let totals = self.liars.iter().filter_map(|liar| self.attempts(*liar).totals.get(kind));
        totals.map(|totals| totals.affected).sum()
    }

    /// Asserts that an honest node refused something for this reason.
    pub(crate) fn expect_refused(self, reason: Reason) -> Self {
        assert!(self.refused(reason) > 0, "nothing was refused as {}", reason.name());
        self
    }

    /// Asserts that each honest node has a link.
    pub(crate) fn expect_linked(self) -> Self {
        for number in self.honest() {
            assert!(self.snapshot(number).ready_links() > 0, "node {number} has no link");
        }
        self
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let seen = self.sim.violations().iter();
        let wrong: Vec<_> =
            seen.filter(|one| !(self.signed_elsewhere && one.invariant == "I1")).collect();
        assert!(std::thread::panicking() || wrong.is_empty(), "{wrong:?}");
    }
}
