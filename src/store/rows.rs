//! Records to rows and back.

use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use crate::crypto::{Digest, PublicKey, Signature, hex};
use crate::protocol::{Ban, Reason, Rejection, StoredBatch, Time, Verified};
use crate::wire::{Batch, Blob, Header};

/// Longest detail of a rejection that is kept, in bytes.
const MAX_DETAIL: usize = 512;
/// Longest head of a frame that is kept, in bytes.
const MAX_HEAD: usize = 64;

/// Columns of a whole batch, for [`batch`].
pub(super) const BATCH: &str = "b.id, b.first, b.delivered_at, b.hops, s.key, b.created_at, b.count, \
     b.length, b.base, b.prev, b.content, b.signature, b.body";
/// Columns of a rejection, for [`rejection`].
pub(super) const REJECTION: &str = "row, time, reason, link, link_name, author, seq, id, topic, hops, \
     size, detail, frame, head, count, proven";

/// A number as SQLite holds it; what is too high becomes the highest.
pub(super) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn broken(column: usize, why: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// A number that cannot be negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| broken(column, "a negative number"))
}

/// A key in hex.
pub(super) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<PublicKey> {
    PublicKey::from_hex(row.get_ref(column)?.as_str()?).ok_or_else(|| broken(column, "no key"))
}

/// A key in hex, or NULL.
pub(super) fn optional_key(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<PublicKey>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => PublicKey::from_hex(text).map(Some).ok_or_else(|| broken(column, "no key")),
    }
}

/// A reason by its name.
pub(super) fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Reason> {
    Reason::from_name(row.get_ref(column)?.as_str()?).ok_or_else(|| broken(column, "no reason"))
}

/// A batch without its body.
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

/// A whole batch, from the columns [`BATCH`]; `None` if its payload is pruned.
pub(super) fn batch(
    row: &Row<'_>,
    network: Digest,
    author: PublicKey,
    seq: u64,
) -> rusqlite::Result<Option<StoredBatch>> {
    let (id, header, signature) = header(row, network, author, seq)?;
    let Some(body) = row.get::<_, Option<Vec<u8>>>("body")? else {
        return Ok(None);
    };
    let body = Blob::new(body).ok_or_else(|| broken(11, "too long a body"))?;
    let batch = Batch { header, signature, body };
    // A damaged row must never leave as if we had verified it: its receiver would blame us.
    if batch.id() != id || !batch.content_matches() {
        return Err(broken(11, "a batch that is not the one its id names"));
    }
    Ok(Some(StoredBatch {
        id,
        batch: std::sync::Arc::new(Verified::trusted(batch)),
        hops: row.get("hops")?,
        from: optional_key(row, 4)?,
        delivered_at: Time(unsigned(row, 2)?),
        first: row.get("first")?,
    }))
}

/// Writes a line of the rejection log; its row.
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
    db.prepare_cached(
        "INSERT INTO rejections (time, reason, link, link_name, author, seq, id, topic, hops, size, \
         detail, frame, head, count, proven) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, \
         ?12, ?13, ?14, ?15)",
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
    ])
}

/// A line of the rejection log, from the columns [`REJECTION`]: row, line, name of the link.
pub(super) fn rejection(row: &Row<'_>) -> rusqlite::Result<(i64, Rejection, Option<String>)> {
    let digest =
        |column: usize, text: &str| Digest::from_hex(text).ok_or_else(|| broken(column, "no hash"));
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
        head: bytes(row.get_ref(13)?.as_str()?).ok_or_else(|| broken(13, "no hex"))?,
        count: unsigned(row, 14)?,
    };
    Ok((row.get(0)?, rejection, row.get(4)?))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Writes the last ban of a member.
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

/// The last ban of each member.
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
