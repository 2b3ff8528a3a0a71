//! The safe part of a simulated disk: rows, bans and holes, pruned to a bound as the real store
//! prunes them (`src/store/author.rs`), and rotten rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::crypto::PublicKey;
use crate::protocol::{
    Ban, Hole, ROW_COST, ROWS_KEPT, Record, Restored, RestoredLane, RestoredSlot, Shares,
    StoredBatch, Verified, limit_holes,
};
use crate::scenario::Dice;
use crate::wire::limits::WINDOW;
use crate::wire::{Batch, BatchId, Blob};

/// Author, slot, and whether it is the slot's second batch.
type Place = (PublicKey, u64, bool);

enum Row {
    Whole(StoredBatch),
    /// The row of a batch whose payload is pruned.
    Pruned(Box<RestoredSlot>),
}

impl Row {
    fn whole(&self) -> Option<&StoredBatch> {
        match self {
            Self::Whole(stored) => Some(stored),
            Self::Pruned(_) => None,
        }
    }

    fn id(&self) -> BatchId {
        match self {
            Self::Whole(stored) => stored.id,
            Self::Pruned(slot) => slot.id,
        }
    }

    fn slot(&self) -> RestoredSlot {
        match self {
            Self::Whole(stored) => slot_of(stored),
            Self::Pruned(slot) => **slot,
        }
    }
}

/// Accounting for one author; kept only if the disk is bounded.
#[derive(Default)]
struct Author {
    newest: u64,
    /// Every slot up to this one was held and has its payload pruned.
    floor: u64,
    bytes: u64,
    /// No payload is left below this slot, except of batches that arrived late.
    pruned_below: u64,
    /// Number of first batches whose rows are deleted.
    deleted: u64,
}

/// The safe part of a disk.
#[derive(Default)]
pub(super) struct Image {
    rows: BTreeMap<Place, Row>,
    bans: BTreeMap<PublicKey, Ban>,
    /// The last record of holes of each lane: its tip, and the slots missing below.
    holes: BTreeMap<PublicKey, (u64, Vec<Hole>)>,
    /// Rows with a flipped bit.
    rotten: BTreeSet<Place>,
    shares: Option<Shares>,
    authors: BTreeMap<PublicKey, Author>,
}

impl Image {
    /// An empty image, bounded if `shares` are given.
    pub(super) fn new(shares: Option<Shares>) -> Self {
        Self { shares, ..Self::default() }
    }

    /// Stores a record. Returns the author and its new floor if payloads were pruned.
    pub(super) fn put(&mut self, record: Record) -> Option<(PublicKey, u64)> {
        match record {
            Record::Batch(stored) => return self.put_batch(stored),
            Record::Ban(ban) => {
                self.bans.insert(ban.peer, ban);
            }
            Record::Holes { author, tip, holes } => {
                self.holes.insert(author, (tip, holes));
                return self.follow_tip(author);
            }
            Record::Rejection(_) => {}
        }
        None
    }

    fn put_batch(&mut self, stored: StoredBatch) -> Option<(PublicKey, u64)> {
        let header = &stored.batch.header;
        let (author, seq, bytes) = (header.author, header.seq, stored.batch.body.len() as u64);
        let place = (author, seq, !stored.first);
        if self.rows.contains_key(&place) {
            return None;
        }
        self.rotten.remove(&place);
        let Some(shares) = self.shares else {
            self.rows.insert(place, Row::Whole(stored));
            return None;
        };
        let of = self.authors.entry(author).or_default();
        of.newest = of.newest.max(seq);
        if seq <= of.floor {
            // Below the floor only the id matters, as evidence.
            self.rows.insert(place, Row::Pruned(Box::new(slot_of(&stored))));
            return None;
        }
        of.bytes += bytes + ROW_COST;
        of.pruned_below = of.pruned_below.min(seq);
        let over = of.bytes > shares.of(&author);
        self.rows.insert(place, Row::Whole(stored));
        over.then(|| (author, self.prune(author, shares.of(&author))))
    }

