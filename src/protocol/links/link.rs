//! One link: its hello, its credit, its open wants, and what its peer has used up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::credit::{Granted, Idle, Receiving, Sending};
use crate::crypto::PublicKey;
use crate::protocol::time::{Bucket, Rate};
use crate::protocol::{LinkId, LinkView, Time};
use crate::wire::limits::MAX_OPEN_WANTS;
use crate::wire::{BatchId, Class, Credit, Grant, Instance, Kind, List, RangeHash};

/// What a peer has used up: bytes served, comparisons, idle work of pushes, idle work of other
/// frames.
pub(super) type Spent = [Bucket; 4];
const CREDITED: usize = Class::CREDITED.len();

/// A slot that was requested on a link and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct OpenWant {
    pub author: u32,
    pub seq: u64,
    /// The batch wanted; any batch of the slot if `None`.
    pub id: Option<BatchId>,
    /// When it was requested.
    pub since: Time,
    /// Whether it counts towards the author's limit of open wants: see `Asking`.
    pub counted: bool,
}

/// A link to a peer that has proved its key.
#[derive(Debug)]
pub(in crate::protocol) struct Link {
    /// The member at the other end.
    pub peer: PublicKey,
    /// Index of the peer's key in the network file's sorted keys.
    pub number: u32,
    pub dialled: bool,
    /// The peer's current start; `None` until its hello came.
    pub instance: Option<Instance>,
    /// When the link came up.
    pub since: Time,
    /// When a frame was last received.
    pub heard: Time,
    /// When a frame was last sent.
    pub spoke: Time,
    /// Open wants, by ticket.
    pub wants: BTreeMap<u32, OpenWant>,
    /// Moving average of the time an answer takes, the newest with weight 1/8; `None` before the
    /// first.
    pub took: Option<Duration>,
    /// The unanswered comparison: its ticket, and when it was sent.
    pub comparing: Option<(u32, Time)>,
    /// The ranges that comparison asked about.
    pub compared: Vec<RangeHash>,
    /// Batches from this link whose signatures are being checked.
    pub unverified: u64,
    /// Rate limit on bytes served to the peer.
    pub served: Bucket,
    /// Rate limit on comparisons with the peer.
    pub compares: Bucket,
    /// Since when the peer has granted too little request credit to be asked for missing slots.
    pub withholds: Option<Time>,
    /// Whether the peer is to be asked for missing slots as soon as it grants credit. Until then
    /// requests for new batches leave room for that.
    pub awaited: bool,
    /// Wants that the peer answered with a batch.
    pub given: u64,
    /// The peer's comparisons that were answered with slots; decides where the next answer starts.
    pub described: u64,
    /// Lanes still to be compared one by one, by key number.
    pub to_compare: VecDeque<u32>,
    /// Batches that this link delivered first.
    pub first_deliveries: u64,
    /// Batches from this link that were known already.
    pub duplicates: u64,
    /// Idle work that the peer has caused: by pushes, and by all other frames.
    idle: [Idle; 2],
    pub(super) chosen: bool,
    pub(super) credit_due: Option<Time>,
    next_ticket: u32,
    frames: (u64, u64),
    bytes: (u64, u64),
    sending: [Sending; CREDITED],
    receiving: [Receiving; CREDITED],
}

fn place(class: Class) -> Option<usize> {
    Class::CREDITED.iter().position(|c| *c == class)
}

impl Link {
    pub(super) fn new(
        peer: PublicKey,
        number: u32,
        dialled: bool,
        spent: Spent,
        now: Time,
    ) -> Self {
        let [served, compares, pushes, rest] = spent;
        Self {
            peer,
            number,
            dialled,
            chosen: false,
            instance: None,
            since: now,
            heard: now,
            spoke: now,
            wants: BTreeMap::new(),
            took: None,
            comparing: None,
            compared: Vec::new(),
            unverified: 0,
            served,
            compares,
            idle: [Idle::after(pushes), Idle::after(rest)],
            credit_due: None,
            withholds: None,
            awaited: false,
            given: 0,
            described: 0,
            to_compare: VecDeque::new(),
            first_deliveries: 0,
            duplicates: 0,
            next_ticket: 0,
            frames: (0, 0),
            bytes: (0, 0),
            sending: Default::default(),
            receiving: Default::default(),
        }
    }

    pub(super) fn spent(&self) -> Spent {
        [self.served, self.compares, self.idle[0].spent, self.idle[1].spent]
    }

    /// Raises each counter to what the peer has used up on another link.
    pub(super) fn raise_spent(&mut self, other: &Spent) {
        let [pushes, rest] = &mut self.idle;
        let own = [&mut self.served, &mut self.compares, &mut pushes.spent, &mut rest.spent];
        own.into_iter().zip(other).for_each(|(own, other)| *own = (*own).max(*other));
    }

    pub(crate) fn chosen(&self) -> bool {
        self.chosen
    }

    /// Whether the peer's hello came.
    pub(crate) fn ready(&self) -> bool {
        self.instance.is_some()
    }

