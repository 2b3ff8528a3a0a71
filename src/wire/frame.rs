//! Frames: a `u32` length, then version, kind and a body whose shape the kind decides.

use bincode::{Decode, Encode};

use super::codec::{List, WireError, decode, encode};
use super::lacked::Lacked;
use super::limits::{
    ANNOUNCE_FRAMES, CONTROL_FRAMES, MAX_ABOVE, MAX_ANNOUNCED, MAX_FRAME, MAX_RANGES, MAX_SLOT,
    MAX_TIPS, MAX_WANTS, PUSH_BYTES, PUSH_FRAMES, REPAIR_FRAMES, REQUEST_FRAMES, VERSION,
};
use super::statement::{Batch, BatchId, BodyError, SignedSlot};
use crate::crypto::{Digest, PublicKey};

/// A random name for one start of one process: tells a restarted peer from a second link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Instance(pub [u8; 16]);

/// The first frame on a link, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Protocol version; another one closes the link without blame.
    pub version: u16,
    /// Network id; another one closes the link without blame.
    pub network: Digest,
    /// The sender's start.
    pub instance: Instance,
}

/// What the receiver of one class has consumed since the link began; strictly more than it said
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// A [`Class`] with a window, as its number.
    pub class: u8,
    /// Frames consumed.
    pub frames: u64,
    /// Bytes consumed.
    pub bytes: u64,
}

/// Credit: the sender of a class may have a window of frames and bytes beyond what was consumed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Credit {
    /// At most one a class, in ascending order of class.
    pub grants: List<Grant, 1, 5>,
}

/// A batch that was not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Push {
    /// Links that it has crossed, this one included, as the sender claims; saturates at 255.
    pub hops: u8,
    /// The batch.
    pub batch: Batch,
}

/// A slot and the id of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SlotId {
    /// Whose slot.
    pub author: PublicKey,
    /// Which slot, from 1.
    pub seq: u64,
    /// The batch in it.
    pub id: BatchId,
}

/// Ids of batches that the sender holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Announce {
    /// What it holds.
    pub items: List<SlotId, 1, MAX_ANNOUNCED>,
}

/// One slot that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// Names the answer; not in use for another open want of this sender on this link.
    pub ticket: u32,
    /// Whose slot.
    pub author: PublicKey,
    /// Which slot, from 1.
    pub seq: u64,
    /// The batch that is wanted; without it, whichever the answerer holds first.
    pub id: Option<BatchId>,
}

/// Slots that are asked for; each is answered by one [`Reply`] or [`Missing`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// What is asked for.
    pub wants: List<Want, 1, MAX_WANTS>,
}

/// The batch that a want asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// The want's ticket.
    pub ticket: u32,
    /// As in [`Push`].
    pub hops: u8,
    /// The batch.
    pub batch: Batch,
}

/// Why a want is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WhyMissing {
    /// The answerer does not hold it.
    Unknown,
    /// It held it and has pruned the payload.
    Pruned,
    /// It holds it and cannot read it.
    Busy,
}

/// The answer to a want that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Missing {
    /// The want's ticket.
    pub ticket: u32,
    /// Why.
    pub why: WhyMissing,
    /// The highest slot of that author whose payload the answerer has pruned; 0 if none. A claim.
    pub floor: u64,
    /// The lowest slot above the one asked for that the answerer can serve; 0 if none. A claim.
    pub next: u64,
    /// Which slots above `next` it cannot serve; of others it says nothing. None if `next` is 0. A
    /// claim.
    pub lacked: Lacked,
}

/// Where the answerer's lane of one author stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tip {
    /// Its tip, signed by the author.
    pub slot: SignedSlot,
    /// The answerer holds every slot up to this one, or has pruned it or given it up; at most the
    /// tip. A claim.
    pub solid: u64,
    /// The highest slot whose payload it has pruned; 0 if none. A claim.
    pub floor: u64,
    /// Tells which slots up to its tip it lacks; zeros if none. A claim.
    pub holes: Digest,
}

/// The hash over the lanes of the keys `start..end`, as indices into the network's sorted keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RangeHash {
    /// First key.
    pub start: u32,
    /// One past the last key.
    pub end: u32,
    /// Over the tips of the lanes that are not empty and the slots above them; zeros if none.
    pub hash: Digest,
}

/// Asks where lanes differ; answered by one [`Differ`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Compare {
    /// Names the answer.
    pub ticket: u32,
    /// Disjoint ranges in ascending order.
    pub ranges: List<RangeHash, 1, MAX_RANGES>,
}

/// Where the answerer's lanes differ from the ranges asked about: finer ranges, or signed tips.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Differ {
    /// The comparison's ticket.
    pub ticket: u32,
    /// Parts of ranges that differ and are too wide to list, disjoint and ascending.
    pub ranges: List<RangeHash, 0, MAX_RANGES>,
    /// The answerer's tips in ranges that differ, ascending by key.
    pub tips: List<Tip, 0, MAX_TIPS>,
    /// Slots that it holds above those tips or, of authors without one, above 0; ascending.
    pub above: List<SlotId, 0, MAX_ABOVE>,
}

