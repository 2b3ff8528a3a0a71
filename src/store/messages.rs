//! Reading messages: one by its id, or a page of them in the order in which they were committed.

use std::mem::take;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::cursor::{self, Cursor, Page};
use super::{Reader, StoreError, rows};
use crate::crypto::{Digest, PublicKey};
use crate::wire::{Entry, MessageId, decode_body};

/// Messages of a page at most.
const MAX_LIMIT: usize = 1000;
/// Rows that one page looks at.
const SCAN_ROWS: i64 = 4096;
/// Bytes of bodies after which a page ends, so that it never takes much memory.
const SCAN_BYTES: usize = 8 << 20;

/// Which messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageQuery {
    /// Only of this topic; one longer than topics can be finds nothing.
    pub topic: Option<String>,
    /// Only by this author.
    pub author: Option<PublicKey>,
    /// Only after this place; without it, from the oldest on.
    pub after: Option<Cursor>,
    /// How many at most, 1 to 1000; a page of large messages may hold fewer.
    pub limit: usize,
}

/// A message as it is kept. `topic` is its author's word: escape before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub author: PublicKey,
    /// Its batch's slot.
    pub seq: u64,
    /// Its topic; empty once it is pruned.
    pub topic: String,
    /// Its payload; `None` once it is pruned.
    pub payload: Option<Vec<u8>>,
    /// The author's clock, in microseconds since 1970: a claim.
    pub created_at: u64,
    /// When it was delivered here, in microseconds since 1970.
    pub delivered_at: u64,
    /// Links that it crossed, as claimed; 0 if it was published here.
    pub hops: u8,
    /// The neighbour that it came from first; `None` if it was published here.
    pub from: Option<PublicKey>,
    /// The place after it.
    pub cursor: Cursor,
}

const COLUMNS: &str = "b.row, b.id, a.key, b.seq, b.created_at, b.delivered_at, b.hops, s.key, b.count, \
     b.body";
// A cross join keeps SQLite from turning the loops round, which would sort all rows for every page.
const KEYS: &str =
    "CROSS JOIN authors a ON a.number = b.author LEFT JOIN authors s ON s.number = b.sender";

/// A batch's row, without what only other nodes need.
struct BatchRow {
    row: i64,
    id: Digest,
    author: PublicKey,
    seq: u64,
    created_at: u64,
    delivered_at: u64,
    hops: u8,
    from: Option<PublicKey>,
    count: u32,
    /// The entries; `None` once they are pruned.
    entries: Option<Vec<Entry>>,
    size: usize,
}

impl BatchRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let count = row.get(8)?;
        let body = row.get_ref(9)?.as_blob_or_null()?;
        let entries = body.map(|body| decode_body(body, count)).transpose();
        let entries = entries.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Blob, error.into())
        })?;
        Ok(Self {
            row: row.get(0)?,
            id: Digest(row.get(1)?),
            author: rows::key(row, 2)?,
            seq: rows::unsigned(row, 3)?,
            created_at: row.get::<_, i64>(4)?.cast_unsigned(),
            delivered_at: rows::unsigned(row, 5)?,
            hops: row.get(6)?,
            from: rows::optional_key(row, 7)?,
            count,
            size: body.map_or(0, <[u8]>::len),
            entries,
        })
    }

    /// The message in that place.
    fn message(&mut self, generation: [u8; 8], index: u32) -> MessageRow {
        let entries = self.entries.as_mut();
        let entry = entries.and_then(|all| all.get_mut(index as usize));
        let (topic, payload) = match entry {
            Some(entry) => (take(&mut entry.topic), Some(take(&mut entry.payload))),
            None => (String::new(), None),
        };
        MessageRow {
            id: MessageId { batch: self.id, index },
            author: self.author,
            seq: self.seq,
            topic,
            payload,
            created_at: self.created_at,
            delivered_at: self.delivered_at,
            hops: self.hops,
            from: self.from,
            cursor: Cursor { generation, row: self.row, index },
        }
    }
}

