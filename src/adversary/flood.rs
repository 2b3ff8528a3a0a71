//! `flood`: sends more than any peer asked for, at a rate or as fast as the link allows, ignoring
//! credit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt as _;

use super::context::Context;
use super::lie::Lie;
use super::pacer::interval;
use super::value::Chance;
use crate::crypto::PublicKey;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::{MAX_FRAME, VERSION, WINDOW};
use crate::wire::{Announce, Batch, BatchId, Frame, Kind, List, Push, Request, SlotId, Want};

/// Most frames given for a link at once.
const BURST: usize = 64;
/// Bytes given for a link before it has written them; one frame may exceed it.
const BURST_BYTES: usize = 256 << 10;
/// Shortest wait between two bursts at a rate.
const GRAIN: Duration = Duration::from_millis(5);
/// First ticket of a request flood; answers with such tickets are not for the wrapped node.
pub(super) const FIRST_TICKET: u32 = 1 << 31;
const ITEMS: usize = 8;
/// What a flood may consist of.
pub const FLOODS: [&str; 6] = ["garbage", "valid", "duplicate", "oversize", "announce", "request"];

struct Target {
    /// Bytes given and not yet known to be written.
    pending: usize,
    /// When the next frame is due, if a rate is set.
    due: Time,
    /// The next slot of the own lane to send.
    slot: u64,
}

pub(super) struct Flood {
    what: &'static str,
    /// Time between frames of a link; `None` sends as fast as the link allows.
    every: Option<Duration>,
    chain: Chain,
    targets: BTreeMap<LinkId, Target>,
    count: u32,
    wake: Option<Time>,
}

impl Flood {
    pub(super) fn new(what: &'static str, rate: Option<u32>) -> Self {
        let every = rate.map(interval);
        let (chain, targets) = (Chain::default(), BTreeMap::new());
        Self { what, every, chain, targets, count: 0, wake: None }
    }

    fn paced(&mut self, ctx: &mut Context, link: LinkId, every: Duration, chance: Chance) {
        let Some(target) = self.targets.get_mut(&link) else { return };
        let mut count = 0;
        while target.due <= ctx.now && count < BURST {
            target.due = target.due.after(every);
            count += 1;
        }
        if count == BURST {
            target.due = target.due.max(ctx.now); // too late to catch up
        }
        let wake = target.due.max(ctx.now.after(GRAIN));
        self.wake = Some(self.wake.map_or(wake, |at| at.min(wake)));
        self.burst(ctx, link, count, chance);
    }

    fn burst(&mut self, ctx: &mut Context, link: LinkId, count: usize, chance: Chance) {
        for _ in 0..count {
            if self.targets.get(&link).is_none_or(|target| target.pending >= BURST_BYTES) {
                return;
            }
            if ctx.takes(chance) {
                let sent = self.send(ctx, link);
                let Some(target) = self.targets.get_mut(&link) else { return };
                target.pending += sent;
            }
        }
    }

    /// Sends one frame; returns its length on the stream in bytes.
    fn send(&mut self, ctx: &mut Context, link: LinkId) -> usize {
        self.count = self.count.wrapping_add(1);
        let (frame, id) = match self.what {
            "garbage" => (garbage(ctx), None),
            "valid" => self.valid(ctx, link),
            "duplicate" => self.duplicate(ctx),
            "oversize" if self.count.is_multiple_of(2) => return oversize(ctx, link),
            "oversize" => {
                let mut frame = vec![VERSION, Kind::Missing as u8];
                let more = ctx.rng.random_range(64..1024);
                frame.extend(ctx.random(Kind::Missing.max_len() + more));
                (frame, None)
            }
            "announce" => (announce(ctx), None),
            _ => (request(ctx, self.count), None),
        };
        if !frame.is_empty() {
            ctx.send_raw(("flood", self.what), link, &frame, id);
        }
        frame.len() + 4
    }

    fn valid(&mut self, ctx: &mut Context, link: LinkId) -> (Vec<u8>, Option<BatchId>) {
        let slot = self.targets.get(&link).map_or(0, |target| target.slot);
        let Some((id, batch, next)) = self.chain.get(ctx, slot) else {
            return (Vec::new(), None);
        };
        if let Some(target) = self.targets.get_mut(&link) {
            target.slot = next;
        }
        (push(batch), Some(id))
    }

    /// The newest batch that the liar has seen; the first of its own chain if there is none.
    fn duplicate(&mut self, ctx: &mut Context) -> (Vec<u8>, Option<BatchId>) {
        if let Some(kept) = ctx.memory.kept().back() {
            return (push(Batch::clone(&kept.batch)), Some(kept.id));
        }
        let Some((id, batch, _)) = self.chain.get(ctx, 0) else { return (Vec::new(), None) };
        (push(batch), Some(id))
    }
}

impl Lie for Flood {
    fn needs_old(&self) -> bool {
        self.what == "duplicate"
    }

    fn tick(&mut self, ctx: &mut Context, chance: Chance) {
        let ready: Vec<LinkId> = ctx.links.ready().collect();
        self.wake = None;
        for link in ready {
            let target = Target { pending: 0, due: ctx.now, slot: 0 };
            let target = self.targets.entry(link).or_insert(target);
            match self.every {
                None if target.pending == 0 => self.burst(ctx, link, BURST, chance),
                None => {}
                Some(every) => self.paced(ctx, link, every, chance),
            }
        }
    }

