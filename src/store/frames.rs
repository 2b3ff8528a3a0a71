//! Frames in the rejection log: how many of their bytes are kept, and which are dropped first.
//!
//! Rows are short, but frames may be long. Each kind of blame has a share of its own, so that a
//! peer which keeps sending what is nobody's fault, and is never banned for it, cannot displace
//! frames that prove a lie.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::rows;
use crate::protocol::{Blame, Reason};

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

    /// Sets other shares.
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
