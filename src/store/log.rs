//! The queue of the rejection log. It never makes a batch wait, and rejections that arrive faster
//! than lines can be written are only counted.
//!
//! Rows are short, but frames may be long. Each kind of blame has a share of their bytes of its
//! own, so that a peer which keeps sending what is nobody's fault, and is never banned for it,
//! cannot displace frames that prove a lie.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;

use super::rows;
use crate::crypto::PublicKey;
use crate::protocol::{Blame, CountsAs, Network, Reason, Rejection, Time, Token};

/// Most lines that one commit writes, not counting summaries.
const STEP: usize = 128;
/// Most lines over the limit that one commit deletes.
const DROP_STEP: i64 = 2048;

/// A line that is only counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overflow {
    pub(super) at: Time,
    pub(super) reason: Reason,
    pub(super) link: Option<PublicKey>,
    pub(super) counts_as: CountsAs,
    pub(super) count: u64,
}

/// What counted lines must have in common to be added up.
type Kind = (Reason, Option<PublicKey>, CountsAs);

/// The rejection log, as cached by the writer.
pub(super) struct RejectionLog {
    names: BTreeMap<PublicKey, String>,
    max_rows: i64,
    first: i64,
    last: i64,
    frames: Frames,
    waiting: VecDeque<(Token, Box<Rejection>)>,
    overflow: BTreeMap<Kind, (Time, u64)>,
    overflow_tokens: Vec<Token>,
}

impl RejectionLog {
    /// Reads the extent of the log and its frames.
    pub(super) fn load(
        db: &Connection,
        network: &Network,
        max_rows: u64,
    ) -> rusqlite::Result<Self> {
        let (first, last): (Option<i64>, Option<i64>) =
            db.query_row("SELECT min(row), max(row) FROM rejections", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        Ok(Self {
            names: network.keys().iter().map(|key| (key.key, key.name.clone())).collect(),
            max_rows: rows::saturated(max_rows.max(1)),
            first: first.unwrap_or(0),
            last: last.unwrap_or(0),
            frames: Frames::load(db)?,
            waiting: VecDeque::new(),
            overflow: BTreeMap::new(),
            overflow_tokens: vec![],
        })
    }

    pub(super) fn push(&mut self, token: Token, rejection: Box<Rejection>) {
        self.waiting.push_back((token, rejection));
    }

    /// Counts a line that is not kept.
    pub(super) fn push_overflow(&mut self, token: Token, line: Overflow) {
        let kind = (line.reason, line.link, line.counts_as);
        let (_, count) = self.overflow.entry(kind).or_insert((line.at, 0));
        *count = count.saturating_add(line.count);
        self.overflow_tokens.push(token);
    }

    /// Whether there are lines to write.
    pub(super) fn waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.overflow_tokens.is_empty()
    }

    fn over_limit(&self) -> i64 {
        if self.first == 0 { 0 } else { (self.last - self.first + 1 - self.max_rows).max(0) }
    }

    /// Whether there are lines to write or to delete.
    pub(super) fn busy(&self) -> bool {
        self.waiting() || self.over_limit() > 0
    }

    /// Takes the lines that the next step writes and the tokens that it answers. They no longer
    /// wait, whether the step succeeds or not.
    pub(super) fn take(&mut self) -> Lines {
        let counted = self.waiting.len().min(STEP);
        let mut tokens = std::mem::take(&mut self.overflow_tokens);
        let mut lines = Vec::with_capacity(counted);
        for (token, rejection) in self.waiting.drain(..counted) {
            tokens.push(token);
            lines.push(*rejection);
        }
        lines.extend(std::mem::take(&mut self.overflow).into_iter().map(summary));
        Lines { tokens, lines, counted }
    }

