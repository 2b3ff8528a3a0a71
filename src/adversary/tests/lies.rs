//! Each lie on its own: what a liar sends, and which check of an honest node refuses it.

use std::collections::BTreeSet;

use super::stand::{LIAR, Stand, decoys, liar};
use crate::adversary::{Adversary, Effect};
use crate::crypto::{Digest, check};
use crate::protocol::testing::{chain, entry, identity, list, network, node, restored, stored};
use crate::protocol::{Down, Input, Output, Reason, Restored, RestoredLane, Time};
use crate::wire::limits::MAX_FRAME;
use crate::wire::{Batch, Frame, Kind, Request, Want, WhyMissing};

fn details(liar: &Adversary) -> Vec<&'static str> {
    liar.attempts().newest.iter().map(|attempt| attempt.detail).collect()
}

fn batch_in(frame: &[u8]) -> Batch {
    match Frame::decode(frame) {
        Ok(Frame::Push(push)) => push.batch,
        other => panic!("no push: {other:?}"),
    }
}

#[test]
fn each_forgery_fails_the_check_that_it_is_meant_to_fail() {
    let network = network(4, 0);
    for decoys in [vec![], decoys(&[1, 2])] {
        let with = !decoys.is_empty();
        let liar = liar(LIAR, &network, "forge", decoys.clone());
        let mut stand = Stand::of(liar, network.clone(), &[0]);
        let raw = stand.raw();
        let order =
            ["random_signature", "own_signature", "other_signature", "other_network", "stranger"];
        assert_eq!(details(&stand.liar), order, "all five at once");
        let forged = Reason::BadSignature;
        let reasons = [forged, forged, forged, Reason::WrongNetwork, Reason::UnknownAuthor];
        for ((_, bytes), reason) in raw.iter().zip(reasons) {
            assert_eq!(bytes[..4], u32::to_be_bytes(bytes.len() as u32 - 4));
            assert_eq!(stand.judge(&bytes[4..]), Some(reason));
        }
        for ((_, bytes), attempt) in raw.iter().zip(&stand.liar.attempts().newest) {
            assert_eq!(attempt.frame, Some(Digest::of(&[&bytes[4..]])));
            assert_eq!(attempt.id, Some(batch_in(&bytes[4..]).id()));
            assert_eq!(attempt.link, Some(identity(0).public()));
        }
        let batches: Vec<Batch> = raw.iter().map(|(_, bytes)| batch_in(&bytes[4..])).collect();
        for batch in &batches[..3] {
            let author = batch.header.author;
            assert!([1, 2].map(|i| identity(i).public()).contains(&author), "an honest member");
            assert_eq!(batch.header.seq, 1);
        }
        let own = identity(LIAR).public();
        assert!(check(&own, &batches[1].header.statement(), &batches[1].signature).is_good());
        if with {
            assert!(decoys.iter().any(|d| d.signature == batches[2].signature));
            assert!(decoys.contains(&batches[3]));
        }
        let stranger = batches[4].header.author;
        assert!(stand.network.get(&stranger).is_none());
        assert!(check(&stranger, &batches[4].header.statement(), &batches[4].signature).is_good());
    }
}

#[test]
fn forgeries_go_on_and_use_what_was_really_signed() {
    let mut stand = Stand::new(4, "forge", &[0, 1]);
    let batches = stand.chain(2, 1);
    stand.push(stand.links[1], &batches[0]);
    stand.raw();
    stand.wait(1000);
    let link = stand.links[0];
    let raw: Vec<_> = stand.raw().into_iter().filter(|(l, _)| *l == link).collect();
    assert!((4..=6).contains(&raw.len()), "{} in a second", raw.len());
    let other = batch_in(&raw[2].1[4..]);
    assert_eq!(other.signature, batches[0].signature, "a signature that was seen");
    assert_eq!((other.header.seq, other.header.prev), (2, batches[0].id()), "the next slot");
    assert_eq!(stand.judge(&raw[2].1[4..]), Some(Reason::BadSignature));
    // The peer closed the link on the first frame that needs no check. The variants that came after
    // it come first next time.
    stand.hand(Input::LinkDown { link, cause: Down::Lost });
    stand.raw();
    stand.link(0);
    assert_eq!(details(&stand.liar).iter().rev().nth(4), Some(&"stranger"));
}

