//! Reading messages: one by its id, or a page in the order of commits.

use std::mem::take;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::cursor::{self, Cursor, LaneGap, Page};
use super::quarantine::Suspect;
use super::rows::Kept;
use super::{Reader, StoreError, rows};
use crate::crypto::PublicKey;
use crate::protocol::DiskRow;
use crate::wire::{Entry, MessageId};

/// Most messages of a page.
const MAX_LIMIT: usize = 1000;
/// Most rows that one page scans.
const SCAN_ROWS: i64 = 4096;
/// Bytes of bodies after which a page ends, to bound its memory.
const SCAN_BYTES: usize = 8 << 20;

/// Selects messages of all authors and topics, unless a field says less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageQuery {
    /// Only messages of this topic. A topic longer than the protocol allows finds nothing.
    pub topic: Option<String>,
    /// Only messages of this author.
    pub author: Option<PublicKey>,
    /// Only messages after this cursor; without one, from the oldest on.
    pub after: Option<Cursor>,
    /// Most messages to return, 1 to 1000; a page of large messages may hold fewer.
    pub limit: usize,
}

/// A stored message. `topic` is chosen by its author: escape it before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Id of the batch and index in it.
    pub id: MessageId,
    /// Key that signed its batch.
    pub author: PublicKey,
    /// Slot of its batch in the author's lane.
    pub seq: u64,
    /// Topic; empty once it is pruned.
    pub topic: String,
    /// Payload; `None` once it is pruned.
    pub payload: Option<Vec<u8>>,
    /// Time by the author's clock, in microseconds since 1970: a claim.
    pub created_at: u64,
    /// Time of delivery at this node, in microseconds since 1970.
    pub delivered_at: u64,
    /// Number of links crossed, as claimed; 0 if it was published at this node.
    pub hops: u8,
    /// The neighbour that sent it first; `None` if it was published at this node.
    pub from: Option<PublicKey>,
    /// The cursor after this message.
    pub cursor: Cursor,
}

/// A row of `batches` that was checked.
struct CheckedBatch {
    number: i64,
    row: DiskRow,
    /// The batch's entries; `None` once they are pruned.
    entries: Option<Vec<Entry>>,
}

impl CheckedBatch {
    fn of(number: i64, Kept { row, pruned }: Kept) -> Option<Self> {
        let entries = if pruned { None } else { Some(row.batch.entries().ok()?) };
        Some(Self { number, row, entries })
    }

    /// Takes the message with this index out of the batch.
    fn message(&mut self, generation: [u8; 8], index: u32) -> MessageRow {
        let entries = self.entries.as_mut();
        let entry = entries.and_then(|all| all.get_mut(index as usize));
        let (topic, payload) = match entry {
            Some(entry) => (take(&mut entry.topic), Some(take(&mut entry.payload))),
            None => (String::new(), None),
        };
        let header = &self.row.batch.header;
        MessageRow {
            id: MessageId { batch: self.row.id, index },
            author: header.author,
            seq: header.seq,
            topic,
            payload,
            created_at: header.created_at,
            delivered_at: self.row.delivered_at.0,
            hops: self.row.hops,
            from: self.row.from,
            cursor: Cursor { generation, row: self.number, index },
        }
    }
}