    /// A lane's tip has moved: the floor may pass holes between slots that are already pruned.
    fn follow_tip(&mut self, author: PublicKey) -> Option<(PublicKey, u64)> {
        let before = self.authors.get(&author).filter(|of| of.pruned_below > of.floor)?.floor;
        let floor = self.prune(author, self.shares?.of(&author));
        (floor > before).then_some((author, floor))
    }

    /// Drops an author's oldest payloads, but never that of the newest slot, until the author is
    /// within its share; then deletes rows of pruned slots that are too old for any peer to
    /// request. Returns the floor.
    fn prune(&mut self, author: PublicKey, share: u64) -> u64 {
        let Some(of) = self.authors.get_mut(&author) else { return 0 };
        let span = (author, of.pruned_below, false)..(author, of.newest, false);
        for ((_, seq, _), row) in self.rows.range_mut(span) {
            if of.bytes <= share {
                break;
            }
            if let Row::Whole(stored) = row {
                of.bytes = of.bytes.saturating_sub(stored.batch.body.len() as u64 + ROW_COST);
                *row = Row::Pruned(Box::new(slot_of(stored)));
            }
            of.pruned_below = *seq;
        }
        let floor = self.floor(author);
        let Some(of) = self.authors.get_mut(&author) else { return 0 };
        of.floor = floor;
        let last = of.floor.min(of.newest.saturating_sub(ROWS_KEPT));
        let old: Vec<Place> = self
            .rows
            .range((author, 0, false)..=(author, last, true))
            .map(|(place, _)| *place)
            .collect();
        for place in old {
            self.rows.remove(&place);
            of.deleted += u64::from(!place.2);
        }
        of.floor
    }

    /// The highest pruned slot of an author without a payload below it. The floor passes holes up
    /// to the lane's tip; above the tip, a slot that was never held may still arrive and holds the
    /// floor back.
    fn floor(&self, author: PublicKey) -> u64 {
        let Some(of) = self.authors.get(&author) else { return 0 };
        let above = (author, of.pruned_below.max(of.floor + 1), false)..=(author, u64::MAX, true);
        let whole = self.rows.range(above).find(|(_, row)| row.whole().is_some());
        let lowest = whole.map_or(u64::MAX, |((_, seq, _), _)| *seq);
        let below = self.rows.range((author, 0, false)..(author, lowest, false)).next_back();
        let pruned = below.map_or(0, |((_, seq, _), _)| *seq);
        let tip = self.holes.get(&author).map_or(0, |(tip, _)| *tip);
        let mut floor = of.floor.max(pruned.min(tip.max(of.newest.saturating_sub(WINDOW))));
        while floor < pruned && self.rows.contains_key(&(author, floor + 1, false)) {
            floor += 1;
        }
        floor
    }

    /// The rows of a slot, the first batch's before the second's.
    fn slot(&self, author: PublicKey, seq: u64) -> impl Iterator<Item = &Row> {
        self.rows.range((author, seq, false)..=(author, seq, true)).map(|(_, row)| row)
    }

    fn is_below_floor(&self, author: PublicKey, seq: u64) -> bool {
        self.authors.get(&author).is_some_and(|of| seq <= of.floor)
    }

    /// Whether a slot has any row, or lies at or below its lane's floor.
    pub(super) fn knows(&self, author: PublicKey, seq: u64) -> bool {
        self.slot(author, seq).next().is_some() || self.is_below_floor(author, seq)
    }

    /// Whether a slot has no row and lies at or below its lane's floor.
    pub(super) fn has_passed(&self, author: PublicKey, seq: u64) -> bool {
        self.slot(author, seq).next().is_none() && self.is_below_floor(author, seq)
    }

    /// A batch of a slot whose payload is kept: the first one, or the one with the given id.
    pub(super) fn read(
        &self,
        author: PublicKey,
        seq: u64,
        id: Option<BatchId>,
    ) -> Option<&StoredBatch> {
        let mut whole = self.slot(author, seq).filter_map(Row::whole);
        whole.find(|stored| id.map_or(stored.first, |id| stored.id == id))
    }

