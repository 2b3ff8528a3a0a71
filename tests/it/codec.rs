//! The codec under hostile bytes: every frame kind, every truncation, bit flips and extreme
//! integers.

use loyal::crypto::{Digest, PublicKey, Signature};
use loyal::wire::limits::{
    MAX_ABOVE, MAX_ANNOUNCED, MAX_RANGES, MAX_SLOT, MAX_TIPS, MAX_WANTS, VERSION,
};
use loyal::wire::{
    Announce, Batch, Blob, Class, Compare, Credit, Differ, Entry, Frame, Grant, Header, Hello,
    Instance, Kind, Lacked, List, Missing, Push, RangeHash, Reply, Request, SignedSlot, SlotId,
    Tip, Want, WhyMissing, WireError, encode_body,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{frames, list};

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<[[u8; 32]; 2]>().prop_map(|[r, s]| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature(bytes)
    })
}

fn slot() -> impl Strategy<Value = u64> {
    prop_oneof![1..10u64, Just(MAX_SLOT), 1..=MAX_SLOT]
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = vec(any::<u8>(), 0..60);
    ("[a-zü]{0,20}", payload).prop_map(|(topic, payload)| Entry { topic, payload })
}

fn batch() -> impl Strategy<Value = Batch> {
    let slots = (slot(), slot()).prop_map(|(a, b)| (a.max(b), a.min(b) - 1));
    let parts = (digest(), key(), slots, digest(), any::<u64>(), digest(), signature());
    (parts, vec(entry(), 1..8)).prop_map(|(parts, entries)| {
        let (network, author, (seq, base), prev, created_at, content, signature) = parts;
        let body = encode_body(&entries).expect("within limits");
        let prev = if base == 0 { Digest::ZERO } else { prev };
        let (count, length) = (entries.len() as u32, body.len() as u32);
        let header =
            Header { network, author, seq, base, prev, created_at, count, length, content };
        Batch { header, signature, body: Blob::new(body).expect("within limits") }
    })
}

fn items() -> impl Strategy<Value = List<SlotId, 1, MAX_ANNOUNCED>> {
    let item = (key(), slot(), digest()).prop_map(|(author, seq, id)| SlotId { author, seq, id });
    vec(item, 1..=MAX_ANNOUNCED).prop_map(list)
}

fn wants() -> impl Strategy<Value = List<Want, 1, MAX_WANTS>> {
    let want = (any::<u32>(), key(), slot(), proptest::option::of(digest()))
        .prop_map(|(ticket, author, seq, id)| Want { ticket, author, seq, id });
    vec(want, 1..=MAX_WANTS).prop_map(list)
}

fn ranges(most: usize) -> impl Strategy<Value = Vec<RangeHash>> {
    vec((0..1000u32, 1..1000u32, digest()), 0..=most).prop_map(|parts| {
        let mut next = 0u32;
        let place = |(gap, width, hash)| {
            let start = next + gap;
            next = start + width;
            RangeHash { start, end: next, hash }
        };
        parts.into_iter().map(place).collect()
    })
}

fn tips() -> impl Strategy<Value = List<Tip, 0, MAX_TIPS>> {
    let tip = (key(), slot(), digest(), signature(), any::<(u64, u64)>(), digest()).prop_map(
        |(author, seq, rest, signature, (solid, floor), holes)| Tip {
            slot: SignedSlot { author, seq, rest, signature },
            solid: solid.min(seq),
            floor: floor.min(seq),
            holes,
        },
    );
    vec(tip, 0..20).prop_map(|mut tips| {
        tips.sort_by_key(|tip| tip.slot.author);
        tips.dedup_by_key(|tip| tip.slot.author);
        list(tips)
    })
}

fn above() -> impl Strategy<Value = List<SlotId, 0, MAX_ABOVE>> {
    let item = (key(), slot(), digest()).prop_map(|(author, seq, id)| SlotId { author, seq, id });
    vec(item, 0..20).prop_map(|mut items| {
        items.sort_unstable();
        items.dedup();
        list(items)
    })
}

