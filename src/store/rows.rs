//! Conversion between records and rows.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use super::cursor::Cursor;
use crate::crypto::{Digest, PublicKey, Signature, hex, unhex};
use crate::protocol::{Ban, CountsAs, DiskRow, Reason, Rejection, RestoredSlot, StoredBatch, Time};
use crate::wire::{Batch, Blob, Header};

/// Longest stored detail of a rejection, in bytes.
const MAX_DETAIL: usize = 512;
/// Longest stored head of a frame, in bytes.
const MAX_HEAD: usize = 64;

/// Columns of a batch, for [`found`]; they come from `batches b` and [`KEYS`].
pub(super) const BATCH: &str = "b.row, a.key AS author, b.seq, b.id, b.first, b.delivered_at, b.hops, \
     s.key AS sender, b.created_at, b.count, b.length, b.base, b.prev, b.content, b.signature, b.body";
/// Like [`BATCH`], but without the body: [`found`] then gives only `Bare` or `Damaged`.
pub(super) const BARE: &str = "b.row, a.key AS author, b.seq, b.id, b.first, b.delivered_at, b.hops, \
     s.key AS sender, b.created_at, b.count, b.length, b.base, b.prev, b.content, b.signature, \
     NULL AS body";
/// Joins the keys that a batch refers to. Left joins keep SQLite from reordering the loops, which
/// would sort all rows for every page, and also return damaged rows whose keys do not exist.
pub(super) const KEYS: &str = "LEFT JOIN authors a ON a.number = b.author \
     LEFT JOIN authors s ON s.number = b.sender";
/// Columns of a rejection, for [`rejection`].
pub(super) const REJECTION: &str = "row, time, reason, link, link_name, author, seq, id, topic, hops, \
     size, detail, frame, head, count, proven, length(bytes), counts_as";
/// The column after [`REJECTION`]: the stored bytes of the frame, cut even if another program wrote
/// more.
pub(super) const FRAME: &str = "substr(bytes, 1, 4096)";

/// A line of the rejection log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionRow {
    /// Number of the line in this store, from 1.
    pub row: i64,
    /// The rejection; without the bytes of its frame, unless they were asked for.
    pub rejection: Rejection,
    /// Number of the frame's bytes that are stored; `None` if there are none.
    pub kept: Option<u64>,
    /// Name of the link's peer in the network file.
    pub link_name: Option<String>,
    /// The cursor after this line.
    pub cursor: Cursor,
}

/// The highest number that a row of a table ever had; 0 if there was none.
pub(super) fn last(db: &Connection, table: &str) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0)")?
        .query_row([table], |row| row.get(0))
}

/// A number as SQLite stores it: numbers above `i64::MAX` become `i64::MAX`.
pub(super) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn broken(column: usize, why: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// Reads a number; an error if it is negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| broken(column, "a negative number"))
}

pub(super) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<PublicKey> {
    PublicKey::from_hex(row.get_ref(column)?.as_str()?).ok_or_else(|| broken(column, "not a key"))
}

/// Reads a key in hex, or NULL.
pub(super) fn optional_key(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<PublicKey>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => {
            PublicKey::from_hex(text).map(Some).ok_or_else(|| broken(column, "not a key"))
        }
    }
}

pub(super) fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Reason> {
    Reason::from_name(row.get_ref(column)?.as_str()?).ok_or_else(|| broken(column, "not a reason"))
}

pub(super) fn counts_as(row: &Row<'_>, column: usize) -> rusqlite::Result<CountsAs> {
    let name = row.get_ref(column)?.as_str()?;
    CountsAs::from_name(name).ok_or_else(|| broken(column, "not lie, refusal, copy or knock"))
}

/// A row of `batches` that parsed, but was not checked further.
pub(super) struct Kept {
    /// The row, with an empty body if that is pruned.
    pub(super) row: DiskRow,
    /// Whether the payload is pruned.
    pub(super) pruned: bool,
}

impl Kept {
    /// Whether the row matches its id; the signature is not checked.
    pub(super) fn is_intact(&self) -> bool {
        let batch = &self.row.batch;
        let body = || batch.check_shape().is_ok() && batch.content_matches();
        batch.id() == self.row.id && (self.pruned || body())
    }
}

/// Content of a row of `batches`, after all checks.
#[derive(Debug)]
pub(super) enum CheckedRow {
    /// A batch as it was written.
    Whole(StoredBatch),
    /// A batch as it was written, whose payload is pruned.
    Bare,
    /// Anything else.
    Damaged,
}

/// Parses and checks a row with the columns [`BATCH`]; returns its number and content. Takes as
/// long as a signature check, because the disk is trusted no more than a neighbour.
pub(super) fn found(row: &Row<'_>, network: &Digest) -> rusqlite::Result<(i64, CheckedRow)> {
    let (number, kept) = kept(row, network)?;
    let Some(Kept { row, pruned }) = kept else { return Ok((number, CheckedRow::Damaged)) };
    if !pruned {
        let whole = StoredBatch::from_disk(row, network);
        return Ok((number, whole.map_or(CheckedRow::Damaged, CheckedRow::Whole)));
    }
    let header = &row.batch.header;
    let slot = RestoredSlot::of(header, row.id, row.batch.signature, row.first);
    let signed = slot.is_signed(header.author, network);
    Ok((number, if signed { CheckedRow::Bare } else { CheckedRow::Damaged }))
}

