//! The node's inputs and outputs.

use std::sync::Arc;

use thiserror::Error;

use super::{Durability, Reason, Record, StoredBatch};
use crate::crypto::{PublicKey, Signature, Validity};
use crate::wire::{BatchId, Class, Kind, MessageId, SignedSlot};

/// Identifies a link. Assigned by the caller (driver or simulator), never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Identifies a request of the node (`Check`, `Write`, `Read`, `Doubt`); the answer carries it
/// back, at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Identifies a message or batch that was handed to the node for publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Who ended a link: this node, or anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// End of stream, a broken record or a timeout. Never a reason for blame.
    Lost,
    /// The node closed it with `Output::Close`.
    Closed,
}

/// Something that happened outside the node. Every input is valid at any time, with one rule on
/// order: a link's frames come between its `LinkUp` and its `LinkDown`.
#[derive(Clone, Debug)]
pub enum Input {
    /// An authenticated link is up; no frame was exchanged on it yet.
    LinkUp {
        /// The new link, with an id that no earlier link had.
        link: LinkId,
        /// The member whose key the peer proved to hold.
        peer: PublicKey,
        /// Whether this node dialled; else the peer did.
        dialled: bool,
    },
    /// A link is down; this is its last input.
    LinkDown {
        /// The link of an earlier `LinkUp`.
        link: LinkId,
        /// Whether the node had closed it.
        cause: Down,
    },
    /// A dial requested by `Output::Dial` failed to produce a link.
    DialFailed {
        /// The member that was dialled.
        peer: PublicKey,
    },
    /// A complete frame, without its length prefix, of at most `MAX_FRAME` bytes.
    Frame {
        /// The link that it was received on.
        link: LinkId,
        /// Version byte, kind byte and body.
        bytes: Arc<[u8]>,
    },
    /// A length prefix below `MIN_FRAME` or above `MAX_FRAME`; the bytes after it were not read.
    Oversize {
        /// The link that it was received on.
        link: LinkId,
        /// The length claimed, in bytes.
        length: u32,
    },
    /// The answer to `Check`, in any order.
    Checked {
        /// The token of the `Check`.
        token: Token,
        /// Whether the signature is valid.
        verdict: Validity,
    },
    /// The answer to `Write`: the record is as durable as requested.
    Written {
        /// The token of the `Write`.
        token: Token,
    },
    /// The other answer to `Write`: the record could not be written.
    WriteFailed {
        /// The token of the `Write`.
        token: Token,
    },
    /// The answer to `Read`: the batch, if the store still has it.
    Read {
        /// The token of the `Read`.
        token: Token,
        /// The batch; `None` if its payload is pruned, damaged or unreadable.
        batch: Option<Box<StoredBatch>>,
    },
    /// The store pruned an author's oldest payloads.
    Pruned {
        /// The author of the pruned batches.
        author: PublicKey,
        /// Every slot at or below this one was held and its payload is pruned.
        floor: u64,
    },
    /// A row of the store does not match what was written, and was set aside. A `Read` of it is
    /// answered without a batch.
    Damaged {
        /// The author of the slot.
        author: PublicKey,
        /// The slot, from 1.
        seq: u64,
        /// The id of the damaged batch if another batch of the slot is still kept, or if the slot
        /// is pruned; zeros if the store keeps nothing of the slot any more.
        id: BatchId,
    },
    /// The time of `Node::deadline` has come.
    Wake,
}

/// What the node's next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Timer {
    Dial,
    Credit,
    Ask,
    Compare,
    Visit,
    Rotate,
    Ping,
    Publish,
    Fold,
    Recover,
    Serve,
}

/// Why the node closes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseWhy {
    /// The peer proved to be at fault: it is banned.
    Blamed(Reason),
    /// The peer is under a ban.
    Banned,
    /// The peer speaks another protocol version or network; no blame.
    Mismatch,
    /// A second link to the same peer lost the tie-break, or was replaced by a newer one.
    Duplicate,
    /// A chosen link was exchanged for another, or a visit is over.
    Rotated,
    /// The peer was silent for too long, or owes an answer for too long.
    Idle,
}

