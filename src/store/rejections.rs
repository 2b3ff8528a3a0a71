//! Reading the rejection log.

use rusqlite::{Connection, ToSql};

use super::cursor::{self, Cursor, Page};
use super::{Reader, StoreError, rows};
use crate::crypto::PublicKey;
use crate::protocol::{Reason, Rejection, Time};

/// Rows of a page at most.
const MAX_LIMIT: usize = 1000;
/// Rows that one page looks at.
const SCAN_ROWS: i64 = 20_000;
/// Rows of a summary at most.
const MAX_SUMMARY: i64 = 10_000;

/// Which lines of the rejection log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectionQuery {
    /// Only for this reason.
    pub reason: Option<Reason>,
    /// Only from this neighbour.
    pub peer: Option<PublicKey>,
    /// Only those that name this author.
    pub author: Option<PublicKey>,
    /// Only at this time or later.
    pub since: Option<Time>,
    /// Only after this place; without it, from the oldest on.
    pub after: Option<Cursor>,
    /// How many at most, 1 to 1000. A summary has no such limit.
    pub limit: usize,
}

/// A line of the rejection log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionRow {
    /// Its number in this store, from 1.
    pub row: i64,
    /// What it says.
    pub rejection: Rejection,
    /// The name of the link's member in the network file.
    pub link_name: Option<String>,
    /// The place after it.
    pub cursor: Cursor,
}

/// All rejections of one neighbour for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// Why.
    pub reason: Reason,
    /// Who sent it; `None` for what came through the node's own API.
    pub link: Option<PublicKey>,
    /// Its name in the network file.
    pub link_name: Option<String>,
    /// How many, folded ones counted in full.
    pub count: u64,
    /// Time of the first line.
    pub first: Time,
    /// Time of the last line.
    pub last: Time,
}

const FILTER: &str = "(?3 IS NULL OR reason = ?3) AND (?4 IS NULL OR link = ?4) \
     AND (?5 IS NULL OR author = ?5) AND (?6 IS NULL OR time >= ?6)";

/// The filter's values.
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
    /// A page of the rejection log.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rejections(&self, query: &RejectionQuery) -> Result<Page<RejectionRow>, StoreError> {
        self.with(|db, generation| page(db, generation, query))
    }

    /// The lines that a query finds, added up by reason and neighbour, most frequent first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn rejection_summary(&self, query: &RejectionQuery) -> Result<Vec<SummaryRow>, StoreError> {
        self.with(|db, generation| {
            let (start, _) = cursor::start(query.after, generation, last(db)?);
            // Sums are taken as floating-point numbers, which cannot overflow.
            let sql = format!(
                "SELECT reason, link, max(link_name), total(count), min(time), max(time) \
                 FROM rejections WHERE row > ?1 AND row <= ?2 AND {FILTER} \
                 GROUP BY reason, link ORDER BY 4 DESC, 1, 2 LIMIT {MAX_SUMMARY}"
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
                    })
                })?
                .collect()
        })
    }
}

fn last(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'rejections'), 0)",
    )?
    .query_row([], |row| row.get(0))
}

fn page(
    db: &Connection,
    generation: [u8; 8],
    query: &RejectionQuery,
) -> rusqlite::Result<Page<RejectionRow>> {
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let last = last(db)?;
    let (start, mut gap) = cursor::start(query.after, generation, last);
    let first: Option<i64> =
        db.prepare_cached("SELECT min(row) FROM rejections")?.query_row([], |row| row.get(0))?;
    // Rows have no holes: only the oldest are dropped.
    let before = first.map_or(last, |first| first - 1);
    if gap.is_none() && query.after.is_some() && start.row < before {
        gap = Some("older lines of the log have been dropped".to_owned());
    }
    let from = start.row.max(before);
    let to = last.min(from.saturating_add(SCAN_ROWS));
    let sql = format!(
        "SELECT {} FROM rejections WHERE row > ?1 AND row <= ?2 AND {FILTER} ORDER BY row LIMIT {}",
        rows::REJECTION,
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
        let (row, rejection, link_name) = rows::rejection(row)?;
        let cursor = Cursor { generation, row, index: 0 };
        lines.push(RejectionRow { row, rejection, link_name, cursor });
    }
    Ok(Page { rows: lines, next, gap, more })
}