impl Reader {
    /// Reads a message, if its batch was delivered at this node and the row is still kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        let found = self.with(|db, generation| {
            let (columns, keys) = (rows::BATCH, rows::KEYS);
            let sql = format!("SELECT {columns} FROM batches b {keys} WHERE b.id = ?1 AND b.first");
            let mut query = db.prepare_cached(&sql)?;
            let found = query.query_row([id.batch.0], |row| self.checked(row)).optional()?;
            Ok(found.map(|(row, batch)| (row, batch, generation)))
        })?;
        Ok(match found {
            Some((_, Some(mut batch), generation)) if id.index < batch.row.batch.header.count => {
                Some(batch.message(generation, id.index))
            }
            Some((row, None, _)) => {
                self.doubt(Suspect::Row(row));
                None
            }
            _ => None,
        })
    }

    /// Reads a page of messages. Pruned messages are listed as long as their batch's row is kept. A
    /// filter by topic cannot match them; if the query has a cursor, the page then sets `gap`.
    /// Damaged rows are left out: their batches are fetched again and then appear as new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn messages(&self, query: &MessageQuery) -> Result<Page<MessageRow>, StoreError> {
        let mut damaged = vec![];
        let page = self.with(|db, generation| self.page(db, generation, query, &mut damaged));
        damaged.into_iter().for_each(|row| self.doubt(Suspect::Row(row)));
        page
    }

    /// Reads and checks a row against its id and its author's signature; `None` if it is damaged.
    fn checked(&self, row: &Row<'_>) -> rusqlite::Result<(i64, Option<CheckedBatch>)> {
        let (number, kept) = self.kept(row)?;
        let good = kept.filter(|kept| kept.is_intact() && self.is_signed(&kept.row.batch));
        Ok((number, good.and_then(|kept| CheckedBatch::of(number, kept))))
    }

    fn page(
        &self,
        db: &Connection,
        generation: [u8; 8],
        query: &MessageQuery,
        damaged: &mut Vec<i64>,
    ) -> rusqlite::Result<Page<MessageRow>> {
        let limit = query.limit.clamp(1, MAX_LIMIT);
        let last = rows::last(db, "batches")?;
        let (start, gap) = cursor::start(query.after, generation, last);
        let author = match query.author {
            None => None,
            Some(key) => db
                .prepare_cached("SELECT number FROM authors WHERE key = ?1")?
                .query_row([key.to_string()], |row| row.get(0))
                .optional()?
                .or(Some(-1)), // a key that the store does not know
        };
        let (gaps, to) = gaps(db, author, start, (last, limit))?;
        let mut page = Page { rows: vec![], gaps, next: start, gap, more: false };
        // A filter by topic cannot tell whether a pruned batch matches.
        let search = Search { topic: query.topic.as_deref(), author, to, limit };
        let unknown = self.scan(db, &search, &mut page, damaged)?;
        if !page.more {
            // No other row up to `to` matches, so the cursor may pass them all.
            page.next = page.next.max(Cursor { generation, row: to, index: 255 });
            page.more = to < last;
        }
        page.gaps.retain(|gap| gap.cursor.row <= page.next.row);
        if page.gap.is_none() && query.after.is_some() {
            let gone = gone(db, author, start.row, page.next.row)?;
            page.gap = (gone || unknown).then(|| "older messages were pruned".to_owned());
        }
        Ok(page)
    }

    /// Fills the page; returns whether it skipped a batch whose topics are pruned.
    fn scan(
        &self,
        db: &Connection,
        search: &Search<'_>,
        page: &mut Page<MessageRow>,
        damaged: &mut Vec<i64>,
    ) -> rusqlite::Result<bool> {
        let Cursor { generation, row: from, index: after } = page.next;
        let mut statement = db.prepare_cached(&select(search.author))?;
        let (after_row, to) = (i64::from(after), search.to);
        let mut found = match search.author {
            None => statement.query([from, after_row, SCAN_ROWS, to])?,
            Some(author) => statement.query([from, after_row, SCAN_ROWS, to, author])?,
        };
        let (mut scanned, mut bytes, mut unknown) = (0, 0, false);
        while let Some(row) = found.next()? {
            let (row, batch) = self.checked(row)?;
            if let Some(mut batch) = batch {
                let skip = if row == from { after + 1 } else { 0 };
                for index in skip..batch.row.batch.header.count {
                    if page.rows.len() == search.limit {
                        page.more = true;
                        return Ok(unknown);
                    }
                    page.next = Cursor { generation, row, index };
                    match (search.topic, &batch.entries) {
                        (Some(topic), Some(entries)) => {
                            if entries.get(index as usize).is_none_or(|entry| entry.topic != topic)
                            {
                                continue;
                            }
                        }
                        (Some(_), None) => {
                            unknown = true;
                            continue;
                        }
                        (None, _) => {}
                    }
                    page.rows.push(batch.message(generation, index));
                }
                bytes += batch.row.batch.body.len();
            } else {
                damaged.push(row);
                page.next = Cursor { generation, row, index: 255 };
            }
            scanned += 1;
            if scanned == SCAN_ROWS || bytes >= SCAN_BYTES {
                page.more = true;
                return Ok(unknown);
            }
        }
        Ok(unknown)
    }
}

