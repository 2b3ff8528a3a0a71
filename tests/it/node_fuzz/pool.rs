//! Statements signed beforehand, so that a run spends no time on signing.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use loyal::crypto::{Digest, Identity, PublicKey, Signature, check};
use loyal::protocol::{Member, Network, Role};
use loyal::wire::limits::MAX_SLOT;
use loyal::wire::{Batch, BatchId, Entry, Header, SignedSlot};

/// Number of members. The node under test is member 0.
pub(super) const MEMBERS: u8 = 5;
/// The member that says only what is sound.
pub(super) const HONEST: usize = 4;
/// Length of each main chain.
const SLOTS: u64 = 24;

/// Everything that stays the same from run to run.
pub(super) struct Pool {
    /// Five members, of which one may lie (f = 1) and more do, and one author.
    pub network: Network,
    /// By number: the members, then the author, then a stranger, who is not in the network.
    pub identities: Vec<Identity>,
    /// Batches signed for this network: for each key a chain, then forks, restarts and far ones.
    pub batches: Vec<Batch>,
    /// For each author, the indices in `batches` of its main chain, by slot from 1.
    chains: BTreeMap<PublicKey, Vec<usize>>,
    by_id: BTreeMap<BatchId, usize>,
    verdicts: Mutex<BTreeMap<Digest, bool>>,
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number + 1; 32])
}

/// The pool, which is built once for all runs.
pub(super) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(Pool::new)
}

impl Pool {
    fn new() -> Self {
        let key = |number: u8| Member {
            key: identity(number).public(),
            name: format!("k{number}"),
            role: if number < MEMBERS { Role::Member } else { Role::Author },
            gossip: (number < MEMBERS).then(|| ([127, 0, 0, 1], 7600 + u16::from(number)).into()),
        };
        let network = Network::new([8; 32], (0..=MEMBERS).map(key).collect()).expect("sound");
        let mut pool = Self {
            network,
            identities: (0..=MEMBERS + 1).map(identity).collect(),
            batches: Vec::new(),
            chains: BTreeMap::new(),
            by_id: BTreeMap::new(),
            verdicts: Mutex::default(),
        };
        for number in 0..=MEMBERS {
            pool.author(usize::from(number));
        }
        let stranger = pool.identities[usize::from(MEMBERS) + 1].clone();
        pool.sign(&stranger, 1, (0, Digest::ZERO), 20);
        pool
    }

    fn sign(&mut self, by: &Identity, seq: u64, base: (u64, BatchId), size: usize) -> BatchId {
        let payload = vec![self.batches.len() as u8; size];
        let entry = Entry { topic: "fuzz".into(), payload };
        let batch = Batch::sign_after(by, self.network.id(), seq, base, seq, &[entry]);
        let batch = batch.expect("it fits");
        let id = batch.id();
        self.by_id.insert(id, self.batches.len());
        self.batches.push(batch);
        id
    }

    /// Signs an author's batches: a chain; a fork of it from slot 3; a third id for slot 4;
    /// restarts over the chain, two of them on one base; slots at the edge of a window, beyond it,
    /// and at the highest slot.
    fn author(&mut self, number: usize) {
        let by = self.identities[number].clone();
        let (mut prev, mut fork, mut chain) = (Digest::ZERO, Digest::ZERO, Vec::new());
        for seq in 1..=SLOTS {
            let size = if seq == 9 { 60_000 } else { 20 };
            chain.push(self.batches.len());
            let id = self.sign(&by, seq, (seq - 1, prev), size);
            fork = if seq < 3 { id } else { fork };
            prev = id;
        }
        let two = fork;
        for seq in 3..=7 {
            fork = self.sign(&by, seq, (seq - 1, fork), 25);
        }
        self.sign(&by, 4, (3, Digest([4; 32])), 30);
        for (seq, base) in [
            (9, (0, Digest::ZERO)),
            (30, (2, two)),
            (31, (2, two)),
            (40, (SLOTS, prev)),
            (900, (SLOTS, prev)),
            (1024, (1023, Digest([5; 32]))),
            (1025, (1024, Digest([5; 32]))),
            (1049, (1048, Digest([5; 32]))),
            (3000, (SLOTS, prev)),
            (70_000, (3, Digest([6; 32]))),
            (MAX_SLOT - 1, (SLOTS, prev)),
            (MAX_SLOT, (MAX_SLOT - 1, Digest([7; 32]))),
            (MAX_SLOT, (SLOTS, prev)),
        ] {
            self.sign(&by, seq, base, 22);
        }
        if number == usize::from(MEMBERS) {
            self.sign(&by, SLOTS + 1, (SLOTS, prev), 1 << 20);
        }
        self.chains.insert(by.public(), chain);
    }

    /// The main chain of an author, by slot from 1.
    pub(super) fn chain(&self, author: &PublicKey) -> impl Iterator<Item = &Batch> {
        self.chains.get(author).into_iter().flatten().map(|number| &self.batches[*number])
    }

    /// The batch of a slot, if the pool has one: the one with `id`, or the first.
    pub(super) fn find(&self, author: &PublicKey, seq: u64, id: Option<BatchId>) -> Option<&Batch> {
        if let Some(id) = id {
            let batch = self.by_id.get(&id).map(|number| &self.batches[*number])?;
            let header = &batch.header;
            return (header.author == *author && header.seq == seq).then_some(batch);
        }
        self.batches.iter().find(|b| b.header.author == *author && b.header.seq == seq)
    }

    /// Whether the real rule accepts a signature. Results are kept.
    pub(super) fn is_good(
        &self,
        key: &PublicKey,
        statement: &[u8; SignedSlot::STATEMENT],
        signature: &Signature,
    ) -> bool {
        let name = Digest::of(&[&key.0, &statement[..], &signature.0]);
        let mut verdicts = self.verdicts.lock().expect("nobody panics in there");
        if verdicts.len() > 1 << 16 {
            verdicts.clear();
        }
        *verdicts.entry(name).or_insert_with(|| check(key, &statement[..], signature).is_good())
    }

    /// Whether a batch is one that its author, a key of this network, signed.
    pub(super) fn is_sound(&self, batch: &Batch) -> bool {
        let Header { network, author, .. } = &batch.header;
        *network == self.network.id()
            && self.network.index_of(author).is_some()
            && batch.check_shape().is_ok()
            && self.is_good(author, &batch.header.statement(), &batch.signature)
            && batch.content_matches()
    }
}