    /// Whether the window of `class` has room for a frame of that length.
    pub(crate) fn may_send(&self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fits(class, bytes as u64))
    }

    /// How many more slots may be requested. Batches being checked count like open wants: a peer
    /// that answers faster than signatures are checked must not fill memory.
    pub(crate) fn room_for_wants(&self) -> usize {
        let taken = self.wants.len().saturating_add(self.unverified as usize);
        MAX_OPEN_WANTS.saturating_sub(taken)
    }

    /// Whether the window of `class` has room for `frames` frames of up to that length each.
    pub(crate) fn may_send_all(&self, class: Class, frames: usize, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.sending[i].fit(class, frames as u64, bytes as u64))
    }

    /// Counts a sent frame. Returns its number within its class, from 1; 0 for classes without
    /// credit.
    pub(crate) fn sent(&mut self, class: Class, bytes: usize, now: Time) -> u64 {
        self.frames.1 += 1;
        self.bytes.1 += bytes as u64;
        self.spoke = now;
        let number = place(class).map_or(0, |i| self.sending[i].send(bytes as u64));
        if !self.may_recover() {
            self.withholds.get_or_insert(now);
        }
        number
    }

    /// Whether the peer may be asked for missing slots now. Room for one more request stays
    /// reserved for new batches.
    pub(crate) fn may_recover(&self) -> bool {
        self.may_send_all(Class::Request, 2, Kind::Request.max_len())
    }

    /// Counts a received frame of any class.
    pub(crate) fn heard(&mut self, bytes: usize, now: Time) {
        self.frames.0 += 1;
        self.bytes.0 += bytes as u64;
        self.heard = now;
    }

    /// Charges a received frame to its class. Returns `false` if it exceeds the credit.
    pub(crate) fn charge(&mut self, class: Class, bytes: usize) -> bool {
        place(class).is_none_or(|i| self.receiving[i].receive(class, bytes as u64))
    }

    fn consume(&mut self, class: Class, bytes: u64) {
        if let Some(i) = place(class) {
            self.receiving[i].consume(bytes);
        }
    }

    /// Settles a handled frame: grants credit for it at once, or withholds the credit until its
    /// cost is paid at `rate`. News costs nothing. Pushes and other frames are paid separately, so
    /// that a peer whose copies are slowed down is still heard otherwise.
    pub(crate) fn settle(
        &mut self,
        rate: Rate,
        now: Time,
        class: Class,
        (bytes, cost): (usize, u64),
    ) {
        let idle = &mut self.idle[usize::from(class != Class::Push)];
        if idle.settle(rate, now, (class, bytes as u64, cost)) {
            self.consume(class, bytes as u64);
        }
    }

    /// Grants withheld credit as far as the rate allows.
    pub(crate) fn release(&mut self, rate: Rate, now: Time) {
        for place in 0..self.idle.len() {
            while let Some((class, bytes)) = self.idle[place].release(rate, now) {
                self.consume(class, bytes);
            }
        }
    }

    /// How long until more withheld credit can be granted; `None` if none is withheld.
    pub(crate) fn withheld(&self, rate: Rate, now: Time) -> Option<Duration> {
        self.idle.iter().filter_map(|idle| idle.wait(rate, now)).min()
    }

    /// Frames for which credit is withheld.
    pub(crate) fn owed(&self) -> usize {
        self.idle.iter().map(Idle::waiting).sum()
    }

    /// Frames of a class that the peer has consumed.
    pub(crate) fn acknowledged(&self, class: Class) -> u64 {
        place(class).map_or(0, |i| self.sending[i].consumed())
    }

    /// Applies a grant from the peer. An `Err` says what is wrong with it.
    pub(crate) fn grant(&mut self, grant: &Grant, now: Time) -> Result<(), &'static str> {
        match Class::credited(grant.class).and_then(place) {
            Some(i) => self.sending[i].grant(grant)?,
            None => return Err("a grant for a class without credit"),
        }
        if grant.class == Class::Request as u8 {
            self.withholds = (!self.may_recover()).then_some(now);
        }
        Ok(())
    }

    /// Whether credit is due to be sent, and how urgently.
    pub(crate) fn credit_state(&self) -> Granted {
        let dues = Class::CREDITED.iter().zip(&self.receiving).map(|(class, r)| r.due(*class));
        dues.max().unwrap_or(Granted::Nothing)
    }

    /// The credit to send, marked as sent; `None` if there is nothing to report.
    pub(crate) fn credit(&mut self) -> Option<Credit> {
        self.credit_due = None;
        let grants: Vec<Grant> = Class::CREDITED
            .iter()
            .zip(&mut self.receiving)
            .filter_map(|(class, receiving)| receiving.report(*class))
            .collect();
        List::new(grants).map(|grants| Credit { grants })
    }

    pub(crate) fn answered(&mut self, took: Duration) {
        self.took = Some(self.took.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// A ticket that no open want on this link uses.
    pub(crate) fn ticket(&mut self) -> u32 {
        loop {
            self.next_ticket = self.next_ticket.wrapping_add(1);
            if !self.wants.contains_key(&self.next_ticket) {
                return self.next_ticket;
            }
        }
    }

    pub(crate) fn view(&self, link: LinkId) -> LinkView {
        LinkView {
            link,
            dialled: self.dialled,
            chosen: self.chosen,
            ready: self.ready(),
            since: self.since,
            frames_in: self.frames.0,
            frames_out: self.frames.1,
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            unverified: self.unverified,
            open_wants: self.wants.len() as u64,
            first_deliveries: self.first_deliveries,
            duplicates: self.duplicates,
            owed: self.owed() as u64,
        }
    }
}
