//! What the far end of a link says: frames from a small vocabulary, sound ones and others.

use loyal::crypto::{Digest, PublicKey, Signature};
use loyal::wire::limits::{MAX_ABOVE, MAX_SLOT, MAX_TIPS, MAX_WANTS, VERSION};
use loyal::wire::{
    Announce, Batch, BatchId, Compare, Credit, Differ, Frame, Grant, Hello, Instance, Lacked, List,
    Missing, Push, RangeHash, Reply, Request, SlotId, Tip, Want, WhyMissing,
};

use super::Bytes;
use super::pool::{HONEST, Pool};
use super::wire::Wire;

/// Slots at the edges of some range.
const SEQS: [u64; 16] =
    [1, 2, 3, 5, 9, 24, 25, 30, 513, 1024, 1025, 1049, 3000, 1 << 32, MAX_SLOT - 1, MAX_SLOT];

/// Reads a slot, mostly a small one.
fn seq(bytes: &mut Bytes) -> u64 {
    match bytes.byte() {
        small @ 0..=191 => u64::from(small % 32) + 1,
        edge => SEQS[usize::from(edge) % SEQS.len()],
    }
}

fn author(bytes: &mut Bytes, pool: &Pool) -> PublicKey {
    let known = pool.network.keys().len();
    // The highest number stands for the stranger.
    let number = bytes.below(known * 4 + 1);
    pool.identities[if number == known * 4 { known } else { number % known }].public()
}

fn member_author(bytes: &mut Bytes, pool: &Pool) -> PublicKey {
    pool.identities[bytes.below(pool.network.keys().len())].public()
}

fn invented(bytes: &mut Bytes) -> Digest {
    Digest([bytes.byte(); 32])
}

fn id(bytes: &mut Bytes, pool: &Pool) -> BatchId {
    match bytes.below(3) {
        0 => invented(bytes),
        _ => bytes.pick(&pool.batches).map_or(Digest::ZERO, Batch::id),
    }
}

/// Picks a batch that was signed for this network.
fn signed<'a>(bytes: &mut Bytes, pool: &'a Pool) -> &'a Batch {
    // The last batch is the stranger's.
    let count = pool.batches.len() - 1;
    let number = if bytes.byte() < 160 {
        // Mostly from the beginning of a chain, so that lanes grow.
        let of = member_author(bytes, pool);
        let seq = u64::from(bytes.byte() % 24) + 1;
        return pool.find(&of, seq, None).unwrap_or(&pool.batches[0]);
    } else {
        usize::from(bytes.byte()) * 256 + usize::from(bytes.byte())
    };
    &pool.batches[number % count]
}

/// Picks a batch. A liar's is sometimes altered.
fn batch(bytes: &mut Bytes, pool: &Pool, honest: bool) -> Batch {
    let mut batch = signed(bytes, pool).clone();
    if honest {
        return batch;
    }
    match bytes.byte() {
        250 => batch.signature = Signature([bytes.byte() & 15; 64]),
        251 => batch.signature = pool.batches[0].signature,
        252 => batch.header.created_at ^= 1,
        253 => batch.header.network = Digest([9; 32]),
        254 => batch = pool.batches[pool.batches.len() - 1].clone(),
        255 => {
            let mut body = batch.body.to_vec();
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
            batch.body = loyal::wire::Blob::new(body).expect("as long as before");
        }
        _ => {}
    }
    batch
}

fn list<T, const MIN: usize, const MAX: usize>(items: Vec<T>) -> Option<List<T, MIN, MAX>> {
    List::new(items)
}

/// The hello of a member; `instance` stands for one start of its process.
pub(super) fn hello(pool: &Pool, instance: u8) -> Frame {
    let network = pool.network.id();
    Frame::Hello(Hello { version: VERSION.into(), network, instance: Instance([instance; 16]) })
}