/// Something that the node wants done. All outputs of an input are drained before the next input.
#[derive(Clone, Debug)]
pub enum Output {
    /// Link to a member; answered by `LinkUp` or `DialFailed`.
    Dial {
        /// A member; its address is in the network file.
        peer: PublicKey,
    },
    /// Send a frame on a link. Frames of a link leave in the order given. When the link's queue is
    /// full, the writer may drop the frame of the least important class, and counts it.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The frame's kind, for counters.
        kind: Kind,
        /// The budget that pays for it, and its priority when the writer must drop something.
        class: Class,
        /// The frame, without its length prefix.
        frame: Arc<[u8]>,
    },
    /// Close a link after sending what is queued on it; answered by `LinkDown`. The node has
    /// already dropped its own state of the link.
    Close {
        /// A link of an earlier `LinkUp`.
        link: LinkId,
        /// Why the node closes it.
        why: CloseWhy,
    },
    /// Check a signature; answered by `Checked`, in any order.
    Check {
        /// Comes back in `Checked`.
        token: Token,
        /// The key that should have signed.
        key: PublicKey,
        /// The bytes that should be signed.
        statement: Box<[u8; SignedSlot::STATEMENT]>,
        /// The signature, 64 bytes as received.
        signature: Signature,
    },
    /// Store a record; answered by `Written` or `WriteFailed`.
    Write {
        /// Comes back in the answer.
        token: Token,
        /// A batch, holes, a ban or a row of the rejection log.
        record: Record,
        /// How durable it must be before the answer.
        durability: Durability,
    },
    /// Read a batch from the store; answered by `Read`.
    Read {
        /// Comes back in `Read`.
        token: Token,
        /// The author of the slot.
        author: PublicKey,
        /// The slot, from 1.
        seq: u64,
        /// Which batch of the slot; the first one if `None`.
        id: Option<BatchId>,
    },
    /// A batch restored at start has a bad signature. The store is to check its row and set it
    /// aside (answered by `Damaged`): otherwise the bad row would be restored at every start, and a
    /// sound copy would find its slot taken. A `Read` may follow, or no answer at all.
    Doubt {
        /// Comes back in the `Read`, if there is one.
        token: Token,
        /// The author of the slot.
        author: PublicKey,
        /// The slot, from 1.
        seq: u64,
        /// Which batch of the slot.
        id: BatchId,
    },
    /// Deliver a batch to readers. Its `Write` was emitted earlier.
    Deliver(Box<StoredBatch>),
    /// A message published here is synced: from now on it reaches the mesh, even after a crash.
    Published {
        /// The ticket that `publish` returned.
        ticket: Ticket,
        /// Id of its batch, and its index in the batch.
        id: MessageId,
        /// The slot of the batch that carries it.
        seq: u64,
    },
    /// A message published here could not be written and is not published.
    PublishFailed {
        /// The ticket that `publish` returned.
        ticket: Ticket,
    },
    /// The result for a batch that an author signed elsewhere and posted here.
    Submitted {
        /// The ticket that `submit` returned.
        ticket: Ticket,
        /// The batch's id once it is synced (also if it was known already), or why it was refused.
        result: Result<BatchId, Refusal>,
    },
}

/// Why a submitted batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The batch was rejected for this reason.
    Rejected(Reason),
    /// The batch is not for the next slot. The expected slot is a hint, not a promise.
    OutOfOrder {
        /// The slot after this node's tip of the lane.
        expected: u64,
    },
    /// The store could not write it.
    NotWritten,
}

/// Why a message or batch is not accepted for publication: the caller's mistake, or too much load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The topic or payload is over its limit, or a submitted batch has a malformed shape.
    #[error("a topic is at most 64 bytes and a payload at most 1 MiB")]
    TooLong,
    /// Over this node's own quota, or too many messages or batches are queued already.
    #[error("over this author's quota; try again in {} ms", retry_after.as_millis())]
    OverQuota {
        /// When to try again, counted from now; at least 100 ms.
        retry_after: std::time::Duration,
    },
    /// The batch's author is a member. A member's batches are signed by its own node only.
    #[error("this key belongs to a member, and only a member's own node signs for it")]
    MemberKey,
}
