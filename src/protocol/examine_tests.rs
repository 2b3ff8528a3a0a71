//! Refused frames, examined again: what failed fails again, and what nobody can tell is said so.

use super::*;
use crate::protocol::testing::{batch, identity, rejection};
use crate::wire::{Announce, Batch, Compare, List, RangeHash, SlotId};

fn known() -> Known {
    let keys = (1..=4).map(|n| identity(n).public()).collect();
    Known { network: Some(Digest([2; 32])), keys: Some(keys) }
}

fn row(reason: Reason, frame: &[u8]) -> Rejection {
    Rejection { link: Some(identity(4).public()), ..rejection(reason, frame) }
}

fn signed(signer: u8, length: usize) -> Batch {
    batch(signer, Digest([2; 32]), 1, Digest::ZERO, vec![5; length])
}

/// The name of the check that refused it, and what came of it; the rest must agree.
fn refused(reason: Reason, frame: &[u8]) -> (&'static str, Outcome) {
    let examined = examine(&row(reason, frame), frame, &known());
    assert!(examined.agrees(), "{examined:?}");
    let at = examined.refused.expect("a check");
    (examined.checks[at].name, examined.checks[at].outcome)
}

#[test]
fn the_check_that_failed_fails_again() {
    let push = |batch: &Batch| Frame::push(1, batch);
    let good = signed(1, 10);
    let mut forged = good.clone();
    forged.signature.0[0] ^= 1;
    let mut altered = good.clone();
    altered.header.content.0[0] ^= 1;
    let foreign = batch(1, Digest([3; 32]), 1, Digest::ZERO, "");
    let failed = Outcome::Failed;
    for (reason, frame, name) in [
        (Reason::BadSignature, push(&forged), "signature"),
        (Reason::ContentMismatch, push(&altered), "content"),
        (Reason::WrongNetwork, push(&foreign), "network"),
        (Reason::UnknownAuthor, push(&signed(9, 10)), "authors"),
        (Reason::NonCanonical, [push(&good), vec![0]].concat(), "canonical form"),
        (Reason::WrongVersion, vec![9, 2], "version"),
        (Reason::Malformed, vec![VERSION, 77], "kind"),
        (Reason::Oversize, vec![VERSION, Kind::Ping as u8, 0], "length of its kind"),
        (Reason::Malformed, push(&good)[..100].to_vec(), "canonical form"),
    ] {
        assert_eq!(refused(reason, &frame), (name, failed), "{reason:?}");
    }
    let stranger = SlotId { author: identity(9).public(), seq: 1, id: Digest([1; 32]) };
    let announce = Announce { items: List::new(vec![stranger]).expect("one") };
    let announce = Frame::Announce(announce).encode();
    assert_eq!(refused(Reason::UnknownAuthor, &announce), ("authors", failed));
    let range = RangeHash { start: 1, end: 3, hash: Digest([1; 32]) };
    let compare = Compare { ticket: 1, ranges: List::new(vec![range]).expect("one") };
    assert_eq!(refused(Reason::Malformed, &Frame::Compare(compare).encode()), ("blocks", failed));
}

#[test]
fn what_the_frame_does_not_tell_is_said_to_be_so() {
    let frame = Frame::push(1, &signed(1, 10));
    let unknown = Outcome::Unknown;
    assert_eq!(refused(Reason::CreditOverrun, &frame), ("link credit", unknown));
    assert_eq!(refused(Reason::Replayed, &frame), ("seen", unknown));
    assert_eq!(refused(Reason::AuthorRate, &frame), ("quota", unknown));
    assert_eq!(refused(Reason::Equivocation, &frame), ("seen", unknown));
    let row = Rejection { proven: true, ..row(Reason::Equivocation, &frame) };
    let examined = examine(&row, &frame, &Known::default());
    assert_eq!(examined.refused.map(|at| examined.checks[at].name), Some("chain"));
    let named = |name| examined.checks.iter().find(|check| check.name == name);
    assert_eq!(named("network").map(|check| check.outcome), Some(unknown), "nobody knows it");
    assert_eq!(named("authors").map(|check| check.outcome), Some(unknown));
    assert_eq!(named("signature").map(|check| check.outcome), Some(Outcome::Passed));
    let ping = Frame::Ping.encode();
    assert_eq!(refused(Reason::Malformed, &ping), ("hello rule", unknown));
    assert_eq!(
        refused(Reason::CreditOverrun, &Frame::reply(1, 1, &signed(1, 1))),
        ("question", unknown)
    );
}

#[test]
fn of_a_frame_that_is_cut_off_the_signature_is_still_checked() {
    let mut batch = signed(1, 10_000);
    batch.signature.0[9] ^= 1;
    let frame = Frame::push(1, &batch);
    let kept = &frame[..Rejection::MOST_BYTES];
    let examined = examine(&row(Reason::BadSignature, &frame), kept, &known());
    assert!(examined.agrees() && examined.hash_fits.is_none(), "{examined:?}");
    let at = examined.refused.expect("a check");
    assert_eq!(
        (examined.checks[at].name, examined.checks[at].outcome),
        ("signature", Outcome::Failed)
    );
    let content = examined.checks.iter().find(|check| check.name == "content").expect("there");
    assert_eq!(content.outcome, Outcome::Unknown);
}

#[test]
fn a_row_that_its_frame_does_not_bear_out_is_found() {
    let good = Frame::push(1, &signed(1, 10));
    let claimed = row(Reason::BadSignature, &good);
    let examined = examine(&claimed, &good, &known());
    assert_eq!((examined.refused, examined.agrees()), (None, false), "it is signed well");
    let mut other = good;
    other[200] ^= 1;
    let examined = examine(&claimed, &other, &known());
    assert_eq!((examined.hash_fits, examined.agrees()), (Some(false), false), "another frame");
    // What fails first decides, whatever the row says.
    let stranger = Frame::push(1, &signed(9, 10));
    assert!(!examine(&row(Reason::AuthorRate, &stranger), &stranger, &known()).agrees());
}

#[test]
fn no_bytes_are_too_odd_to_examine() {
    for kind in 0..=255u8 {
        for tail in [&[][..], &[0; 7], &[255; 4094]] {
            let frame = [&[VERSION, kind][..], tail].concat();
            for reason in Reason::ALL {
                let mut row = row(reason, &frame);
                let _ = examine(&row, &frame, &Known::default());
                row.size = u64::MAX;
                let _ = examine(&row, &frame, &known());
                let _ = examine(&row, &[], &known());
            }
        }
    }
}