/// Builds a frame of kind `what`; `None` if there is nothing to say of that kind.
pub(super) fn frame(what: u8, bytes: &mut Bytes, pool: &Pool, wire: &mut Wire) -> Option<Frame> {
    let honest = wire.peer == HONEST;
    match what {
        0..=8 => {
            let (hops, batch) = (bytes.byte(), batch(bytes, pool, honest));
            Some(Frame::Push(Box::new(Push { hops, batch })))
        }
        9 | 10 => announce(bytes, pool, honest),
        11 | 12 => request(bytes, pool, wire),
        13 | 14 => answer(bytes, pool, wire),
        15 => compare(bytes, pool, wire),
        16 => differ(bytes, pool, wire),
        17 => wire.credit().map(Frame::Credit),
        18 if !honest => false_credit(bytes, wire),
        19 if !honest => match bytes.byte() {
            0..=99 => Some(Frame::Ping),
            100..=200 => Some(hello(pool, bytes.byte())),
            _ => Some(Frame::Hello(Hello {
                version: u16::from(bytes.byte() % 4),
                network: invented(bytes),
                instance: Instance([1; 16]),
            })),
        },
        _ => Some(Frame::Ping),
    }
}

fn announce(bytes: &mut Bytes, pool: &Pool, honest: bool) -> Option<Frame> {
    let many = bytes.byte() > 250;
    let count = 1 + bytes.below(if many { 128 } else { 6 });
    let item = |bytes: &mut Bytes| {
        if honest || bytes.byte() < 128 {
            let batch = signed(bytes, pool);
            let (author, seq) = (batch.header.author, batch.header.seq);
            return SlotId { author, seq, id: batch.id() };
        }
        let known = bytes.byte() < 250;
        let author = if known { member_author(bytes, pool) } else { author(bytes, pool) };
        SlotId { author, seq: seq(bytes), id: id(bytes, pool) }
    };
    let items = (0..count).map(|_| item(bytes)).collect();
    list(items).map(|items| Frame::Announce(Announce { items }))
}

fn request(bytes: &mut Bytes, pool: &Pool, wire: &mut Wire) -> Option<Frame> {
    let honest = wire.peer == HONEST;
    let count = 1 + bytes.below(MAX_WANTS);
    if honest && wire.asked.len() + count > 64 {
        return None;
    }
    let mut wants = Vec::new();
    for _ in 0..count {
        let ticket = match bytes.byte() {
            255 if !honest => u32::from(bytes.byte()),
            _ => wire.ticket(),
        };
        let stranger = !honest && bytes.byte() == 255;
        let author = if stranger { author(bytes, pool) } else { member_author(bytes, pool) };
        let id = (bytes.byte() > 170).then(|| id(bytes, pool));
        wants.push(Want { ticket, author, seq: seq(bytes), id });
    }
    list(wants).map(|wants| Frame::Request(Request { wants }))
}

/// The answer to an open want of the node, true or false. A liar may also answer without an open
/// want.
fn answer(bytes: &mut Bytes, pool: &Pool, wire: &Wire) -> Option<Frame> {
    let honest = wire.peer == HONEST;
    let open: Vec<&Want> = wire.wants.values().collect();
    let want = bytes.pick(&open).copied();
    let lie = !honest && bytes.byte() > 200;
    let ticket = match want {
        Some(want) if !lie || bytes.byte() < 230 => want.ticket,
        _ if honest => return None,
        _ => u32::from(bytes.byte()),
    };
    let found = want.and_then(|want| pool.find(&want.author, want.seq, want.id));
    let missing = |why, floor, next, lacked| {
        let lacked = Lacked([if next > 0 { lacked } else { 0 }; 32]);
        Frame::Missing(Missing { ticket, why, floor, next, lacked })
    };
    if lie {
        let why = [WhyMissing::Unknown, WhyMissing::Pruned, WhyMissing::Busy][bytes.below(3)];
        return match bytes.below(3) {
            0 => {
                let (hops, batch) = (bytes.byte(), batch(bytes, pool, false));
                Some(Frame::Reply(Box::new(Reply { ticket, hops, batch })))
            }
            _ => {
                let (floor, next) = (seq(bytes).saturating_sub(1), seq(bytes).saturating_sub(1));
                Some(missing(why, floor, next, bytes.byte()))
            }
        };
    }
    match found {
        Some(batch) if bytes.byte() < 220 => {
            Some(Frame::Reply(Box::new(Reply { ticket, hops: 1, batch: batch.clone() })))
        }
        _ => Some(missing(WhyMissing::Unknown, 0, 0, 0)),
    }
}

