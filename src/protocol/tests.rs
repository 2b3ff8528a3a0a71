//! Property tests of lanes and buckets, against models that are slow and too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::lanes::{Admission, Filling, Lanes};
use super::time::{Bucket, Rate};
use super::{RestoredLane, RestoredSlot, Time};
use crate::crypto::{Digest, PublicKey, Signature};
use crate::wire::limits::{RECENT, WINDOW};

fn id(seq: u64, variant: u8) -> Digest {
    Digest::of(&[&seq.to_be_bytes(), &[variant]])
}

fn filling(seq: u64, variant: u8) -> Filling {
    Filling {
        id: id(seq, variant),
        rest: Digest::ZERO,
        signature: Signature([0; 64]),
        base: seq - 1,
        prev: id(seq - 1, 0),
        at: Time(0),
        sender: None,
    }
}

/// A lane as a set: the slots that were filled, and the tip computed from its definition.
#[derive(Default)]
struct Model {
    slots: BTreeMap<u64, BTreeSet<u8>>,
}

impl Model {
    fn tip(&self) -> u64 {
        (1..).take_while(|seq| self.slots.contains_key(seq)).last().unwrap_or(0)
    }
}

/// Slots around the window's edges and at the extremes, some with a second or third batch.
fn offers() -> impl Strategy<Value = Vec<(u64, u8)>> {
    let seq = prop_oneof![
        20 => 1..40u64,
        2 => WINDOW - 2..WINDOW + 3,
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - WINDOW),
    ];
    proptest::collection::vec(
        (seq, prop_oneof![8 => Just(0u8), 1 => Just(1), 1 => Just(2)]),
        1..200,
    )
}

fn agree_with_a_set(offers: Vec<(u64, u8)>) {
    let (mut lanes, mut model) = (Lanes::default(), Model::default());
    for (seq, variant) in offers {
        let admission = lanes.admission(0, seq, &id(seq, variant));
        let held = model.slots.get(&seq).cloned().unwrap_or_default();
        let expected = match (seq > model.tip() + WINDOW, held.contains(&variant), held.len()) {
            (true, ..) => Admission::TooFar,
            (_, true, _) => Admission::Known,
            (_, _, 0) => Admission::Empty,
            (_, _, 1) => Admission::Second,
            _ => Admission::Full,
        };
        assert_eq!(admission, expected, "slot {} of {}", seq, model.tip());
        if matches!(admission, Admission::Empty | Admission::Second) {
            lanes.fill(0, seq, filling(seq, variant));
            model.slots.entry(seq).or_default().insert(variant);
        }
        assert_eq!(lanes.tip(0), model.tip());
        let missing = lanes.missing(0, model.tip() + 10, usize::MAX);
        let gaps = model.tip() + 1..=model.tip() + 10;
        let gaps: Vec<u64> = gaps.filter(|seq| !model.slots.contains_key(seq)).collect();
        assert_eq!(missing, gaps);
    }
}

fn restart(offers: Vec<(u64, u8)>) {
    let mut lanes = Lanes::default();
    let mut slots = Vec::new();
    for (seq, variant) in offers {
        let admission = lanes.admission(0, seq, &id(seq, variant));
        if matches!(admission, Admission::Empty | Admission::Second) {
            lanes.fill(0, seq, filling(seq, variant));
            let Filling { id, rest, signature, .. } = filling(seq, variant);
            let first = admission == Admission::Empty;
            let base = seq - 1;
            slots.push((RestoredSlot { seq, base, id, rest, signature, first }, variant));
        }
    }
    slots.sort_by_key(|(slot, _)| (slot.seq, !slot.first));
    let author = PublicKey([7; 32]);
    let rows = slots.iter().map(|(slot, _)| *slot).collect();
    let found = [RestoredLane { slots: rows, ..RestoredLane::new(author) }];
    let again = Lanes::restore(&found, |key| (*key == author).then_some(0));
    assert_eq!(again.tip(0), lanes.tip(0));
    for (slot, _) in &slots {
        assert_eq!(again.admission(0, slot.seq, &slot.id), Admission::Known);
    }
    let hash = |mut lanes: Lanes| {
        lanes.set_keys(1);
        lanes.rehash(|_| author);
        lanes.hash(0, 1)
    };
    assert_eq!(hash(again), hash(lanes));
}

/// A case that proptest found once.
#[test]
fn what_once_failed_holds() {
    let offers = vec![(1, 0), (13, 1), (14, 0)];
    agree_with_a_set(offers.clone());
    restart(offers);
}

proptest! {
    #[test]
    fn lanes_agree_with_a_set(offers in offers()) {
        agree_with_a_set(offers);
    }

    #[test]
    fn a_restart_forgets_nothing_that_was_held(offers in offers()) {
        restart(offers);
    }

    #[test]
    fn what_a_lane_keeps_is_bounded(count in 1..3 * RECENT) {
        let mut lanes = Lanes::default();
        for seq in 1..=count {
            lanes.fill(0, seq, filling(seq, 0));
        }
        let kept = (1..=count).filter(|seq| lanes.id_at(0, *seq).is_some()).count() as u64;
        prop_assert_eq!(kept, count.min(RECENT));
    }

    #[test]
    fn a_bucket_never_gives_more_than_burst_and_rate(
        per_s in 1..10_000u64,
        burst in 1..1000u64,
        steps in proptest::collection::vec((0..2_000_000u64, 0..50u64), 1..200),
    ) {
        let rate = Rate { per_s, burst };
        let (mut bucket, mut now, mut given) = (Bucket::default(), 0, 0u64);
        for (pause, units) in steps {
            now += pause;
            let wait = bucket.wait(rate, Time(now), units);
            let taken = bucket.take(rate, Time(now), units);
            prop_assert_eq!(taken, wait.is_zero());
            given += if taken { units } else { 0 };
            // Since the start, from a full bucket: at most the burst, and what the rate gives in
            // that time.
            let earned = u128::from(now) * u128::from(per_s) / 1_000_000;
            prop_assert!(u128::from(given) <= u128::from(burst) + earned + 1);
            if !taken && units <= burst {
                let later = Time(now).after(wait + Duration::from_micros(1));
                prop_assert!(bucket.wait(rate, later, units).is_zero(), "it waits long enough");
            }
        }
    }
}
