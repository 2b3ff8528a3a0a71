//! Lies in answers, in promises and in a liar's own lane: what is sent, and that no check convicts
//! it.

use std::collections::{BTreeMap, BTreeSet};

use super::stand::{LIAR, Stand, decoys, judge, liar};
use crate::adversary::Effect;
use crate::crypto::{Digest, check};
use crate::protocol::testing::{identity, list, network};
use crate::protocol::{LinkId, Output, Reason};
use crate::wire::{
    Batch, Compare, Differ, Frame, Kind, RangeHash, Request, SignedSlot, SlotId, Want, WhyMissing,
};

/// Takes the frames sent so far, by the liar's node or as raw bytes, in order.
fn frames(stand: &mut Stand) -> Vec<(LinkId, Frame)> {
    let acts = std::mem::take(&mut stand.acts);
    let frame = |act| match act {
        Effect::Node(Output::Send { link, frame, .. }) => Some((link, frame)),
        Effect::Raw { link, bytes } => Some((link, bytes[4..].into())),
        _ => None,
    };
    let sent = acts.into_iter().filter_map(frame);
    sent.map(|(link, bytes)| (link, Frame::decode(&bytes).expect("sound"))).collect()
}

fn stand(spec: &str, peers: &[u16]) -> Stand {
    let network = network(5, 0);
    let liar = liar(LIAR, &network, spec, decoys(&[0]));
    Stand::of(liar, network, peers)
}

fn ask(stand: &mut Stand, link: usize, ticket: u32, author: u16, seq: u64) {
    let want = Want { ticket, author: identity(author).public(), seq, id: None };
    stand.say(stand.links[link], &Frame::Request(Request { wants: list(vec![want]) }));
}

fn compare(stand: &mut Stand, link: usize, ticket: u32) {
    let range = RangeHash { start: 0, end: 5, hash: Digest([9; 32]) };
    let ranges = list(vec![range]);
    stand.say(stand.links[link], &Frame::Compare(Compare { ticket, ranges }));
}

fn announced(frames: &[(LinkId, Frame)]) -> Vec<(LinkId, SlotId)> {
    let of = |(link, frame): &(LinkId, Frame)| match frame {
        Frame::Announce(announce) => announce.items.iter().map(|item| (*link, *item)).collect(),
        _ => vec![],
    };
    frames.iter().flat_map(of).collect()
}

#[test]
fn a_promise_names_a_batch_first_and_what_nobody_has_and_answers_nothing() {
    let mut stand = stand("promise:rate=10", &[0, 1, 2]);
    stand.acts.clear();
    let batches = stand.chain(4, 2);
    stand.push(stand.links[0], &batches[0]);
    let sent = frames(&mut stand);
    let first = sent.iter().position(|(link, _)| *link == stand.links[1]).expect("is told");
    let named = announced(&sent[first..=first]);
    assert!(named.iter().any(|(_, item)| item.id == batches[0].id()), "before all else: {named:?}");
    assert!(!sent.iter().any(|(_, frame)| frame.kind() == Kind::Push), "by name only");
    stand.wait(1000);
    let invented: Vec<_> = announced(&frames(&mut stand))
        .into_iter()
        .filter(|(link, item)| *link == stand.links[2] && item.id != batches[0].id())
        .collect();
    assert!((8..=12).contains(&invented.len()), "{} in a second", invented.len());
    let own = identity(LIAR).public();
    assert!(invented.iter().all(|(_, item)| item.author != own && (1..8).contains(&item.seq)));
    for seq in [1, 2] {
        ask(&mut stand, 1, 70 + seq as u32, 4, seq);
        stand.wait(500);
    }
    let answers = frames(&mut stand);
    let answer = |frame: &Frame| matches!(frame.kind(), Kind::Reply | Kind::Missing);
    assert!(!answers.iter().any(|(_, frame)| answer(frame)), "neither what it has nor a no");
    assert_eq!(stand.liar.attempts().totals["promise"].affected, 2);
    compare(&mut stand, 0, 5);
    assert!(frames(&mut stand).iter().any(|(_, frame)| frame.kind() == Kind::Differ));
}