#[test]
fn a_spec_waits_for_its_time_and_a_chance_takes_its_share() {
    let mut stand = Stand::new(4, "forge@between=2s..3s", &[0]);
    stand.wait(1990);
    assert!(stand.raw().is_empty());
    stand.wait(20);
    assert_eq!(stand.raw().len(), 5);
    stand.wait(985);
    let during = stand.raw().len();
    assert!((4..=5).contains(&during), "{during}");
    stand.wait(5000);
    assert!(stand.raw().is_empty());
    let mut stand = Stand::new(4, "malformed@p=0.2", &[0]);
    stand.wait(15_000);
    let sent = stand.raw().len();
    assert!((5..30).contains(&sent), "{sent} of 75");
}

#[test]
fn tampering_alters_what_is_relayed_and_nothing_else() {
    let mut stand = Stand::new(5, "tamper", &[0, 1, 2]);
    stand.sent();
    let batches = stand.chain(4, 6);
    let mut reasons = Vec::new();
    for batch in batches {
        stand.push(stand.links[0], &batch);
        for (_, frame) in stand.sent() {
            let Frame::Push(push) = &frame else { continue };
            assert_ne!(push.batch, batch);
            reasons.push(stand.judge(&frame.encode()));
        }
    }
    assert!(reasons.len() >= 6, "{} relays", reasons.len());
    for three in reasons.chunks_exact(3) {
        let forged = Some(Reason::BadSignature);
        assert_eq!(three, [Some(Reason::ContentMismatch), forged, forged]);
    }
    assert_eq!(stand.liar.attempts().totals["tamper"].affected, reasons.len() as u64);
    stand.liar.publish(stand.now, entry("t", "my own")).expect("room");
    stand.hand(Input::Wake);
    for (_, frame) in stand.sent() {
        assert!(!matches!(frame, Frame::Push(_)) || stand.judge(&frame.encode()).is_none());
    }
}

/// Returns how many of the author's batches the liar pushes or announces, when `count` of them are
/// handed in one by one.
fn relayed(spec: &str, author: u16, count: u64) -> (u64, Stand) {
    let mut stand = Stand::new(5, spec, &[0, 1]);
    stand.sent();
    let batches = stand.chain(author, count);
    let mut seen = BTreeSet::new();
    for batch in batches {
        stand.push(stand.links[0], &batch);
        stand.now = Time(stand.now.0 + 20_000);
        stand.hand(Input::Wake);
        for (_, frame) in stand.sent() {
            match frame {
                Frame::Push(push) => drop(seen.insert(push.batch.id())),
                Frame::Announce(announce) => seen.extend(announce.items.iter().map(|item| item.id)),
                _ => {}
            }
        }
    }
    (seen.len() as u64, stand)
}

#[test]
fn dropping_and_censoring_swallow_others_and_leave_the_own() {
    assert_eq!(relayed("forge@after=1m", 4, 20).0, 20);
    let (none, mut stand) = relayed("drop", 4, 200);
    assert_eq!(none, 0);
    // Each batch that came, and each push that was not sent: the credit never ran out.
    assert_eq!(stand.liar.attempts().totals["drop"].affected, 200 + 200);
    stand.liar.publish(stand.now, entry("t", "my own")).expect("room");
    stand.hand(Input::Wake);
    stand.wait(50);
    let own = identity(LIAR).public();
    let pushes = stand
        .sent()
        .into_iter()
        .filter(|(_, frame)| matches!(frame, Frame::Push(push) if push.batch.header.author == own));
    assert!(pushes.count() >= 1, "its own batch goes out");
    let (some, _) = relayed("drop:p=0.5", 4, 100);
    assert!((30..70).contains(&some), "{some} of 100");
    assert_eq!(relayed("censor:author=n4", 4, 20).0, 0);
    assert_eq!(relayed("censor:author=n4", 2, 20).0, 20);
}

#[test]
fn who_asks_for_what_is_swallowed_hears_that_it_is_unknown() {
    let mut stand = Stand::new(5, "drop", &[0, 1]);
    let batches = stand.chain(4, 1);
    stand.push(stand.links[0], &batches[0]);
    stand.sent();
    let want = Want { ticket: 5, author: identity(4).public(), seq: 1, id: None };
    stand.say(stand.links[1], &Frame::Request(Request { wants: list(vec![want]) }));
    let answers: Vec<Frame> = stand.sent().into_iter().map(|(_, frame)| frame).collect();
    let unknown = |frame: &Frame| match frame {
        Frame::Missing(missing) => missing.ticket == 5 && missing.why == WhyMissing::Unknown,
        _ => false,
    };
    assert!(answers.iter().any(unknown), "{answers:?}");
    assert!(!answers.iter().any(|frame| frame.kind() == Kind::Reply));
}