impl Reader {
    /// A message, if its batch was delivered here and its header is still kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn message(&self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        self.with(|db, generation| {
            let sql = format!("SELECT {COLUMNS} FROM batches b {KEYS} WHERE b.id = ?1 AND b.first");
            let found =
                db.prepare_cached(&sql)?.query_row([id.batch.0], BatchRow::read).optional()?;
            let found = found.filter(|batch| id.index < batch.count);
            Ok(found.map(|mut batch| batch.message(generation, id.index)))
        })
    }

    /// A page of messages. Pruned messages are listed as long as their batch's header is kept; a
    /// filter by topic cannot tell what they were, and says `gap`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn messages(&self, query: &MessageQuery) -> Result<Page<MessageRow>, StoreError> {
        self.with(|db, generation| page(db, generation, query))
    }
}

fn page(
    db: &Connection,
    generation: [u8; 8],
    query: &MessageQuery,
) -> rusqlite::Result<Page<MessageRow>> {
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let last: i64 = db
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batches'), 0)",
        )?
        .query_row([], |row| row.get(0))?;
    let (start, gap) = cursor::start(query.after, generation, last);
    let author = match query.author {
        None => None,
        Some(key) => db
            .prepare_cached("SELECT number FROM authors WHERE key = ?1")?
            .query_row([key.to_string()], |row| row.get(0))
            .optional()?
            .or(Some(-1)), // a key that nothing was heard of
    };
    let mut page = Page { rows: vec![], next: start, gap, more: false };
    // A filter by topic that finds a pruned batch cannot know; without one, the row itself says it.
    let unknown = scan(db, query, author, limit, &mut page)?;
    if !page.more {
        // Nothing of this kind up to the newest row, whoever's that is.
        page.next = page.next.max(Cursor { generation, row: last, index: 255 });
    }
    if page.gap.is_none() && query.after.is_some() {
        let gone = gone(db, author, start.row, page.next.row)?;
        page.gap = (gone || unknown).then(|| "older messages have been pruned".to_owned());
    }
    Ok(page)
}

/// Fills the page; whether it skipped a batch whose topics are pruned.
fn scan(
    db: &Connection,
    query: &MessageQuery,
    author: Option<i64>,
    limit: usize,
    page: &mut Page<MessageRow>,
) -> rusqlite::Result<bool> {
    let Cursor { generation, row: from, index: after } = page.next;
    // The cursor's own batch is left out once its last message was given out.
    let (index, only) = match author {
        None => ("", ""),
        Some(_) => ("INDEXED BY batches_by_author", "b.author = ?4 AND"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM batches b {index} {KEYS} WHERE {only} b.row >= ?1 \
         AND (b.row > ?1 OR b.count > ?2 + 1) AND b.first ORDER BY b.row LIMIT ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = match author {
        None => statement.query([from, i64::from(after), SCAN_ROWS])?,
        Some(author) => statement.query([from, i64::from(after), SCAN_ROWS, author])?,
    };
    let (mut scanned, mut bytes, mut unknown) = (0, 0, false);
    while let Some(row) = found.next()? {
        let mut batch = BatchRow::read(row)?;
        let skip = if batch.row == from { after + 1 } else { 0 };
        for index in skip..batch.count {
            if page.rows.len() == limit {
                page.more = true;
                return Ok(unknown);
            }
            page.next = Cursor { generation, row: batch.row, index };
            match (&query.topic, &batch.entries) {
                (Some(topic), Some(entries)) => {
                    if entries.get(index as usize).is_none_or(|entry| entry.topic != *topic) {
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
        (scanned, bytes) = (scanned + 1, bytes + batch.size);
        if scanned == SCAN_ROWS || bytes >= SCAN_BYTES {
            page.more = true;
            return Ok(unknown);
        }
    }
    Ok(unknown)
}

/// Whether rows of these authors were deleted between two places.
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
        let plan = |index: &str, only: &str| {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM batches b {index} {KEYS} WHERE {only} \
                 b.row >= 1 AND (b.row > 1 OR b.count > 2) AND b.first ORDER BY b.row LIMIT 9"
            );
            let steps = bench.store.reader().with(|db, _| {
                let mut plan = db.prepare(&sql)?;
                let steps = plan.query_map([], |row| row.get::<_, String>(3))?;
                steps.collect::<rusqlite::Result<Vec<_>>>()
            });
            steps.expect("a plan").join("; ")
        };
        for steps in [plan("", ""), plan("INDEXED BY batches_by_author", "b.author = 1 AND")] {
            assert!(steps.starts_with("SEARCH b USING") && !steps.contains("TEMP"), "{steps}");
        }
    }
}
