//! What is safe on a simulated disk: rows, bans and holes, pruned to a bound as the real store
//! prunes (`src/store/author.rs`), and the rot in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::crypto::PublicKey;
use crate::protocol::{
    Ban, Hole, Record, Restored, RestoredLane, RestoredSlot, StoredBatch, Verified,
};
use crate::scenario::Dice;
use crate::wire::limits::{RECENT, WINDOW};
use crate::wire::{Batch, BatchId, Blob};

/// What a batch takes on disk beside its body, in bytes: as in the real store.
const ROW_COST: u64 = 512;
/// Slots below the newest whose rows stay when their payloads are pruned.
const KEPT: u64 = WINDOW + RECENT;

/// Author, slot, and whether it is the slot's second batch.
type Place = (PublicKey, u64, bool);

enum Row {
    Whole(StoredBatch),
    /// The payload is pruned.
    Pruned(Box<(RestoredSlot, PublicKey)>),
}

/// How many bytes each author may take.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    own: (PublicKey, u64),
    other: u64,
}

impl Shares {
    /// The shares of a store of so many bytes, as in the real one: an eighth, or an even share if
    /// that is more, is the node's own.
    pub fn new(max_bytes: u64, keys: usize, own: PublicKey) -> Self {
        let keys = keys.max(1) as u64;
        let mine = (max_bytes / keys).max(max_bytes / 8);
        let other = max_bytes.saturating_sub(mine) / (keys - 1).max(1);
        Self { own: (own, mine), other }
    }

    fn of(&self, author: &PublicKey) -> u64 {
        if *author == self.own.0 { self.own.1 } else { self.other }
    }
}

/// An author, where bytes are counted.
#[derive(Default)]
struct Author {
    newest: u64,
    /// Everything up to this slot was held and its payload pruned.
    floor: u64,
    bytes: u64,
    /// No payload is left below this slot, but those that came late.
    pruned_below: u64,
    /// Slots whose rows are deleted.
    deleted: u64,
}

/// The safe part of a disk.
#[derive(Default)]
pub(super) struct Image {
    rows: BTreeMap<Place, Row>,
    bans: BTreeMap<PublicKey, Ban>,
    /// The last record of holes of each lane: its tip, and what is missing below it.
    holes: BTreeMap<PublicKey, (u64, Vec<Hole>)>,
    /// Slots whose rows were bad and are set aside.
    aside: BTreeSet<(PublicKey, u64)>,
    /// Rows of which a bit has flipped.
    rotten: BTreeSet<Place>,
    shares: Option<Shares>,
    authors: BTreeMap<PublicKey, Author>,
}

impl Image {
    /// Nothing; bounded if there are shares.
    pub fn new(shares: Option<Shares>) -> Self {
        Self { shares, ..Self::default() }
    }