    fn deadline(&self, _ctx: &Context) -> Option<Time> {
        self.wake
    }

    fn drained(&mut self, link: LinkId) {
        if let Some(target) = self.targets.get_mut(&link) {
            target.pending = 0;
        }
    }

    fn down(&mut self, link: LinkId) {
        self.targets.remove(&link);
    }
}

fn push(batch: Batch) -> Vec<u8> {
    Frame::Push(Box::new(Push { hops: 1, batch })).encode()
}

/// A valid version and kind, followed by random bytes.
fn garbage(ctx: &mut Context) -> Vec<u8> {
    let kinds =
        [Kind::Push, Kind::Announce, Kind::Request, Kind::Reply, Kind::Compare, Kind::Differ];
    let kind = ctx.pick(&kinds).unwrap_or(Kind::Push);
    let length = ctx.rng.random_range(32..1024);
    [vec![VERSION, kind as u8], ctx.random(length)].concat()
}

/// A length prefix that no frame may have, and some random bytes after it.
fn oversize(ctx: &mut Context, link: LinkId) -> usize {
    let most = u32::try_from(MAX_FRAME).unwrap_or(u32::MAX);
    let length = ctx.rng.random_range(most + 1..=u32::MAX);
    let bytes = ctx.random(64);
    ctx.raw_bytes(link, length, &bytes);
    ctx.record(("flood", "oversize_prefix"), link, Some(&length.to_be_bytes()), None, 0);
    bytes.len() + 4
}

fn slot(ctx: &mut Context) -> (PublicKey, u64) {
    let number = ctx.rng.random_range(0..ctx.network.keys().len());
    let author = ctx.network.keys()[number].key;
    let ahead = ctx.rng.random_range(1..512);
    (author, ctx.memory.tip(&author).seq.saturating_add(ahead))
}

/// An announcement of batches that do not exist.
fn announce(ctx: &mut Context) -> Vec<u8> {
    let items = (0..ITEMS)
        .map(|_| {
            let (author, seq) = slot(ctx);
            SlotId { author, seq, id: ctx.invented_id() }
        })
        .collect();
    List::new(items).map(|items| Frame::Announce(Announce { items }).encode()).unwrap_or_default()
}

/// A request for slots that may or may not exist.
fn request(ctx: &mut Context, count: u32) -> Vec<u8> {
    let wants = (0..ITEMS)
        .map(|index| {
            let (author, seq) = slot(ctx);
            let number = count.wrapping_mul(8).wrapping_add(u32::try_from(index).unwrap_or(0));
            let back = ctx.rng.random_range(0..1024);
            Want {
                ticket: FIRST_TICKET | number,
                author,
                seq: seq.saturating_sub(back).max(1),
                id: None,
            }
        })
        .collect();
    List::new(wants).map(|wants| Frame::Request(Request { wants }).encode()).unwrap_or_default()
}

/// Own batches above the tip that the wrapped node knows of; at most [`WINDOW`], as peers accept no
/// more.
#[derive(Default)]
struct Chain {
    batches: VecDeque<(BatchId, Batch)>,
}

impl Chain {
    /// Drops the batches that the wrapped node knows by now; all of them if its lane took another
    /// branch.
    fn trim(&mut self, (tip, tip_id): (u64, BatchId)) {
        let Some(first) = self.batches.front().map(|(_, batch)| batch.header.seq) else { return };
        if first > tip {
            let goes_on = self.batches.front().is_some_and(|(_, b)| b.header.prev == tip_id);
            if first > tip + 1 || !goes_on {
                self.batches.clear();
            }
            return;
        }
        let known = usize::try_from(tip - first).unwrap_or(usize::MAX);
        if self.batches.get(known).is_some_and(|(id, _)| *id == tip_id) {
            self.batches.drain(..=known);
        } else {
            self.batches.clear();
        }
    }

    /// The batch of slot `next`, signed now if needed, and the slot to continue with. If `next` is
    /// outside of the window that peers accept, starts again above the tip.
    fn get(&mut self, ctx: &mut Context, next: u64) -> Option<(BatchId, Batch, u64)> {
        self.trim(ctx.own_tip);
        let (tip, tip_id) = ctx.own_tip;
        let inside = (tip.saturating_add(1)..=tip.saturating_add(WINDOW)).contains(&next);
        let seq = if inside { next } else { tip.checked_add(1)? };
        loop {
            let (last, prev) =
                self.batches.back().map_or((tip, tip_id), |(id, batch)| (batch.header.seq, *id));
            if last >= seq {
                break;
            }
            let (entry, network) = (ctx.entry(), ctx.network.id());
            let now = ctx.now.0;
            let batch = Batch::sign(&ctx.identity, network, last + 1, prev, now, &[entry]).ok()?;
            self.batches.push_back((batch.id(), batch));
        }
        let at = usize::try_from(seq - tip - 1).ok()?;
        let (id, batch) = self.batches.get(at)?;
        Some((*id, batch.clone(), seq + 1))
    }
}
