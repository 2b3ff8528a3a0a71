//! One link as its far end sees it: what is granted, what is open, and what may still be said.

use std::collections::{BTreeMap, BTreeSet};

use loyal::wire::limits::VERSION;
use loyal::wire::{Class, Credit, Frame, Grant, RangeHash, Reply, Want};

use super::pool::Pool;

/// A number of frames, and their bytes.
pub(super) type Sums = (u64, u64);

/// One class in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// Frames and bytes sent.
    pub sent: Sums,
    /// Frames and bytes that the receiver has reported as consumed.
    pub granted: Sums,
}

impl Way {
    /// Whether a frame of this length fits the window.
    pub(super) fn fits(&self, class: Class, bytes: usize) -> bool {
        let Some((frames, most)) = class.window() else { return true };
        self.sent.0.saturating_sub(self.granted.0) < frames
            && self.sent.1.saturating_sub(self.granted.1).saturating_add(bytes as u64) <= most
    }

    /// Counts a frame as sent.
    pub(super) fn send(&mut self, bytes: usize) {
        self.sent = (self.sent.0 + 1, self.sent.1 + bytes as u64);
    }
}

/// The state of one link.
pub(super) struct Wire {
    /// Number of the member at the far end.
    pub peer: usize,
    /// Whether the node has closed the link: it sends nothing more.
    pub closed: bool,
    /// Whether the node said hello.
    pub greeted: bool,
    /// Whether the far end said hello.
    pub said_hello: bool,
    /// What the node sent, by class number.
    pub from_node: BTreeMap<u8, Way>,
    /// What the far end sent, by class number.
    pub to_node: BTreeMap<u8, Way>,
    /// Wants of the node that are not answered, by ticket.
    pub wants: BTreeMap<u32, Want>,
    /// The node's comparison that is not answered: its ticket and ranges.
    pub comparing: Option<(u32, Vec<RangeHash>)>,
    /// Wants of the far end that are not answered. If it lies, several may have one ticket.
    pub asked: Vec<Want>,
    /// Tickets of comparisons of the far end that are not answered.
    pub compared: Vec<u32>,
    /// The next ticket for a want or comparison of the far end, so that it repeats a ticket only if
    /// it lies.
    pub next_ticket: u32,
}

impl Wire {
    /// A link that has just come up to member `peer`.
    pub(super) fn new(peer: usize) -> Self {
        Self {
            peer,
            closed: false,
            greeted: false,
            said_hello: false,
            from_node: BTreeMap::new(),
            to_node: BTreeMap::new(),
            wants: BTreeMap::new(),
            comparing: None,
            asked: Vec::new(),
            compared: Vec::new(),
            next_ticket: 0,
        }
    }

    /// Returns a ticket that was not used yet.
    pub(super) fn ticket(&mut self) -> u32 {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.next_ticket
    }

    /// Notes what the far end says. Returns whether it stays within its credit.
    pub(super) fn say(&mut self, frame: &Frame, bytes: usize) -> bool {
        let mut class = frame.kind().class();
        match frame {
            Frame::Hello(_) => self.said_hello = true,
            Frame::Credit(credit) => {
                for grant in credit.grants.iter() {
                    let way = self.from_node.entry(grant.class).or_default();
                    way.granted = (grant.frames, grant.bytes);
                }
            }
            Frame::Request(request) => self.asked.extend(request.wants.iter().copied()),
            Frame::Compare(compare) => self.compared.push(compare.ticket),
            Frame::Reply(reply) if !self.answers(reply) => class = Class::Push,
            Frame::Reply(reply) => drop(self.wants.remove(&reply.ticket)),
            Frame::Missing(missing) => drop(self.wants.remove(&missing.ticket)),
            Frame::Differ(differ)
                if self.comparing.as_ref().is_some_and(|(ticket, _)| *ticket == differ.ticket) =>
            {
                self.comparing = None;
            }
            _ => {}
        }
        let way = self.to_node.entry(class as u8).or_default();
        let fits = way.fits(class, bytes);
        way.send(bytes);
        fits
    }

    fn answers(&self, reply: &Reply) -> bool {
        let header = &reply.batch.header;
        self.wants.get(&reply.ticket).is_some_and(|want| {
            want.author == header.author
                && want.seq == header.seq
                && want.id.is_none_or(|id| id == reply.batch.id())
        })
    }

    /// Whether a frame of the far end would be within its credit.
    pub(super) fn may_say(&self, frame: &Frame, bytes: usize) -> bool {
        let class = match frame {
            Frame::Reply(reply) if !self.answers(reply) => Class::Push,
            _ => frame.kind().class(),
        };
        self.to_node.get(&(class as u8)).copied().unwrap_or_default().fits(class, bytes)
    }