    /// Whether the first batch of a slot can be read and is intact.
    pub(super) fn is_readable(&self, author: PublicKey, seq: u64) -> bool {
        let place = (author, seq, false);
        self.rows.get(&place).and_then(Row::whole).is_some() && !self.rotten.contains(&place)
    }

    /// Whether there is a row for that batch, with or without its payload.
    pub(super) fn holds(&self, author: PublicKey, seq: u64, id: BatchId) -> bool {
        self.slot(author, seq).any(|row| row.id() == id)
    }

    /// Sets a bad row aside and returns it. With a slot's first batch, the second goes too.
    pub(super) fn set_aside(
        &mut self,
        author: PublicKey,
        seq: u64,
        id: BatchId,
    ) -> Option<StoredBatch> {
        let read = self.read(author, seq, Some(id))?;
        let place = (author, seq, !read.first);
        let Some(Row::Whole(stored)) = self.rows.remove(&place) else { return None };
        let second = if stored.first { self.rows.remove(&(author, seq, true)) } else { None };
        if let Some(of) = self.authors.get_mut(&author) {
            for gone in [Some(&stored), second.as_ref().and_then(Row::whole)].into_iter().flatten()
            {
                of.bytes = of.bytes.saturating_sub(gone.batch.body.len() as u64 + ROW_COST);
            }
            let left = self.rows.range((author, 0, false)..=(author, u64::MAX, true)).next_back();
            of.newest = left.map_or(of.floor, |((_, seq, _), _)| (*seq).max(of.floor));
        }
        Some(stored)
    }

    /// Flips a bit in each of up to `rows` rows; returns how many there were.
    pub(super) fn rot(&mut self, rows: u32, dice: &mut Dice) -> u64 {
        let whole = |(place, row): (&Place, &Row)| row.whole().map(|_| *place);
        let mut places: Vec<Place> = self.rows.iter().filter_map(whole).collect();
        let mut rotted = 0;
        while rotted < u64::from(rows) && !places.is_empty() {
            let at = usize::try_from(dice.below(places.len() as u64)).unwrap_or(0);
            let place = places.swap_remove(at);
            if let Some(Row::Whole(stored)) = self.rows.get_mut(&place) {
                self.rotten.insert(place);
                stored.batch = Arc::new(Verified::trusted(flipped(&stored.batch, dice)));
                rotted += 1;
            }
        }
        rotted
    }

    /// Number of first batches whose author `wanted` accepts, pruned and deleted ones included.
    pub(super) fn firsts(&self, wanted: impl Fn(&PublicKey) -> bool) -> u64 {
        let rows = self.rows.keys().filter(|(author, _, second)| !second && wanted(author));
        let deleted = self.authors.iter().filter(|(author, _)| wanted(author));
        rows.count() as u64 + deleted.map(|(_, of)| of.deleted).sum::<u64>()
    }

    /// What a node finds at its start, as in the real store (`src/store/restore.rs`): slots whose
    /// id matches their header and, where a slot may be the tip of its lane, whose signature
    /// `is_signed` accepts. All other rows are set aside and returned.
    pub(super) fn restored(
        &mut self,
        mut is_signed: impl FnMut(&PublicKey, &RestoredSlot) -> bool,
    ) -> (Restored, Vec<StoredBatch>) {
        let intact = |row: &Row| row.whole().is_none_or(|stored| stored.batch.id() == stored.id);
        let bad = self.rows.values().filter(|row| !intact(row)).filter_map(Row::whole);
        let mut bad: Vec<StoredBatch> = bad.cloned().collect();
        let mut followed = None;
        for ((author, seq, second), row) in self.rows.iter().rev().filter(|(_, row)| intact(row)) {
            let slot = row.slot();
            if followed == Some((*author, seq.saturating_add(1))) || is_signed(author, &slot) {
                // A second batch is set aside with a bad first one, and then nothing follows it.
                followed = if *second { followed } else { Some((*author, *seq)) };
            } else if let Some(stored) = row.whole() {
                bad.push(stored.clone());
            }
        }
        for stored in &bad {
            let header = &stored.batch.header;
            self.set_aside(header.author, header.seq, stored.id);
        }
        let mut lanes: Vec<RestoredLane> = Vec::new();
        for ((author, _, _), row) in &self.rows {
            if lanes.last().is_none_or(|lane| lane.author != *author) {
                lanes.push(RestoredLane::new(*author));
            }
            if let Some(lane) = lanes.last_mut() {
                lane.slots.push(row.slot());
            }
        }
        for author in self.holes.keys().chain(self.authors.keys()) {
            if let Err(at) = lanes.binary_search_by_key(author, |lane| lane.author) {
                lanes.insert(at, RestoredLane::new(*author));
            }
        }
        lanes.iter_mut().for_each(|lane| self.complete(lane));
        (Restored { lanes, bans: self.bans.values().copied().collect() }, bad)
    }

