//! What authors sign: one batch of messages per slot, each chained to the batch before.
//!
//! A signature covers a fixed layout of `domain ‖ network ‖ author ‖ seq ‖ SHA-256(the rest)`, and
//! the batch id is the SHA-256 of the same bytes. So the 32-byte digest of the rest is enough to
//! check the signature without header or payload ([`SignedSlot`]), which keeps proofs of
//! equivocation short.

use std::fmt;

use bincode::{Decode, Encode};
use thiserror::Error;

use super::codec::Blob;
use super::limits::{
    ENTRY_OVERHEAD, MAX_BODY, MAX_ENTRIES, MAX_PAYLOAD, MAX_SHARED_BODY, MAX_SLOT, MAX_TOPIC,
};
use crate::crypto::{Digest, Identity, PublicKey, Signature};

const BATCH_DOMAIN: &[u8; 16] = b"loyal/batch/v2\0\0";
const REST_DOMAIN: &[u8; 16] = b"loyal/header/v2\0";
const CONTENT_DOMAIN: &[u8; 16] = b"loyal/content/v1";

/// The id of a batch: binds network, author, slot and content, but not the signature.
pub type BatchId = Digest;

/// One message: a topic of at most 64 bytes of UTF-8, and a payload of at most 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The topic of the message; may be empty.
    pub topic: String,
    /// Arbitrary bytes; may be empty.
    pub payload: Vec<u8>,
}

/// The id of a message: its batch and its index in it. Prints as `<batch id>.<index>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The batch that carries it.
    pub batch: BatchId,
    /// The index in the batch, from 0 to 255.
    pub index: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.batch, self.index)
    }
}

impl std::str::FromStr for MessageId {
    type Err = ();
    /// Reads `<64 hex digits>.<index>`, the index in plain decimal without leading zeros.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (batch, index) = text.split_once('.').ok_or(())?;
        let id = Self {
            batch: Digest::from_hex(batch).ok_or(())?,
            index: index.parse().map_err(|_| ())?,
        };
        if id.index as usize >= MAX_ENTRIES || id.index.to_string() != index {
            return Err(());
        }
        Ok(id)
    }
}

/// An author's statement about one slot: 160 bytes on the wire, in this order, integers big-endian.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// The id of the network that the statement belongs to.
    pub network: Digest,
    /// The author of the slot; its key signs.
    pub author: PublicKey,
    /// The slot: 1, 2, 3… without gaps, except after a restart.
    pub seq: u64,
    /// The slot that this one follows: `seq − 1`, or a lower one in a restart header, with which an
    /// author continues after losing its store. The slots in between are void: no node waits for
    /// them.
    pub base: u64,
    /// The id of the author's batch in slot `base`; zeros if that is 0.
    pub prev: BatchId,
    /// The author's clock, in microseconds since 1970. Unverified: no rule depends on it.
    pub created_at: u64,
    /// Messages in the body, 1 to 256.
    pub count: u32,
    /// Length of the body in bytes.
    pub length: u32,
    /// SHA-256 of a domain string and the body.
    pub content: Digest,
}

impl Header {
    /// SHA-256 over the fields that the signed layout does not contain itself.
    pub fn rest(&self) -> Digest {
        Digest::of(&[
            REST_DOMAIN,
            &self.base.to_be_bytes(),
            &self.prev.0,
            &self.created_at.to_be_bytes(),
            &self.count.to_be_bytes(),
            &self.length.to_be_bytes(),
            &self.content.0,
        ])
    }

    /// Whether this is a restart header, which voids the slots between `base` and `seq`.
    pub fn restarts(&self) -> bool {
        self.base.saturating_add(1) < self.seq
    }

    /// The bytes that the author signs.
    pub fn statement(&self) -> [u8; SignedSlot::STATEMENT] {
        statement(&self.network, &self.author, self.seq, &self.rest())
    }

    /// SHA-256 of the statement, which names the batch everywhere.
    pub fn id(&self) -> BatchId {
        Digest::of(&[&self.statement()])
    }
}