#[test]
fn promises_stay_within_credit() {
    let mut stand = stand("promise:rate=100000", &[0]);
    for _ in 0..200 {
        stand.wait(10);
    }
    let sent = frames(&mut stand);
    let named = sent.iter().filter(|(_, frame)| frame.kind() == Kind::Announce).count();
    assert_eq!(named, 16, "a window, as nothing is granted");
}

#[test]
fn a_false_floor_answers_every_want_for_others_batches_with_another_lie() {
    let mut stand = stand("false-floor", &[0, 1]);
    let batches = stand.chain(4, 1);
    stand.push(stand.links[0], &batches[0]);
    let sent = frames(&mut stand);
    assert!(!sent.iter().any(|(_, frame)| frame.kind() == Kind::Push));
    let named = announced(&sent);
    assert!(
        named.iter().any(|(link, item)| { *link == stand.links[1] && item.id == batches[0].id() })
    );
    let (mut floors, mut whys) = (BTreeSet::new(), BTreeMap::<_, usize>::new());
    for ticket in 1..=18 {
        // One slot that the liar holds, and one that it does not.
        ask(&mut stand, 1, ticket, 4, 1 + u64::from(ticket % 2));
        for (_, frame) in frames(&mut stand) {
            let Frame::Missing(missing) = frame else {
                assert_ne!(frame.kind(), Kind::Reply);
                continue;
            };
            assert_eq!(missing.ticket, ticket);
            floors.insert(missing.floor);
            *whys.entry(format!("{:?}", missing.why)).or_default() += 1;
        }
    }
    assert!(floors.contains(&u64::MAX) && floors.len() >= 8, "{floors:?}");
    let pruned = format!("{:?}", WhyMissing::Pruned);
    assert_eq!((whys.len(), whys[&pruned]), (3, 12), "{whys:?}");
    assert_eq!(stand.liar.attempts().totals["false-floor"].affected, 18);
    for ticket in 100..120 {
        compare(&mut stand, 0, ticket);
    }
    let tips: BTreeSet<_> = frames(&mut stand)
        .into_iter()
        .filter_map(|(_, frame)| match frame {
            Frame::Differ(differ) => Some(differ),
            _ => None,
        })
        .flat_map(|differ| differ.tips.iter().map(|t| (t.solid, t.floor)).collect::<Vec<_>>())
        .collect();
    assert!(tips.len() >= 3, "every decodable tale: {tips:?}");
}

/// Returns the answers to `count` comparisons.
fn differs(stand: &mut Stand, count: u32) -> Vec<Differ> {
    let mut all = Vec::new();
    for ticket in 0..count {
        compare(stand, 0, 1000 + ticket);
        for (_, frame) in frames(stand) {
            if let Frame::Differ(differ) = frame {
                assert_eq!(differ.ticket, 1000 + ticket);
                all.push(differ);
            }
        }
    }
    all
}

#[test]
fn false_answers_to_comparisons_are_of_five_kinds_and_none_is_provable() {
    let mut stand = stand("false-differ", &[0, 1]);
    let batches = stand.chain(4, 3);
    batches.iter().for_each(|batch| stand.push(stand.links[0], batch));
    let all = differs(&mut stand, 10);
    assert_eq!(all.len(), 10);
    let tip = |seq: u64| batches[seq as usize - 1].signed_slot();
    let has = |what: &dyn Fn(&Differ) -> bool| all.iter().filter(|differ| what(differ)).count();
    let silent = |d: &Differ| d.ranges.is_empty() && d.tips.is_empty() && d.above.is_empty();
    assert_eq!(has(&silent), 2, "agrees");
    assert_eq!(has(&|d| d.ranges.len() == 5), 2, "ranges down to single keys");
    let old = |d: &Differ| d.tips.iter().any(|t| t.slot == tip(1)) && d.above.is_empty();
    assert_eq!(has(&old), 2, "an old tip");
    assert_eq!(has(&|d| d.tips.is_empty() && !d.above.is_empty()), 2, "slots that are not there");
    let many = |d: &Differ| d.tips.iter().any(|t| t.slot == tip(3)) && d.above.len() > 20;
    assert_eq!(has(&many), 2, "all at once");
    for slot in all.iter().flat_map(|differ| differ.tips.iter()).map(|tip| tip.slot) {
        let SignedSlot { author, signature, .. } = slot;
        assert!(check(&author, &slot.statement(&stand.network.id()), &signature).is_good());
    }
    let answered = stand.liar.attempts().newest.iter().filter(|one| one.detail != "question");
    assert_eq!(answered.count(), 10);
}

