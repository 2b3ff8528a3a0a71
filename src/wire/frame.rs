//! Frames: a `u32` length, then version, kind, and a body whose layout depends on the kind.

use bincode::{Decode, Encode};

use super::codec::{List, WireError, decode, encode};
use super::lacked::Lacked;
use super::limits::{
    ANNOUNCE_FRAMES, CONTROL_FRAMES, MAX_ABOVE, MAX_ANNOUNCED, MAX_FRAME, MAX_RANGES, MAX_SLOT,
    MAX_TIPS, MAX_WANTS, PUSH_BYTES, PUSH_FRAMES, REPAIR_FRAMES, REQUEST_FRAMES, VERSION,
};
use super::statement::{Batch, BatchId, BodyError, SignedSlot};
use crate::crypto::{Digest, PublicKey};

/// A random id of one start of one process: tells a restarted peer from a second link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Instance(pub [u8; 16]);

/// The first frame on a link, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Protocol version; another one closes the link without blame.
    pub version: u16,
    /// Network id; another one closes the link without blame.
    pub network: Digest,
    /// Identifies the sender's current start.
    pub instance: Instance,
}

/// What the receiver has consumed of one class since the link came up; each grant must report more
/// than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The number of a credited [`Class`].
    pub class: u8,
    /// Frames consumed since the link came up.
    pub frames: u64,
    /// Bytes consumed since the link came up.
    pub bytes: u64,
}

/// Credit: the sender of a class may have one window of frames and bytes beyond what was consumed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Credit {
    /// At most one per class, in ascending order of class.
    pub grants: List<Grant, 1, 5>,
}

/// A batch that was not requested.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Push {
    /// Links that the batch has crossed, this one included, as claimed by the sender; saturates at
    /// 255.
    pub hops: u8,
    /// Header, signature and body, not verified yet.
    pub batch: Batch,
}

/// A slot and the id of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SlotId {
    /// The author of the slot.
    pub author: PublicKey,
    /// The slot, from 1.
    pub seq: u64,
    /// The id of the batch in that slot.
    pub id: BatchId,
}

/// Ids of batches that the sender holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Announce {
    /// One to [`MAX_ANNOUNCED`] slots.
    pub items: List<SlotId, 1, MAX_ANNOUNCED>,
}

/// A request for one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// Identifies the answer; unique among the sender's open wants on this link.
    pub ticket: u32,
    /// The author of the slot.
    pub author: PublicKey,
    /// The slot, from 1.
    pub seq: u64,
    /// The batch wanted; if `None`, the first one that the answerer has in the slot.
    pub id: Option<BatchId>,
}

/// Requested slots; each is answered by one [`Reply`] or one [`Missing`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// One to [`MAX_WANTS`] wants.
    pub wants: List<Want, 1, MAX_WANTS>,
}

/// The batch that a want asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// The ticket of the [`Want`] that this answers.
    pub ticket: u32,
    /// Links crossed, as claimed: see [`Push::hops`].
    pub hops: u8,
    /// Header, signature and body, not verified yet.
    pub batch: Batch,
}

/// Why a want is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WhyMissing {
    /// The answerer does not hold the slot.
    Unknown,
    /// The answerer held the slot and has pruned its payload.
    Pruned,
    /// The answerer holds the slot but cannot read it now.
    Busy,
}

/// The answer to a want that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Missing {
    /// The ticket of the [`Want`] that this answers.
    pub ticket: u32,
    /// Why the answerer does not send the batch.
    pub why: WhyMissing,
    /// The highest slot of that author whose payload the answerer has pruned; 0 if none.
    /// Unverified.
    pub floor: u64,
    /// The lowest slot above the requested one that the answerer can serve; 0 if none. Unverified.
    pub next: u64,
    /// Which slots above `next` the answerer cannot serve; empty if `next` is 0. Says nothing about
    /// slots that it does not cover. Unverified.
    pub lacked: Lacked,
}

/// The state of the answerer's lane of one author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tip {
    /// The lane's tip, signed by the author.
    pub slot: SignedSlot,
    /// Every slot up to this one is held, pruned or given up by the answerer; at most the tip.
    /// Unverified.
    pub solid: u64,
    /// Every slot up to this one is pruned or given up by the answerer; 0 if none, at most the tip.
    /// Unverified.
    pub floor: u64,
    /// A digest of the slots that the answerer lacks up to its tip; zeros if none. Unverified.
    pub holes: Digest,
}

