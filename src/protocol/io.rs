//! What goes into a node and what comes out.

use std::sync::Arc;

use thiserror::Error;

use super::{Durability, Reason, Record, StoredBatch};
use crate::crypto::{PublicKey, Signature, Verdict};
use crate::wire::{BatchId, Class, Kind, MessageId, SignedSlot};

/// A link's name, given by the world and never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names a question of the node (`Check`, `Write`, `Read`); its answer carries it back, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a message or batch that was handed to the node for publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// End of stream, a broken record, a time-out: a loss, never blame.
    Lost,
    /// We closed it.
    Closed,
}

/// What the world did. Nothing in here can be wrong in a way that is the caller's fault, but its
/// order: a link's frames come between its `LinkUp` and its `LinkDown`.
#[derive(Clone, Debug)]
pub enum Input {
    /// An authenticated link is there; nothing was said on it yet.
    LinkUp {
        /// Its name.
        link: LinkId,
        /// Who proved to be at the other end: a member of the network.
        peer: PublicKey,
        /// Whether we dialled.
        dialled: bool,
    },
    /// A link is gone.
    LinkDown {
        /// Its name.
        link: LinkId,
        /// How.
        cause: Down,
    },
    /// A dial that an output asked for did not lead to a link.
    DialFailed {
        /// Who was dialled.
        peer: PublicKey,
    },
    /// A complete frame, without its length prefix, of at most `MAX_FRAME` bytes.
    Frame {
        /// On which link.
        link: LinkId,
        /// The frame.
        bytes: Arc<[u8]>,
    },
    /// A length prefix that no frame may have; the bytes after it were not read.
    Oversize {
        /// On which link.
        link: LinkId,
        /// The length that it claims.
        length: u32,
    },
    /// The answer to `Check`.
    Checked {
        /// The question.
        token: Token,
        /// Good or forged.
        verdict: Verdict,
    },
    /// The answer to `Write`: it is as safe as was asked for.
    Written {
        /// The question.
        token: Token,
    },
    /// The other answer to `Write`: it could not be written.
    WriteFailed {
        /// The question.
        token: Token,
    },
    /// The answer to `Read`.
    Read {
        /// The question.
        token: Token,
        /// The batch, if its payload is still there.
        batch: Option<Box<StoredBatch>>,
    },
    /// The store has dropped an author's oldest payloads.
    Pruned {
        /// Whose.
        author: PublicKey,
        /// Everything at or below this slot was held and its payload pruned.
        floor: u64,
    },
    /// A row of the store is not what was written, and is set aside; a `Read` of it is answered
    /// without a batch.
    Damaged {
        /// Whose.
        author: PublicKey,
        /// Which slot.
        seq: u64,
        /// The batch that was there, if another is still kept of its slot, or the slot is pruned;
        /// zeros if nothing at all is kept of it any more.
        id: BatchId,
    },
    /// The deadline has come.
    Wake,
}

/// Why the node wants to be woken.
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
    /// Hard blame.
    Blamed(Reason),
    /// The peer is under a ban.
    Banned,
    /// Another protocol version or network: no blame.
    Mismatch,
    /// A second link to the same peer lost the tie-break, or was replaced by a newer one.
    Duplicate,
    /// Exchanged for another, or its visit is over.
    Rotated,
    /// Silent for too long, or it owes answers for too long.
    Idle,
    /// The peer said something before its hello, or a second hello.
    NoHello,
}

/// A batch that is delivered, once per slot.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The batch and how it came.
    pub stored: StoredBatch,
}

/// What the node wants done. Drained after every input, before the next.
#[derive(Clone, Debug)]
pub enum Output {
    /// Link to a member; answered by `LinkUp` or `DialFailed`.
    Dial {
        /// Whom.
        peer: PublicKey,
    },
    /// Write a frame to a link. Frames of a link are sent in the order given. If the link's queue
    /// is full the least important class may be dropped, and is counted.
    Send {
        /// Where.
        link: LinkId,
        /// Its kind, for counters.
        kind: Kind,
        /// What pays for it, and how much it matters when a writer must choose.
        class: Class,
        /// The frame, without its length prefix.
        frame: Arc<[u8]>,
    },
    /// Close a link, after what was sent on it; answered by `LinkDown`. The node has forgotten it
    /// already.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        why: CloseWhy,
    },
    /// Check a signature; answered by `Checked`, in any order.
    Check {
        /// The question.
        token: Token,
        /// Who is said to have signed.
        key: PublicKey,
        /// What.
        statement: Box<[u8; SignedSlot::STATEMENT]>,
        /// The signature.
        signature: Signature,
    },
    /// Keep a record; answered by `Written` or `WriteFailed`.
    Write {
        /// The question.
        token: Token,
        /// What.
        record: Record,
        /// How safe.
        durability: Durability,
    },
    /// Fetch a batch; answered by `Read`.
    Read {
        /// The question.
        token: Token,
        /// Whose slot.
        author: PublicKey,
        /// Which slot.
        seq: u64,
        /// Which batch in it; without it, the first.
        id: Option<BatchId>,
    },
    /// A batch that a start found is not what its author signed. Look at its row, and set it aside
    /// (`Damaged`): what is kept would come back at the next start, and a sound copy finds no
    /// place. A `Read` may answer it, or nothing.
    Doubt {
        /// The question.
        token: Token,
        /// Whose slot.
        author: PublicKey,
        /// Which slot.
        seq: u64,
        /// Which batch in it.
        id: BatchId,
    },
    /// A batch is delivered. Its `Write` came just before.
    Deliver(Box<Delivery>),
    /// A message that was published here is synced, and will reach the mesh whatever happens now.
    Published {
        /// The ticket that `publish` gave.
        ticket: Ticket,
        /// The message's id.
        id: MessageId,
        /// The slot of its batch.
        seq: u64,
    },
    /// A message that was published here could not be written, and is not published.
    PublishFailed {
        /// The ticket that `publish` gave.
        ticket: Ticket,
    },
    /// What became of a batch that an author signed elsewhere and posted here.
    Submitted {
        /// The ticket that `submit` gave.
        ticket: Ticket,
        /// Its id once it is synced (a batch that is known already too), or why not.
        result: Result<BatchId, Refusal>,
    },
}

/// Why a submitted batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is wrong, for this reason.
    Rejected(Reason),
    /// It is not the slot that comes next; the slot expected is advice.
    OutOfOrder {
        /// The slot after the tip of the lane here.
        expected: u64,
    },
    /// It could not be written.
    NotWritten,
}

/// Why a message is not taken for publication. Our own command's fault, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// Too long a topic or payload.
    #[error("a topic is at most 64 bytes and a payload at most 1 MiB")]
    TooLong,
    /// Over the node's own quota, or too many messages wait already.
    #[error("over this author's quota; try again in {} ms", retry_after.as_millis())]
    OverQuota {
        /// When there should be room again.
        retry_after: std::time::Duration,
    },
    /// A batch by a member's key: those are signed by the member's own node.
    #[error("this key belongs to a member, whose own node signs for it")]
    MemberKey,
}
