//! A small language for node tests: `mesh(7).liar("forge").publish(50).run(5).expect_all()`.

use std::collections::BTreeMap;
use std::time::Duration;

use loyal::adversary::{Actor, Attempts};
use loyal::crypto::{Digest, PublicKey};
use loyal::protocol::{Config, Reason, Snapshot};
use loyal::wire::BatchId;

use crate::support::entry;
use crate::world::{Machine, Rules, World};

/// A mesh that runs.
pub(crate) struct Mesh {
    /// The world underneath, for anything that these methods do not cover.
    pub world: World,
    liars: Vec<usize>,
    messages: usize,
    taken: usize,
}

/// Describes a mesh of `n` nodes, which are honest unless they are declared otherwise.
pub(crate) fn mesh(n: u8) -> Described {
    Described { n, liars: vec![], raw: 0, seed: 1, rules: Rules::default() }
}

/// A mesh before it starts.
pub(crate) struct Described {
    n: u8,
    liars: Vec<String>,
    raw: u8,
    seed: u8,
    rules: Rules,
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

    /// Sets the seed, which changes the order of events.
    pub(crate) fn seed(mut self, seed: u8) -> Self {
        self.seed = seed;
        self
    }

    /// Changes the rules of the world.
    pub(crate) fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    /// Changes the configuration of every node.
    pub(crate) fn config(self, change: impl FnOnce(&mut Config)) -> Self {
        self.rules(|rules| change(&mut rules.config))
    }

    /// Starts all members, and lets them link for two seconds.
    pub(crate) fn up(self) -> Mesh {
        let mut world = World::new(self.n, self.seed, self.rules);
        let special = self.liars.len() + usize::from(self.raw);
        let honest = usize::from(self.n) - special;
        for number in 0..honest {
            world.start(number);
        }
        let raw = honest + usize::from(self.raw);
        for number in honest..raw {
            world.start_raw(number);
        }
        let mut liars = vec![];
        for (number, spec) in (raw..).zip(&self.liars) {
            world.start_liar(number, spec);
            liars.push(number);
        }
        world.run(Duration::from_secs(2));
        Mesh { world, liars, messages: 0, taken: 0 }
    }
}

impl Mesh {
    /// The numbers of the honest nodes that run.
    pub(crate) fn honest(&self) -> Vec<usize> {
        let peers = self.world.peers.iter().enumerate();
        let honest =
            peers.filter(|(_, peer)| matches!(peer.machine, Machine::Runs(Actor::Honest(_))));
        honest.map(|(number, _)| number).collect()
    }

    /// Publishes `count` messages through the honest nodes in turn, one every 20 ms.
    pub(crate) fn publish(mut self, count: usize) -> Self {
        let honest = self.honest();
        for _ in 0..count {
            let text = format!("message {}", self.messages);
            let by = honest[self.messages % honest.len()];
            self.messages += 1;
            self.taken += usize::from(self.world.publish(by, entry("t", text.as_bytes())));
            self.world.run(Duration::from_millis(20));
        }
        self
    }

    /// Lets virtual time pass.
    pub(crate) fn run(mut self, seconds: f64) -> Self {
        self.world.run(Duration::from_secs_f64(seconds));
        self
    }

    /// Changes the world by `act`.
    pub(crate) fn then(mut self, act: impl FnOnce(&mut World)) -> Self {
        act(&mut self.world);
        self
    }

    /// The snapshot of a node.
    pub(crate) fn snapshot(&self, number: usize) -> Snapshot {
        match &self.world.peers[number].machine {
            Machine::Runs(actor) => actor.snapshot(),
            Machine::Raw | Machine::Down => panic!("{number} has no snapshot"),
        }
    }

    /// The attempts of a liar.
    pub(crate) fn attempts(&self, number: usize) -> &Attempts {
        match &self.world.peers[number].machine {
            Machine::Runs(Actor::Liar(liar)) => liar.attempts(),
            _ => panic!("{number} is no liar"),
        }
    }

    /// How often honest nodes refused something for a reason. Folded rows count in full.
    pub(crate) fn refused(&self, reason: Reason) -> u64 {
        let rows = self.honest().into_iter().flat_map(|i| self.world.rejections(i));
        rows.filter(|row| row.reason == reason).map(|row| row.count).sum()
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
        let keys: Vec<PublicKey> = honest.iter().map(|i| self.world.peers[*i].key).collect();
        let mut published: BTreeMap<BatchId, usize> = BTreeMap::new();
        for number in &honest {
            for id in &self.world.peers[*number].published {
                *published.entry(id.batch).or_default() += 1;
            }
        }
        assert_eq!(
            published.values().sum::<usize>(),
            self.taken,
            "all that was taken is published"
        );
        for number in honest {
            let mut slots = BTreeMap::new();
            for (author, seq, id) in &self.world.peers[number].delivered {
                let twice = slots.insert((*author, *seq), *id);
                assert!(twice.is_none(), "node {number} delivered slot {seq} twice");
                let genuine = !keys.contains(author) || published.contains_key(id);
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
        let keys: Vec<PublicKey> = honest.iter().map(|i| self.world.peers[*i].key).collect();
        for number in honest {
            for ban in &self.world.peers[number].disk.bans {
                assert!(!keys.contains(&ban.peer), "node {number} banned an honest one: {ban:?}");
            }
        }
        self
    }

    /// Asserts that each liar was banned by an honest node or, if not `expected`, that none of them
    /// was.
    pub(crate) fn expect_bans(self, expected: bool) -> Self {
        let honest = self.honest();
        for liar in self.liars.clone() {
            let key = self.world.peers[liar].key;
            let banned = honest
                .iter()
                .any(|i| self.world.peers[*i].disk.bans.iter().any(|ban| ban.peer == key));
            let bans = honest.iter().flat_map(|i| &self.world.peers[*i].disk.bans);
            let why: Vec<_> = bans.filter(|ban| ban.peer == key).collect();
            assert_eq!(banned, expected, "liar {liar}: {why:?}");
        }
        self
    }

    /// Asserts that a frame of some attempt of this kind was refused by an honest node.
    pub(crate) fn expect_reached(self, kind: &str) -> Self {
        let refused: Vec<Digest> = self
            .honest()
            .into_iter()
            .flat_map(|i| self.world.rejections(i).iter().map(|row| row.frame))
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