/// The hash over the lanes of the keys `start..end`, where keys are indices into the network's
/// sorted keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RangeHash {
    /// Index of the first key.
    pub start: u32,
    /// Index of the last key, plus one.
    pub end: u32,
    /// Over the tips, holes and slots above the tip of every lane that is not empty; zeros if all
    /// are.
    pub hash: Digest,
}

/// Asks where lanes differ; answered by one [`Differ`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Compare {
    /// Chosen by the asker; the answer repeats it.
    pub ticket: u32,
    /// Disjoint ranges in ascending order.
    pub ranges: List<RangeHash, 1, MAX_RANGES>,
}

/// Where the answerer's lanes differ from the ranges asked about: finer ranges, or signed tips.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Differ {
    /// The ticket of the [`Compare`] that this answers.
    pub ticket: u32,
    /// Parts of differing ranges that hold too many lanes to list; disjoint and ascending.
    pub ranges: List<RangeHash, 0, MAX_RANGES>,
    /// The answerer's tips in differing ranges, ascending by key.
    pub tips: List<Tip, 0, MAX_TIPS>,
    /// Slots that the answerer holds above those tips, or above 0 for authors without a tip;
    /// ascending.
    pub above: List<SlotId, 0, MAX_ABOVE>,
}

/// Upper bound for what a push or a reply adds to its body, in bytes. A capacity, not a limit.
const FRAME_OVERHEAD: usize = 256;

/// A frame of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame on every link.
    Hello(Hello),
    /// Credit for the peer's frames.
    Credit(Credit),
    /// Keeps the link alive; the credit for it is the answer.
    Ping,
    /// A batch that was not requested.
    Push(Box<Push>),
    /// Ids of batches that the sender holds.
    Announce(Announce),
    /// Asks for slots; each is answered.
    Request(Request),
    /// A batch that a want asked for.
    Reply(Box<Reply>),
    /// The answer to a want that is not served.
    Missing(Missing),
    /// Asks where lanes differ.
    Compare(Compare),
    /// The answer to a comparison.
    Differ(Differ),
}

/// The kind byte of a frame; the values are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Kind {
    Hello = 0,
    Credit = 1,
    Ping = 2,
    Push = 3,
    Announce = 4,
    Request = 5,
    Reply = 6,
    Missing = 7,
    Compare = 8,
    Differ = 9,
}

impl Kind {
    /// All kinds, in the order of their bytes.
    pub const ALL: [Self; 10] = [
        Self::Hello,
        Self::Credit,
        Self::Ping,
        Self::Push,
        Self::Announce,
        Self::Request,
        Self::Reply,
        Self::Missing,
        Self::Compare,
        Self::Differ,
    ];

    /// The kind with this byte, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Credit => "credit",
            Self::Ping => "ping",
            Self::Push => "push",
            Self::Announce => "announce",
            Self::Request => "request",
            Self::Reply => "reply",
            Self::Missing => "missing",
            Self::Compare => "compare",
            Self::Differ => "differ",
        }
    }

    /// The longest frame of this kind, in bytes, without the length prefix.
    pub fn max_len(self) -> usize {
        2 + match self {
            Self::Hello => 50,
            Self::Credit => 2 + 5 * 17,
            Self::Ping => 0,
            Self::Push | Self::Reply => MAX_FRAME - 2,
            Self::Announce => 2 + MAX_ANNOUNCED * 72,
            Self::Request => 2 + MAX_WANTS * (4 + 32 + 8 + 33),
            Self::Missing => 24 + 32,
            Self::Compare => 6 + MAX_RANGES * 40,
            Self::Differ => 10 + MAX_RANGES * 40 + MAX_TIPS * 184 + MAX_ABOVE * 72,
        }
    }

    /// The class that pays for frames of this kind.
    pub fn class(self) -> Class {
        match self {
            Self::Hello | Self::Credit => Class::Link,
            Self::Ping => Class::Control,
            Self::Push => Class::Push,
            Self::Announce => Class::Announce,
            Self::Request => Class::Request,
            Self::Reply | Self::Missing | Self::Differ => Class::Reply,
            Self::Compare => Class::Repair,
        }
    }
}