    /// Keeps a record. Gives an author's new floor, if payloads were pruned.
    pub fn put(&mut self, record: Record) -> Option<(PublicKey, u64)> {
        match record {
            Record::Batch(stored) => return self.put_batch(stored),
            Record::Ban(ban) => drop(self.bans.insert(ban.peer, ban)),
            Record::Holes { author, tip, holes } => drop(self.holes.insert(author, (tip, holes))),
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
        self.aside.remove(&(author, seq));
        self.rotten.remove(&place);
        let Some(shares) = self.shares else {
            self.rows.insert(place, Row::Whole(stored));
            return None;
        };
        let of = self.authors.entry(author).or_default();
        of.newest = of.newest.max(seq);
        if seq <= of.floor {
            // Below the floor only the id matters: as evidence.
            self.rows.insert(place, Row::Pruned(Box::new((slot_of(&stored), author))));
            return None;
        }
        of.bytes += bytes + ROW_COST;
        of.pruned_below = of.pruned_below.min(seq);
        let over = of.bytes > shares.of(&author);
        self.rows.insert(place, Row::Whole(stored));
        over.then(|| (author, self.prune(author, shares.of(&author))))
    }

    /// Drops an author's oldest payloads, but the newest slot's, until it is within its share;
    /// then rows of pruned slots that are too old for anyone to ask for.
    fn prune(&mut self, author: PublicKey, share: u64) -> u64 {
        let Some(of) = self.authors.get_mut(&author) else { return 0 };
        let span = (author, of.pruned_below, false)..(author, of.newest, false);
        for ((_, seq, _), row) in self.rows.range_mut(span) {
            if of.bytes <= share {
                break;
            }
            if let Row::Whole(stored) = row {
                of.bytes = of.bytes.saturating_sub(stored.batch.body.len() as u64 + ROW_COST);
                *row = Row::Pruned(Box::new((slot_of(stored), author)));
            }
            of.pruned_below = *seq;
        }
        loop {
            let next = of.floor + 1;
            let mut there = self.rows.range((author, next, false)..=(author, next, true));
            let pruned = match there.next() {
                Some((_, row)) => {
                    matches!(row, Row::Pruned(_))
                        && there.all(|(_, row)| matches!(row, Row::Pruned(_)))
                }
                None => false,
            };
            // What is given up holds nothing back.
            let gone = self.holes.get(&author).and_then(|(_, holes)| {
                holes.iter().find(|hole| hole.gone && (hole.from..=hole.to).contains(&next))
            });
            of.floor = match (pruned, gone) {
                (true, _) => next,
                (false, Some(hole)) => {
                    let mut held = self.rows.range((author, next, false)..=(author, hole.to, true));
                    held.next().map_or(hole.to, |((_, seq, _), _)| (seq - 1).max(of.floor))
                }
                (false, None) => break,
            };
            if of.floor < next {
                break;
            }
        }
        let last = of.floor.min(of.newest.saturating_sub(KEPT));
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

    /// A batch of a slot, if its payload is there: the first, or the one of that id.
    pub fn read(&self, author: PublicKey, seq: u64, id: Option<BatchId>) -> Option<&StoredBatch> {
        let there = self.rows.range((author, seq, false)..=(author, seq, true));
        let mut whole = there.filter_map(|(_, row)| match row {
            Row::Whole(stored) => Some(stored),
            Row::Pruned(_) => None,
        });
        whole.find(|stored| id.map_or(stored.first, |id| stored.id == id))
    }

    /// Whether a slot's first batch can be read and is what it was.
    pub fn is_readable(&self, author: PublicKey, seq: u64) -> bool {
        let place = (author, seq, false);
        matches!(self.rows.get(&place), Some(Row::Whole(_))) && !self.rotten.contains(&place)
    }

    /// Whether a row of that batch is there, with its payload or without.
    pub fn holds(&self, author: PublicKey, seq: u64, id: BatchId) -> bool {
        let mut there = self.rows.range((author, seq, false)..=(author, seq, true));
        there.any(|(_, row)| match row {
            Row::Whole(stored) => stored.id == id,
            Row::Pruned(pruned) => pruned.0.id == id,
        })
    }

    /// Sets a bad row aside; gives it back.
    pub fn set_aside(&mut self, author: PublicKey, seq: u64, id: BatchId) -> Option<StoredBatch> {
        let place = [(author, seq, false), (author, seq, true)].into_iter().find(
            |place| matches!(self.rows.get(place), Some(Row::Whole(stored)) if stored.id == id),
        )?;
        let Some(Row::Whole(stored)) = self.rows.remove(&place) else { return None };
        if let Some(of) = self.authors.get_mut(&author) {
            of.bytes = of.bytes.saturating_sub(stored.batch.body.len() as u64 + ROW_COST);
        }
        if stored.first {
            self.aside.insert((author, seq));
        }
        Some(stored)
    }

    /// Flips a bit in each of so many rows; how many there were.
    pub fn rot(&mut self, rows: u32, dice: &mut Dice) -> u64 {
        let whole = |(place, row): (&Place, &Row)| matches!(row, Row::Whole(_)).then_some(*place);
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

    /// First batches whose author that function takes, pruned ones too.
    pub fn firsts(&self, wanted: impl Fn(&PublicKey) -> bool) -> u64 {
        let rows = self.rows.keys().filter(|(author, _, second)| !second && wanted(author));
        let deleted = self.authors.iter().filter(|(author, _)| wanted(author));
        rows.count() as u64 + deleted.map(|(_, of)| of.deleted).sum::<u64>()
    }

    /// What a start finds. Rows that are not what their id says are set aside, and given back.
    pub fn restored(&mut self) -> (Restored, Vec<StoredBatch>) {
        let bad = self.rows.values().filter_map(|row| match row {
            Row::Whole(stored) if stored.batch.id() != stored.id => Some(stored.clone()),
            _ => None,
        });
        let bad: Vec<StoredBatch> = bad.collect();
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
                lane.slots.push(match row {
                    Row::Whole(stored) => slot_of(stored),
                    Row::Pruned(pruned) => pruned.0,
                });
            }
        }
        for author in self.holes.keys().chain(self.aside.iter().map(|(author, _)| author)) {
            if let Err(at) = lanes.binary_search_by_key(author, |lane| lane.author) {
                lanes.insert(at, RestoredLane::new(*author));
            }
        }
        lanes.iter_mut().for_each(|lane| self.complete(lane));
        (Restored { lanes, bans: self.bans.values().copied().collect() }, bad)
    }

    /// Floor, tip and holes of a lane, and only its newest slots.
    fn complete(&self, lane: &mut RestoredLane) {
        lane.floor = self.authors.get(&lane.author).map_or(0, |of| of.floor);
        let (tip, mut holes) = self.holes.get(&lane.author).cloned().unwrap_or_default();
        lane.tip = tip;
        let of_lane = (lane.author, 0)..=(lane.author, u64::MAX);
        let aside = self.aside.range(of_lane).map(|(_, seq)| *seq);
        holes.extend(aside.map(|seq| Hole { from: seq, to: seq, gone: false }));
        holes.sort_unstable();
        for hole in holes {
            let after = lane.holes.last().map_or(lane.floor, |last| last.to.max(lane.floor));
            let from = hole.from.max(after.saturating_add(1));
            if from > hole.to {
                continue;
            }
            let held = self.rows.range((lane.author, from, false)..=(lane.author, hole.to, true));
            let held = held.map(|((_, seq, _), _)| *seq).chain([hole.to.saturating_add(1)]);
            let mut next = from;
            for seq in held {
                if seq > next {
                    lane.holes.push(Hole { from: next, to: seq - 1, gone: hole.gone });
                }
                next = seq.saturating_add(1).max(next);
            }
        }
        let newest = lane.slots.last().map_or(0, |slot| slot.seq);
        lane.slots.retain(|slot| slot.seq > newest.saturating_sub(KEPT));
    }
}

fn slot_of(stored: &StoredBatch) -> RestoredSlot {
    let header = &stored.batch.header;
    RestoredSlot {
        seq: header.seq,
        id: stored.id,
        rest: header.rest(),
        signature: stored.batch.signature,
        first: stored.first,
    }
}

/// The batch with one bit of its signature, of its body or of the id before it flipped.
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
