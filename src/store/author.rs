//! The disk share of each author, and pruning of what exceeds it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::rows;
use crate::crypto::PublicKey;
use crate::protocol::{self, ROWS_KEPT, Shares};
use crate::wire::limits::WINDOW;

const ROW_COST: i64 = protocol::ROW_COST.cast_signed();
/// Most rows that one step of pruning touches, so that no commit becomes slow.
const STEP: usize = 256;

/// An author's row in `authors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Author {
    /// Number of the author in this store.
    pub(super) number: i64,
    /// Highest slot held, or the floor if that is higher; 0 if neither.
    pub(super) newest: i64,
    /// Every slot up to this one was held and its payload pruned, or lies in a hole below such a
    /// slot.
    pub(super) floor: i64,
    /// The slot up to which the state machine knows of every hole; 0 if it has not reported any.
    pub(super) tip: i64,
    bytes: i64,
    gone: Option<(i64, i64)>,
    /// The highest slot whose payload is pruned, not counting slots that arrived late; `None` until
    /// it was looked up.
    pruned: Option<i64>,
}

/// An author for whom a step of pruning dropped payloads or raised the floor.
pub(super) struct Pruned {
    pub(super) key: PublicKey,
    /// Number of the author in this store.
    pub(super) number: i64,
    pub(super) floor: i64,
    pub(super) risen: bool,
}

/// The authors of a store, as cached by its only writer.
pub(super) struct Authors {
    shares: Shares,
    known: BTreeMap<PublicKey, Author>,
    /// Authors whose rows wait to be pruned.
    over: BTreeSet<PublicKey>,
    /// Authors whose state must be written.
    changed: BTreeSet<PublicKey>,
}

impl Authors {
    pub(super) fn load(db: &Connection, shares: Shares) -> rusqlite::Result<Self> {
        let mut authors = Self {
            shares,
            known: BTreeMap::new(),
            over: BTreeSet::new(),
            changed: BTreeSet::new(),
        };
        authors.reload(db)?;
        Ok(authors)
    }

    /// Reads the authors again, after a transaction that failed.
    pub(super) fn reload(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut query = db.prepare_cached(
            "SELECT key, number, newest, floor, bytes, gone_from, gone_to, tip FROM authors",
        )?;
        let found = query.query_map([], |row| {
            let (from, to): (i64, i64) = (row.get(5)?, row.get(6)?);
            let author = Author {
                number: row.get(1)?,
                newest: row.get(2)?,
                floor: row.get(3)?,
                bytes: row.get(4)?,
                gone: (to > 0).then_some((from, to)),
                tip: row.get(7)?,
                pruned: None,
            };
            Ok((rows::key(row, 0)?, author))
        })?;
        self.known = found.collect::<rusqlite::Result<_>>()?;
        let over = self.known.iter().filter(|(key, author)| author.bytes > self.share(key));
        self.over = over.map(|(key, _)| *key).collect();
        self.changed.clear();
        Ok(())
    }

    pub(super) fn is_own(&self, key: &PublicKey) -> bool {
        *key == self.shares.key
    }

    fn share(&self, key: &PublicKey) -> i64 {
        rows::saturated(self.shares.of(key))
    }

    /// The key's row, inserted if there is none.
    pub(super) fn get(&mut self, db: &Connection, key: &PublicKey) -> rusqlite::Result<Author> {
        if let Some(author) = self.known.get(key) {
            return Ok(*author);
        }
        let number = db
            .prepare_cached("INSERT INTO authors (key) VALUES (?1)")?
            .insert([key.to_string()])?;
        let author = Author { number, ..Author::default() };
        self.known.insert(*key, author);
        Ok(author)
    }

    /// Accounts for an added batch: its slot, and the length of its body if that is kept.
    pub(super) fn added(&mut self, key: &PublicKey, seq: i64, length: Option<i64>) {
        let share = self.share(key);
        if let Some(author) = self.known.get_mut(key) {
            author.newest = author.newest.max(seq);
            author.bytes += length.map_or(0, |length| length + ROW_COST);
            self.changed.insert(*key);
            if author.bytes > share {
                self.over.insert(*key);
            }
        }
    }