/// What pays for a frame. Ascending numbers are descending priority when a writer must drop a
/// frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Hello (once per link) and credit: bounded by their own rules.
    Link = 0,
    /// Pings, which keep a link alive.
    Control = 1,
    /// Comparisons of lanes.
    Repair = 2,
    /// Requests for batches.
    Request = 3,
    /// Announcements of ids.
    Announce = 4,
    /// Batches that nobody requested.
    Push = 5,
    /// Answers (`Reply`, `Missing`, `Differ`): each is paid by the open want or comparison it
    /// answers.
    Reply = 6,
}

impl Class {
    /// All classes, in ascending order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Link,
        Self::Control,
        Self::Repair,
        Self::Request,
        Self::Announce,
        Self::Push,
        Self::Reply,
    ];

    /// The classes that need credit, in ascending order of their numbers.
    pub const CREDITED: [Self; 5] =
        [Self::Control, Self::Repair, Self::Request, Self::Announce, Self::Push];

    /// The window of a credited class: frames and bytes in flight. `None` for the other classes.
    pub fn window(self) -> Option<(u64, u64)> {
        let of = |frames: u64, kind: Kind| Some((frames, frames * kind.max_len() as u64));
        match self {
            Self::Control => of(CONTROL_FRAMES, Kind::Ping),
            Self::Repair => of(REPAIR_FRAMES, Kind::Compare),
            Self::Request => of(REQUEST_FRAMES, Kind::Request),
            Self::Announce => of(ANNOUNCE_FRAMES, Kind::Announce),
            Self::Push => Some((PUSH_FRAMES, PUSH_BYTES)),
            Self::Link | Self::Reply => None,
        }
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Control => "control",
            Self::Repair => "repair",
            Self::Request => "request",
            Self::Announce => "announce",
            Self::Push => "push",
            Self::Reply => "reply",
        }
    }

    /// The credited class with this number, if there is one.
    pub fn credited(number: u8) -> Option<Self> {
        Self::CREDITED.into_iter().find(|class| *class as u8 == number)
    }
}