/// The criteria of one page.
struct Search<'a> {
    topic: Option<&'a str>,
    author: Option<i64>,
    /// The last row to scan.
    to: i64,
    limit: usize,
}

/// The statement that selects the rows of a page. Its parameters are the cursor's row and index,
/// the limit, the last row, and the author's number if given.
fn select(author: Option<i64>) -> String {
    let (index, only) = match author {
        None => ("", ""),
        Some(_) => ("INDEXED BY batches_by_author", "b.author = ?5 AND"),
    };
    let (columns, keys) = (rows::BATCH, rows::KEYS);
    // The cursor's own batch is skipped once its last message was returned.
    format!(
        "SELECT {columns} FROM batches b {index} {keys} WHERE {only} b.row >= ?1 AND b.row <= ?4 \
         AND (b.row > ?1 OR b.count > ?2 + 1) AND b.first ORDER BY b.row LIMIT ?3"
    )
}

/// The gaps after a cursor, at most `limit`, and the last row that the page may then cover.
fn gaps(
    db: &Connection,
    author: Option<i64>,
    start: Cursor,
    (last, limit): (i64, usize),
) -> rusqlite::Result<(Vec<LaneGap>, i64)> {
    let mut query = db.prepare_cached(
        "SELECT g.row, a.key, g.from_slot, g.to_slot FROM gaps g CROSS JOIN authors a \
         ON a.number = g.author WHERE g.row > ?1 AND (?2 IS NULL OR g.author = ?2) \
         ORDER BY g.row LIMIT ?3",
    )?;
    let most = rows::saturated(limit as u64 + 1);
    let found = query.query_map(rusqlite::params![start.row, author, most], |row| {
        Ok(LaneGap {
            author: rows::key(row, 1)?,
            from: rows::unsigned(row, 2)?,
            to: rows::unsigned(row, 3)?,
            cursor: Cursor { row: row.get(0)?, index: 0, ..start },
        })
    })?;
    let mut gaps = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let beyond = if gaps.len() > limit { gaps.pop() } else { None };
    Ok((gaps, beyond.map_or(last, |gap| gap.cursor.row - 1)))
}

