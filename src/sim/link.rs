//! Links: two ends each, and what the network under them does to what is sent.
//!
//! A link is an ordered, reliable stream, as TLS over TCP is. So what is lost below it comes late,
//! what is doubled costs bandwidth, and what is overtaken holds up what comes after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::impairments::LinkConditions;
use crate::protocol::{LinkId, Time};
use crate::scenario::Dice;
use crate::wire::Class;

/// Bytes of a segment: what Ethernet and TLS leave of 1500.
const SEGMENT: usize = 1400;
/// A segment that is lost so often in a row breaks the link.
const MAX_LOST: u32 = 12;
/// Bytes that a receiver's system takes while its process does not read.
pub(super) const RECEIVE_WINDOW: usize = 256 << 10;

/// Something that arrives at an end.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// A frame, whole, without its length prefix.
    Frame(Arc<[u8]>),
    /// Bytes of the stream as they are.
    Bytes(Arc<[u8]>),
    /// The end of the stream.
    Fin,
}

impl Chunk {
    /// Bytes on the stream.
    pub fn length(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len() + 4,
            Self::Bytes(bytes) => bytes.len(),
            Self::Fin => 0,
        }
    }
}

/// What few ends need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// What arrived and is not read yet.
    pub held: VecDeque<Chunk>,
    pub held_bytes: usize,
    /// The beginning of a frame that came in chunks.
    pub buffer: Vec<u8>,
    /// The stream's framing is lost.
    pub broken: bool,
    /// Bytes a second that the owner writes at most.
    pub pace: Option<u64>,
    /// Writes that are not done yet.
    pub unwritten: u32,
    /// What waits to be written: an honest owner's frames.
    pub outbox: VecDeque<(Class, Chunk)>,
    pub outbox_bytes: usize,
    /// It goes on when the last write is done.
    pub writing: bool,
    /// The owner waits to be told that all is written, or that there is room for what waits.
    pub blocked: bool,
}

/// One end of a link. Its other end has the same name but for the last bit.
#[derive(Debug)]
pub(super) struct End {
    /// Whose.
    pub owner: u32,
    pub up: bool,
    /// Whether the owner reads.
    pub reading: bool,
    /// Whether a hello came.
    pub greeted: bool,
    /// One way from here, in microseconds.
    pub latency: u32,
    /// When the last write is done.
    pub busy: Time,
    /// When the last chunk arrives at the other end.
    pub last: Time,
    pub rare: Option<Box<Rare>>,
}

impl End {
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

    /// What few ends need, made when it is first needed.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// The ends of links: a link's name is never used twice.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// In the order of names, from the oldest link that is up at some end: over simulated days
    /// there are millions of visits.
    held: VecDeque<End>,
    /// The name of the first.
    first: u64,
}

impl Ends {
    /// A new link: the dialler's end, and the other one.
    pub fn link(
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
        self.held.push_back(End::new(from, out, now));
        self.held.push_back(End::new(to, back, now));
        (LinkId(name), LinkId(name + 1))
    }

    fn index(&self, id: LinkId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    /// An end that is up.
    pub fn up(&mut self, id: LinkId) -> Option<&mut End> {
        let index = self.index(id)?;
        self.held.get_mut(index).filter(|end| end.up)
    }

    /// An end that is up, or was until not long ago.
    pub fn get(&self, id: LinkId) -> Option<&End> {
        self.held.get(self.index(id)?)
    }

    /// Every end that is up, in the order of names.
    pub fn all_up(&self) -> impl Iterator<Item = (LinkId, &End)> {
        let named = (self.first..).map(LinkId).zip(&self.held);
        named.filter(|(_, end)| end.up)
    }
}

/// The other end of a link.
pub(super) fn other(id: LinkId) -> LinkId {
    LinkId(id.0 ^ 1)
}

/// What became of the segments of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Microseconds that it comes later.
    pub late: u64,
    /// Bytes that went twice.
    pub extra: usize,
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
    /// One segment was lost too often.
    pub broken: bool,
}

/// Sends a chunk's segments through the conditions. A lost one is sent again after two round trips and
/// 10 ms (the tail loss probe of RFC 8985), twice as long on each repeat.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Ppm;

    #[test]
    fn links_that_are_over_take_no_room_and_names_go_on() {
        let mut ends = Ends::default();
        let mut link = || ends.link((0, Duration::ZERO), (1, Duration::ZERO), Time(0));
        let (kept, _) = link();
        let names: Vec<LinkId> = (0..1000).map(|_| link().0).collect();
        assert_eq!((kept, names[999]), (LinkId(0), LinkId(2000)));
        for name in &names {
            ends.up(*name).expect("up").up = false;
            ends.up(other(*name)).expect("up").up = false;
        }
        ends.up(kept).expect("up").up = false;
        let (near, far) = ends.link((0, Duration::ZERO), (1, Duration::ZERO), Time(0));
        assert!(ends.held.len() > 1000, "an end of the oldest is still up");
        ends.up(other(kept)).expect("up").up = false;
        ends.link((2, Duration::ZERO), (3, Duration::ZERO), Time(0));
        assert_eq!((near, far, ends.held.len()), (LinkId(2002), LinkId(2003), 4));
        assert!(ends.get(kept).is_none() && ends.up(names[7]).is_none());
        assert_eq!(ends.get(near).map(|end| end.owner), Some(0));
        let up: Vec<u64> = ends.all_up().map(|(id, _)| id.0).collect();
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
}
