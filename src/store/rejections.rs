//! Reading the rejection log.

use rusqlite::{Connection, OptionalExtension as _, ToSql};

use super::cursor::{self, Cursor, Page};
use super::rows::RejectionRow;
use super::{Reader, StoreError, rows};
use crate::crypto::PublicKey;
use crate::protocol::{CountsAs, Reason, Time};

/// Most rows of a page.
const MAX_LIMIT: usize = 1000;
/// Most rows of a page with frames.
const MAX_FRAMES: usize = 100;
/// Most rows that one page scans.
const SCAN_ROWS: i64 = 20_000;
/// Most rows of a summary.
const MAX_SUMMARY: i64 = 10_000;

/// Selects lines of the rejection log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectionQuery {
    /// Only rejections for this reason.
    pub reason: Option<Reason>,
    /// Only rejections of this neighbour's frames.
    pub peer: Option<PublicKey>,
    /// Only rejections that name this author.
    pub author: Option<PublicKey>,
    /// Only rejections at this time or later.
    pub since: Option<Time>,
    /// Only rows after this cursor; without one, from the oldest on.
    pub after: Option<Cursor>,
    /// Most rows of a page: 1 to 1000, or to 100 with frames. Ignored by summaries, which have at
    /// most 10,000 rows.
    pub limit: usize,
    /// Whether to read the stored bytes of frames, too.
    pub frames: bool,
}

/// All rejections of one neighbour for one reason that count alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// Reason that these rejections share.
    pub reason: Reason,
    /// The neighbour that sent the frames; `None` if they came through the node's own API.
    pub link: Option<PublicKey>,
    /// Name of the neighbour in the network file.
    pub link_name: Option<String>,
    /// Class that they share: lie, refusal, copy or knock.
    pub counts_as: CountsAs,
    /// Number of rejections; a line that stands for several counts as all of them.
    pub count: u64,
    /// Number of these whose author is proven by a signature.
    pub proven: u64,
    /// Earliest time of a line.
    pub first: Time,
    /// Latest time of a line.
    pub last: Time,
}

const FILTER: &str = "(?3 IS NULL OR reason = ?3) AND (?4 IS NULL OR link = ?4) \
     AND (?5 IS NULL OR author = ?5) AND (?6 IS NULL OR time >= ?6)";

/// Sort key: how rows count, worst first.
const WORST: &str = "CASE counts_as WHEN 'lie' THEN 0 WHEN 'refusal' THEN 1 WHEN 'copy' THEN 2 \
     ELSE 3 END";

/// Values of the parameters in [`FILTER`].
struct Filter {
    reason: Option<&'static str>,
    peer: Option<String>,
    author: Option<String>,
    since: Option<i64>,
}

impl Filter {
    fn new(query: &RejectionQuery) -> Self {
        Self {
            reason: query.reason.map(Reason::name),
            peer: query.peer.map(|key| key.to_string()),
            author: query.author.map(|key| key.to_string()),
            since: query.since.map(|time| rows::saturated(time.0)),
        }
    }

    fn with<'a>(&'a self, from: &'a i64, to: &'a i64) -> [&'a dyn ToSql; 6] {
        [from, to, &self.reason, &self.peer, &self.author, &self.since]
    }
}

impl Reader {
    /// Reads a page of the rejection log.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rejections(&self, query: &RejectionQuery) -> Result<Page<RejectionRow>, StoreError> {
        self.with(|db, generation| page(db, generation, query))
    }

    /// Reads one line, with the stored bytes of its frame; `None` if the log has no such row or has
    /// dropped it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rejection(&self, row: i64) -> Result<Option<RejectionRow>, StoreError> {
        self.with(|db, generation| {
            let sql = format!(
                "SELECT {}, {} FROM rejections WHERE row = ?1",
                rows::REJECTION,
                rows::FRAME
            );
            db.prepare_cached(&sql)?
                .query_row([row], |row| rows::rejection(row, generation))
                .optional()
        })
    }

    /// Sums the lines that match a query by reason, neighbour and how they count: lies first,
    /// knocks last, and among equals the most frequent first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rejection_summary(&self, query: &RejectionQuery) -> Result<Vec<SummaryRow>, StoreError> {
        self.with(|db, generation| {
            let (start, _) = cursor::start(query.after, generation, rows::last(db, "rejections")?);
            // `total` sums floating-point numbers, which cannot overflow.
            let sql = format!(
                "SELECT reason, link, max(link_name), total(count), min(time), max(time), \
                 total(CASE WHEN proven THEN count ELSE 0 END), counts_as FROM rejections \
                 WHERE row > ?1 AND row <= ?2 AND {FILTER} GROUP BY reason, link, counts_as \
                 ORDER BY {WORST}, 4 DESC, 1, 2 LIMIT {MAX_SUMMARY}"
            );
            let filter = Filter::new(query);
            db.prepare_cached(&sql)?
                .query_map(&filter.with(&start.row, &i64::MAX)[..], |row| {
                    Ok(SummaryRow {
                        reason: rows::reason(row, 0)?,
                        link: rows::optional_key(row, 1)?,
                        link_name: row.get(2)?,
                        count: row.get::<_, f64>(3)? as u64,
                        first: Time(rows::unsigned(row, 4)?),
                        last: Time(rows::unsigned(row, 5)?),
                        proven: row.get::<_, f64>(6)? as u64,
                        counts_as: rows::counts_as(row, 7)?,
                    })
                })?
                .collect()
        })
    }
}