/// Ranges of keys: from a liar any, otherwise the whole or single keys, the only blocks that exist
/// here.
fn ranges(bytes: &mut Bytes, within: &[(u32, u32)], honest: bool) -> Vec<RangeHash> {
    let mut ranges: Vec<RangeHash> = Vec::new();
    for _ in 0..bytes.below(4) {
        let Some((low, high)) = bytes.pick(within).copied() else { break };
        let width = high.saturating_sub(low).max(1);
        let start = low + bytes.below(width as usize) as u32;
        let more = if honest { 0 } else { bytes.below(width as usize) as u32 };
        let end = (start + 1 + more).min(high.max(start + 1));
        let hash = if bytes.byte() < 60 { Digest::ZERO } else { invented(bytes) };
        ranges.push(RangeHash { start, end, hash });
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|later, earlier| later.start < earlier.end);
    ranges
}

fn compare(bytes: &mut Bytes, pool: &Pool, wire: &mut Wire) -> Option<Frame> {
    let honest = wire.peer == HONEST;
    if honest && !wire.compared.is_empty() {
        return None;
    }
    let keys = pool.network.keys().len() as u32;
    let end = if !honest && bytes.byte() == 255 { keys + 9 } else { keys };
    let sound = honest || bytes.byte() < 200;
    let mut ranges = ranges(bytes, &[(0, end)], sound);
    if ranges.is_empty() {
        ranges.push(RangeHash { start: 0, end, hash: invented(bytes) });
    }
    let ticket = wire.ticket();
    list(ranges).map(|ranges| Frame::Compare(Compare { ticket, ranges }))
}

/// An answer to the node's comparison: signed tips, with true or other claims.
fn differ(bytes: &mut Bytes, pool: &Pool, wire: &Wire) -> Option<Frame> {
    let honest = wire.peer == HONEST;
    let (ticket, asked) = match &wire.comparing {
        Some((ticket, asked)) => (*ticket, asked.clone()),
        None if honest || bytes.byte() < 250 => return None,
        None => (u32::from(bytes.byte()), Vec::new()),
    };
    let within = |key: &PublicKey| {
        let number = pool.network.index_of(key);
        number.is_some_and(|n| asked.iter().any(|range| range.start <= n && n < range.end))
    };
    let anywhere = !honest && bytes.byte() == 255;
    let (mut tips, mut above) = (Vec::new(), Vec::new());
    for identity in &pool.identities {
        let key = identity.public();
        if !(within(&key) || anywhere) || bytes.byte() < 100 {
            continue;
        }
        // The honest member shows its chains; a liar shows anything that was signed.
        let slot = match honest {
            true => pool.find(&key, u64::from(bytes.byte() % 24) + 1, None),
            false => {
                let of: Vec<&Batch> =
                    pool.batches.iter().filter(|b| b.header.author == key).collect();
                bytes.pick(&of).copied()
            }
        };
        let Some(mut slot) = slot.map(Batch::signed_slot) else { continue };
        let (solid, floor) = match (honest, bytes.byte()) {
            (true, _) | (false, 0..=150) => (slot.seq, 0),
            (false, 151..=180) => (0, slot.seq),
            (false, 181..=253) => (slot.seq / 2, slot.seq.saturating_sub(3)),
            (false, 254) => (slot.seq.saturating_add(1), 0),
            (false, _) => {
                slot.signature = Signature([3; 64]);
                (slot.seq, 0)
            }
        };
        let seq = slot.seq;
        tips.push(Tip { slot, solid, floor, holes: Digest([slot.signature.0[0] & 1; 32]) });
        if bytes.byte() > 150 {
            let id = if honest { None } else { Some(id(bytes, pool)) };
            let up = (seq + 1 + u64::from(bytes.byte() % 4)).min(MAX_SLOT);
            let real = pool.find(&key, up, None).map(Batch::id);
            above.extend(id.or(real).map(|id| SlotId { author: key, seq: up, id }));
        }
    }
    tips.sort_unstable_by_key(|tip| tip.slot.author);
    above.sort_unstable();
    above.dedup();
    tips.truncate(MAX_TIPS);
    above.truncate(MAX_ABOVE);
    let asked: Vec<(u32, u32)> = asked.iter().map(|range| (range.start, range.end)).collect();
    let wide: Vec<(u32, u32)> = asked.iter().copied().filter(|(a, b)| b - a > 1).collect();
    let sound = honest || bytes.byte() < 200;
    let ranges = if bytes.byte() > 200 { ranges(bytes, &wide, sound) } else { Vec::new() };
    let (ranges, tips, above) = (list(ranges)?, list(tips)?, list(above)?);
    Some(Frame::Differ(Differ { ticket, ranges, tips, above }))
}

