//! Authors against what clients are told, and against a slot's one first batch.

use super::Victim;
use crate::crypto::Digest;
use crate::wire::Frame;

#[test]
fn two_batches_of_one_slot_that_are_posted_together_are_not_both_its_first() {
    let mut victim = Victim::among(4, 1);
    victim.slow = true;
    let now = victim.now;
    for text in ["one", "two"] {
        let batch = victim.batch(4, 1, Digest::ZERO, text);
        victim.node.submit(now, batch).expect("room");
        victim.drain();
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
    let now = victim.now;
    victim.node.submit(now, posted.clone()).expect("room");
    victim.drain();
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
            request.wants.iter().for_each(|want| victim.reply(link, want, &batches));
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
    batches[..399].iter().for_each(|batch| victim.push(link, batch));
    // Two for one slot are under check, and only one of them fits their author's quota.
    let other = victim.batch(4, 400, batches[398].id(), "other");
    victim.slow = true;
    victim.push(link, &batches[399]);
    victim.push(link, &other);
    let now = victim.now;
    victim.node.submit(now, other.clone()).expect("room");
    victim.drain();
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