fn statement(
    network: &Digest,
    author: &PublicKey,
    seq: u64,
    rest: &Digest,
) -> [u8; SignedSlot::STATEMENT] {
    let mut bytes = [0; SignedSlot::STATEMENT];
    bytes[..16].copy_from_slice(BATCH_DOMAIN);
    bytes[16..48].copy_from_slice(&network.0);
    bytes[48..80].copy_from_slice(&author.0);
    bytes[80..88].copy_from_slice(&seq.to_be_bytes());
    bytes[88..].copy_from_slice(&rest.0);
    bytes
}

/// An author's signature for a slot, without header or payload: 136 bytes. Proves that the author
/// filled the slot, and with which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedSlot {
    /// The author whose key signed.
    pub author: PublicKey,
    /// The slot in the author's lane, from 1.
    pub seq: u64,
    /// [`Header::rest`] of the batch.
    pub rest: Digest,
    /// The author's signature over [`SignedSlot::statement`].
    pub signature: Signature,
}

impl SignedSlot {
    /// Length of the signed layout in bytes.
    pub const STATEMENT: usize = 120;

    /// The bytes that the author signed in `network`.
    pub fn statement(&self, network: &Digest) -> [u8; Self::STATEMENT] {
        statement(network, &self.author, self.seq, &self.rest)
    }

    /// The id of the batch in that slot.
    pub fn id(&self, network: &Digest) -> BatchId {
        Digest::of(&[&self.statement(network)])
    }
}

/// A batch as sent: header, signature, body. Nothing is verified yet; see [`Batch::check_shape`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// What the author signs: see [`Header::statement`].
    pub header: Header,
    /// The author's signature over [`Header::statement`].
    pub signature: Signature,
    /// The encoded entries: see [`encode_body`].
    pub body: Blob<MAX_BODY>,
}

impl Batch {
    /// Signs entries into the author's slot `seq` after `prev`, which is in slot `seq − 1`.
    ///
    /// # Errors
    /// When the entries do not fit a batch.
    pub fn sign(
        identity: &Identity,
        network: Digest,
        seq: u64,
        prev: BatchId,
        created_at: u64,
        entries: &[Entry],
    ) -> Result<Self, BodyError> {
        let base = (seq.saturating_sub(1), prev);
        Self::sign_after(identity, network, seq, base, created_at, entries)
    }

    /// Like [`Batch::sign`], after any slot `base` with id `prev`. With `base` below `seq − 1` the
    /// header is a restart, which voids the slots in between.
    ///
    /// # Errors
    /// When the entries do not fit a batch.
    pub fn sign_after(
        identity: &Identity,
        network: Digest,
        seq: u64,
        (base, prev): (u64, BatchId),
        created_at: u64,
        entries: &[Entry],
    ) -> Result<Self, BodyError> {
        let bytes = encode_body(entries)?;
        let header = Header {
            network,
            author: identity.public(),
            seq,
            base,
            prev,
            created_at,
            count: u32::try_from(entries.len()).map_err(|_| BodyError::TooMany)?,
            length: u32::try_from(bytes.len()).map_err(|_| BodyError::TooLong)?,
            content: content_digest(&bytes),
        };
        let signature = identity.sign(&header.statement());
        Ok(Self { header, signature, body: Blob::new(bytes).ok_or(BodyError::TooLong)? })
    }

    /// The id of its header, which covers the body through `content`, but not the signature.
    pub fn id(&self) -> BatchId {
        self.header.id()
    }

    /// Whether the body matches the digest in the header.
    pub fn content_matches(&self) -> bool {
        content_digest(&self.body) == self.header.content
    }

    /// The signature with what is needed to check it, without header and body.
    pub fn signed_slot(&self) -> SignedSlot {
        SignedSlot {
            author: self.header.author,
            seq: self.header.seq,
            rest: self.header.rest(),
            signature: self.signature,
        }
    }