#[test]
fn false_questions_have_hashes_that_nobody_has() {
    let mut stand = stand("false-differ", &[0, 1]);
    let mut asked = Vec::new();
    for _ in 0..12 {
        stand.wait(1000);
        for (link, frame) in frames(&mut stand) {
            let Frame::Compare(compare) = frame else { continue };
            asked.push(compare.ranges[0].hash);
            let (ranges, tips, above) = (list(vec![]), list(vec![]), list(vec![]));
            let differ = Differ { ticket: compare.ticket, ranges, tips, above };
            stand.say(link, &Frame::Differ(differ));
        }
    }
    let invented = asked.iter().filter(|hash| **hash != Digest::ZERO).count();
    assert!(invented > 0 && invented < asked.len(), "{invented} of {}", asked.len());
}

/// Pushes batches, which earn credit, on a link. Returns the grants of the push class that come
/// back: frames and bytes.
fn granted(stand: &mut Stand, link: LinkId, batches: &[Batch]) -> Vec<(u64, u64)> {
    batches.iter().for_each(|batch| stand.push(link, batch));
    stand.wait(600);
    let credits = frames(stand).into_iter().filter(|(to, _)| *to == link);
    let grants = credits.filter_map(|(_, frame)| match frame {
        Frame::Credit(credit) => Some(credit.grants.to_vec()),
        _ => None,
    });
    grants.flatten().filter(|grant| grant.class == 5).map(|g| (g.frames, g.bytes)).collect()
}

#[test]
fn false_credit_is_withheld_or_in_crumbs_or_too_much() {
    let mut withheld = stand("false-credit:what=withhold", &[0]);
    let batches = withheld.chain(4, 20);
    let link = withheld.links[0];
    assert_eq!(granted(&mut withheld, link, &batches), []);
    let mut honest = stand("drop", &[0]);
    let sound = granted(&mut honest, link, &batches);
    let mut crumbs = stand("false-credit:what=crumbs", &[0]);
    let crumbs = granted(&mut crumbs, link, &batches);
    let frames: Vec<u64> = crumbs.iter().map(|(frames, _)| *frames).collect();
    assert_eq!(frames, (1..=20).collect::<Vec<u64>>(), "one at a time");
    assert!(crumbs.is_sorted_by(|a, b| a.1 <= b.1), "never fewer bytes");
    assert_eq!(crumbs.last(), sound.last());
    let mut excess = stand("false-credit:what=excess", &[0]);
    let excess = granted(&mut excess, link, &batches);
    assert!(!excess.is_empty() && excess.iter().all(|(frames, _)| *frames > 1 << 40));
    let mut each = stand("false-credit", &[0, 1, 2]);
    let counts: Vec<usize> = (0..3)
        .map(|i| {
            let link = each.links[i];
            granted(&mut each, link, &batches[i * 5..i * 5 + 5]).len()
        })
        .collect();
    assert!(
        counts[0] == 0 && counts[1] == 5 && counts[2] > 0,
        "each link gets its own: {counts:?}"
    );
}

#[test]
fn too_much_credit_convicts() {
    let grant = crate::wire::Grant { class: 5, frames: 1 << 40, bytes: 1 << 40 };
    let credit = crate::wire::Credit { grants: list(vec![grant]) };
    let bytes = Frame::Credit(credit).encode();
    assert_eq!(judge(&network(5, 0), &bytes), Some(Reason::CreditOverrun));
}

fn pushed(frames: Vec<(LinkId, Frame)>) -> Vec<(LinkId, Batch)> {
    let push = |(link, frame)| match frame {
        Frame::Push(push) => Some((link, push.batch)),
        _ => None,
    };
    let pushes: Vec<_> = frames.into_iter().filter_map(push).collect();
    for (_, batch) in &pushes {
        let header = &batch.header;
        assert!(check(&header.author, &header.statement(), &batch.signature).is_good());
    }
    pushes
}