    /// Writes lines and deletes the oldest over the limit, within the caller's transaction.
    pub(super) fn write(&self, db: &Connection, lines: &[Rejection]) -> rusqlite::Result<Span> {
        let mut span = Span { first: self.first, last: self.last, framed: vec![] };
        for rejection in lines {
            let name = rejection.link.and_then(|link| self.names.get(&link));
            span.last = rows::put_rejection(db, rejection, name.map(String::as_str))?;
            if span.first == 0 {
                span.first = span.last;
            }
            if let Some(frame) = &rejection.bytes {
                let (row, reason, bytes) = (span.last, rejection.reason, frame.len() as u64);
                span.framed.push(Framed { row, reason, bytes });
            }
        }
        let excess = (span.last - span.first + 1 - self.max_rows).min(DROP_STEP);
        if span.first > 0 && excess > 0 {
            span.first += excess;
            db.prepare_cached("DELETE FROM rejections WHERE row < ?1")?.execute([span.first])?;
        }
        self.frames.drop_oldest(db, &span.framed)?;
        Ok(span)
    }

    /// Sets other shares for the bytes of frames.
    #[cfg(test)]
    fn limit_frames(&mut self, shares: [u64; 3]) {
        self.frames.limit(shares);
    }

    /// Updates the cache once what was written is committed.
    pub(super) fn committed(&mut self, span: Span) {
        (self.first, self.last) = (span.first, span.last);
        self.frames.committed(&span.framed, span.first);
    }
}

/// The lines of one step.
pub(super) struct Lines {
    pub(super) tokens: Vec<Token>,
    /// The lines; summaries of counted lines come last.
    pub(super) lines: Vec<Rejection>,
    /// Number of lines without the summaries.
    pub(super) counted: usize,
}

/// Extent of the log: its first and last row, 0 if there is none, and the frames just written.
#[derive(Debug)]
pub(super) struct Span {
    first: i64,
    last: i64,
    framed: Vec<Framed>,
}

fn summary(((reason, link, counts_as), (at, count)): (Kind, (Time, u64))) -> Rejection {
    let detail = "a summary of rejections that came faster than the log could be written".into();
    Rejection { detail, count, ..Rejection::bare(at, reason, link, counts_as) }
}

/// Bytes of frames kept for rejections that blame a link, an author, and nobody; 64 MiB in all.
const SHARES: [u64; 3] = [32 << 20, 16 << 20, 16 << 20];

/// A frame stored in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framed {
    pub(super) row: i64,
    pub(super) reason: Reason,
    pub(super) bytes: u64,
}

/// The stored frames by share, oldest first.
#[derive(Debug)]
pub(super) struct Frames {
    shares: [u64; 3],
    kept: [VecDeque<Framed>; 3],
    bytes: [u64; 3],
}

impl Default for Frames {
    fn default() -> Self {
        Self { shares: SHARES, kept: Default::default(), bytes: [0; 3] }
    }
}