impl Frame {
    /// The kind, which is the frame's second byte.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Credit(_) => Kind::Credit,
            Self::Ping => Kind::Ping,
            Self::Push(_) => Kind::Push,
            Self::Announce(_) => Kind::Announce,
            Self::Request(_) => Kind::Request,
            Self::Reply(_) => Kind::Reply,
            Self::Missing(_) => Kind::Missing,
            Self::Compare(_) => Kind::Compare,
            Self::Differ(_) => Kind::Differ,
        }
    }

    /// The frame as bytes, without the length prefix.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.kind() as u8];
        match self {
            Self::Hello(body) => encode(body, &mut bytes),
            Self::Credit(body) => encode(body, &mut bytes),
            Self::Ping => {}
            Self::Push(body) => encode(body.as_ref(), &mut bytes),
            Self::Announce(body) => encode(body, &mut bytes),
            Self::Request(body) => encode(body, &mut bytes),
            Self::Reply(body) => encode(body.as_ref(), &mut bytes),
            Self::Missing(body) => encode(body, &mut bytes),
            Self::Compare(body) => encode(body, &mut bytes),
            Self::Differ(body) => encode(body, &mut bytes),
        }
        bytes
    }

    /// Encodes a [`Push`] of a batch without copying the batch first.
    pub fn push(hops: u8, batch: &Batch) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + batch.body.len());
        bytes.extend([VERSION, Kind::Push as u8]);
        encode(&hops, &mut bytes);
        encode(batch, &mut bytes);
        bytes
    }

    /// Encodes a [`Reply`] with a batch without copying the batch first.
    pub fn reply(ticket: u32, hops: u8, batch: &Batch) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + batch.body.len());
        bytes.extend([VERSION, Kind::Reply as u8]);
        encode(&ticket, &mut bytes);
        encode(&hops, &mut bytes);
        encode(batch, &mut bytes);
        bytes
    }

    /// Decodes a complete frame, without its length prefix. Enforces the limits of the frame's
    /// kind; checks no hash and no signature.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding of a frame within limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [version, kind, body @ ..] = bytes else {
            return Err(WireError::Malformed("shorter than two bytes"));
        };
        if *version != VERSION {
            return Err(WireError::WrongVersion(*version));
        }
        let kind = Kind::from_byte(*kind).ok_or(WireError::Malformed("unknown kind"))?;
        if bytes.len() > kind.max_len() {
            return Err(WireError::Oversize("too long for its kind"));
        }
        let frame = match kind {
            Kind::Hello => Self::Hello(decode(body)?),
            Kind::Credit => Self::Credit(decode(body)?),
            Kind::Ping => {
                if !body.is_empty() {
                    return Err(WireError::NonCanonical("bytes are left over at the end"));
                }
                Self::Ping
            }
            Kind::Push => Self::Push(Box::new(decode(body)?)),
            Kind::Announce => Self::Announce(decode(body)?),
            Kind::Request => Self::Request(decode(body)?),
            Kind::Reply => Self::Reply(Box::new(decode(body)?)),
            Kind::Missing => Self::Missing(decode(body)?),
            Kind::Compare => Self::Compare(decode(body)?),
            Kind::Differ => Self::Differ(decode(body)?),
        };
        frame.check_shape()?;
        Ok(frame)
    }

    fn check_shape(&self) -> Result<(), WireError> {
        match self {
            Self::Push(push) => shape(&push.batch),
            Self::Reply(reply) => shape(&reply.batch),
            Self::Credit(credit) => {
                let ascending = credit.grants.is_sorted_by(|a, b| a.class < b.class);
                let known = credit.grants.iter().all(|g| Class::credited(g.class).is_some());
                refuse_unless(known, "a grant for a class without credit")?;
                canonical(ascending, "grants are not in order")
            }
            Self::Announce(announce) => slots(announce.items.iter().map(|item| item.seq)),
            Self::Request(request) => slots(request.wants.iter().map(|want| want.seq)),
            Self::Compare(compare) => ranges(&compare.ranges),
            Self::Differ(differ) => {
                ranges(&differ.ranges)?;
                slots(differ.tips.iter().map(|tip| tip.slot.seq))?;
                slots(differ.above.iter().map(|item| item.seq))?;
                let solid = |tip: &Tip| tip.solid <= tip.slot.seq && tip.floor <= tip.slot.seq;
                refuse_unless(differ.tips.iter().all(solid), "solid or floor above the tip")?;
                let ascending = differ.tips.is_sorted_by(|a, b| a.slot.author < b.slot.author);
                canonical(ascending, "tips are not in order")?;
                canonical(differ.above.is_sorted_by(|a, b| a < b), "slots are not in order")
            }
            Self::Missing(missing) => {
                let all = missing.next != 0 || missing.lacked.is_empty();
                canonical(all, "slots lacked above slot 0")
            }
            Self::Hello(_) | Self::Ping => Ok(()),
        }
    }
}

fn slots(mut seqs: impl Iterator<Item = u64>) -> Result<(), WireError> {
    refuse_unless(seqs.all(|seq| (1..=MAX_SLOT).contains(&seq)), "an invalid slot number")
}

fn shape(batch: &Batch) -> Result<(), WireError> {
    batch.check_shape().map_err(|why| match why {
        BodyError::TooLong | BodyError::TooMany => WireError::Oversize("the body is too long"),
        BodyError::Empty => WireError::Malformed("a batch without messages"),
        BodyError::WrongLength => WireError::Malformed("the body does not match count and length"),
        BodyError::BadTopic => WireError::Malformed("a topic is not UTF-8"),
        BodyError::BadSlot => WireError::Malformed("an invalid slot, base or prev"),
    })
}

fn ranges(ranges: &[RangeHash]) -> Result<(), WireError> {
    refuse_unless(ranges.iter().all(|range| range.start < range.end), "an empty range")?;
    canonical(ranges.is_sorted_by(|a, b| a.end <= b.start), "ranges overlap or are not in order")
}

fn refuse_unless(good: bool, why: &'static str) -> Result<(), WireError> {
    if good { Ok(()) } else { Err(WireError::Malformed(why)) }
}

fn canonical(good: bool, why: &'static str) -> Result<(), WireError> {
    if good { Ok(()) } else { Err(WireError::NonCanonical(why)) }
}
