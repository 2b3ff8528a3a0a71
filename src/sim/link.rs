//! Links: the two ends of each, and what the network below does to the data sent.
//!
//! A link is an ordered, reliable stream, as TLS over TCP is. Hence loss below it shows as delay,
//! duplication costs bandwidth, and a reordered segment holds up the data after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::{LinkId, Time};
use crate::scenario::{Dice, FaultKind, Net, Ppm};
use crate::wire::Class;
use crate::wire::limits::{OUTBOX_BYTES, OUTBOX_OVERHEAD};

/// Payload bytes of a segment: what Ethernet's 1500 leave after headers and TLS.
const SEGMENT: usize = 1400;
/// The link breaks when a segment is lost more often than this in a row.
const MAX_LOST: u32 = 12;
/// Bytes that the receiver's operating system buffers while its process does not read.
pub(super) const RECEIVE_WINDOW: usize = 256 << 10;

/// A unit of data that arrives at an end.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// A whole frame, without its length prefix.
    Frame(Arc<[u8]>),
    /// Raw bytes of the stream.
    Bytes(Arc<[u8]>),
    /// The end of the stream.
    Fin,
}

impl Chunk {
    /// Length on the stream, in bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len() + 4,
            Self::Bytes(bytes) => bytes.len(),
            Self::Fin => 0,
        }
    }
}

/// State that few ends need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Chunks that arrived and are not read yet.
    pub held: VecDeque<Chunk>,
    pub held_bytes: usize,
    /// The start of a frame that arrived in several chunks.
    pub buffer: Vec<u8>,
    /// The stream's framing is lost; later bytes are dropped.
    pub broken: bool,
    /// The owner writes at most this many bytes per second.
    pub pace: Option<u64>,
    /// Number of writes that are not done yet.
    pub unwritten: u32,
    /// Chunks of an honest owner that wait to be written.
    pub outbox: VecDeque<(Class, Chunk)>,
    pub outbox_bytes: usize,
    /// A write is in progress; the next starts when it is done.
    pub writing: bool,
    /// The owner waits to hear that everything is written, or that there is room for more.
    pub blocked: bool,
}

impl Rare {
    /// Queues a frame. Returns the number of frames dropped: the newest ones of the least important
    /// classes, or the frame itself.
    pub(super) fn queue(&mut self, class: Class, chunk: Chunk) -> u64 {
        let mut dropped = 0;
        let cost = chunk.length() + OUTBOX_OVERHEAD;
        while self.outbox_bytes + cost > OUTBOX_BYTES {
            dropped += 1;
            let classes = self.outbox.iter().enumerate().map(|(at, (class, _))| (*class, at));
            let Some((least, at)) = classes.max().filter(|(least, _)| *least > class) else {
                return dropped;
            };
            debug_assert!(least > class);
            if let Some((_, victim)) = self.outbox.remove(at) {
                self.outbox_bytes -= victim.length() + OUTBOX_OVERHEAD;
            }
        }
        self.outbox_bytes += cost;
        self.outbox.push_back((class, chunk));
        dropped
    }

    pub(super) fn next_out(&mut self) -> Option<Chunk> {
        let (_, chunk) = self.outbox.pop_front()?;
        self.outbox_bytes -= chunk.length() + OUTBOX_OVERHEAD;
        Some(chunk)
    }
}

/// One end of a link. The id of the other end differs only in the last bit.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Number of the node that it belongs to.
    pub owner: u32,
    pub up: bool,
    pub reading: bool,
    pub greeted: bool,
    /// One-way latency from this end, in microseconds.
    pub latency: u32,
    /// When the last write is done.
    pub busy: Time,
    /// When the last chunk arrives at the other end.
    pub last: Time,
    pub rare: Option<Box<Rare>>,
}

impl Endpoint {
    fn new(owner: usize, latency: Duration, now: Time) -> Self {
        Self {
            owner: u32::try_from(owner).unwrap_or(u32::MAX),
            up: true,
            reading: true,
            greeted: false,
            latency: u32::try_from(latency.as_micros()).unwrap_or(u32::MAX),
            busy: now,
            last: now,
            rare: None,
        }
    }