impl Frames {
    /// Reads which rows have frames, and their lengths.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut frames = Self::default();
        let mut query = db.prepare(
            "SELECT row, reason, length(bytes) FROM rejections WHERE bytes IS NOT NULL ORDER BY row",
        )?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let (reason, bytes) = (rows::reason(row, 1)?, rows::unsigned(row, 2)?);
            frames.add(Framed { row: row.get(0)?, reason, bytes });
        }
        Ok(frames)
    }

    fn add(&mut self, framed: Framed) {
        let share = share(framed.reason);
        self.bytes[share] = self.bytes[share].saturating_add(framed.bytes);
        self.kept[share].push_back(framed);
    }

    /// Drops the oldest frames that exceed a share together with the new ones, which are already
    /// written. The cache changes only in [`Frames::committed`].
    pub(super) fn drop_oldest(&self, db: &Connection, new: &[Framed]) -> rusqlite::Result<()> {
        let mut statement =
            db.prepare_cached("UPDATE rejections SET bytes = NULL WHERE row = ?1")?;
        for (number, most) in self.shares.into_iter().enumerate() {
            let mine = || new.iter().filter(|framed| share(framed.reason) == number);
            let mut bytes = mine().fold(self.bytes[number], |sum, f| sum.saturating_add(f.bytes));
            for framed in self.kept[number].iter().chain(mine()) {
                if bytes <= most {
                    break;
                }
                bytes = bytes.saturating_sub(framed.bytes);
                statement.execute([framed.row])?;
            }
        }
        Ok(())
    }

    /// Updates the cache: the new frames are committed, and the log now begins with row `first`.
    pub(super) fn committed(&mut self, new: &[Framed], first: i64) {
        new.iter().for_each(|framed| self.add(*framed));
        for (number, most) in self.shares.into_iter().enumerate() {
            let (kept, bytes) = (&mut self.kept[number], &mut self.bytes[number]);
            while let Some(framed) = kept.front().filter(|f| *bytes > most || f.row < first) {
                *bytes = bytes.saturating_sub(framed.bytes);
                kept.pop_front();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn limit(&mut self, shares: [u64; 3]) {
        self.shares = shares;
    }
}

fn share(reason: Reason) -> usize {
    match reason.blame() {
        Blame::Link => 0,
        Blame::Author => 1,
        Blame::Nobody => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::schema;
    use super::super::testing::{Bench, identity, network, rejection};
    use super::*;

    fn line(reason: Reason, at: u64, bytes: usize) -> Rejection {
        Rejection { bytes: Some(Arc::from(vec![3; bytes])), ..rejection(reason, 2, at, 1) }
    }

    /// Row and length of every frame that is there.
    fn frames(db: &Connection) -> Vec<(i64, i64)> {
        let sql = "SELECT row, length(bytes) FROM rejections WHERE bytes IS NOT NULL ORDER BY row";
        let mut query = db.prepare(sql).expect("a query");
        let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("reads");
        found.collect::<rusqlite::Result<_>>().expect("numbers")
    }

    #[test]
    fn frames_have_bounds_and_noise_pushes_out_no_proof() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        Bench::open(dir.path(), &net).store.close();
        let db = Connection::open(schema::database(dir.path())).expect("opens");
        let load = || {
            let mut log = RejectionLog::load(&db, &net, 20).expect("loads");
            log.limit_frames([1000, 500, 500]);
            log
        };
        let mut log = load();
        let write = |log: &mut RejectionLog, lines: &[Rejection]| {
            let span = log.write(&db, lines).expect("writes");
            log.committed(span);
        };
        write(&mut log, &[line(Reason::BadSignature, 1, 400), line(Reason::BadSignature, 2, 400)]);
        for at in 3..=9 {
            write(&mut log, &[line(Reason::Replayed, at, 200)]);
        }
        assert_eq!(frames(&db), [(1, 400), (2, 400), (8, 200), (9, 200)]);
        // A start counts what it finds.
        log = load();
        write(&mut log, &[line(Reason::Equivocation, 10, 300), line(Reason::Malformed, 11, 300)]);
        assert_eq!(frames(&db), [(2, 400), (8, 200), (9, 200), (10, 300), (11, 300)]);
        // One step may bring more than there is room for.
        let many: Vec<_> = (12..=17).map(|at| line(Reason::Malformed, at, 499)).collect();
        write(&mut log, &many);
        let kept = [(8, 200), (9, 200), (10, 300), (16, 499), (17, 499)];
        assert_eq!(frames(&db), kept);
        // What is rolled back never counted.
        let tx = db.unchecked_transaction().expect("a transaction");
        log.write(&tx, &many).expect("writes");
        tx.rollback().expect("rolls back");
        assert_eq!(frames(&db), kept);
        // Rows that go take their frames along, and their room is free again.
        for at in 18..=40 {
            write(&mut log, &[Rejection { bytes: None, ..line(Reason::Replayed, at, 0) }]);
        }
        assert_eq!(frames(&db), []);
        write(&mut log, &[line(Reason::Oversize, 41, 900), line(Reason::Pruned, 42, 500)]);
        assert_eq!(frames(&db).iter().map(|(_, bytes)| *bytes).sum::<i64>(), 1400);
    }

    #[test]
    fn no_row_keeps_more_of_a_frame_than_it_may() {
        let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
        let bench = Bench::open(dir.path(), &net);
        assert!(bench.put_rejection(line(Reason::Malformed, 1, 100_000)));
        let row = bench.store.reader().rejection(1).expect("reads").expect("a row");
        assert_eq!(row.rejection.link, Some(identity(2).public()));
        let kept = row.rejection.bytes.expect("a frame");
        assert_eq!((kept.len(), row.kept), (Rejection::MOST_BYTES, Some(4096)));
        assert!(bench.store.reader().rejection(2).expect("reads").is_none());
        assert!(bench.store.reader().rejection(i64::MIN).expect("reads").is_none());
    }
}
