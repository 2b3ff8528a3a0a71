//! The bodies of the HTTP interface. Keys, ids and hashes are lowercase hex, times microseconds
//! since 1970, payloads standard base64. Fields may be added, never removed or renamed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::wire::Batch;

/// `POST /v1/messages` as JSON: exactly one of the two payloads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// At most 64 bytes of UTF-8.
    #[serde(default)]
    pub topic: String,
    /// The payload as text.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload as base64.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// A field that may be left out, but is not `null` when it is there.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    String::deserialize(field).map(Some)
}

/// `PUT` and `GET /v1/lab/impairments`: what is done to the links with one peer. What is left out
/// does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImpairmentDto {
    /// The peer's key, or its name in the network file.
    pub peer: String,
    /// Nothing is written and nothing taken that comes.
    #[serde(default)]
    pub cut: bool,
    /// What this node writes leaves so much later; at most a minute.
    #[serde(default)]
    pub delay_ms: u64,
    /// And later still by up to this, uniformly at random; order is kept.
    #[serde(default)]
    pub jitter_ms: u64,
    /// Bytes a second that this node writes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
}

/// 201 of both POST routes. For a batch that was signed elsewhere `id` is the batch's first
/// message.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Posted {
    /// `<batch id>.<index>`.
    pub id: String,
    /// The author's key.
    pub author: String,
    /// The slot.
    pub seq: u64,
    /// The message's place in the batch.
    pub index: u32,
}

/// `POST /v1/messages/signed`: a batch as an author signed it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedDto {
    /// Network id.
    pub network: String,
    /// Author's key.
    pub author: String,
    /// Slot.
    pub seq: u64,
    /// The slot that it follows, if that is not the one before: a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Id of the batch in the slot that it follows; zeros if that is 0.
    pub prev: String,
    /// The author's clock, in microseconds.
    pub created_at: u64,
    /// Messages in the body.
    pub count: u32,
    /// Content digest.
    pub content: String,
    /// Signature, 128 hex digits.
    pub signature: String,
    /// The encoded body, base64.
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

/// A message as a node holds it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MessageDto {
    /// `<batch id>.<index>`.
    pub id: String,
    /// The author's key.
    pub author: String,
    /// The author's name in the network file.
    pub author_name: String,
    /// The slot.
    pub seq: u64,
    /// Its place in the batch.
    pub index: u32,
    /// Its topic.
    pub topic: String,
    /// The payload; `null` once it is pruned.
    pub payload_base64: Option<String>,
    /// The author's clock.
    pub created_at: u64,
    /// When this node delivered it.
    pub delivered_at: u64,
    /// Links crossed, as claimed; 0 at its author's node.
    pub hops: u8,
    /// Key of the peer that it came from first; `null` if it was published here.
    pub from: Option<String>,
    /// Where a list or stream goes on after it.
    pub cursor: String,
}

/// A row of the rejection log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RejectionDto {
    /// The row's number in this store.
    pub row: i64,
    /// When.
    pub time: u64,
    /// Why, in snake case.
    pub reason: String,
    /// Key of the peer that sent it; `null` for what came through this node's API.
    pub link: Option<String>,
    /// Its name in the network file.
    pub link_name: Option<String>,
    /// The author that it names: a claim, and perhaps an innocent one, unless it is proven.
    pub author: Option<String>,
    /// Whether that author's own signature over what is refused was checked and is good.
    #[serde(default)]
    pub proven: bool,
    /// The slot that it names.
    pub seq: Option<u64>,
    /// The batch id that it would have.
    pub id: Option<String>,
    /// The topic of its first message.
    pub topic: Option<String>,
    /// The hops that it claims.
    pub hops: Option<u8>,
    /// Bytes.
    pub size: u64,
    /// What was wrong, in words.
    pub detail: String,
    /// SHA-256 of the frame.
    pub frame: String,
    /// Its first bytes, hex.
    pub head: String,
    /// How it counts: `lie`, `refusal`, `copy` of what is held already, or `knock` by a peer under
    /// a ban; the last two are counted apart from rejections.
    #[serde(default)]
    pub counts_as: String,
    /// Bytes of the frame that are kept: all of it, but 4096 at most; `null` where none came or
    /// none is kept any more.
    #[serde(default)]
    pub frame_kept: Option<u64>,
    /// Those bytes; `null` in lists, unless they are asked for by `frames=true`.
    #[serde(default)]
    pub frame_base64: Option<String>,
    /// Equal rejections that the row stands for.
    pub count: u64,
    /// Where a list or stream goes on after it.
    pub cursor: String,
}

/// A row of `/v1/rejections/summary`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SummaryRow {
    /// Why.
    pub reason: String,
    /// Who sent it.
    pub link: Option<String>,
    /// Its name.
    pub link_name: Option<String>,
    /// How they count: see `RejectionDto`.
    #[serde(default)]
    pub counts_as: String,
    /// How many, folded ones counted in full.
    pub count: u64,
    /// How many of them are proven to be their author's own: see `RejectionDto`.
    #[serde(default)]
    pub proven: u64,
    /// First time.
    pub first: u64,
    /// Last time.
    pub last: u64,
}

