//! The rejection log's queue: it never makes a batch wait, and a flood of rejections is counted
//! where it cannot be written line by line.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;

use super::rows;
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{Network, Reason, Rejection, Time, Token};

/// Lines that one commit writes at most.
const STEP: usize = 128;
/// Lines over the limit that one commit drops at most.
const DROP_STEP: i64 = 2048;

/// What stands for lines that were not kept one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overflow {
    pub(super) at: Time,
    pub(super) reason: Reason,
    pub(super) link: Option<PublicKey>,
    pub(super) count: u64,
}

/// The log, as the writer knows it.
pub(super) struct Log {
    names: BTreeMap<PublicKey, String>,
    max_rows: i64,
    first: i64,
    last: i64,
    waiting: VecDeque<(Token, Box<Rejection>)>,
    overflow: BTreeMap<(Reason, Option<PublicKey>), (Time, u64)>,
    overflow_tokens: Vec<Token>,
}

impl Log {
    /// Looks at what is there.
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
            waiting: VecDeque::new(),
            overflow: BTreeMap::new(),
            overflow_tokens: vec![],
        })
    }

    /// Takes a line.
    pub(super) fn push(&mut self, token: Token, rejection: Box<Rejection>) {
        self.waiting.push_back((token, rejection));
    }

    /// Takes note of a line that is not kept.
    pub(super) fn push_overflow(&mut self, token: Token, line: Overflow) {
        let (_, count) = self.overflow.entry((line.reason, line.link)).or_insert((line.at, 0));
        *count = count.saturating_add(line.count);
        self.overflow_tokens.push(token);
    }

    /// Whether there is anything to write.
    pub(super) fn waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.overflow_tokens.is_empty()
    }

    fn over_limit(&self) -> i64 {
        if self.first == 0 { 0 } else { (self.last - self.first + 1 - self.max_rows).max(0) }
    }

    /// Whether a step has anything to do.
    pub(super) fn busy(&self) -> bool {
        self.waiting() || self.over_limit() > 0
    }

    /// The tokens that the next step answers, and the lines that it writes. After it, whatever
    /// became of it, they are no longer waiting.
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

    /// Writes lines and drops the oldest over the limit.
    pub(super) fn write(&self, db: &Connection, lines: &[Rejection]) -> rusqlite::Result<Span> {
        let mut span = Span { first: self.first, last: self.last };
        for rejection in lines {
            let name = rejection.link.and_then(|link| self.names.get(&link));
            span.last = rows::put_rejection(db, rejection, name.map(String::as_str))?;
            if span.first == 0 {
                span.first = span.last;
            }
        }
        let excess = (span.last - span.first + 1 - self.max_rows).min(DROP_STEP);
        if span.first > 0 && excess > 0 {
            span.first += excess;
            db.prepare_cached("DELETE FROM rejections WHERE row < ?1")?.execute([span.first])?;
        }
        Ok(span)
    }

    /// What was written is committed.
    pub(super) fn committed(&mut self, span: Span) {
        (self.first, self.last) = (span.first, span.last);
    }
}

/// What one step writes.
pub(super) struct Lines {
    /// To be answered.
    pub(super) tokens: Vec<Token>,
    /// The lines, those that stand for others last.
    pub(super) lines: Vec<Rejection>,
    /// How many of them were handed in as lines.
    pub(super) counted: usize,
}

/// The rows of the log: first and last; zeros if there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: i64,
    last: i64,
}

fn summary(((reason, link), (at, count)): ((Reason, Option<PublicKey>), (Time, u64))) -> Rejection {
    Rejection {
        at,
        reason,
        link,
        author: None,
        proven: false,
        seq: None,
        id: None,
        topic: None,
        hops: None,
        size: 0,
        detail: "a summary: these came faster than the log is written".into(),
        frame: Digest::ZERO,
        head: vec![],
        count,
    }
}