    /// Decodes the body into its messages, in the order in which the author put them.
    ///
    /// # Errors
    /// When the body does not have the shape that the header announces.
    pub fn entries(&self) -> Result<Vec<Entry>, BodyError> {
        decode_body(&self.body, self.header.count)
    }

    /// Checks the shape: counts and lengths agree, slots are in range, limits hold. Checks no hash
    /// and no signature.
    ///
    /// # Errors
    /// The first violation found.
    pub fn check_shape(&self) -> Result<(), BodyError> {
        if self.header.length as usize != self.body.len() {
            return Err(BodyError::WrongLength);
        }
        let Header { seq, base, prev, .. } = &self.header;
        if *seq > MAX_SLOT || base >= seq || (*base == 0 && *prev != Digest::ZERO) {
            return Err(BodyError::BadSlot);
        }
        for_each_entry(&self.body, self.header.count, |_, _| ())
    }
}

/// Why entries cannot be encoded as a body, or bytes are not a valid body or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// There is no entry.
    #[error("a batch holds at least one message")]
    Empty,
    /// More than 256 entries.
    #[error("a batch holds at most 256 messages")]
    TooMany,
    /// A payload, a topic or the whole body is over its limit.
    #[error("a payload is at most 1 MiB, a topic 64 bytes, and a batch of several messages 64 KiB")]
    TooLong,
    /// The body does not match the header's count and length.
    #[error("the body's entries do not match the header's count and length")]
    WrongLength,
    /// A topic is not UTF-8.
    #[error("a topic is not UTF-8")]
    BadTopic,
    /// Slot 0 or above [`MAX_SLOT`], a base not below the slot, or a `prev` other than zeros for
    /// base 0.
    #[error("a slot is 1 to {MAX_SLOT}, its base is lower, and prev is zero if base is 0")]
    BadSlot,
}

fn content_digest(body: &[u8]) -> Digest {
    Digest::of(&[CONTENT_DOMAIN, body])
}

/// Encodes entries. Each is a `u16` topic length, the topic, a `u32` payload length, the payload;
/// lengths are big-endian.
///
/// # Errors
/// When a limit is exceeded or there is no entry.
pub fn encode_body(entries: &[Entry]) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    for entry in entries {
        if entry.topic.len() > MAX_TOPIC || entry.payload.len() > MAX_PAYLOAD {
            return Err(BodyError::TooLong);
        }
        let topic = u16::try_from(entry.topic.len()).map_err(|_| BodyError::TooLong)?;
        let payload = u32::try_from(entry.payload.len()).map_err(|_| BodyError::TooLong)?;
        body.extend_from_slice(&topic.to_be_bytes());
        body.extend_from_slice(entry.topic.as_bytes());
        body.extend_from_slice(&payload.to_be_bytes());
        body.extend_from_slice(&entry.payload);
    }
    check_size(entries.len(), body.len())?;
    Ok(body)
}

fn check_size(count: usize, length: usize) -> Result<(), BodyError> {
    match count {
        0 => Err(BodyError::Empty),
        1 if length <= MAX_BODY => Ok(()),
        2..=MAX_ENTRIES if length <= MAX_SHARED_BODY => Ok(()),
        1..=MAX_ENTRIES => Err(BodyError::TooLong),
        _ => Err(BodyError::TooMany),
    }
}

/// Decodes a body of exactly `count` entries.
///
/// # Errors
/// When the body is anything else, or over a limit.
pub fn decode_body(body: &[u8], count: u32) -> Result<Vec<Entry>, BodyError> {
    let mut entries = Vec::new();
    for_each_entry(body, count, |topic, payload| {
        entries.push(Entry { topic: topic.to_owned(), payload: payload.to_vec() });
    })?;
    Ok(entries)
}