/// A link of a peer.
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
    /// Key.
    pub key: String,
    /// Name in the network file.
    pub name: String,
    /// Gossip address.
    pub gossip: Option<String>,
    /// `linked`, `unlinked` or `banned`.
    pub state: String,
    /// Its link.
    pub link: Option<LinkDto>,
    /// End of the ban in force.
    pub banned_until: Option<u64>,
    /// What the last ban was for.
    pub ban_reason: Option<String>,
    /// Bans so far.
    pub strikes: u32,
    /// Failed dials in a row.
    pub failed_dials: u32,
    /// Rejections of its frames, by reason; plain copies and knocks apart.
    pub rejected: BTreeMap<String, u64>,
    /// Links that it tried under a ban.
    #[serde(default)]
    pub knocks: u64,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusDto {
    /// This node's key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Network id.
    pub network: String,
    /// Version of the program.
    pub version: String,
    /// Members.
    pub nodes: usize,
    /// Liars that are tolerated.
    pub f: usize,
    /// Quorum.
    pub quorum: usize,
    /// Whether it is linked, and its threads and files are as they should be.
    pub ready: bool,
    /// What is wrong with its threads or files; null if nothing is.
    pub trouble: Option<String>,
    /// Links whose hello came.
    pub links: usize,
    /// Bans in force.
    pub bans: usize,
    /// Its SPEC, if it was started as a liar.
    pub malicious: Option<String>,
    /// Start, microseconds.
    pub started_at: u64,
    /// The store's generation.
    pub generation: String,
    /// Rows of the store that were ever found damaged, and set aside.
    #[serde(default)]
    pub quarantined: u64,
    /// Messages published here.
    pub published: u64,
    /// Messages delivered here.
    pub delivered: u64,
    /// Known copies.
    pub duplicates: u64,
    /// Messages waiting to be signed.
    pub waiting: u64,
    /// Rejections by reason; plain copies and knocks apart.
    pub rejected: BTreeMap<String, u64>,
    /// Links that were tried under a ban.
    #[serde(default)]
    pub knocks: u64,
    /// Plain copies in the rejection log: late ones, and those that one peer sent again.
    #[serde(default)]
    pub copies: u64,
    /// Bytes sent and received on links.
    pub bytes_sent: u64,
    /// See `bytes_sent`.
    pub bytes_received: u64,
    /// By author, the tip of its lane: below it all but the holes is held or pruned.
    pub tips: BTreeMap<String, u64>,
}

/// One thing that a liar tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptDto {
    /// The behaviour.
    pub kind: String,
    /// Variant or detail.
    pub detail: String,
    /// When.
    pub at: u64,
    /// Key of the peer that it was tried on.
    pub link: Option<String>,
    /// SHA-256 of the frame.
    pub frame: Option<String>,
    /// Batch id.
    pub id: Option<String>,
}

/// Totals of one behaviour.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AttemptKind {
    /// All attempts.
    pub attempted: u64,
    /// Honest frames or links that were affected, for behaviours that send nothing.
    pub affected: u64,
}

/// `GET /v1/attempts` of a malicious node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AttemptsDto {
    /// By behaviour.
    pub totals: BTreeMap<String, AttemptKind>,
    /// The newest few thousand, oldest first.
    pub attempts: Vec<AttemptDto>,
}

/// A page of a list. It may be shorter than the limit, as pages are bounded in bytes and work too:
/// `more` says whether the list goes on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListDto<T> {
    /// In the order of the store, oldest first.
    pub items: Vec<T>,
    /// The cursor to go on with, also when `items` is empty.
    pub next: String,
    /// Whether there may be more at once, even if `items` is empty.
    #[serde(default)]
    pub more: bool,
    /// Why something may be missing before the first item: the cursor that was sent is of another
    /// store or older than what is kept.
    pub gap: Option<String>,
    /// Slots given up since that cursor: each belongs before the first item with a higher cursor.
    /// None in the rejection log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapDto>,
}

/// A key of the network file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyDto {
    /// The key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// `member` or `author`.
    pub role: String,
    /// Where a member's node listens for links.
    pub gossip: Option<String>,
}

/// `GET /v1/network`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkDto {
    /// Network id.
    pub id: String,
    /// Members: `n`.
    pub n: usize,
    /// Liars that are tolerated: `f`.
    pub f: usize,
    /// Quorum: `n - f`.
    pub quorum: usize,
    /// All keys, ascending.
    pub keys: Vec<KeyDto>,
}

/// The data of a stream's `gap` event, and an element of a page's `gaps`. With `author`, `from` and
/// `to`, those slots are given up: pruned by all who could be asked, or void. Should they come all
/// the same, their messages are told as any other. Without, the cursor that was sent is of another
/// store or older than what is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct GapDto {
    /// Why something may be missing.
    pub why: String,
    /// The author's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// First slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Last slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Where a list or stream goes on after it.
    pub cursor: String,
}

/// RFC 9457 problem details.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of problem, as a URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short and the same for all of a kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence.
    pub detail: String,
    /// What was asked for, as a URI reference; a client fills in the URL that it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The rejection reason, for 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The slot expected next, for 409: advice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}