/// Whether rows of this author (or of any) were deleted between two rows.
fn gone(db: &Connection, author: Option<i64>, after: i64, to: i64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM authors WHERE gone_to > ?1 AND gone_from <= ?2 \
         AND (?3 IS NULL OR number = ?3))",
    )?
    .query_row(rusqlite::params![after, to, author], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, batch, entry, identity, killed, network, query, stored};
    use super::*;
    use crate::protocol::Network;

    fn fill(bench: &Bench, net: &Network) {
        let three = [entry("a", b"0"), entry("b", b"1"), entry("a", b"2")];
        assert!(bench.put_batch(&stored(batch(net, 2, 1, &three), Some(3))));
        let mut second = stored(batch(net, 2, 1, &[entry("a", b"evidence")]), Some(3));
        second.first = false;
        assert!(bench.put_batch(&second));
        assert!(bench.put_batch(&stored(batch(net, 1, 1, &[entry("b", b"3")]), None)));
        assert!(bench.put_batch(&stored(batch(net, 2, 2, &[entry("a", b"4")]), Some(2))));
    }

    fn payloads(rows: &[MessageRow]) -> String {
        let bytes = rows.iter().flat_map(|row| row.payload.clone().expect("held")).collect();
        String::from_utf8(bytes).expect("text")
    }

    /// Everything a query finds, page by page.
    fn all(reader: &Reader, mut query: MessageQuery) -> (String, usize) {
        let (mut found, mut pages) = (String::new(), 0);
        loop {
            let page = reader.messages(&query).expect("reads");
            assert!(page.rows.len() <= query.limit && page.gap.is_none());
            found += &payloads(&page.rows);
            query.after = Some(page.next.to_string().parse().expect("a cursor"));
            pages += 1;
            if !page.more {
                let again = reader.messages(&query).expect("reads");
                assert_eq!((again.rows.len(), again.next, again.gap), (0, page.next, None));
                return (found, pages);
            }
        }
    }

    #[test]
    fn pages_of_any_size_give_each_message_once_in_order() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let reader = bench.store.reader();
        let empty = reader.messages(&query(None, 5)).expect("reads");
        assert_eq!((empty.rows.len(), empty.gap, empty.more), (0, None, false));
        fill(&bench, &net);
        let later = MessageQuery { after: Some(empty.next), ..query(None, 5) };
        assert_eq!(payloads(&reader.messages(&later).expect("reads").rows), "01234");
        for limit in 1..=6 {
            assert_eq!(all(&reader, query(None, limit)).0, "01234", "{limit}");
            let two = query(Some(identity(2).public()), limit);
            assert_eq!(all(&reader, two.clone()).0, "0124");
            assert_eq!(all(&reader, MessageQuery { topic: Some("a".into()), ..two }).0, "024");
            let b = MessageQuery { topic: Some("b".into()), ..query(None, limit) };
            assert_eq!(all(&reader, b).0, "13");
            assert_eq!(all(&reader, query(Some(identity(3).public()), limit)).0, "");
        }
        // Every message's own cursor goes on after it, inside a batch too.
        let rows = reader.messages(&query(None, 5)).expect("reads").rows;
        for (at, row) in rows.iter().enumerate() {
            let after = MessageQuery { after: Some(row.cursor), ..query(None, 5) };
            let rest = reader.messages(&after).expect("reads").rows;
            assert_eq!(rest, rows[at + 1..]);
            assert_eq!(reader.message(row.id).expect("reads").as_ref(), Some(row));
        }
        assert_eq!((rows[1].hops, rows[1].from), (3, Some(identity(3).public())));
        assert_eq!((rows[3].hops, rows[3].from), (0, None));
        assert_eq!((rows[3].created_at, rows[3].delivered_at), (1_001, 5_001));
        let beyond = MessageId { index: 3, ..rows[0].id };
        assert_eq!(reader.message(beyond).expect("reads"), None);
    }

    #[test]
    fn large_messages_make_short_pages() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        for seq in 1..=20 {
            let large = vec![b'x'; 1 << 20];
            assert!(bench.put_batch(&stored(batch(&net, 2, seq, &[entry("", &large)]), Some(3))));
        }
        let page = bench.store.reader().messages(&query(None, 1000)).expect("reads");
        assert_eq!((page.rows.len(), page.more), (8, true));
        let (found, pages) = all(&bench.store.reader(), query(None, 1000));
        assert_eq!((found.len(), pages), (20 << 20, 3));
    }

    #[test]
    fn a_cursor_that_means_nothing_is_a_gap_and_starts_again() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        fill(&bench, &net);
        let end = bench.store.reader().messages(&query(None, 9)).expect("reads").next;
        let copy = killed(dir.path());
        let after = Bench::open(copy.path(), &net);
        let old = MessageQuery { after: Some(end), ..query(None, 9) };
        let page = after.store.reader().messages(&old).expect("reads");
        assert!(page.gap.expect("a gap").contains("generation"));
        assert_eq!(payloads(&page.rows), "01234");
        let beyond = MessageQuery { after: Some(Cursor { row: 99, ..end }), ..query(None, 9) };
        let page = bench.store.reader().messages(&beyond).expect("reads");
        assert!(page.gap.expect("a gap").contains("beyond"));
        assert_eq!(payloads(&page.rows), "01234");
        bench.store.close();
        let again = Bench::open(dir.path(), &net);
        let page = again.store.reader().messages(&old).expect("reads");
        assert_eq!((page.rows.len(), page.gap, page.next), (0, None, end), "a clean end keeps it");
    }

    #[test]
    fn no_page_sorts_the_whole_table() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let plan = |author: Option<i64>| {
            let sql = format!("EXPLAIN QUERY PLAN {}", select(author));
            let steps = bench.store.reader().with(|db, _| {
                let mut plan = db.prepare(&sql)?;
                let values = vec![1; plan.parameter_count()];
                let values = rusqlite::params_from_iter(values);
                let steps = plan.query_map(values, |row| row.get::<_, String>(3))?;
                steps.collect::<rusqlite::Result<Vec<_>>>()
            });
            steps.expect("a plan").join("; ")
        };
        for steps in [plan(None), plan(Some(1))] {
            assert!(steps.starts_with("SEARCH b USING") && !steps.contains("TEMP"), "{steps}");
        }
    }
}