/// What a push or a reply takes beside its body, at the most; a capacity and no limit.
const FRAME_OVERHEAD: usize = 256;

/// A frame of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First on every link.
    Hello(Hello),
    /// Credit for more.
    Credit(Credit),
    /// Nothing but a sign of life; its credit is the answer.
    Ping,
    /// A batch, unasked.
    Push(Box<Push>),
    /// Ids of batches.
    Announce(Announce),
    /// Slots asked for.
    Request(Request),
    /// A batch asked for.
    Reply(Box<Reply>),
    /// A want that is not met.
    Missing(Missing),
    /// Where do we differ?
    Compare(Compare),
    /// Here.
    Differ(Differ),
}

/// The kind byte of a frame.
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
    /// Every kind, in the order of their bytes.
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

    /// The kind with that byte.
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

    /// The budget that frames of this kind come out of.
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

/// What a frame is paid from. The order is that of importance when a writer must choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Hello once, credits: bounded by their own rules.
    Link = 0,
    /// Pings.
    Control = 1,
    /// Comparisons.
    Repair = 2,
    /// Requests.
    Request = 3,
    /// Announcements.
    Announce = 4,
    /// Pushes, and replies to nothing.
    Push = 5,
    /// Answers: each is paid for by the open request that it answers.
    Reply = 6,
}

impl Class {
    /// The classes that are paid by credit, in ascending order of their numbers.
    pub const CREDITED: [Self; 5] =
        [Self::Control, Self::Repair, Self::Request, Self::Announce, Self::Push];

    /// The window of a credited class: frames and bytes under way. `None` for the others.
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

    /// The credited class with that number.
    pub fn credited(number: u8) -> Option<Self> {
        Self::CREDITED.into_iter().find(|class| *class as u8 == number)
    }
}

impl Frame {
    /// The frame's kind.
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

    /// The bytes of a [`Push`], of a batch that need not be copied for it.
    pub fn push(hops: u8, batch: &Batch) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + batch.body.len());
        bytes.extend([VERSION, Kind::Push as u8]);
        encode(&hops, &mut bytes);
        encode(batch, &mut bytes);
        bytes
    }

    /// The bytes of a [`Reply`], of a batch that need not be copied for it.
    pub fn reply(ticket: u32, hops: u8, batch: &Batch) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + batch.body.len());
        bytes.extend([VERSION, Kind::Reply as u8]);
        encode(&ticket, &mut bytes);
        encode(&hops, &mut bytes);
        encode(batch, &mut bytes);
        bytes
    }

    /// Reads a complete frame, without its length prefix. Bounded by the limits of its kind; no
    /// hash and no signature is checked.
    ///
    /// # Errors
    /// When it is not the one encoding of a frame within limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [version, kind, body @ ..] = bytes else {
            return Err(WireError::Malformed("it is shorter than two bytes"));
        };
        if *version != VERSION {
            return Err(WireError::WrongVersion(*version));
        }
        let kind = Kind::from_byte(*kind).ok_or(WireError::Malformed("no such kind"))?;
        if bytes.len() > kind.max_len() {
            return Err(WireError::Oversize("longer than its kind may be"));
        }
        let frame = match kind {
            Kind::Hello => Self::Hello(decode(body)?),
            Kind::Credit => Self::Credit(decode(body)?),
            Kind::Ping => {
                if !body.is_empty() {
                    return Err(WireError::NonCanonical("bytes are left over"));
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
                refuse_unless(known, "a class without credit")?;
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
                refuse_unless(differ.tips.iter().all(solid), "more than its tip")?;
                let ascending = differ.tips.is_sorted_by(|a, b| a.slot.author < b.slot.author);
                canonical(ascending, "tips are not in order")?;
                canonical(differ.above.is_sorted_by(|a, b| a < b), "slots are not in order")
            }
            Self::Missing(missing) => {
                let all = missing.next != 0 || missing.lacked.is_empty();
                canonical(all, "slots that are lacked above none")
            }
            Self::Hello(_) | Self::Ping => Ok(()),
        }
    }
}

fn slots(mut seqs: impl Iterator<Item = u64>) -> Result<(), WireError> {
    refuse_unless(seqs.all(|seq| (1..=MAX_SLOT).contains(&seq)), "no such slot")
}

fn shape(batch: &Batch) -> Result<(), WireError> {
    batch.check_shape().map_err(|why| match why {
        BodyError::TooLong | BodyError::TooMany => WireError::Oversize("a body over its limit"),
        BodyError::Empty => WireError::Malformed("a batch without messages"),
        BodyError::WrongLength => WireError::Malformed("count and length do not fit the body"),
        BodyError::BadTopic => WireError::Malformed("a topic that is not UTF-8"),
        BodyError::BadSlot => WireError::Malformed("a slot that cannot be"),
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