    /// The key's row, if there is one.
    pub(super) fn known(&self, key: &PublicKey) -> Option<Author> {
        self.known.get(key).copied()
    }

    /// Sets the slot up to which the state machine knows of every hole. The floor may then pass
    /// holes between slots that are pruned already.
    pub(super) fn set_tip(&mut self, key: &PublicKey, tip: i64) {
        if let Some(author) = self.known.get_mut(key)
            && author.tip != tip
        {
            if tip > author.floor && author.pruned.is_none_or(|pruned| pruned > author.floor) {
                self.over.insert(*key);
            }
            author.tip = tip;
            self.changed.insert(*key);
        }
    }

    /// Accounts for a row that was set aside: its author's number, and the length of its body if it
    /// had one.
    pub(super) fn removed(
        &mut self,
        db: &Connection,
        number: i64,
        body: Option<i64>,
    ) -> rusqlite::Result<()> {
        let found = self.known.iter_mut().find(|(_, author)| author.number == number);
        let Some((key, author)) = found else { return Ok(()) };
        let taken = body.map_or(0, |length| length + ROW_COST);
        author.bytes = (author.bytes - taken).max(0);
        author.newest = db
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM batches WHERE author = ?1")?
            .query_row([number], |row| row.get(0))?;
        author.newest = author.newest.max(author.floor);
        self.changed.insert(*key);
        Ok(())
    }

    /// Notes that a row which readers may not have seen was deleted; extends the author's range of
    /// deleted rows.
    pub(super) fn forgot(&mut self, key: &PublicKey, row: i64) {
        if let Some(author) = self.known.get_mut(key) {
            let (from, to) = author.gone.unwrap_or((row, row));
            author.gone = Some((from.min(row), to.max(row)));
            self.changed.insert(*key);
        }
    }

    /// Writes the authors that changed since the last call.
    pub(super) fn save(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut update = db.prepare_cached(
            "UPDATE authors SET newest = ?2, floor = ?3, bytes = ?4, gone_from = ?5, gone_to = ?6, \
             tip = ?7 WHERE number = ?1",
        )?;
        for author in self.changed.iter().filter_map(|key| self.known.get(key)) {
            let (from, to) = author.gone.unwrap_or_default();
            let Author { number, newest, floor, bytes, tip, .. } = *author;
            update.execute([number, newest, floor, bytes, from, to, tip])?;
        }
        self.changed.clear();
        Ok(())
    }

    /// Whether there is anything to prune.
    pub(super) fn waiting(&self) -> bool {
        !self.over.is_empty()
    }

    /// One bounded step: prunes the oldest payloads of one author that is over its share.
    pub(super) fn prune(&mut self, db: &Connection) -> rusqlite::Result<Option<Pruned>> {
        let Some(key) = self.over.pop_first() else { return Ok(None) };
        let share = self.share(&key);
        let Some(author) = self.known.get_mut(&key) else { return Ok(None) };
        self.changed.insert(key);
        let pruned = author.prune_payloads(db, share)?;
        let risen = author.raise_floor(db)?;
        let deleted = author.delete_old(db)?;
        let Author { number, floor, bytes, .. } = *author;
        if deleted == STEP || (pruned > 0 && bytes > share) {
            self.over.insert(key);
        }
        Ok((risen || pruned > 0).then_some(Pruned { key, number, floor, risen }))
    }
}

