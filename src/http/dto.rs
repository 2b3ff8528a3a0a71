//! Request and response bodies of the HTTP API. Keys, ids and hashes are lowercase hex, times are
//! microseconds since 1970, payloads are standard base64. Fields may be added, but are never
//! removed or renamed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::wire::Batch;

/// Body of `POST /v1/messages` as JSON. Exactly one of the two payload fields must be given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// Topic, at most 64 bytes of UTF-8; empty if left out.
    #[serde(default)]
    pub topic: String,
    /// Payload as UTF-8 text, at most 1 MiB.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Payload as standard base64, at most 1 MiB when decoded.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// Deserializes a field that may be left out but must not be `null`.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    String::deserialize(field).map(Some)
}

/// Impairment of the links with one peer, for `PUT` and `GET /v1/lab/impairments`. A field that is
/// left out has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImpairmentDto {
    /// Key of the peer or, in a request, its name in the network file.
    pub peer: String,
    /// Whether the links are cut: nothing is written to the peer, and nothing it sends is taken.
    #[serde(default)]
    pub cut: bool,
    /// Delay of everything that this node writes, in milliseconds; at most 60,000.
    #[serde(default)]
    pub delay_ms: u64,
    /// Largest additional delay, in milliseconds, drawn uniformly; at most 60,000. Order is kept.
    #[serde(default)]
    pub jitter_ms: u64,
    /// Most bytes per second that this node writes, at least 1; no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
}

/// Body of a 201 from either POST route. For a batch that was signed elsewhere, `id` names its
/// first message.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Posted {
    /// Message id: `<batch id>.<index>`.
    pub id: String,
    /// Key of the batch's author.
    pub author: String,
    /// Slot in the author's lane.
    pub seq: u64,
    /// Index of the message in its batch, from 0.
    pub index: u32,
}

/// Body of `POST /v1/messages/signed`: a batch that its author signed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedDto {
    /// Id of the network that the batch was signed for.
    pub network: String,
    /// Key of the batch's author.
    pub author: String,
    /// Slot in the author's lane, from 1.
    pub seq: u64,
    /// Slot of the predecessor if it is not `seq - 1`, which marks a restart; otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Id of the predecessor; all zeros if its slot is 0.
    pub prev: String,
    /// Time by the author's clock, in microseconds since 1970: a claim.
    pub created_at: u64,
    /// Number of messages in the body.
    pub count: u32,
    /// SHA-256 of a domain string and the body.
    pub content: String,
    /// The author's Ed25519 signature, 128 hex digits.
    pub signature: String,
    /// Body in the wire encoding, as standard base64.
    pub body_base64: String,
}

impl From<&Batch> for SignedDto {
    fn from(batch: &Batch) -> Self {
        let header = &batch.header;
        Self {
            network: header.network.to_string(),
            author: header.author.to_string(),
            seq: header.seq,
            base: header.restarts().then_some(header.base),
            prev: header.prev.to_string(),
            created_at: header.created_at,
            count: header.count,
            content: header.content.to_string(),
            signature: batch.signature.to_string(),
            body_base64: STANDARD.encode(&*batch.body),
        }
    }
}

/// A message as this node holds it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MessageDto {
    /// Message id: `<batch id>.<index>`.
    pub id: String,
    /// Key of the message's author.
    pub author: String,
    /// Name of the author in the network file.
    pub author_name: String,
    /// Slot of the batch in the author's lane.
    pub seq: u64,
    /// Index of the message in its batch, from 0.
    pub index: u32,
    /// Topic that the author gave it; empty once the payload is pruned.
    pub topic: String,
    /// Payload as standard base64; `null` once it is pruned.
    pub payload_base64: Option<String>,
    /// Time by the author's clock: a claim.
    pub created_at: u64,
    /// Time of delivery by this node's clock.
    pub delivered_at: u64,
    /// Number of links crossed, as the sender claimed; 0 if it was published at this node.
    pub hops: u8,
    /// Key of the peer that sent it first; `null` if it was published at this node.
    pub from: Option<String>,
    /// Cursor from which a list or stream resumes after this entry.
    pub cursor: String,
}

