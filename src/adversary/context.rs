//! The context of behaviours: time, links, what was seen, and the effects that they produce.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, RngExt as _};

use super::attempts::{Attempt, Attempts};
use super::links::Links;
use super::memory::Memory;
use super::value::{Chance, When};
use crate::crypto::{Digest, Identity, PublicKey};
use crate::protocol::{LinkId, Network, Output, StoredBatch, Time};
use crate::wire::limits::PUSH_FRAMES;
use crate::wire::{Batch, BatchId, Class, Entry, Frame, Kind};

/// An action that a driver carries out.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An output of the wrapped honest node, unchanged or rewritten.
    Node(Output),
    /// Raw bytes for a link's stream, length prefix included; written after everything given
    /// before.
    Raw {
        /// The link to write to.
        link: LinkId,
        /// The bytes to write, which need not form a valid frame.
        bytes: Arc<[u8]>,
    },
    /// Stop or resume reading from a link.
    Pause {
        /// The link to stop or resume.
        link: LinkId,
        /// Whether to read from now on.
        reading: bool,
    },
    /// Limit the rate at which a link is written; `None` lifts the limit.
    Pace {
        /// The link to limit, in one direction.
        link: LinkId,
        /// The limit in bytes per second.
        bytes_per_s: Option<u64>,
    },
}

/// Whether frames of that kind pass on batches, or the news of them.
pub(super) fn relays(kind: Kind) -> bool {
    matches!(kind, Kind::Push | Kind::Reply | Kind::Announce)
}

/// A frame that the honest node wants to send.
pub(super) struct Sending {
    pub link: LinkId,
    pub frame: Frame,
    /// The encoding of `frame`; [`Sending::rewrite`] changes both.
    pub bytes: Arc<[u8]>,
}

impl Sending {
    pub(super) fn rewrite(&mut self, frame: Frame) {
        self.bytes = frame.encode().into();
        self.frame = frame;
    }

    pub(super) fn into_output(self) -> Output {
        let kind = self.frame.kind();
        Output::Send { link: self.link, kind, class: kind.class(), frame: self.bytes }
    }
}

/// What happens to a frame that the honest node wants to send.
pub(super) enum Disposition {
    /// It is sent, perhaps altered.
    Sent(Sending),
    /// It is never sent.
    Swallowed,
    /// It is sent later, or dropped then.
    Held,
}

/// State shared by all behaviours of a liar.
pub(super) struct Context {
    pub now: Time,
    pub identity: Identity,
    pub network: Arc<Network>,
    pub decoys: Vec<Batch>,
    pub rng: ChaCha8Rng,
    pub memory: Memory,
    pub links: Links,
    pub attempts: Attempts,
    pub acts: VecDeque<Effect>,
    /// When the first link came up; times in `@when` count from here.
    pub first_link: Option<Time>,
    /// The tip of the node's own lane as the node sees it, and its id.
    pub own_tip: (u64, BatchId),
}

impl Context {
    /// Whether a behaviour may act now, chance aside.
    pub(super) fn active(&self, when: When) -> bool {
        self.first_link.is_some_and(|first| when.covers(self.now.since(first)))
    }

    /// When [`Context::active`] changes next.
    pub(super) fn next_change(&self, when: When) -> Option<Time> {
        let first = self.first_link?;
        when.next_change(self.now.since(first)).map(|at| first.after(at))
    }

    /// Draws whether an opportunity with this probability is taken.
    pub(super) fn takes(&mut self, chance: Chance) -> bool {
        chance == Chance::ALWAYS || self.rng.random_range(0..Chance::ALWAYS.0) < chance.0
    }

