//! A store in memory: writes are answered in order. A crash loses the writes that were not
//! answered, and a power cut also those that no later synced write followed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use loyal::crypto::PublicKey;
use loyal::protocol::{
    Ban, Durability, Hole, Record, Restored, RestoredLane, RestoredSlot, StoredBatch, Token,
};
use loyal::wire::BatchId;

/// What the store holds after some writes.
#[derive(Clone, Default)]
struct Image {
    rows: BTreeMap<(PublicKey, u64), Vec<StoredBatch>>,
    holes: BTreeMap<PublicKey, (u64, Vec<Hole>)>,
    floors: BTreeMap<PublicKey, u64>,
    bans: BTreeMap<PublicKey, Ban>,
    /// Slots whose row was set aside: a start knows that they are missing.
    lost: BTreeSet<(PublicKey, u64)>,
}

/// The store of the node under test.
#[derive(Default)]
pub(super) struct Disk {
    current: Image,
    /// What a power cut leaves.
    synced: Image,
    /// Records written since the last synced one, in order.
    tail: Vec<Record>,
    /// Writes that are not answered yet, oldest first.
    pending: VecDeque<(Token, Record, Durability)>,
}

impl Image {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Batch(stored) => {
                let header = &stored.batch.header;
                if self.floors.get(&header.author).is_some_and(|floor| header.seq <= *floor) {
                    return;
                }
                self.lost.remove(&(header.author, header.seq));
                let held = self.rows.entry((header.author, header.seq)).or_default();
                if held.iter().all(|other| other.id != stored.id) {
                    held.push(stored.clone());
                    held.sort_by_key(|one| !one.first);
                }
            }
            Record::Holes { author, tip, holes } => {
                self.holes.insert(*author, (*tip, holes.clone()));
            }
            Record::Ban(ban) => drop(self.bans.insert(ban.peer, *ban)),
            Record::Rejection(_) => {}
        }
    }

    fn prune(&mut self, author: PublicKey, floor: u64) {
        self.rows.retain(|(of, seq), _| *of != author || *seq > floor);
        self.floors.insert(author, floor);
    }

    fn lose(&mut self, slot: (PublicKey, u64), id: &BatchId) {
        let Some(held) = self.rows.get_mut(&slot) else { return };
        held.retain(|stored| stored.id != *id);
        if held.is_empty() {
            self.rows.remove(&slot);
            self.lost.insert(slot);
        }
    }

    fn lane(&self, author: PublicKey) -> RestoredLane {
        let floor = self.floors.get(&author).copied().unwrap_or(0);
        let (tip, holes) = self.holes.get(&author).cloned().unwrap_or_default();
        let rows = || self.rows.range((author, 0)..=(author, u64::MAX));
        let held: BTreeSet<u64> = rows().map(|((_, seq), _)| *seq).collect();
        let lost = self.lost.range((author, 0)..=(author, tip)).map(|(_, seq)| *seq);
        let lost =
            lost.filter(|seq| !holes.iter().any(|hole| hole.from <= *seq && *seq <= hole.to));
        let lost: Vec<Hole> = lost.map(|seq| Hole { from: seq, to: seq, gone: false }).collect();
        let mut left = Vec::new();
        for Hole { from, to, gone } in holes.into_iter().chain(lost) {
            let mut next = Some(from.max(floor.saturating_add(1)));
            for seq in held.range(from..).take_while(|seq| **seq <= to) {
                if let Some(from) = next.filter(|from| from < seq) {
                    left.push(Hole { from, to: seq - 1, gone });
                }
                next = next.max(Some(*seq)).and_then(|seq| seq.checked_add(1));
            }
            if let Some(from) = next.filter(|from| *from <= to) {
                left.push(Hole { from, to, gone });
            }
        }
        left.sort_unstable();
        let slot = |seq: u64, stored: &StoredBatch| RestoredSlot {
            seq,
            base: stored.batch.header.base,
            id: stored.id,
            rest: stored.batch.header.rest(),
            signature: stored.batch.signature,
            first: stored.first,
        };
        let slots =
            rows().flat_map(|((_, seq), held)| held.iter().map(|stored| slot(*seq, stored)));
        RestoredLane { author, tip, holes: left, floor, slots: slots.collect() }
    }
}

impl Disk {
    /// Accepts a write that the node asks for.
    pub(super) fn hand_in(&mut self, token: Token, record: Record, durability: Durability) {
        self.pending.push_back((token, record, durability));
    }

    /// The number of writes that are not answered.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Completes the oldest write. Returns whether it was written. Lazy writes always are, because
    /// a store keeps what it could not write and tries again.
    pub(super) fn finish(&mut self, well: bool) -> Option<(Token, Record, bool)> {
        let (token, record, durability) = self.pending.pop_front()?;
        let synced = durability == Durability::Synced;
        let well = well || !synced;
        if well {
            self.current.apply(&record);
            self.tail.push(record.clone());
        }
        if well && synced {
            self.tail.drain(..).for_each(|record| self.synced.apply(&record));
        }
        Some((token, record, well))
    }

    /// Whether a batch would survive a power cut, or was stored and is pruned.
    pub(super) fn is_safe(&self, author: &PublicKey, seq: u64, id: &BatchId) -> bool {
        let held = self.synced.rows.get(&(*author, seq));
        let pruned = self.synced.floors.get(author).is_some_and(|floor| seq <= *floor);
        pruned || held.is_some_and(|held| held.iter().any(|stored| stored.id == *id))
    }

    /// Whether a slot is stored, or was and is pruned.
    pub(super) fn knows(&self, author: &PublicKey, seq: u64) -> bool {
        self.current.rows.contains_key(&(*author, seq))
            || self.current.floors.get(author).is_some_and(|floor| seq <= *floor)
    }

    /// Returns the batch of a slot: the one with `id`, or the first.
    pub(super) fn read(
        &self,
        author: PublicKey,
        seq: u64,
        id: Option<BatchId>,
    ) -> Option<StoredBatch> {
        let held = self.current.rows.get(&(author, seq))?;
        held.iter().find(|stored| id.is_none_or(|id| stored.id == id)).cloned()
    }

    /// All rows, in order of author and slot.
    pub(super) fn rows(&self) -> impl Iterator<Item = &StoredBatch> {
        self.current.rows.values().flatten()
    }

    /// Drops an author's rows up to slot `floor`.
    pub(super) fn prune(&mut self, author: PublicKey, floor: u64) {
        self.current.prune(author, floor);
        self.synced.prune(author, floor);
    }

    /// Sets a row aside because it is not what was written.
    pub(super) fn lose(&mut self, author: PublicKey, seq: u64, id: &BatchId) {
        self.current.lose((author, seq), id);
        self.synced.lose((author, seq), id);
        self.tail.retain(|record| !matches!(record, Record::Batch(stored) if stored.id == *id));
    }

    /// Crashes, or cuts the power. Returns what the next start finds.
    pub(super) fn crash(&mut self, power_cut: bool) -> Restored {
        self.pending.clear();
        if power_cut {
            self.tail.clear();
            self.current = self.synced.clone();
        }
        let image = &self.current;
        let mut authors: BTreeSet<PublicKey> =
            image.rows.keys().map(|(author, _)| *author).collect();
        authors.extend(image.holes.keys().chain(image.floors.keys()));
        let lanes = authors.into_iter().map(|author| image.lane(author)).collect();
        Restored { lanes, bans: image.bans.values().copied().collect() }
    }
}