    /// Credit for everything that the node has sent; `None` if all of it was granted already.
    pub(super) fn credit(&self) -> Option<Credit> {
        let due = self.from_node.iter().filter(|(_, way)| way.sent.0 > way.granted.0);
        let credited = due.filter(|(class, _)| Class::credited(**class).is_some());
        let grant = |(class, way): (&u8, &Way)| Grant {
            class: *class,
            frames: way.sent.0,
            bytes: way.sent.1,
        };
        loyal::wire::List::new(credited.map(grant).collect()).map(|grants| Credit { grants })
    }

    /// Notes and judges what the node says: credit, tickets, whether answers fit what was asked,
    /// and that every statement verifies.
    pub(super) fn hear(&mut self, frame: &Frame, bytes: usize, pool: &Pool) -> Result<(), String> {
        if self.closed {
            return Err("something is said on a link that is closed".into());
        }
        if self.greeted == matches!(frame, Frame::Hello(_)) {
            return Err("hello does not come first, and once".into());
        }
        let class = frame.kind().class();
        let way = self.from_node.entry(class as u8).or_default();
        if !way.fits(class, bytes) {
            return Err(format!("beyond the credit of {class:?}: {way:?} and {bytes} bytes"));
        }
        way.send(bytes);
        match frame {
            Frame::Hello(hello) => {
                self.greeted = true;
                let right =
                    hello.version == u16::from(VERSION) && hello.network == pool.network.id();
                if right { Ok(()) } else { Err("another network's hello".into()) }
            }
            Frame::Credit(credit) => self.hear_credit(credit),
            Frame::Push(push) if !pool.is_sound(&push.batch) => {
                Err(format!("it pushes what does not verify: {:?}", push.batch.header))
            }
            Frame::Request(request) => self.hear_request(&request.wants, pool),
            Frame::Reply(reply) => self.hear_reply(reply, pool),
            Frame::Missing(missing) => self.take_asked(|want| want.ticket == missing.ticket),
            Frame::Compare(compare) => {
                let keys = pool.network.keys().len();
                if compare.ranges.iter().any(|range| range.end as usize > keys) {
                    return Err("a range beyond the keys".into());
                }
                let before = self.comparing.replace((compare.ticket, compare.ranges.to_vec()));
                if before.is_some() { Err("two comparisons are open".into()) } else { Ok(()) }
            }
            Frame::Differ(differ) => {
                let place = self.compared.iter().position(|ticket| *ticket == differ.ticket);
                let Some(place) = place else { return Err("it answers no comparison".into()) };
                self.compared.remove(place);
                let network = pool.network.id();
                let forged = differ.tips.iter().map(|tip| tip.slot).find(|slot| {
                    !pool.is_good(&slot.author, &slot.statement(&network), &slot.signature)
                });
                forged.map_or(Ok(()), |slot| Err(format!("a tip that does not verify: {slot:?}")))
            }
            _ => Ok(()),
        }
    }

    fn hear_credit(&mut self, credit: &Credit) -> Result<(), String> {
        for grant in credit.grants.iter() {
            let way = self.to_node.entry(grant.class).or_default();
            let (frames, bytes) = way.granted;
            let advances = grant.frames > frames && grant.bytes >= bytes;
            if !advances || grant.frames > way.sent.0 || grant.bytes > way.sent.1 {
                return Err(format!("credit of {grant:?} for {way:?}"));
            }
            way.granted = (grant.frames, grant.bytes);
        }
        Ok(())
    }

    fn hear_request(&mut self, wants: &[Want], pool: &Pool) -> Result<(), String> {
        let mut slots = BTreeSet::new();
        for want in wants {
            if pool.network.index_of(&want.author).is_none() {
                return Err(format!("it asks for a stranger's slot: {want:?}"));
            }
            if self.wants.insert(want.ticket, *want).is_some() {
                return Err(format!("a ticket is used twice: {want:?}"));
            }
            if !slots.insert((want.author, want.seq, want.id)) {
                return Err(format!("one request asks twice: {want:?}"));
            }
        }
        if self.wants.len() > 64 {
            return Err(format!("{} wants are open", self.wants.len()));
        }
        Ok(())
    }

    fn hear_reply(&mut self, reply: &Reply, pool: &Pool) -> Result<(), String> {
        if !pool.is_sound(&reply.batch) {
            return Err(format!("it serves what does not verify: {:?}", reply.batch.header));
        }
        let (header, id) = (&reply.batch.header, reply.batch.id());
        self.take_asked(|want| {
            want.ticket == reply.ticket
                && want.author == header.author
                && want.seq == header.seq
                && want.id.is_none_or(|wanted| wanted == id)
        })
    }

    fn take_asked(&mut self, fits: impl Fn(&Want) -> bool) -> Result<(), String> {
        let place = self.asked.iter().position(fits);
        let place = place.ok_or("an answer to no open want")?;
        self.asked.remove(place);
        Ok(())
    }
}