fn for_each_entry(
    mut body: &[u8],
    count: u32,
    mut see: impl FnMut(&str, &[u8]),
) -> Result<(), BodyError> {
    check_size(count as usize, body.len())?;
    for _ in 0..count {
        let topic = usize::from(u16::from_be_bytes(take(&mut body)?));
        let topic = std::str::from_utf8(take_slice(&mut body, topic, MAX_TOPIC)?)
            .map_err(|_| BodyError::BadTopic)?;
        let payload = u32::from_be_bytes(take(&mut body)?) as usize;
        see(topic, take_slice(&mut body, payload, MAX_PAYLOAD)?);
    }
    if body.is_empty() { Ok(()) } else { Err(BodyError::WrongLength) }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], BodyError> {
    let (head, tail) = bytes.split_first_chunk().ok_or(BodyError::WrongLength)?;
    *bytes = tail;
    Ok(*head)
}

fn take_slice<'a>(bytes: &mut &'a [u8], n: usize, most: usize) -> Result<&'a [u8], BodyError> {
    if n > most {
        return Err(BodyError::TooLong);
    }
    let (head, tail) = bytes.split_at_checked(n).ok_or(BodyError::WrongLength)?;
    *bytes = tail;
    Ok(head)
}

// The fixed fields of an entry are its two lengths.
const _: () = assert!(ENTRY_OVERHEAD == size_of::<u16>() + size_of::<u32>());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::check;

    fn entry(topic: &str, payload: &[u8]) -> Entry {
        Entry { topic: topic.into(), payload: payload.into() }
    }

    #[test]
    fn a_signed_slot_checks_without_header_or_payload() {
        let author = Identity::from_seed(&[3; 32]);
        let network = Digest([8; 32]);
        let entries = [entry("t", b"one"), entry("", b"")];
        let batch = Batch::sign(&author, network, 1, Digest::ZERO, 5, &entries).expect("signs");
        assert_eq!(batch.check_shape(), Ok(()));
        assert_eq!(batch.entries().as_deref(), Ok(&entries[..]));
        assert!(batch.content_matches());
        let slot = batch.signed_slot();
        assert_eq!(slot.id(&network), batch.id());
        assert!(check(&slot.author, &slot.statement(&network), &slot.signature).is_good());
        let elsewhere = slot.statement(&Digest([9; 32]));
        assert!(!check(&slot.author, &elsewhere, &slot.signature).is_good());
    }

    #[test]
    fn bodies_are_bounded_and_exact() {
        assert_eq!(encode_body(&[]), Err(BodyError::Empty));
        assert_eq!(encode_body(&vec![entry("", b""); 257]), Err(BodyError::TooMany));
        assert!(encode_body(&vec![entry("", b""); 256]).is_ok());
        assert!(encode_body(&[entry("", &vec![0; MAX_PAYLOAD])]).is_ok());
        assert_eq!(encode_body(&[entry("", &vec![0; MAX_PAYLOAD + 1])]), Err(BodyError::TooLong));
        assert_eq!(encode_body(&[entry(&"t".repeat(65), b"")]), Err(BodyError::TooLong));
        let two = [entry("", &[0; 40_000]), entry("", &[0; 40_000])];
        assert_eq!(encode_body(&two), Err(BodyError::TooLong));
        let body = encode_body(&[entry("ab", b"cd"), entry("", b"e")]).expect("encodes");
        assert!(decode_body(&body, 2).is_ok());
        for wrong in [0, 1, 3, 256, u32::MAX] {
            assert!(decode_body(&body, wrong).is_err(), "{wrong}");
        }
        for cut in 0..body.len() {
            assert!(decode_body(&body[..cut], 2).is_err(), "{cut}");
        }
        assert_eq!(decode_body(&[0, 1, 0xff, 0, 0, 0, 0], 1), Err(BodyError::BadTopic));
        assert_eq!(decode_body(&[0, 0, 0xff, 0xff, 0xff, 0xff], 1), Err(BodyError::TooLong));
    }

    #[test]
    fn message_ids_read_back_and_nothing_else_does() {
        let id = MessageId { batch: Digest([4; 32]), index: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "x.0", &format!("{}.256", id.batch), &format!("{}.01", id.batch)] {
            assert_eq!(bad.parse::<MessageId>(), Err(()), "{bad}");
        }
    }
}