fn false_credit(bytes: &mut Bytes, wire: &Wire) -> Option<Frame> {
    let class = 1 + (bytes.byte() % 5);
    let way = wire.from_node.get(&class).copied().unwrap_or_default();
    let near = |bytes: &mut Bytes, sent: u64, granted: u64| match bytes.byte() {
        0..=99 => sent,
        100..=149 => granted.saturating_add(1),
        150..=199 => sent.saturating_sub(1),
        200..=219 => sent.saturating_add(1),
        220..=239 => u64::MAX,
        _ => 0,
    };
    let frames = near(bytes, way.sent.0, way.granted.0);
    let bytes = near(bytes, way.sent.1, way.granted.1);
    let grants = list(vec![Grant { class, frames, bytes }])?;
    Some(Frame::Credit(Credit { grants }))
}

/// An honest node's answer to a want, with the batch if it has it.
pub(super) fn honest_answer(want: &Want, found: Option<&Batch>) -> Frame {
    let ticket = want.ticket;
    match found {
        Some(batch) => Frame::Reply(Box::new(Reply { ticket, hops: 1, batch: batch.clone() })),
        None => Frame::Missing(Missing {
            ticket,
            why: WhyMissing::Unknown,
            floor: 0,
            next: 0,
            lacked: Lacked::default(),
        }),
    }
}

/// The answer to a comparison by a node that holds the main chains up to slot `upto`.
pub(super) fn honest_differ(pool: &Pool, ticket: u32, asked: &[RangeHash], upto: u64) -> Frame {
    let within = |key: &PublicKey| {
        let number = pool.network.index_of(key);
        number.is_some_and(|n| asked.iter().any(|range| range.start <= n && n < range.end))
    };
    let keys = pool.network.keys().iter().map(|key| key.key).filter(within);
    let tip = |key: PublicKey| {
        let slot = pool.chain(&key).take(upto as usize).last()?.signed_slot();
        Some(Tip { slot, solid: slot.seq, floor: 0, holes: Digest::ZERO })
    };
    let mut tips: Vec<Tip> = keys.filter_map(tip).collect();
    tips.sort_unstable_by_key(|tip| tip.slot.author);
    let none = "an empty list is one";
    Frame::Differ(Differ {
        ticket,
        ranges: list(Vec::new()).expect(none),
        tips: list(tips).expect("few"),
        above: list(Vec::new()).expect(none),
    })
}