/// A row of the rejection log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RejectionDto {
    /// Number of the row in this store, from 1.
    pub row: i64,
    /// Time of the rejection by this node's clock; of the first if the row stands for several.
    pub time: u64,
    /// Name of the reason, in snake case.
    pub reason: String,
    /// Key of the peer that sent the frame; `null` if it came through this node's API.
    pub link: Option<String>,
    /// Name of that peer in the network file.
    pub link_name: Option<String>,
    /// Key of the author that the frame names. Unless `proven` is set this is a claim, and the
    /// author may be innocent.
    pub author: Option<String>,
    /// Whether the author's signature over the refused content was checked and is valid.
    #[serde(default)]
    pub proven: bool,
    /// Slot that the frame names, if any.
    pub seq: Option<u64>,
    /// Id that the refused batch would have, if there is a batch.
    pub id: Option<String>,
    /// Topic of the batch's first message, if it could be read.
    pub topic: Option<String>,
    /// Hop count that the frame claims, if any.
    pub hops: Option<u8>,
    /// Size of the frame in bytes, without the length prefix.
    pub size: u64,
    /// What was wrong, as text for people.
    pub detail: String,
    /// SHA-256 of the frame without its length prefix; zeros if there was no frame.
    pub frame: String,
    /// First bytes of the frame, at most 64, in hex.
    pub head: String,
    /// How it is counted: `lie`, `refusal`, `copy` (of a batch that is held already) or `knock` (a
    /// link from a banned peer). Copies and knocks are counted apart from rejections.
    #[serde(default)]
    pub counts_as: String,
    /// Number of the frame's bytes that are stored, at most 4096; `null` if there was no frame or
    /// it is no longer stored.
    #[serde(default)]
    pub frame_kept: Option<u64>,
    /// The stored bytes as standard base64; `null` in lists, unless `frames=true` asks for them.
    #[serde(default)]
    pub frame_base64: Option<String>,
    /// Number of equal rejections that this row stands for.
    pub count: u64,
    /// Cursor from which a list or stream resumes after this entry.
    pub cursor: String,
}

/// A row of `/v1/rejections/summary`: rejections of one peer for one reason that count alike.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SummaryRow {
    /// Name of the reason, in snake case.
    pub reason: String,
    /// Key of the peer that sent the frames; `null` if they came through this node's API.
    pub link: Option<String>,
    /// Name of that peer in the network file.
    pub link_name: Option<String>,
    /// How they are counted; see `RejectionDto`.
    #[serde(default)]
    pub counts_as: String,
    /// Number of rejections; a row that stands for several counts as all of them.
    pub count: u64,
    /// Number of these whose author is proven; see `RejectionDto`.
    #[serde(default)]
    pub proven: u64,
    /// Time of the earliest one.
    pub first: u64,
    /// Time of the latest row; a row has the time of the first rejection that it stands for.
    pub last: u64,
}

/// The link with a peer. Frames and bytes are counted since it came up, at `since`; `in` is what
/// this node received, `out` what it sent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs)]
pub struct LinkDto {
    pub dialled: bool,
    pub chosen: bool,
    pub ready: bool,
    pub since: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub unverified: u64,
    pub open_wants: u64,
    pub first_deliveries: u64,
    pub duplicates: u64,
    pub owed: u64,
}

/// A row of `/v1/peers`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PeerDto {
    /// Key of the member.
    pub key: String,
    /// Name of the member in the network file.
    pub name: String,
    /// Address in the network file at which the member listens for links.
    pub gossip: Option<String>,
    /// One of `linked`, `unlinked` and `banned`.
    pub state: String,
    /// The link with it; `null` if there is none.
    pub link: Option<LinkDto>,
    /// End of the ban in force; `null` if the peer is not banned.
    pub banned_until: Option<u64>,
    /// Reason of the last ban, even if that has ended; `null` if there was none.
    pub ban_reason: Option<String>,
    /// Number of bans so far.
    pub strikes: u32,
    /// Number of consecutive failed dials.
    pub failed_dials: u32,
    /// Number of its rejected frames by reason, without copies and knocks.
    pub rejected: BTreeMap<String, u64>,
    /// Number of links that it attempted while it was banned.
    #[serde(default)]
    pub knocks: u64,
}

