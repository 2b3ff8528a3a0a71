//! Cursors: the positions at which lists and streams resume.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::crypto::{PublicKey, hex, parse_hex};

/// The position after one row of a list: the row, in the order of commits, and an index in it.
/// Valid only in one generation of a store. Displayed as `<16 hex digits>-<row>-<index>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Generation of the store, renewed after an unclean end.
    pub generation: [u8; 8],
    /// The row, from 1; 0 is the position before the first row.
    pub row: i64,
    /// The index in the row: a message's index in its batch; 0 in the rejection log.
    pub index: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", hex(&self.generation), self.row, self.index)
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a cursor has the form <16 hex digits>-<row>-<index>, as in an earlier answer")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(CursorError);
        let generation = parse_hex(part()?).ok_or(CursorError)?;
        let row = part()?.parse().map_err(|_| CursorError)?;
        let index = part()?.parse().map_err(|_| CursorError)?;
        let cursor = Self { generation, row, index };
        // Each cursor has exactly one text form: no signs, no leading zeros.
        if row >= 0 && cursor.to_string() == text { Ok(cursor) } else { Err(CursorError) }
    }
}

/// Slots of an author that this node does not hold and has given up: void, or pruned by every
/// member that could be asked. If they arrive later, their messages are delivered like any others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneGap {
    /// Key of the author whose lane has the gap.
    pub author: PublicKey,
    /// First slot of the gap.
    pub from: u64,
    /// Last slot of the gap, itself included.
    pub to: u64,
    /// The cursor after this gap.
    pub cursor: Cursor,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in the order of commits.
    pub rows: Vec<T>,
    /// Slots that readers need not wait for, in the order of commits. Each gap belongs before the
    /// first row with a higher cursor. Always empty for the rejection log.
    pub gaps: Vec<LaneGap>,
    /// Cursor for the next page, also set when the page has no row.
    pub next: Cursor,
    /// Why rows may be missing between the query's cursor and the rows of this page.
    pub gap: Option<String>,
    /// Whether the page ended at a limit, so that more rows may be available now, even if it has no
    /// row.
    pub more: bool,
}

/// The cursor that a page starts after, and why rows before it may be missing. `last` is the
/// highest row number used so far.
pub(super) fn start(
    after: Option<Cursor>,
    generation: [u8; 8],
    last: i64,
) -> (Cursor, Option<String>) {
    let oldest = Cursor { generation, row: 0, index: 0 };
    match after {
        None => (oldest, None),
        Some(cursor) if cursor.generation != generation => {
            let why =
                "the cursor is of another generation of the store; continuing from the oldest row";
            (oldest, Some(why.to_owned()))
        }
        Some(cursor) if cursor.row > last || cursor.row < 0 => {
            let why = "the cursor is beyond the newest row; continuing from the oldest row";
            (oldest, Some(why.to_owned()))
        }
        Some(cursor) => (cursor, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_does() {
        let cursor = Cursor { generation: [0xab; 8], row: 12, index: 3 };
        assert_eq!(cursor.to_string(), "abababababababab-12-3");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let bad = [
            "",
            "abababababababab",
            "abababababababab-1",
            "abababababababab-01-3",
            "abababababababab--1-3",
            "abababababababab-+1-3",
            "ABABABABABABABAB-1-3",
            "abababababababab-1-3-4",
            "abababababababab-1-4294967296",
            "abababababababab-9223372036854775808-0",
            "ab-1-1",
        ];
        for text in bad {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