    /// Random bytes of the given length.
    pub(super) fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A random element of `from`; `None` if it is empty.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.rng.random_range(0..from.len())]) }
    }

    /// Records an action against the peer of a link.
    pub(super) fn record(
        &mut self,
        (kind, detail): (&'static str, &'static str),
        link: LinkId,
        frame: Option<&[u8]>,
        id: Option<BatchId>,
        affected: u64,
    ) {
        let attempt = Attempt {
            kind,
            detail,
            at: self.now,
            link: self.links.peer(link),
            frame: frame.map(|bytes| Digest::of(&[bytes])),
            id,
        };
        self.attempts.record(attempt, affected);
    }

    /// Sends another frame instead of one of the node's, and records that.
    pub(super) fn falsify(
        &mut self,
        what: (&'static str, &'static str),
        mut sending: Sending,
        frame: Frame,
        id: Option<BatchId>,
    ) -> Disposition {
        sending.rewrite(frame);
        self.record(what, sending.link, Some(&sending.bytes), id, 1);
        Disposition::Sent(sending)
    }

    /// Records that a batch arrived and is not passed on, or not yet. Also called where all peers
    /// have the batch already, and so no frame is swallowed.
    pub(super) fn record_kept_back(&mut self, kind: &'static str, stored: &StoredBatch) {
        let (at, link, id) = (self.now, stored.from, Some(stored.id));
        self.attempts.record(Attempt { kind, detail: "batch", at, link, frame: None, id }, 1);
    }

    /// Sends a frame that the node does not know of, regardless of credit.
    pub(super) fn send_raw(
        &mut self,
        what: (&'static str, &'static str),
        link: LinkId,
        frame: &[u8],
        id: Option<BatchId>,
    ) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.raw_bytes(link, length, frame);
        self.record(what, link, Some(frame), id, 0);
        let class = frame.get(1).and_then(|kind| Kind::from_byte(*kind)).map(Kind::class);
        if let (Some(class), Some(link)) = (class, self.links.get_mut(link)) {
            link.ledger.raw(class, frame.len());
        }
    }

    /// Whether the peer's grants cover a frame of that class and length.
    pub(super) fn fits(&mut self, link: LinkId, class: Class, bytes: usize) -> bool {
        self.links.get_mut(link).is_some_and(|link| link.ledger.fits(class, bytes))
    }

    /// Whether at least half of the credit for pushes is left. A frame beyond the credit would be
    /// refused for exceeding it, and not for the lie in it.
    pub(super) fn has_half(&mut self, link: LinkId) -> bool {
        let link = self.links.get_mut(link);
        link.is_some_and(|link| link.ledger.under_way(Class::Push) < PUSH_FRAMES / 2)
    }

    /// Writes a length prefix and bytes, whose length may differ from it.
    pub(super) fn raw_bytes(&mut self, link: LinkId, length: u32, bytes: &[u8]) {
        let bytes = [&length.to_be_bytes()[..], bytes].concat();
        self.acts.push_back(Effect::Raw { link, bytes: bytes.into() });
    }

    /// Notes that a frame of the node will never be sent.
    pub(super) fn swallow(&mut self, link: LinkId, class: Class, bytes: usize) {
        self.links.swallowed(link, class, 1, bytes);
    }

    /// A random id, which belongs to no batch.
    pub(super) fn invented_id(&mut self) -> BatchId {
        let mut id = Digest::ZERO;
        id.0.copy_from_slice(&self.random(32));
        id
    }

    /// A small message with a random payload.
    pub(super) fn entry(&mut self) -> Entry {
        let length = self.rng.random_range(16..128);
        Entry { topic: "news".into(), payload: self.random(length) }
    }

    /// A batch of `author` in the slot after the highest one seen, signed by `signer`. It is
    /// genuine only if `signer` is the author.
    pub(super) fn next_batch(&mut self, author: PublicKey, signer: &Identity) -> Option<Batch> {
        let tip = self.memory.tip(&author);
        let (seq, prev) = (tip.seq.saturating_add(1), tip.id);
        let (entry, network) = (self.entry(), self.network.id());
        let mut batch = Batch::sign(signer, network, seq, prev, self.now.0, &[entry]).ok()?;
        if author != signer.public() {
            batch.header.author = author;
            batch.signature = signer.sign(&batch.header.statement());
        }
        Some(batch)
    }
}