    /// Fills in floor, tip and holes of a lane, and keeps only its newest slots. A start does not
    /// know whether the last shutdown was clean, so all missing slots are looked for.
    fn complete(&self, lane: &mut RestoredLane) {
        lane.floor = self.authors.get(&lane.author).map_or(0, |of| of.floor);
        let nothing = (0, Vec::new());
        let (tip, recorded) = self.holes.get(&lane.author).unwrap_or(&nothing);
        lane.tip = *tip;
        let newest = lane.slots.last().map_or(0, |slot| slot.seq);
        let base = lane.tip.max(newest.saturating_sub(ROWS_KEPT));
        let mut next = lane.floor + 1;
        if next <= base {
            let held = self.rows.range((lane.author, next, false)..=(lane.author, base, true));
            for seq in held.map(|((_, seq, _), _)| *seq).chain([base.saturating_add(1)]) {
                if seq > next {
                    divide((next, seq - 1), recorded, &mut lane.holes);
                }
                next = seq.saturating_add(1).max(next);
            }
        }
        limit_holes(&mut lane.holes);
        lane.slots.retain(|slot| slot.seq > newest.saturating_sub(ROWS_KEPT));
    }
}

/// Adds holes for the range of missing slots, split by whether they are recorded as gone.
fn divide((mut from, to): (u64, u64), recorded: &[Hole], into: &mut Vec<Hole>) {
    let first = from;
    let within = |hole: &&Hole| hole.gone && hole.to >= first && hole.from <= to;
    for gone in recorded.iter().filter(within) {
        if gone.from > from {
            into.push(Hole { from, to: gone.from - 1, gone: false });
        }
        into.push(Hole { from: gone.from.max(from), to: gone.to.min(to), gone: true });
        from = gone.to.min(to).saturating_add(1);
    }
    if from <= to {
        into.push(Hole { from, to, gone: false });
    }
}

fn slot_of(stored: &StoredBatch) -> RestoredSlot {
    let batch = &stored.batch;
    RestoredSlot::of(&batch.header, stored.id, batch.signature, stored.first)
}

/// A copy of the batch with one bit flipped in its signature, its body or the previous id.
fn flipped(batch: &Batch, dice: &mut Dice) -> Batch {
    let mut batch = batch.clone();
    let mut body = batch.body.to_vec();
    let draw = |dice: &mut Dice, bytes: usize| {
        let bit = usize::try_from(dice.below(bytes as u64 * 8)).unwrap_or(0);
        (bit / 8, 1u8 << (bit % 8))
    };
    match dice.below(3) {
        0 => {
            let (at, bit) = draw(dice, batch.signature.0.len());
            batch.signature.0[at] ^= bit;
        }
        1 if !body.is_empty() => {
            let (at, bit) = draw(dice, body.len());
            body[at] ^= bit;
            if let Some(body) = Blob::new(body) {
                batch.body = body;
            }
        }
        _ => {
            let (at, bit) = draw(dice, batch.header.prev.0.len());
            batch.header.prev.0[at] ^= bit;
        }
    }
    batch
}