#[test]
fn delays_hold_relays_for_as_long_as_they_say() {
    let mut stand = Stand::new(5, "delay:by=300ms", &[0, 1]);
    stand.sent();
    let batches = stand.chain(4, 1);
    stand.push(stand.links[0], &batches[0]);
    let relays = |stand: &mut Stand| {
        let relay = |frame: &Frame| matches!(frame.kind(), Kind::Push | Kind::Announce);
        stand.sent().iter().filter(|(_, frame)| relay(frame)).count()
    };
    stand.wait(290);
    assert_eq!(relays(&mut stand), 0);
    stand.wait(30);
    assert!(relays(&mut stand) > 0);
    assert!(stand.liar.attempts().totals["delay"].affected > 0);
}

#[test]
fn replays_are_old_and_genuine_and_reach_back_before_the_start() {
    let network = network(4, 0);
    let batches = chain(2, network.id(), 3);
    let slots = batches.iter().map(restored).collect();
    let lane = RestoredLane { slots, ..RestoredLane::new(identity(2).public()) };
    let restored = Restored { lanes: vec![lane], bans: vec![] };
    let spec = "replay".parse().expect("good");
    let node = node(LIAR, &network, restored);
    let mut liar =
        Adversary::new(node, identity(LIAR), network.clone(), spec, vec![], [7; 32], Time(0));
    let mut reads = Vec::new();
    while let Some(act) = liar.poll() {
        if let Effect::Node(Output::Read { token, seq, .. }) = act {
            reads.push((token, seq));
        }
    }
    assert_eq!(reads.len(), 3);
    for (token, seq) in reads {
        let batch = Some(Box::new(stored(batches[seq as usize - 1].clone())));
        liar.handle(Time(500), Input::Read { token, batch });
    }
    let mut stand = Stand::of(liar, network, &[0]);
    stand.wait(2000);
    let raw = stand.raw();
    assert!(raw.len() >= 3);
    let sent: BTreeSet<Digest> = raw.iter().map(|(_, bytes)| batch_in(&bytes[4..]).id()).collect();
    assert_eq!(sent, batches.iter().map(Batch::id).collect());
    assert_eq!(stand.judge(&raw[0].1[4..]), None, "genuine for who never saw it");
}

#[test]
fn floods_are_what_they_say_and_wait_for_the_link() {
    for (what, reasons) in [
        (
            "garbage",
            vec![Some(Reason::Malformed), Some(Reason::Oversize), Some(Reason::NonCanonical)],
        ),
        ("valid", vec![None]),
        ("duplicate", vec![None]),
        ("oversize", vec![Some(Reason::Oversize)]),
        ("announce", vec![None]),
        ("request", vec![None]),
    ] {
        let spec = format!("flood:what={what}");
        let mut stand = Stand::new(4, &spec, &[0]);
        let raw = stand.raw();
        assert!((8..=64).contains(&raw.len()), "{what}: {}", raw.len());
        stand.wait(50);
        assert!(stand.raw().is_empty(), "{what}: nothing more before the link has taken it");
        stand.drained(stand.links[0]);
        assert!(!stand.raw().is_empty(), "{what} goes on");
        let mut ids = BTreeSet::new();
        for (_, bytes) in &raw {
            let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            if length > MAX_FRAME {
                assert_eq!(what, "oversize");
                continue;
            }
            assert_eq!(length, bytes.len() - 4);
            let reason = stand.judge(&bytes[4..]);
            assert!(reasons.contains(&reason), "{what}: {reason:?}");
            if let Ok(Frame::Push(push)) = Frame::decode(&bytes[4..]) {
                ids.insert(push.batch.id());
            }
        }
        match what {
            "valid" => assert_eq!(ids.len(), raw.len(), "every one is new"),
            "duplicate" => assert_eq!(ids.len(), 1),
            _ => assert!(ids.is_empty()),
        }
    }
}

