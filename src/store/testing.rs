//! Helpers of the store's tests: a small network, signed batches, and a store with its answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{MessageQuery, Options, Store, StoreError};
use crate::crypto::{Digest, PublicKey};
use crate::protocol::testing::{self, member, network_of};
pub(super) use crate::protocol::testing::{entry, identity};
use crate::protocol::{
    CountsAs, Durability, Input, Network, Reason, Record, Rejection, Restored, StoredBatch, Time,
    Token,
};
use crate::wire::{Batch, BatchId, Entry};

/// A network of the identities 1 to `n`.
pub(super) fn network(n: u16) -> Arc<Network> {
    network_of((1..=n).map(member))
}

/// A batch signed by this author, with an arbitrary predecessor.
pub(super) fn batch(net: &Network, author: u8, seq: u64, entries: &[Entry]) -> Batch {
    let prev = if seq == 1 { Digest::ZERO } else { Digest([author; 32]) };
    Batch::sign(&identity(author), net.id(), seq, prev, 1_000 + seq, entries).expect("signs")
}

/// A stored batch that came from neighbour `from`, or was published by this node.
pub(super) fn stored(batch: Batch, from: Option<u8>) -> StoredBatch {
    StoredBatch {
        hops: if from.is_some() { 3 } else { 0 },
        from: from.map(|number| identity(number).public()),
        delivered_at: Time(5_000 + batch.header.seq),
        ..testing::stored(batch)
    }
}

/// A line of the rejection log.
pub(super) fn rejection(reason: Reason, link: u8, at: u64, count: u64) -> Rejection {
    let row = testing::rejection(reason, &[7; 300]);
    Rejection {
        at: Time(at),
        link: Some(identity(link).public()),
        author: Some(identity(1).public()),
        seq: Some(4),
        id: Some(Digest([5; 32])),
        topic: Some("t".into()),
        hops: Some(2),
        detail: "forged".into(),
        head: vec![0, 1, 0xff],
        count,
        counts_as: if reason == Reason::Replayed { CountsAs::Copy } else { row.counts_as },
        ..row
    }
}

/// An open store of identity 1, and the answers that it gave.
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) restored: Restored,
    answers: Mutex<Receiver<Input>>,
    seen: Mutex<BTreeMap<Token, Input>>,
    next: Mutex<u64>,
    /// The floors that the store reported.
    floors: Mutex<BTreeMap<PublicKey, u64>>,
    /// The damaged rows that the store reported.
    damaged: Mutex<Vec<(PublicKey, u64, BatchId)>>,
}

impl Bench {
    pub(super) fn try_open(
        dir: &Path,
        net: &Network,
        options: Options,
    ) -> Result<Self, StoreError> {
        let (tell, answers) = channel();
        let answer = Box::new(move |input| tell.send(input).unwrap_or(()));
        let (store, restored) = Store::open(dir, net, identity(1).public(), options, answer)?;
        let (seen, next) = (Mutex::default(), Mutex::new(0));
        let (answers, floors) = (Mutex::new(answers), Mutex::default());
        let damaged = Mutex::default();
        Ok(Self { store, restored, answers, seen, next, floors, damaged })
    }

    pub(super) fn open(dir: &Path, net: &Network) -> Self {
        Self::try_open(dir, net, Options::default()).expect("opens")
    }

    fn token(&self) -> Token {
        let mut next = self.next.lock().expect("no panic");
        *next += 1;
        Token(*next)
    }

    /// Writes a record without waiting.
    pub(super) fn give(&self, record: Record, durability: Durability) -> Token {
        let token = self.token();
        self.store.write(token, record, durability);
        token
    }

    /// Waits for the answer to a request.
    pub(super) fn answer(&self, token: Token) -> Input {
        let answers = self.answers.lock().expect("no panic");
        let mut seen = self.seen.lock().expect("no panic");
        loop {
            if let Some(input) = seen.remove(&token) {
                return input;
            }
            let input = answers.recv_timeout(Duration::from_secs(20)).expect("an answer");
            if let Input::Pruned { author, floor } = input {
                self.floors.lock().expect("no panic").insert(author, floor);
                continue;
            }
            if let Input::Damaged { author, seq, id } = input {
                self.damaged.lock().expect("no panic").push((author, seq, id));
                continue;
            }
            let (Input::Written { token }
            | Input::WriteFailed { token }
            | Input::Read { token, .. }) = input
            else {
                panic!("no answer: {input:?}")
            };
            assert!(seen.insert(token, input).is_none(), "answered twice");
        }
    }

    /// The last floor of an author that the store reported before its next answer.
    pub(super) fn told(&self, author: u8) -> Option<u64> {
        self.get(author, 1, None);
        self.floors.lock().expect("no panic").get(&identity(author).public()).copied()
    }

    /// The damaged rows that the store reported before its next answer.
    pub(super) fn damaged(&self) -> Vec<(PublicKey, u64, BatchId)> {
        self.settle();
        // Damage is reported before the answer to this write, which itself reports none.
        self.put(
            Record::Holes { author: identity(1).public(), tip: 0, holes: vec![] },
            Durability::Lazy,
        );
        self.damaged.lock().expect("no panic").clone()
    }

    /// Writes a record; returns whether it was written.
    pub(super) fn put(&self, record: Record, durability: Durability) -> bool {
        matches!(self.answer(self.give(record, durability)), Input::Written { .. })
    }

    pub(super) fn put_batch(&self, stored: &StoredBatch) -> bool {
        self.put(Record::Batch(stored.clone()), Durability::Synced)
    }

    pub(super) fn put_rejection(&self, rejection: Rejection) -> bool {
        self.put(Record::Rejection(Box::new(rejection)), Durability::Lazy)
    }

    /// Waits until the writer has nothing left to do.
    pub(super) fn settle(&self) {
        let mut turns = usize::MAX;
        while turns != self.store.turns() {
            turns = self.store.turns();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(super) fn get(&self, author: u8, seq: u64, id: Option<BatchId>) -> Option<StoredBatch> {
        let token = self.token();
        self.store.read(token, identity(author).public(), seq, id);
        match self.answer(token) {
            Input::Read { batch, .. } => batch.map(|batch| *batch),
            other => panic!("{other:?}"),
        }
    }
}

/// A query for all messages, or for those of one author.
pub(super) fn query(author: Option<PublicKey>, limit: usize) -> MessageQuery {
    MessageQuery { author, limit, ..MessageQuery::default() }
}

/// A copy of the files that a kill of the process at this moment would leave behind.
pub(super) fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["node.sqlite", "node.sqlite-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).expect("copies");
    }
    copy
}