    /// The state that few ends need, created on first use.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// All link ends. The id of a link is never reused.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By id, starting with the oldest link that still has an end up: a run over simulated days
    /// makes millions of links.
    held: VecDeque<Endpoint>,
    /// The id of the first entry in `held`.
    first: u64,
}

impl Links {
    /// Adds a link; returns the dialler's end and the other one.
    pub(super) fn add(
        &mut self,
        (from, out): (usize, Duration),
        (to, back): (usize, Duration),
        now: Time,
    ) -> (LinkId, LinkId) {
        while self.held.len() >= 2 && !self.held[0].up && !self.held[1].up {
            self.held.drain(..2);
            self.first += 2;
        }
        let name = self.first + self.held.len() as u64;
        self.held.push_back(Endpoint::new(from, out, now));
        self.held.push_back(Endpoint::new(to, back, now));
        (LinkId(name), LinkId(name + 1))
    }

    fn index(&self, id: LinkId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    /// An end, if it is up.
    pub(super) fn up(&mut self, id: LinkId) -> Option<&mut Endpoint> {
        let index = self.index(id)?;
        self.held.get_mut(index).filter(|end| end.up)
    }

    /// An end that is up, or went down recently.
    pub(super) fn get(&self, id: LinkId) -> Option<&Endpoint> {
        self.held.get(self.index(id)?)
    }

    /// All ends that are up, by id.
    pub(super) fn all_up(&self) -> impl Iterator<Item = (LinkId, &Endpoint)> {
        let named = (self.first..).map(LinkId).zip(&self.held);
        named.filter(|(_, end)| end.up)
    }
}

pub(super) fn other(id: LinkId) -> LinkId {
    LinkId(id.0 ^ 1)
}

/// What happened to the segments of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Delay added, in microseconds.
    pub late: u64,
    /// Bytes sent more than once.
    pub extra: usize,
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
    /// A segment was lost too often in a row; see [`MAX_LOST`].
    pub broken: bool,
}

/// Sends a chunk's segments through the link conditions. A lost segment is sent again after two
/// round trips and 10 ms (the tail loss probe of RFC 8985), and the wait doubles on each repeat.
pub(super) fn segments(
    bytes: usize,
    one_way: u64,
    conditions: &LinkConditions,
    dice: &mut Dice,
) -> Fate {
    let mut fate = Fate::default();
    if conditions.loss.0 == 0 && conditions.duplicate.0 == 0 && conditions.reorder.0 == 0 {
        return fate;
    }
    for segment in 0..bytes.div_ceil(SEGMENT).max(1) {
        let length = SEGMENT.min(bytes - (segment * SEGMENT).min(bytes));
        let (mut late, mut losses) = (0u64, 0);
        while dice.hits(conditions.loss) {
            losses += 1;
            if losses > MAX_LOST {
                fate.broken = true;
                return fate;
            }
            late = late.saturating_add((4 * one_way + 10_000) << (losses - 1).min(8));
        }
        fate.lost += u64::from(losses);
        fate.extra += length * losses as usize;
        if dice.hits(conditions.duplicate) {
            fate.doubled += 1;
            fate.extra += length;
        }
        if dice.hits(conditions.reorder) {
            fate.overtaken += 1;
            late = late.saturating_add(1 + dice.below(one_way.max(100)));
        }
        fate.late = fate.late.max(late);
    }
    fate
}

/// The current conditions of one direction of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkConditions {
    pub jitter: Duration,
    pub loss: Ppm,
    pub duplicate: Ppm,
    pub reorder: Ppm,
    /// Bytes per second; `None` if unlimited.
    pub bandwidth: Option<u64>,
    /// Added to the one-way latency.
    pub delay: Duration,
}

/// A fault of links that is active.
pub(super) struct Active {
    pub fault: usize,
    pub kind: FaultKind,
    /// By node: whether the fault strikes it.
    pub struck: Vec<bool>,
}

/// The faults of links that are active.
#[derive(Default)]
pub(super) struct Impairments {
    pub active: Vec<Active>,
}

impl Impairments {
    /// Whether all data between two nodes is held back.
    pub(super) fn cut(&self, a: usize, b: usize) -> bool {
        self.active.iter().any(|active| {
            let (a, b) = (active.struck[a], active.struck[b]);
            match active.kind {
                FaultKind::Partition => a != b,
                FaultKind::Isolate => a || b,
                _ => false,
            }
        })
    }