fn grants() -> impl Strategy<Value = List<Grant, 1, 5>> {
    (1..32u8, any::<[(u64, u64); 5]>()).prop_map(|(which, amounts)| {
        let grants = (1..=5u8).zip(amounts).filter(|(class, _)| which >> (class - 1) & 1 == 1);
        list(grants.map(|(class, (frames, bytes))| Grant { class, frames, bytes }).collect())
    })
}

fn lacked() -> impl Strategy<Value = Lacked> {
    any::<[u8; 32]>().prop_map(Lacked)
}

/// A strategy for any valid frame.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let why =
        prop_oneof![Just(WhyMissing::Unknown), Just(WhyMissing::Pruned), Just(WhyMissing::Busy)];
    let some = |ranges: &Vec<RangeHash>| !ranges.is_empty();
    prop_oneof![
        (any::<u16>(), digest(), any::<[u8; 16]>()).prop_map(|(version, network, instance)| {
            Frame::Hello(Hello { version, network, instance: Instance(instance) })
        }),
        grants().prop_map(|grants| Frame::Credit(Credit { grants })),
        Just(Frame::Ping),
        (any::<u8>(), batch()).prop_map(|(hops, batch)| Frame::Push(Push { hops, batch }.into())),
        items().prop_map(|items| Frame::Announce(Announce { items })),
        wants().prop_map(|wants| Frame::Request(Request { wants })),
        (any::<u32>(), any::<u8>(), batch())
            .prop_map(|(ticket, hops, batch)| Frame::Reply(Reply { ticket, hops, batch }.into())),
        (any::<u32>(), why, any::<(u64, u64)>(), lacked()).prop_map(
            |(ticket, why, (floor, next), lacked)| {
                let lacked = if next > 0 { lacked } else { Lacked::default() };
                Frame::Missing(Missing { ticket, why, floor, next, lacked })
            }
        ),
        (any::<u32>(), ranges(MAX_RANGES).prop_filter("not empty", some))
            .prop_map(|(ticket, r)| Frame::Compare(Compare { ticket, ranges: list(r) })),
        (any::<u32>(), ranges(MAX_RANGES), tips(), above()).prop_map(|(ticket, r, tips, above)| {
            Frame::Differ(Differ { ticket, ranges: list(r), tips, above })
        }),
    ]
}

/// Bytes of memory that a frame's lists and strings take.
fn held(frame: &Frame) -> usize {
    match frame {
        Frame::Hello(_) | Frame::Ping | Frame::Missing(_) => 0,
        Frame::Credit(credit) => size_of_val(&credit.grants[..]),
        Frame::Push(push) => size_of::<Push>() + push.batch.body.len(),
        Frame::Reply(reply) => size_of::<Reply>() + reply.batch.body.len(),
        Frame::Announce(announce) => size_of_val(&announce.items[..]),
        Frame::Request(request) => size_of_val(&request.wants[..]),
        Frame::Compare(compare) => size_of_val(&compare.ranges[..]),
        Frame::Differ(differ) => size_of_val(&differ.ranges[..]) + size_of_val(&differ.tips[..]),
    }
}