impl Author {
    /// Drops bodies, oldest slot first, until the author is within its share. Keeps the body of the
    /// newest slot.
    fn prune_payloads(&mut self, db: &Connection, share: i64) -> rusqlite::Result<usize> {
        let mut oldest = db.prepare_cached(
            "SELECT row, length FROM batches WHERE author = ?1 AND seq > ?2 AND seq < ?3 \
             AND typeof(body) <> 'null' ORDER BY seq LIMIT ?4",
        )?;
        let mut drop = db.prepare_cached("UPDATE batches SET body = NULL WHERE row = ?1")?;
        let mut found = oldest.query([self.number, self.floor, self.newest, STEP as i64])?;
        let mut chosen: Vec<i64> = vec![];
        while self.bytes > share {
            let Some(row) = found.next()? else { break };
            chosen.push(row.get(0)?);
            self.bytes -= row.get::<_, i64>(1)? + ROW_COST;
        }
        for row in &chosen {
            drop.execute([row])?;
        }
        let pruned = chosen.len();
        Ok(pruned)
    }

    /// Raises the floor to the highest pruned slot below which no payload is kept; returns whether
    /// it rose. The floor passes holes up to the lane's tip, because payloads that arrived there
    /// would be the next to be pruned. Above the tip, a slot that was never held may still arrive
    /// in its turn and holds the floor back.
    fn raise_floor(&mut self, db: &Connection) -> rusqlite::Result<bool> {
        let lowest: Option<i64> = db
            .prepare_cached(
                "SELECT seq FROM batches WHERE author = ?1 AND seq > ?2 \
                 AND typeof(body) <> 'null' ORDER BY seq LIMIT 1",
            )?
            .query_row([self.number, self.floor], |row| row.get(0))
            .optional()?;
        let pruned: Option<i64> = db
            .prepare_cached("SELECT max(seq) FROM batches WHERE author = ?1 AND seq < ?2")?
            .query_row([self.number, lowest.unwrap_or(i64::MAX)], |row| row.get(0))?;
        let pruned = pruned.unwrap_or(0);
        self.pruned = Some(pruned);
        // The node accepts no slot above its window, so its tip is at least `newest - WINDOW`.
        let passable = self.tip.max(self.newest - WINDOW.cast_signed());
        let before = self.floor;
        self.floor = self.floor.max(pruned.min(passable));
        let mut held = db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM batches WHERE author = ?1 AND seq = ?2)",
        )?;
        while self.floor < pruned
            && held.query_row([self.number, self.floor + 1], |row| row.get::<_, bool>(0))?
        {
            self.floor += 1;
        }
        Ok(self.floor > before)
    }

    /// Deletes rows of pruned slots that are too old for any member to ask for their ids.
    fn delete_old(&mut self, db: &Connection) -> rusqlite::Result<usize> {
        let last = self.floor.min(self.newest - ROWS_KEPT.cast_signed());
        let mut oldest = db.prepare_cached(
            "SELECT row, first FROM batches WHERE author = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut delete = db.prepare_cached("DELETE FROM batches WHERE row = ?1")?;
        let found: Vec<(i64, bool)> = oldest
            .query_map([self.number, last, STEP as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (row, first) in &found {
            delete.execute([row])?;
            if *first {
                let (from, to) = self.gone.unwrap_or((*row, *row));
                self.gone = Some((from.min(*row), to.max(*row)));
            }
        }
        // Also delete gaps of slots as old as that, if they lie before deleted rows.
        db.prepare_cached("DELETE FROM gaps WHERE author = ?1 AND to_slot <= ?2 AND row <= ?3")?
            .execute([self.number, last, self.gone.map_or(0, |(_, to)| to)])?;
        Ok(found.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, batch, entry, identity, network, query, stored};
    use super::super::{Cursor, MessageQuery, Options};
    use super::*;
    use crate::protocol::{Durability, Record};
    use crate::wire::limits::RECENT;

    fn lane(bench: &Bench, author: u8) -> crate::protocol::RestoredLane {
        let key = identity(author).public();
        bench.restored.lanes.iter().find(|lane| lane.author == key).expect("a lane").clone()
    }

    #[test]
    fn the_oldest_payloads_of_a_greedy_author_go_and_nobody_else_s() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let options = Options { max_bytes: 64 << 10, ..Options::default() };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        let of = |author, seq| stored(batch(&net, author, seq, &[entry("t", [1; 1000])]), Some(3));
        assert!(bench.put_batch(&of(3, 1)));
        let slots = WINDOW + RECENT + 500;
        let mut tokens = vec![];
        for seq in 1..=slots {
            tokens.push(bench.give(Record::Batch(of(2, seq)), Durability::Lazy));
        }
        for token in tokens {
            assert!(matches!(bench.answer(token), crate::protocol::Input::Written { .. }));
        }
        bench.settle();
        bench.store.close();

        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        let greedy = lane(&bench, 2);
        let kept = 64 / 3 * 1024 / (1000 + 7 + 512); // a third each, as an eighth is less
        assert!(slots - greedy.floor <= kept + 1 && greedy.floor < slots, "{}", greedy.floor);
        assert_eq!(greedy.slots.len() as u64, WINDOW + RECENT);
        assert_eq!(greedy.slots.last().expect("a tip").id, of(2, slots).id);
        assert_eq!(lane(&bench, 3).floor, 0);
        assert_eq!(bench.get(3, 1, None), Some(of(3, 1)));
        assert_eq!(bench.get(2, greedy.floor, None), None);
        assert_eq!(bench.get(2, greedy.floor + 1, None), Some(of(2, greedy.floor + 1)));

        // A reader that stopped before them is told; what is still known of them is listed.
        let reader = bench.store.reader();
        let pruned = crate::wire::MessageId { batch: of(2, greedy.floor).id, index: 0 };
        assert_eq!(reader.message(pruned).expect("reads").expect("known").payload, None);
        let gone = crate::wire::MessageId { batch: of(2, 1).id, index: 0 };
        assert_eq!(reader.message(gone).expect("reads"), None);
        let first = reader.messages(&query(None, 1)).expect("reads");
        assert_eq!(first.gap, None);
        let mut after = MessageQuery { after: Some(first.next), ..query(None, 10) };
        let page = reader.messages(&after).expect("reads");
        assert!(page.gap.is_some());
        assert_eq!((page.rows.len(), page.rows[0].payload.as_ref()), (10, None));
        after.author = Some(identity(3).public());
        assert_eq!(reader.messages(&after).expect("reads").gap, None, "not that author's");
        let newer = Cursor { row: i64::try_from(greedy.floor + 2).expect("small"), ..first.next };
        after = MessageQuery { after: Some(newer), topic: Some("t".into()), ..query(None, 10) };
        assert_eq!(reader.messages(&after).expect("reads").gap, None, "nothing missing there");
    }

    #[test]
    fn a_hole_holds_the_floor_back_until_it_is_filled() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(2));
        let options = Options { max_bytes: 8 << 10, ..Options::default() };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        let of = |seq| stored(batch(&net, 2, seq, &[entry("", [1; 1000])]), Some(2));
        for seq in (1..=10).filter(|seq| *seq != 3) {
            assert!(bench.put_batch(&of(seq)));
        }
        bench.settle();
        bench.store.close();
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        assert_eq!(lane(&bench, 2).floor, 2);
        assert_eq!(bench.get(2, 4, None), None, "its payload had to go");
        assert!(bench.put_batch(&of(3)) && bench.put_batch(&of(11)));
        bench.settle();
        let told = bench.told(2);
        bench.store.close();
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        assert!(lane(&bench, 2).floor >= 8, "{}", lane(&bench, 2).floor);
        assert_eq!(told, Some(lane(&bench, 2).floor), "it is told while it runs, too");
        // An id below the floor is kept, as evidence; its payload is not.
        let mut late = stored(batch(&net, 2, 2, &[entry("", b"second")]), Some(2));
        late.first = false;
        assert!(bench.put_batch(&late));
        assert_eq!(bench.get(2, 2, Some(late.id)), None);
    }
}