    /// Whether any fault of links is active.
    pub(super) fn any(&self) -> bool {
        !self.active.is_empty()
    }

    /// The conditions of what node `a` sends to node `b`.
    pub(super) fn conditions(&self, net: &Net, a: usize, b: usize) -> LinkConditions {
        let mut conditions = LinkConditions {
            jitter: net.jitter,
            loss: net.loss,
            duplicate: net.duplicate,
            reorder: net.reorder,
            bandwidth: net.bandwidth,
            delay: Duration::ZERO,
        };
        for active in self.active.iter().filter(|active| active.struck[a] || active.struck[b]) {
            match active.kind {
                FaultKind::Loss(p) => conditions.loss = Ppm(conditions.loss.0.max(p.0)),
                FaultKind::Delay(by) => conditions.delay = conditions.delay.saturating_add(by),
                FaultKind::Cap(rate) => {
                    conditions.bandwidth = Some(conditions.bandwidth.map_or(rate, |b| b.min(rate)));
                }
                _ => {}
            }
        }
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_are_over_take_no_room_and_names_go_on() {
        let mut links = Links::default();
        let mut link = || links.add((0, Duration::ZERO), (1, Duration::ZERO), Time(0));
        let (kept, _) = link();
        let names: Vec<LinkId> = (0..1000).map(|_| link().0).collect();
        assert_eq!((kept, names[999]), (LinkId(0), LinkId(2000)));
        for name in &names {
            links.up(*name).expect("up").up = false;
            links.up(other(*name)).expect("up").up = false;
        }
        links.up(kept).expect("up").up = false;
        let (near, far) = links.add((0, Duration::ZERO), (1, Duration::ZERO), Time(0));
        assert!(links.held.len() > 1000, "an end of the oldest is still up");
        links.up(other(kept)).expect("up").up = false;
        links.add((2, Duration::ZERO), (3, Duration::ZERO), Time(0));
        assert_eq!((near, far, links.held.len()), (LinkId(2002), LinkId(2003), 4));
        assert!(links.get(kept).is_none() && links.up(names[7]).is_none());
        assert_eq!(links.get(near).map(|end| end.owner), Some(0));
        let up: Vec<u64> = links.all_up().map(|(id, _)| id.0).collect();
        assert_eq!(up, [2002, 2003, 2004, 2005]);
    }

    #[test]
    fn fair_weather_changes_nothing_and_foul_weather_delays() {
        let mut dice = Dice::new(1);
        let fair = LinkConditions::default();
        assert_eq!(segments(100_000, 20_000, &fair, &mut dice), Fate::default());
        let foul = LinkConditions { loss: Ppm(200_000), ..fair };
        let fates: Vec<Fate> = (0..1000).map(|_| segments(100, 20_000, &foul, &mut dice)).collect();
        let lost: u64 = fates.iter().map(|fate| fate.lost).sum();
        assert!((200..300).contains(&lost), "{lost}"); // 0.2 / 0.8 a segment
        assert!(fates.iter().all(|fate| (fate.late == 0) == (fate.lost == 0)));
        let hopeless = LinkConditions { loss: Ppm::ONE, ..fair };
        assert!(segments(100, 20_000, &hopeless, &mut dice).broken);
    }

    #[test]
    fn a_full_outbox_drops_the_newest_of_what_matters_least() {
        let chunk = |length: usize| Chunk::Frame(vec![0; length - 4 - OUTBOX_OVERHEAD].into());
        let half = OUTBOX_BYTES / 2;
        let mut rare = Rare::default();
        assert_eq!(rare.queue(Class::Reply, chunk(half)), 0);
        assert_eq!(rare.queue(Class::Announce, chunk(half)), 0);
        assert_eq!(rare.queue(Class::Reply, chunk(100)), 1, "it is itself what is dropped");
        assert_eq!(rare.queue(Class::Push, chunk(half)), 1);
        let classes: Vec<Class> = rare.outbox.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [Class::Announce, Class::Push]);
        assert_eq!(rare.queue(Class::Link, chunk(100)), 1);
        let classes: Vec<Class> = rare.outbox.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [Class::Announce, Class::Link]);
        while rare.next_out().is_some() {}
        assert_eq!(rare.outbox_bytes, 0);
    }
}