/// Body of `GET /v1/status`. Counters start at 0 when the node starts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusDto {
    /// Key of this node.
    pub key: String,
    /// Name of this node in the network file.
    pub name: String,
    /// Id of the network.
    pub network: String,
    /// Version of the program that runs the node.
    pub version: String,
    /// Number of members.
    pub nodes: usize,
    /// Number of liars that the network tolerates.
    pub f: usize,
    /// Size of a quorum, `n - f`.
    pub quorum: usize,
    /// Whether the node has a ready link (or is the only member) and its threads and files work.
    pub ready: bool,
    /// What is wrong with the node's threads or files; `null` if nothing is.
    pub trouble: Option<String>,
    /// Number of links whose hello has arrived.
    pub links: usize,
    /// Number of bans in force.
    pub bans: usize,
    /// The spec of its behaviours if it was started as a liar; `null` for an honest node.
    pub malicious: Option<String>,
    /// Time at which the node started.
    pub started_at: u64,
    /// Generation of the store, 16 hex digits; renewed after an unclean end.
    pub generation: String,
    /// Number of rows of the store that were ever found damaged and set aside.
    #[serde(default)]
    pub quarantined: u64,
    /// Number of messages published at this node.
    pub published: u64,
    /// Number of messages delivered at this node, its own included.
    pub delivered: u64,
    /// Number of received copies of batches that were known already.
    pub duplicates: u64,
    /// Number of messages that wait to be signed.
    pub waiting: u64,
    /// Number of rejections by reason, without copies and knocks.
    pub rejected: BTreeMap<String, u64>,
    /// Number of links that peers attempted while they were banned.
    #[serde(default)]
    pub knocks: u64,
    /// Number of copies in the rejection log: late ones, and those that one peer sent again.
    #[serde(default)]
    pub copies: u64,
    /// Bytes written to links, inside TLS.
    pub bytes_sent: u64,
    /// Bytes read from links, inside TLS.
    pub bytes_received: u64,
    /// Tip of each author's lane, by the author's key. Every slot up to it is held or pruned,
    /// except for the holes.
    pub tips: BTreeMap<String, u64>,
}

/// One attempt of a liar.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptDto {
    /// Name of the behaviour.
    pub kind: String,
    /// Variant of the behaviour, or another detail.
    pub detail: String,
    /// Time of the attempt by this node's clock.
    pub at: u64,
    /// Key of the peer that it was aimed at, if any.
    pub link: Option<String>,
    /// SHA-256 of the frame that was sent; `null` if nothing was sent.
    pub frame: Option<String>,
    /// Id of the batch concerned, if any.
    pub id: Option<String>,
}

/// Totals of one behaviour since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AttemptKind {
    /// Number of attempts.
    pub attempted: u64,
    /// Number of honest batches (for `stall`, links) that it swallowed, delayed or altered.
    pub affected: u64,
}

/// Body of `GET /v1/attempts` of a malicious node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AttemptsDto {
    /// Totals by the name of the behaviour.
    pub totals: BTreeMap<String, AttemptKind>,
    /// The newest attempts, at most 4096, oldest first.
    pub attempts: Vec<AttemptDto>,
}

/// A page of a list. It may be shorter than the limit because pages are also bounded in bytes and
/// in work; `more` says whether the list goes on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListDto<T> {
    /// Entries in the order of the store, oldest first.
    pub items: Vec<T>,
    /// Cursor for the next page; also set when `items` is empty.
    pub next: String,
    /// Whether more entries may be available now, even if `items` is empty.
    #[serde(default)]
    pub more: bool,
    /// Why entries may be missing before the first item: the request's cursor is of another store,
    /// or older than what is kept.
    pub gap: Option<String>,
    /// Slots given up since that cursor. Each gap belongs before the first item with a higher
    /// cursor. Always empty for the rejection log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapDto>,
}

/// A key of the network file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyDto {
    /// Public key.
    pub key: String,
    /// Name of the key in the network file.
    pub name: String,
    /// Role of the key: `member` or `author`.
    pub role: String,
    /// Address at which a member's node listens for links; `null` for an author.
    pub gossip: Option<String>,
}

/// Body of `GET /v1/network`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkDto {
    /// Id of the network.
    pub id: String,
    /// Number of members, `n`.
    pub n: usize,
    /// Number of liars that the network tolerates, `f`.
    pub f: usize,
    /// Size of a quorum, `n - f`.
    pub quorum: usize,
    /// All keys of the network file, ascending.
    pub keys: Vec<KeyDto>,
}

/// Data of a stream's `gap` event, and an element of a page's `gaps`. With `author`, `from` and
/// `to`, those slots are given up: they are void, or pruned by every member that could be asked. If
/// they arrive later, their messages are delivered like any others. Without these fields, the
/// request's cursor is of another store, or older than what is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct GapDto {
    /// Why entries may be missing.
    pub why: String,
    /// Key of the author whose slots are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// First slot that is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Last slot that is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Cursor from which a list or stream resumes after this entry.
    pub cursor: String,
}

/// RFC 9457 problem details.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of the problem, as a URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short summary, the same for all problems of a kind.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// What went wrong in this occurrence.
    pub detail: String,
    /// URI reference of the request. Servers leave it out; a client fills in the URL it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Name of the rejection reason, for a refused batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Slot that the node expects next, for a 409. Advice only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}