fn page(
    db: &Connection,
    generation: [u8; 8],
    query: &RejectionQuery,
) -> rusqlite::Result<Page<RejectionRow>> {
    let limit = query.limit.clamp(1, if query.frames { MAX_FRAMES } else { MAX_LIMIT });
    let last = rows::last(db, "rejections")?;
    let (start, mut gap) = cursor::start(query.after, generation, last);
    let first: Option<i64> =
        db.prepare_cached("SELECT min(row) FROM rejections")?.query_row([], |row| row.get(0))?;
    // Row numbers are contiguous, as only the oldest rows are deleted.
    let before = first.map_or(last, |first| first - 1);
    if gap.is_none() && query.after.is_some() && start.row < before {
        gap = Some("older rows of the log were deleted".to_owned());
    }
    let from = start.row.max(before);
    let to = last.min(from.saturating_add(SCAN_ROWS));
    let sql = format!(
        "SELECT {}, {} FROM rejections WHERE row > ?1 AND row <= ?2 AND {FILTER} ORDER BY row LIMIT {}",
        rows::REJECTION,
        if query.frames { rows::FRAME } else { "NULL" },
        MAX_LIMIT + 1,
    );
    let filter = Filter::new(query);
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query(&filter.with(&from, &to)[..])?;
    let mut next = Cursor { generation, row: to, index: 0 };
    let (mut lines, mut more) = (vec![], to < last);
    while let Some(row) = found.next()? {
        if lines.len() == limit {
            more = true;
            next = lines.last().map_or(next, |row: &RejectionRow| row.cursor);
            break;
        }
        lines.push(rows::rejection(row, generation)?);
    }
    Ok(Page { rows: lines, gaps: vec![], next, gap, more })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, identity, network, rejection};
    use super::super::{Options, Reader};
    use super::*;
    use crate::protocol::Rejection;
    use crate::protocol::{Durability, Record};

    fn query(limit: usize) -> RejectionQuery {
        RejectionQuery { limit, ..RejectionQuery::default() }
    }

    #[test]
    fn lines_come_back_as_they_were_and_filters_find_them() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let mut bare = rejection(Reason::Oversize, 3, 30, 1);
        (bare.link, bare.author, bare.seq, bare.id) = (None, None, None, None);
        (bare.topic, bare.hops, bare.head, bare.bytes) = (None, None, vec![], None);
        // The key of n3 comes before that of n2, and equal counts are in the order of keys.
        let lines = [
            rejection(Reason::BadSignature, 3, 10, 1),
            rejection(Reason::Replayed, 3, 20, 7000),
            bare,
            Rejection { proven: true, ..rejection(Reason::BadSignature, 2, 40, 2) },
            rejection(Reason::BadSignature, 3, 50, 1),
        ];
        for line in &lines {
            assert!(bench.put_rejection(line.clone()));
        }
        let reader = bench.store.reader();
        let whole = RejectionQuery { frames: true, ..query(10) };
        let page = reader.rejections(&whole).expect("reads");
        let found: Vec<_> = page.rows.iter().map(|row| row.rejection.clone()).collect();
        assert_eq!(found, lines);
        let bare = reader.rejections(&query(10)).expect("reads");
        assert!(bare.rows.iter().all(|row| row.rejection.bytes.is_none()), "nobody asked for them");
        let kept: Vec<_> = bare.rows.iter().map(|row| row.kept).collect();
        assert_eq!(kept, [Some(300), Some(300), None, Some(300), Some(300)]);
        assert_eq!(reader.rejection(4).expect("reads").as_ref(), Some(&page.rows[3]));
        let names: Vec<_> = page.rows.iter().map(|row| row.link_name.as_deref()).collect();
        assert_eq!(names, [Some("n3"), Some("n3"), None, Some("n2"), Some("n3")]);

        let rows = |query: RejectionQuery| -> Vec<i64> {
            let page = reader.rejections(&query).expect("reads");
            page.rows.iter().map(|row| row.row).collect()
        };
        let three = Some(identity(3).public());
        assert_eq!(
            rows(RejectionQuery { reason: Some(Reason::BadSignature), ..query(9) }),
            [1, 4, 5]
        );
        assert_eq!(rows(RejectionQuery { peer: three, ..query(9) }), [1, 2, 5]);
        assert_eq!(rows(RejectionQuery { author: three, ..query(9) }), [0i64; 0]);
        assert_eq!(rows(RejectionQuery { since: Some(Time(40)), ..query(9) }), [4, 5]);
        let after = page.rows[1].cursor;
        assert_eq!(rows(RejectionQuery { after: Some(after), ..query(2) }), [3, 4]);

        let summary = reader.rejection_summary(&query(1)).expect("reads");
        let counts: Vec<_> = summary.iter().map(|row| (row.reason, row.link, row.count)).collect();
        let two = Some(identity(2).public());
        assert_eq!(
            counts,
            [
                (Reason::BadSignature, three, 2),
                (Reason::BadSignature, two, 2),
                (Reason::Oversize, None, 1),
                (Reason::Replayed, three, 7000),
            ]
        );
        let proven: Vec<_> = summary.iter().map(|row| row.proven).collect();
        assert_eq!(proven, [0, 2, 0, 0]);
        let counts: Vec<_> = summary.iter().map(|row| row.counts_as.name()).collect();
        assert_eq!(counts, ["lie", "lie", "lie", "copy"]);
        assert_eq!((summary[0].first, summary[0].last), (Time(10), Time(50)));
        assert_eq!(summary[0].link_name.as_deref(), Some("n3"));
    }

    #[test]
    fn the_log_keeps_its_newest_lines_and_says_what_is_gone() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let options = Options { max_rejections: 100, ..Options::default() };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        let reader = bench.store.reader();
        assert!(bench.put_rejection(rejection(Reason::Malformed, 2, 1, 1)));
        let first = reader.rejections(&query(1)).expect("reads").next;
        for at in 2..=350 {
            assert!(bench.put_rejection(rejection(Reason::Malformed, 2, at, 1)));
        }
        let page = reader.rejections(&query(1000)).expect("reads");
        let (oldest, newest) =
            (page.rows.first().expect("a row"), page.rows.last().expect("a row"));
        assert_eq!((page.rows.len(), oldest.row, newest.row), (100, 251, 350));
        assert_eq!((page.gap, page.more), (None, false));
        let page = reader.rejections(&RejectionQuery { after: Some(first), ..query(10) });
        let page = page.expect("reads");
        assert!(page.gap.is_some());
        assert_eq!((page.rows[0].row, page.more), (251, true));
        let page = reader.rejections(&RejectionQuery { after: Some(page.next), ..query(1000) });
        let page = page.expect("reads");
        assert_eq!((page.rows.len(), page.gap, page.more), (90, None, false));
        bench.store.close();
        let options = Options { max_rejections: 5, ..options };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        assert!(bench.put_rejection(rejection(Reason::Malformed, 2, 999, 1)));
        let page = bench.store.reader().rejections(&query(1000)).expect("reads");
        assert_eq!((page.rows.len(), page.rows[4].row), (5, 351));
    }

    #[test]
    fn a_flood_of_lines_is_counted_in_full() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        let flood = 30_000;
        let tokens: Vec<_> = (0..flood)
            .map(|at| {
                let line = rejection(Reason::BadSignature, 2, at, 1);
                bench.give(Record::Rejection(Box::new(line)), Durability::Lazy)
            })
            .collect();
        for token in tokens {
            assert!(matches!(bench.answer(token), crate::protocol::Input::Written { .. }));
        }
        let summary = bench.store.reader().rejection_summary(&query(1)).expect("reads");
        assert_eq!((summary.len(), summary[0].count), (1, flood));
        assert_eq!(bench.store.queue_len(), 0);
    }

    #[test]
    fn any_sqlite_tool_and_a_folder_s_reader_read_it_while_the_node_runs_and_after() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        assert!(matches!(Reader::open_stopped(dir.path()), Err(StoreError::Missing { .. })));
        let bench = Bench::open(dir.path(), &net);
        assert!(bench.put_rejection(rejection(Reason::Malformed, 2, 1, 3)));
        let tool = || {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let db = Connection::open_with_flags(dir.path().join("node.sqlite"), flags);
            db.expect("opens")
                .query_row(
                    "SELECT reason, link, link_name, hex(head), head FROM rejections",
                    [],
                    |r| {
                        let columns: [String; 5] =
                            [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?];
                        Ok(columns)
                    },
                )
                .expect("reads")
        };
        let running = Reader::open_stopped(dir.path()).expect("opens");
        let (link, key) = (tool(), identity(2).public().to_string());
        assert_eq!(link, ["malformed", &key, "n2", "303030316666", "0001ff"]);
        assert_eq!(running.rejections(&query(9)).expect("reads").rows.len(), 1);
        assert_eq!(running.generation(), bench.store.reader().generation());
        bench.store.close();
        assert_eq!(tool(), link);
        assert_eq!(running.rejections(&query(9)).expect("reads").rows.len(), 1);
        let stopped = Reader::open_stopped(dir.path()).expect("opens");
        assert_eq!(stopped.rejections(&query(9)).expect("reads").rows[0].rejection.count, 3);
    }
}
