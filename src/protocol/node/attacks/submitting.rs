//! Authors against what clients are told, and against the rule that a slot has one first batch.

use super::{Victim, identity};
use crate::crypto::{Digest, Signature};
use crate::protocol::{Durability, Input, Reason, Refusal};
use crate::wire::{Batch, Blob, Frame};

#[test]
fn two_batches_of_one_slot_that_are_posted_together_are_not_both_its_first() {
    let mut victim = Victim::among(4, 1);
    victim.slow = true;
    for text in ["one", "two"] {
        victim.submit(&victim.batch(4, 1, Digest::ZERO, text));
    }
    victim.answer();
    let firsts = victim.rows.iter().filter(|row| row.first).count();
    assert_eq!((firsts, victim.delivered.len()), (1, 1), "{:?}", victim.submitted);
}

#[test]
fn a_batch_that_comes_while_its_slot_is_written_is_not_its_first_too() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let (posted, pushed) =
        (victim.batch(4, 1, Digest::ZERO, "one"), victim.batch(4, 1, Digest::ZERO, "two"));
    victim.slow = true;
    victim.submit(&posted);
    let checked = victim.waiting.pop_front().expect("a check");
    victim.give(checked);
    victim.push(link, &pushed);
    let checked = victim.waiting.pop_back().expect("a check");
    victim.give(checked);
    victim.answer();
    victim.slow = false;
    let batches = [pushed];
    victim.run(1000, |victim, link, frame| {
        if let Frame::Request(request) = frame {
            victim.reply_all(link, &request, &batches);
        }
    });
    let firsts: Vec<bool> = victim.rows.iter().map(|row| row.first).collect();
    assert_eq!((firsts, victim.delivered.len()), (vec![true, false], 1));
}

#[test]
fn what_a_client_is_told_is_kept_is_kept() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let batches = victim.chain(4, 400);
    victim.push_all(link, &batches[..399]);
    // Two batches for one slot are under check, and the author's quota has room for only one.
    let other = victim.batch(4, 400, batches[398].id(), "other");
    victim.slow = true;
    victim.push(link, &batches[399]);
    victim.push(link, &other);
    victim.submit(&other);
    victim.answer();
    assert_eq!(victim.submitted.len(), 1);
    let kept = victim.rows.iter().any(|row| row.id == other.id());
    assert_eq!(victim.submitted[0].is_ok(), kept, "{:?}", victim.submitted);
}

#[test]
fn statements_of_neighbours_under_check_leave_clients_their_places() {
    let mut victim = Victim::among(12, 300);
    victim.slow = true;
    for n in 1..12 {
        let link = victim.link(n);
        for i in 0..28 {
            let batch = victim.batch(12 + (n - 1) * 27 + i, 1, Digest::ZERO, "x");
            victim.push(link, &batch);
        }
    }
    let (now, batch) = (victim.now, victim.batch(311, 1, Digest::ZERO, "mine"));
    assert!(victim.node.submit(now, batch).is_ok());
}

/// Answers the check that has waited longest.
fn check(victim: &mut Victim) {
    let place = victim.waiting.iter().position(|input| matches!(input, Input::Checked { .. }));
    let checked = victim.waiting.remove(place.expect("a check")).expect("there");
    victim.give(checked);
}

/// Answers the write that has waited longest: as written, or as failed.
fn written(victim: &mut Victim, works: bool) {
    let place = victim.waiting.iter().position(|input| matches!(input, Input::Written { .. }));
    let input = victim.waiting.remove(place.expect("a write")).expect("there");
    let Input::Written { token } = input else { unreachable!() };
    victim.give(if works { input } else { Input::WriteFailed { token } });
}

#[test]
fn a_client_is_told_that_a_known_batch_is_kept_only_once_it_is_synced() {
    for works in [true, false] {
        let mut victim = Victim::among(4, 1);
        let link = victim.link(1);
        let batch = victim.batch(4, 1, Digest::ZERO, "x");
        victim.slow = true;
        victim.push(link, &batch);
        check(&mut victim);
        victim.submit(&batch);
        assert!(victim.submitted.is_empty(), "told before any write was answered");
        // The write of the neighbour's copy may have failed, so no answer to the client may rest on
        // it.
        written(&mut victim, works);
        assert!(victim.submitted.is_empty(), "told when a lazy write was answered");
        check(&mut victim);
        assert!(victim.submitted.is_empty(), "told before its own write was answered");
        let synced = (batch.id(), Durability::Synced);
        assert_eq!(victim.writes.last(), Some(&synced));
        written(&mut victim, works);
        let told = if works { Ok(batch.id()) } else { Err(Refusal::NotWritten) };
        assert_eq!((victim.submitted.clone(), victim.delivered.len()), (vec![told], 1));
    }
}