#[test]
fn a_valid_flood_is_one_chain_that_stays_within_reach() {
    let mut stand = Stand::new(4, "flood:what=valid", &[0]);
    let mut batches = Vec::new();
    for _ in 0..20 {
        batches.extend(stand.raw().iter().map(|(_, bytes)| batch_in(&bytes[4..])));
        stand.drained(stand.links[0]);
    }
    let mut prev = Digest::ZERO;
    for (batch, seq) in batches.iter().zip(1..=1024) {
        assert_eq!((batch.header.seq, batch.header.prev), (seq, prev));
        prev = batch.id();
    }
    assert!(batches.len() > 1024);
    assert_eq!(batches[1024], batches[0], "begins again where peers can still take it");
}

#[test]
fn a_rate_holds_over_time_whatever_the_link_takes() {
    for rate in [3, 100, 2000] {
        let spec = format!("flood:rate={rate}");
        let mut stand = Stand::new(4, &spec, &[0]);
        for _ in 0..50 {
            stand.wait(20);
            stand.drained(stand.links[0]);
        }
        let sent = stand.raw().len();
        assert!((rate * 9 / 10..=rate * 11 / 10 + 2).contains(&sent), "{sent} at {rate}");
        let mut stand = Stand::new(4, &spec, &[0]);
        stand.wait(10_000);
        let bytes: usize = stand.raw().iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < 300 << 10, "{bytes} given to a link that takes nothing");
    }
}

#[test]
fn malformed_frames_are_complete_and_wrong() {
    let mut stand = Stand::new(4, "malformed", &[0]);
    stand.wait(20_000);
    let raw = stand.raw();
    let details = details(&stand.liar);
    assert_eq!(details.iter().collect::<BTreeSet<_>>().len(), 5);
    for ((_, bytes), detail) in raw.iter().zip(details) {
        let reason = stand.judge(&bytes[4..]).expect("it is refused");
        let expected: &[Reason] = match detail {
            "truncated" => &[Reason::Malformed],
            "overlong" | "non_canonical" => &[Reason::NonCanonical],
            "wrong_version" => &[Reason::WrongVersion],
            _ => &[
                Reason::Malformed,
                Reason::Oversize,
                Reason::WrongNetwork,
                Reason::UnknownAuthor,
                Reason::ContentMismatch,
                Reason::BadSignature,
                Reason::TooFarAhead,
            ],
        };
        assert!(expected.contains(&reason), "{detail}: {reason:?}");
    }
}

#[test]
fn stalling_begins_after_the_greeting_and_splits_the_links() {
    let mut stand = Stand::new(5, "stall@between=0s..5s", &[0, 1]);
    let stalls = |stand: &mut Stand| -> (usize, usize) {
        let acts = std::mem::take(&mut stand.acts);
        let count = |f: fn(&Effect) -> bool| acts.iter().filter(|act| f(act)).count();
        (
            count(|act| matches!(act, Effect::Pause { reading: false, .. })),
            count(|act| matches!(act, Effect::Pace { bytes_per_s: Some(1), .. })),
        )
    };
    assert_eq!(stalls(&mut stand), (0, 0), "the greeting gets out first");
    stand.wait(600);
    assert_eq!(stalls(&mut stand), (1, 1));
    assert_eq!(stand.liar.attempts().totals["stall"].affected, 2);
    stand.wait(5000);
    let lifted = stand.acts.iter().filter(|act| {
        matches!(act, Effect::Pause { reading: true, .. } | Effect::Pace { bytes_per_s: None, .. })
    });
    assert_eq!(lifted.count(), 2, "and ends when its time is over");
}

#[test]
fn the_same_seed_and_inputs_give_the_same_acts() {
    let network = network(4, 0);
    let run = || {
        let spec = "forge+flood:rate=50:what=announce+malformed@p=0.5+replay+drop:p=0.3";
        let mut stand =
            Stand::of(liar(LIAR, &network, spec, decoys(&[0])), network.clone(), &[0, 1]);
        let batches = stand.chain(2, 5);
        for batch in batches {
            stand.push(stand.links[0], &batch);
            stand.wait(300);
        }
        format!("{:?} {:?}", stand.acts, stand.liar.attempts())
    };
    assert_eq!(run(), run());
}

#[test]
fn an_adversary_can_be_driven_from_any_thread() {
    fn sendable<T: Send>() {}
    sendable::<Adversary>();
}