/// Parses a row without checking it; returns its number, and `None` if it does not parse.
pub(super) fn kept(row: &Row<'_>, network: &Digest) -> rusqlite::Result<(i64, Option<Kept>)> {
    // A column of the wrong type or a number out of range is damage, not a failure of the query.
    Ok((row.get("row")?, parsed(row, network).ok().flatten()))
}

fn parsed(row: &Row<'_>, network: &Digest) -> rusqlite::Result<Option<Kept>> {
    let author = key(row, 1)?;
    let (id, header, signature) = header(row, *network, author, unsigned(row, 2)?)?;
    let (hops, from) = (row.get("hops")?, optional_key(row, 7)?);
    let (delivered_at, first) = (Time(unsigned(row, 5)?), row.get("first")?);
    let body = row.get::<_, Option<Vec<u8>>>("body")?;
    let pruned = body.is_none();
    let Some(body) = Blob::new(body.unwrap_or_default()) else { return Ok(None) };
    let batch = Batch { header, signature, body };
    Ok(Some(Kept { row: DiskRow { id, batch, hops, from, delivered_at, first }, pruned }))
}

/// Parses a batch's id, header and signature, without checking them.
pub(super) fn header(
    row: &Row<'_>,
    network: Digest,
    author: PublicKey,
    seq: u64,
) -> rusqlite::Result<(Digest, Header, Signature)> {
    let header = Header {
        network,
        author,
        seq,
        created_at: row.get::<_, i64>("created_at")?.cast_unsigned(),
        count: row.get("count")?,
        length: row.get("length")?,
        base: row.get::<_, i64>("base")?.cast_unsigned(),
        prev: Digest(row.get("prev")?),
        content: Digest(row.get("content")?),
    };
    Ok((Digest(row.get("id")?), header, Signature(row.get("signature")?)))
}

/// Writes a line of the rejection log; returns its row number.
pub(super) fn put_rejection(
    db: &Connection,
    rejection: &Rejection,
    link_name: Option<&str>,
) -> rusqlite::Result<i64> {
    let mut detail = rejection.detail.as_str();
    if detail.len() > MAX_DETAIL {
        detail = &detail[..detail.floor_char_boundary(MAX_DETAIL)];
    }
    let head = &rejection.head[..rejection.head.len().min(MAX_HEAD)];
    let frame = rejection.bytes.as_deref();
    let frame = frame.map(|bytes| &bytes[..bytes.len().min(Rejection::MOST_BYTES)]);
    db.prepare_cached(
        "INSERT INTO rejections (time, reason, link, link_name, author, seq, id, topic, hops, size, \
         detail, frame, head, count, proven, bytes, counts_as) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
         ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .insert(rusqlite::params![
        saturated(rejection.at.0),
        rejection.reason.name(),
        rejection.link.map(|key| key.to_string()),
        link_name,
        rejection.author.map(|key| key.to_string()),
        rejection.seq.map(saturated),
        rejection.id.map(|id| id.to_string()),
        rejection.topic,
        rejection.hops,
        saturated(rejection.size),
        detail,
        rejection.frame.to_string(),
        hex(head),
        saturated(rejection.count),
        rejection.proven,
        frame,
        rejection.counts_as.name(),
    ])
}

/// Parses a line of the rejection log from the columns [`REJECTION`] and one more, which holds the
/// frame or NULL.
pub(super) fn rejection(row: &Row<'_>, generation: [u8; 8]) -> rusqlite::Result<RejectionRow> {
    let digest = |column: usize, text: &str| {
        Digest::from_hex(text).ok_or_else(|| broken(column, "not a hash"))
    };
    let rejection = Rejection {
        at: Time(unsigned(row, 1)?),
        reason: reason(row, 2)?,
        link: optional_key(row, 3)?,
        author: optional_key(row, 5)?,
        proven: row.get(15)?,
        seq: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
        id: row.get_ref(7)?.as_str_or_null()?.map(|text| digest(7, text)).transpose()?,
        topic: row.get(8)?,
        hops: row.get(9)?,
        size: unsigned(row, 10)?,
        detail: row.get(11)?,
        frame: digest(12, row.get_ref(12)?.as_str()?)?,
        head: unhex(row.get_ref(13)?.as_str()?).ok_or_else(|| broken(13, "not hex"))?,
        count: unsigned(row, 14)?,
        counts_as: counts_as(row, 17)?,
        bytes: row.get_ref(18)?.as_blob_or_null()?.map(Arc::from),
    };
    let (number, kept) = (row.get(0)?, row.get::<_, Option<i64>>(16)?);
    Ok(RejectionRow {
        row: number,
        rejection,
        kept: kept.map(i64::unsigned_abs),
        link_name: row.get(4)?,
        cursor: Cursor { generation, row: number, index: 0 },
    })
}

/// Writes a ban in place of the member's last one.
pub(super) fn put_ban(db: &Connection, ban: &Ban) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO bans (peer, reason, at, until, strikes) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(rusqlite::params![
        ban.peer.to_string(),
        ban.reason.name(),
        saturated(ban.at.0),
        saturated(ban.until.0),
        ban.strikes,
    ])
    .map(|_| ())
}

/// Reads the last ban of each member.
pub(super) fn bans(db: &Connection) -> rusqlite::Result<Vec<Ban>> {
    db.prepare("SELECT peer, reason, at, until, strikes FROM bans")?
        .query_map([], |row| {
            Ok(Ban {
                peer: key(row, 0)?,
                reason: reason(row, 1)?,
                at: Time(unsigned(row, 2)?),
                until: Time(unsigned(row, 3)?),
                strikes: row.get(4)?,
            })
        })?
        .collect()
}