#[test]
fn a_copy_by_a_link_is_no_answer_to_the_client_whose_batch_is_written() {
    // The copy comes while the client's batch is being checked, or while it is being written.
    for while_written in [false, true] {
        let mut victim = Victim::among(4, 1);
        let link = victim.link(1);
        let batch = victim.batch(4, 1, Digest::ZERO, "x");
        victim.slow = true;
        victim.submit(&batch);
        if while_written {
            check(&mut victim);
        }
        victim.push(link, &batch);
        check(&mut victim);
        let kinds: Vec<Durability> = victim.writes.iter().map(|(_, safe)| *safe).collect();
        assert_eq!(kinds, [Durability::Synced, Durability::Lazy]);
        assert!(victim.submitted.is_empty());
        written(&mut victim, false);
        assert_eq!(victim.submitted, [Err(Refusal::NotWritten)]);
        written(&mut victim, true);
        assert_eq!((victim.submitted.len(), victim.delivered.len()), (1, 1));
    }
}

#[test]
fn a_second_id_that_is_only_evidence_is_not_said_to_be_published() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let [one, two] = ["one", "two"].map(|text| victim.batch(4, 1, Digest::ZERO, text));
    victim.push(link, &one);
    victim.push(link, &two);
    victim.submit(&two);
    victim.submit(&one);
    let refused = Err(Refusal::Rejected(Reason::Equivocation));
    assert_eq!(victim.submitted, [refused, Ok(one.id())]);
}

/// Forgeries in an author's name, each with what is wrong with it.
fn forgeries(victim: &Victim, genuine: &Batch) -> Vec<(Reason, Batch)> {
    let none = Signature([0; 64]);
    let mut body = genuine.clone();
    let other = victim.batch(4, 1, Digest::ZERO, "!");
    body.body = Blob::new(other.body.to_vec()).expect("short");
    let unsigned = Batch { signature: none, ..genuine.clone() };
    // Another batch for the same slot, and one with a wrong predecessor: unless they are signed,
    // they say nothing about the author.
    let second = Batch { signature: none, ..victim.batch(4, 1, Digest::ZERO, "2") };
    let stray = Batch { signature: none, ..victim.batch(4, 2, Digest([9; 32]), "3") };
    let signature = Reason::BadSignature;
    vec![
        (Reason::ContentMismatch, body),
        (signature, unsigned),
        (signature, second),
        (signature, stray),
    ]
}

#[test]
fn nobody_is_named_for_what_it_did_not_sign_at_either_door() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let genuine = victim.batch(4, 1, Digest::ZERO, "1");
    victim.push(link, &genuine);
    for (reason, forged) in forgeries(&victim, &genuine) {
        (victim.submitted, victim.log) = (vec![], vec![]);
        victim.now = victim.now.after(std::time::Duration::from_secs(2));
        victim.give(Input::Wake);
        victim.submit(&forged);
        assert_eq!(victim.submitted, [Err(Refusal::Rejected(reason))]);
        let rows: Vec<_> = victim.log.iter().filter(|row| row.link.is_none()).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].reason, rows[0].proven), (reason, false));
    }
    for (reason, forged) in forgeries(&victim, &genuine) {
        if forged.id() == genuine.id() {
            continue; // on a link, a known id is a copy, whatever comes with it
        }
        let mut victim = Victim::among(4, 1);
        let link = victim.link(1);
        victim.push(link, &genuine);
        victim.push(link, &forged);
        let last = victim.log.last().expect("a row");
        assert_eq!((last.reason, last.proven), (reason, false));
    }
}

#[test]
fn what_an_author_signed_is_proven_at_both_doors_and_claims_are_not() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let [one, two] = ["one", "two"].map(|text| victim.batch(4, 1, Digest::ZERO, text));
    victim.push(link, &one);
    victim.submit(&two);
    let row = victim.log.last().expect("a row");
    assert_eq!((row.reason, row.proven, row.link), (Reason::Equivocation, true, None));
    victim.push(link, &two);
    let row = victim.log.last().expect("a row");
    let from = Some(identity(1).public());
    assert_eq!((row.reason, row.proven, row.link), (Reason::Equivocation, true, from));
    let far = victim.batch(4, 5000, one.id(), "far");
    victim.push(link, &Batch { signature: Signature([0; 64]), ..far });
    let row = victim.log.last().expect("a row");
    assert_eq!((row.reason, row.proven), (Reason::TooFarAhead, false));
    assert_eq!(row.author, Some(identity(4).public()), "claimed");
}

#[test]
fn a_client_s_batch_out_of_order_is_judged_after_its_signature() {
    let mut victim = Victim::among(4, 1);
    let third = victim.stray(4, 3);
    victim.submit(&third);
    victim.submit(&Batch { signature: Signature([0; 64]), ..third });
    victim.submit(&victim.stray(4, 9000));
    let next = Err(Refusal::OutOfOrder { expected: 1 });
    assert_eq!(victim.submitted, [next, Err(Refusal::Rejected(Reason::BadSignature)), next]);
}