#[test]
fn a_gap_leaves_every_third_slot_out_and_shows_no_slot_twice() {
    let mut stand = stand("gap:rate=100", &[0, 1, 2]);
    stand.wait(200);
    let shown = pushed(frames(&mut stand));
    let seqs: Vec<u64> = shown.iter().map(|(_, batch)| batch.header.seq).collect();
    let expected: Vec<u64> = (1..=seqs[seqs.len() - 1]).filter(|seq| seq % 3 > 0).collect();
    assert_eq!(seqs, expected);
    assert!(seqs.len() >= 10, "{seqs:?}");
    let links: BTreeSet<_> = shown.iter().map(|(link, _)| *link).collect();
    assert!(links.len() >= 2, "not all to one");
    let mut prev: Option<&Batch> = None;
    for (_, batch) in &shown {
        if let Some(before) = prev.filter(|before| before.header.seq + 1 == batch.header.seq) {
            assert_eq!(batch.header.prev, before.id(), "one chain");
        }
        prev = Some(batch);
    }
    // One window for each link, and no more because nothing is granted.
    stand.wait(5000);
    let more = pushed(frames(&mut stand)).len();
    assert_eq!(seqs.len() + more, 3 * 32);
    let mut large = self::stand("gap:size=1048576:rate=50", &[0, 1]);
    large.wait(1000);
    let sizes: Vec<usize> =
        pushed(frames(&mut large)).iter().map(|(_, batch)| batch.body.len()).collect();
    assert!(sizes.len() == 4 && sizes.iter().all(|size| *size > 1 << 20), "{sizes:?}");
}

#[test]
fn a_gap_is_filled_late_before_others_would_take_no_more() {
    let mut stand = stand("gap:rate=1000", &[0]);
    let mut sent = (0, 0);
    let mut late = 0;
    for _ in 0..2000 {
        stand.wait(5);
        for (link, frame) in frames(&mut stand) {
            let Frame::Push(push) = &frame else { continue };
            late += usize::from(push.batch.header.seq.is_multiple_of(3));
            sent = (sent.0 + 1, sent.1 + frame.encode().len() as u64);
            let grant = crate::wire::Grant { class: 5, frames: sent.0, bytes: sent.1 };
            let credit = crate::wire::Credit { grants: list(vec![grant]) };
            stand.say(link, &Frame::Credit(credit));
        }
    }
    assert!(late > 50, "{late} of those left out");
}

#[test]
fn restarts_void_what_was_published_start_twice_and_jump() {
    let mut stand = stand("restart:rate=20", &[0, 1, 2]);
    stand.wait(700);
    let shown = pushed(frames(&mut stand));
    let header = |seq: u64| {
        let of = |(_, b): &&(LinkId, Batch)| b.header.seq == seq && b.check_shape().is_ok();
        shown.iter().find(of).map(|(_, batch)| batch.header.clone())
    };
    let to = |seq: u64| shown.iter().filter(|(_, b)| b.header.seq == seq).count();
    assert_eq!((to(1), to(2), to(6)), (3, 3, 3), "to all");
    assert!((to(3), to(4), to(5)) == (2, 2, 2), "to one, and late to another");
    let void = header(6).expect("voids");
    assert!(void.restarts() && void.base == 2 && void.prev == header(2).expect("there").id());
    let (one, two) = (header(9).expect("a twin"), header(10).expect("a twin"));
    assert_eq!((one.base, one.prev), (two.base, two.prev), "two from one base");
    assert!(one.base == 6 && to(9) + to(10) == 3, "shown to different links");
    let far: Vec<_> = shown.iter().filter(|(_, b)| b.header.seq > 200).collect();
    assert!(!far.is_empty() && far.iter().any(|(_, b)| b.header.seq > 5000));
    let details: BTreeSet<_> = stand.liar.attempts().newest.iter().map(|a| a.detail).collect();
    assert_eq!(details.len(), 8, "{details:?}");
}

#[test]
fn the_new_liars_repeat_themselves_with_the_same_seed() {
    let run = || {
        let spec = "promise+gap:rate=50+false-floor@p=0.5+false-differ+false-credit";
        let mut stand = stand(spec, &[0, 1, 2]);
        let batches = stand.chain(4, 5);
        for batch in batches {
            stand.push(stand.links[0], &batch);
            ask(&mut stand, 1, 9, 4, 1);
            compare(&mut stand, 2, 8);
            stand.wait(300);
        }
        format!("{:?} {:?}", stand.acts, stand.liar.attempts())
    };
    assert_eq!(run(), run());
}