/// Checks that bytes are either refused, or the only encoding of a frame, and at least as long as
/// the memory that the frame takes.
pub(crate) fn decodes_soundly(bytes: &[u8]) -> Result<Frame, WireError> {
    let decoded = Frame::decode(bytes);
    if let Ok(frame) = &decoded {
        assert!(frame.encode() == bytes, "two encodings of {frame:?}");
        assert!(held(frame) <= 3 * bytes.len(), "{} bytes for {frame:?}", held(frame));
        assert!(bytes.len() <= frame.kind().max_len());
    }
    decoded
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_frame_round_trips(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(decodes_soundly(&bytes), Ok(frame));
    }

    #[test]
    fn a_mutated_frame_is_refused_or_another(
        frame in frame(), at in any::<u16>(), put in any::<[u8; 8]>(),
    ) {
        let mut bytes = frame.encode();
        let at = usize::from(at) % bytes.len();
        for (byte, put) in bytes[at..].iter_mut().zip(put) {
            *byte = put;
        }
        let changed = bytes != frame.encode();
        let decoded = decodes_soundly(&bytes);
        prop_assert_eq!(decoded == Ok(frame), !changed);
    }

    #[test]
    fn random_bytes_never_panic(kind in 0..12u8, body in vec(any::<u8>(), 0..400)) {
        let _ = decodes_soundly(&[vec![VERSION, kind], body].concat());
    }

    #[test]
    fn a_frame_cut_or_lengthened_is_refused(
        frame in frame(), cut in any::<u16>(), tail in vec(any::<u8>(), 1..9),
    ) {
        let bytes = frame.encode();
        let cut = usize::from(cut) % bytes.len();
        prop_assert!(decodes_soundly(&bytes[..cut]).is_err());
        prop_assert!(decodes_soundly(&[bytes, tail].concat()).is_err());
    }
}

#[test]
fn there_is_a_frame_of_every_kind_to_try() {
    for kind in Kind::ALL {
        assert!(frames().iter().any(|(_, frame)| frame.kind() == kind), "{kind:?}");
        assert_eq!(Kind::from_byte(kind as u8), Some(kind));
    }
    for byte in 10..=255 {
        assert_eq!(Kind::from_byte(byte), None);
    }
}

#[test]
fn every_truncation_is_refused() {
    for (name, frame) in frames() {
        let bytes = frame.encode();
        for cut in 0..bytes.len() {
            assert!(decodes_soundly(&bytes[..cut]).is_err(), "{name} cut to {cut}");
        }
    }
}

#[test]
fn every_bit_flip_is_refused_or_another_frame() {
    for (name, frame) in frames() {
        let bytes = frame.encode();
        for bit in 0..8 * bytes.len() {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decodes_soundly(&bad).as_ref(), Ok(&frame), "{name}, bit {bit}");
        }
    }
}

/// Writes an extreme integer of 1, 2, 4 or 8 bytes at every offset of every frame, and so into
/// every field.
#[test]
fn every_extreme_integer_is_refused_or_another_frame() {
    for (name, frame) in frames() {
        let bytes = frame.encode();
        for width in [1, 2, 4, 8] {
            let top = u64::MAX >> (64 - 8 * width);
            for extreme in [0, 1, 2, top, top - 1, top / 2, top / 2 + 1] {
                let put = &extreme.to_be_bytes()[8 - width..];
                for at in 0..(bytes.len() + 1).saturating_sub(width) {
                    let mut bad = bytes.clone();
                    bad[at..at + width].copy_from_slice(put);
                    if bad != bytes {
                        let decoded = decodes_soundly(&bad);
                        assert_ne!(decoded.as_ref(), Ok(&frame), "{name}, {extreme} at {at}");
                    }
                }
            }
        }
    }
}

/// A few bytes that announce a large count or length are refused before anything is allocated.
#[test]
fn announced_lengths_are_not_believed() {
    for kind in Kind::ALL {
        for head in [0, 1, 4, 5, 220, 224] {
            let mut bytes = vec![VERSION, kind as u8];
            bytes.resize(2 + head, 0);
            for count in [[0xff; 4], [0, 0x10, 0, 0x46], [0, 0x10, 0, 0], [0, 0x80, 0, 0x80]] {
                let bytes = [&bytes[..], &count].concat();
                assert!(decodes_soundly(&bytes).is_err(), "{kind:?} {bytes:?}");
            }
        }
    }
}

#[test]
fn windows_cover_the_longest_frame_of_their_class() {
    for kind in Kind::ALL {
        if let Some((frames, bytes)) = kind.class().window() {
            assert!(frames > 0 && bytes >= kind.max_len() as u64, "{kind:?}");
        }
    }
    assert_eq!(Class::Reply.window(), None);
}
