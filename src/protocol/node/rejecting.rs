//! Rejecting: every exit of the pipeline is counted, logged, and blamed on the peer if the frame
//! proves its fault.

use std::sync::Arc;

use super::pending::Received;
use super::state::Node;
use crate::crypto::{Digest, PublicKey};
use crate::protocol::{
    Ban, Blame, CloseWhy, CountsAs, Durability, Output, Reason, Record, Rejection, Token,
};
use crate::wire::{Batch, BatchId};

/// Most bytes of a frame kept in [`Rejection::head`].
const HEAD: usize = 64;

/// What arrived and is refused; decides size, hash and bytes of the row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Came<'a> {
    /// A frame, without its length prefix.
    Frame(&'a Arc<[u8]>),
    /// A length prefix whose frame was not read.
    Prefix(&'a [u8]),
    /// Nothing received on a link.
    Nothing,
}

impl<'a> Came<'a> {
    fn seen(self) -> &'a [u8] {
        match self {
            Self::Frame(bytes) => bytes,
            Self::Prefix(bytes) => bytes,
            Self::Nothing => &[],
        }
    }

    /// What a row keeps of the frame. A short frame is shared with its other users; a long one is
    /// copied up to the limit, as a row may wait for the disk and must not hold on to a megabyte.
    fn kept(self) -> Option<Arc<[u8]>> {
        match self {
            Self::Frame(bytes) if bytes.len() <= Rejection::MOST_BYTES => Some(Arc::clone(bytes)),
            Self::Frame(bytes) => Some(Arc::from(&bytes[..Rejection::MOST_BYTES])),
            Self::Prefix(_) | Self::Nothing => None,
        }
    }
}

/// A reason, and how a rejection for it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    pub reason: Reason,
    pub counts_as: CountsAs,
}

impl Ground {
    /// For a statement whose signature by the author is good.
    pub(super) fn proven(reason: Reason) -> Self {
        Self { reason, counts_as: CountsAs::of(reason, true) }
    }

    pub(super) fn copy(reason: Reason) -> Self {
        Self { reason, counts_as: CountsAs::Copy }
    }
}

impl From<Reason> for Ground {
    fn from(reason: Reason) -> Self {
        Self { reason, counts_as: CountsAs::of(reason, false) }
    }
}

/// What a refused frame claims about itself; unverified unless `proven`.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    pub author: Option<PublicKey>,
    /// Whether the author's signature was checked and is good.
    pub proven: bool,
    pub seq: Option<u64>,
    pub id: Option<BatchId>,
    pub topic: Option<String>,
    pub hops: Option<u8>,
}

impl Claims {
    pub(super) fn of(batch: &Batch, hops: Option<u8>) -> Self {
        Self {
            author: Some(batch.header.author),
            proven: false,
            seq: Some(batch.header.seq),
            id: Some(batch.id()),
            topic: batch.entries().ok().and_then(|e| e.into_iter().next()).map(|e| e.topic),
            hops,
        }
    }

    /// The same claims, with the author's signature found good.
    pub(super) fn signed(self) -> Self {
        Self { proven: true, ..self }
    }
}

impl Node {
    /// Refuses a frame that a link sent.
    pub(super) fn reject(
        &mut self,
        from: &Received,
        ground: impl Into<Ground>,
        claims: impl FnOnce() -> Claims,
        detail: &str,
    ) {
        self.refuse(from.peer, Came::Frame(&from.bytes), ground, claims, detail);
    }

    /// Refuses what a peer sent on a link, and bans the peer if the reason blames it.
    pub(super) fn refuse(
        &mut self,
        peer: PublicKey,
        came: Came<'_>,
        ground: impl Into<Ground>,
        claims: impl FnOnce() -> Claims,
        detail: &str,
    ) {
        let ground @ Ground { reason, counts_as } = ground.into();
        if counts_as != CountsAs::Copy {
            self.standing.count(&peer, reason);
        }
        self.log_rejection(Some(peer), came, ground, claims, detail);
        if reason.blame() == Blame::Link {
            self.ban(peer, reason);
        }
    }

    /// Counts and logs a rejection; blames nobody.
    pub(super) fn log_rejection(
        &mut self,
        link: Option<PublicKey>,
        came: Came<'_>,
        ground: impl Into<Ground>,
        claims: impl FnOnce() -> Claims,
        detail: &str,
    ) {
        let Ground { reason, counts_as } = ground.into();
        *self.counters.rejected.entry(reason).or_default() += 1;
        self.counters.copies += u64::from(counts_as == CountsAs::Copy);
        let now = self.now;
        let row = self.standing.log(link, (reason, counts_as), now, || {
            let (claims, frame) = (claims(), came.seen());
            Rejection {
                at: now,
                reason,
                link,
                author: claims.author,
                proven: claims.proven,
                seq: claims.seq,
                id: claims.id,
                topic: claims.topic,
                hops: claims.hops,
                size: frame.len() as u64,
                detail: detail.to_owned(),
                frame: if frame.is_empty() { Digest::ZERO } else { Digest::of(&[frame]) },
                head: frame[..frame.len().min(HEAD)].to_vec(),
                bytes: came.kept(),
                counts_as,
                count: 1,
            }
        });
        if let Some(row) = row {
            self.write_rejection(row);
        }
    }

    /// Writes the rejections that are still folded. To be called when the node stops, as the last
    /// call before draining the outputs.
    pub fn conclude(&mut self) {
        for row in self.standing.unfold_all() {
            self.write_rejection(row);
        }
    }

    /// Has a record written. Returns the token of the answer.
    pub(super) fn write(&mut self, record: Record, durability: Durability) -> Token {
        let token = Token(self.name());
        self.emit(Output::Write { token, record, durability });
        token
    }

    pub(super) fn write_rejection(&mut self, row: Rejection) {
        self.write(Record::Rejection(Box::new(row)), Durability::Lazy);
    }

    pub(super) fn write_ban(&mut self, ban: Ban) {
        self.write(Record::Ban(ban), Durability::Synced);
    }

    /// Bans a peer and closes every link to it.
    fn ban(&mut self, peer: PublicKey, reason: Reason) {
        let terms = (self.config.ban_min, self.config.ban_max);
        if let Some(ban) = self.standing.ban(peer, reason, self.now, terms) {
            self.write_ban(ban);
        }
        for link in self.links.to(peer) {
            self.close(link, CloseWhy::Blamed(reason));
        }
        self.choose_links();
    }
}
