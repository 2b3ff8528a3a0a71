//! Liars against the table of searches.

use std::collections::BTreeMap;

use super::{Later, Victim, identity, lacks};
use crate::crypto::Digest;
use crate::protocol::{LinkId, Reason};
use crate::wire::limits::{ASKED_OF_A_LINK, MAX_WANTED_PER_LINK};
use crate::wire::{Batch, BatchId, Class, Frame, SlotId, Want};

/// One member gives the batches that it is asked for, and all others are silent.
fn gives(member: LinkId, batches: &[Batch]) -> impl FnMut(&mut Victim, LinkId, Frame) {
    move |victim, link, frame| match frame {
        Frame::Request(request) if link == member => victim.reply_all(link, &request, batches),
        _ => {}
    }
}

#[test]
fn a_neighbour_that_answers_nothing_does_not_hold_up_what_others_have() {
    let mut victim = Victim::among(4, 1);
    let (liar, honest) = (victim.link(1), victim.link(2));
    let batches = victim.chain(4, 300);
    // The liar announces everything at once, and gives nothing.
    victim.announce(liar, &batches);
    victim.announce(honest, &batches);
    victim.run(6000, gives(honest, &batches));
    assert_eq!(victim.delivered.len(), 300);
}

#[test]
fn naming_what_is_found_elsewhere_gives_nobody_a_larger_share() {
    let mut victim = Victim::among(4, 2);
    let (liar, honest) = (victim.link(1), victim.link(2));
    let author = identity(5).public();
    let invent = |victim: &mut Victim, from: u64| {
        let item = |seq| SlotId { author, seq, id: Digest([9; 32]) };
        victim.announce_slots(liar, (from..from + 512).map(item));
    };
    invent(&mut victim, 1);
    let batches = victim.chain(4, 400);
    for batch in &batches {
        victim.announce(honest, std::slice::from_ref(batch));
        victim.announce(liar, std::slice::from_ref(batch));
        victim.push(honest, batch);
    }
    invent(&mut victim, 513);
    assert_eq!(victim.delivered.len(), 400);
    let searches = victim.node.relay.searching();
    assert_eq!(searches, MAX_WANTED_PER_LINK);
}

#[test]
fn liars_that_fill_the_table_of_searches_leave_room_for_others() {
    let liars = 20;
    let mut victim = Victim::among(64, 1);
    let author = identity(1).public();
    for liar in 1..=liars {
        let link = victim.link(liar);
        let id = |seq: u64| Digest::of(&[&liar.to_be_bytes(), &seq.to_be_bytes()]);
        victim.announce_slots(link, (1..=512).map(|seq| SlotId { author, seq, id: id(seq) }));
    }
    let honest = victim.link(liars + 1);
    let batches = victim.chain(64, 200);
    victim.announce(honest, &batches);
    victim.run(2000, gives(honest, &batches));
    assert_eq!(victim.delivered.len(), 200);
}

#[test]
fn many_liars_that_name_a_batch_first_do_not_crowd_out_the_one_that_has_it() {
    let mut victim = Victim::among(31, 3);
    let batches: Vec<Batch> = (31..34).flat_map(|author| victim.chain(author, 300)).collect();
    let links = victim.links(1..=11);
    links.iter().for_each(|link| victim.announce(*link, &batches));
    let honest = links[10];
    victim.run(6000, gives(honest, &batches));
    assert_eq!(victim.delivered.len(), 900);
}

/// What a liar does when it is asked for a batch that it announced.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    Silence,
    Missing,
}

/// Links `liars` liars, who announce every batch first, and then two honest members who announce it
/// and have it. Publishes `count` batches, one a second; returns after how many milliseconds each
/// was given, and the number of replies of honest members.
fn promised(liars: u16, lie: Lie, count: u64) -> (Vec<u64>, u64) {
    let members = 3 * liars + 1;
    let mut victim = Victim::among(members, 1);
    let links = victim.links(1..=liars + 2);
    let batches = victim.chain(members, count);
    let (mut times, mut replies) = (vec![], 0);
    for batch in &batches {
        links.iter().for_each(|link| victim.announce(*link, std::slice::from_ref(batch)));
        let begun = victim.now;
        let mut after = None;
        victim.run(1000, |victim, link, frame| match frame {
            Frame::Request(asked) => {
                for want in asked.wants.iter() {
                    if link > links[usize::from(liars) - 1] {
                        victim.reply(link, want, &batches);
                        replies += 1;
                        after.get_or_insert(victim.now.since(begun).as_millis() as u64);
                    } else if lie == Lie::Missing {
                        victim.say(link, &lacks(want, 0));
                    }
                }
            }
            Frame::Compare(asked) => victim.agree(link, &asked),
            _ => {}
        });
        times.push(after.expect("it came"));
    }
    assert_eq!(victim.delivered.len() as u64, count);
    assert!(victim.bans.is_empty(), "nobody is blamed for being slow");
    (times, replies)
}

#[test]
fn whoever_announces_first_and_never_answers_delays_by_two_round_trips_at_most() {
    for (liars, lie) in [(1, Lie::Silence), (3, Lie::Silence), (10, Lie::Silence)]
        .into_iter()
        .chain([(33, Lie::Silence), (33, Lie::Missing)])
    {
        let (times, replies) = promised(liars, lie, 20);
        let worst = *times.iter().max().expect("some");
        assert!(worst <= 2 * 150 + 10, "{liars} liars: {times:?} ms");
        let late = times.iter().filter(|after| **after > 20).count();
        assert!(late <= 2, "{liars} liars cost one burst a term: {times:?} ms");
        assert!(replies <= 22, "{liars} liars: {replies} replies for 20 batches");
    }
}

#[test]
fn a_slow_honest_node_is_asked_last_and_still_asked() {
    let mut victim = Victim::among(4, 1);
    let slow = victim.link(1);
    let batches = victim.chain(4, 40);
    let mut later = Later::default();
    for batch in &batches {
        victim.announce(slow, std::slice::from_ref(batch));
        for _ in 0..10 {
            victim.run(100, |victim, link, frame| match frame {
                Frame::Request(request) => later.add(victim, 400, link, &request),
                Frame::Compare(asked) => victim.agree(link, &asked),
                _ => {}
            });
            for (link, want) in later.due(victim.now) {
                victim.reply(link, &want, &batches);
            }
        }
    }
    assert_eq!((victim.delivered.len(), victim.bans.len()), (40, 0));
}

/// Liars announce ids that do not exist in an honest author's lane. The member that has real
/// batches must still be asked for them in time.
#[test]
fn made_up_ids_of_an_honest_author_do_not_hold_up_its_batches() {
    let mut victim = Victim::among(31, 1);
    let author = identity(31).public();
    let batches = victim.chain(31, 400);
    let links = victim.links(1..=11);
    let honest = links[10];
    for link in &links[..10] {
        let id = |seq: u64| Digest::of(&[&link.0.to_be_bytes(), &seq.to_be_bytes()]);
        let item = |seq| SlotId { author, seq, id: id(seq) };
        victim.announce_slots(*link, (401..913).map(item));
    }
    let mut late: Vec<u64> = vec![];
    for batch in &batches {
        let begun = victim.now;
        victim.announce(honest, std::slice::from_ref(batch));
        let mut asked = None;
        victim.run(25, |victim, link, frame| match frame {
            Frame::Request(request) if link == honest => {
                asked.get_or_insert(victim.now.since(begun).as_millis() as u64);
                request.wants.iter().for_each(|want| victim.reply(link, want, &batches));
            }
            Frame::Compare(compare) => victim.agree(link, &compare),
            _ => {}
        });
        late.extend(asked.filter(|after| *after > 10));
    }
    victim.run(1000, gives(honest, &batches));
    assert_eq!(victim.delivered.len(), 400);
    assert!(late.len() < 80, "{} of 400 late: {late:?} ms", late.len());
}

#[test]
fn searches_that_cannot_go_on_cost_little() {
    let mut victim = Victim::among(49, 1);
    let author = identity(49).public();
    for n in 1..=16u16 {
        let link = victim.link(n);
        let id = |seq: u64| Digest::of(&[&n.to_be_bytes(), &seq.to_be_bytes()]);
        victim.announce_slots(link, (0..512).map(|i| SlotId { author, seq: 1 + i, id: id(i) }));
    }
    assert_eq!(victim.node.relay.searching(), 8192);
    victim.run(5000, |_, _, _| {});
    let looks = victim.node.relay.looks;
    assert!(looks < 60_000, "{looks} in five seconds");
}

/// A liar publishes far above its quota, and its neighbours announce all of it. A batch over the
/// quota must be asked for once the quota has room for it, only once, and of one neighbour.
#[test]
fn what_is_over_a_quota_is_fetched_once_and_only_when_it_can_be_taken() {
    const BODY: usize = 1 << 20;
    let mut victim = Victim::among(31, 1);
    let links = victim.links(1..=10);
    let (mut prev, mut batches) = (Digest::ZERO, vec![]);
    for seq in 1..=80u64 {
        let batch = victim.batch(31, seq, prev, vec![seq as u8; BODY - 100]);
        prev = batch.id();
        batches.push(batch);
    }
    links.iter().for_each(|link| victim.announce(*link, &batches));
    let mut asked: BTreeMap<(u64, Option<BatchId>), u32> = BTreeMap::new();
    let mut open: Vec<(LinkId, Want)> = vec![];
    let mut most_open = 0;
    for _ in 0..600 {
        victim.run(50, |victim, link, frame| match frame {
            Frame::Request(request) => {
                for want in request.wants.iter() {
                    *asked.entry((want.seq, want.id)).or_default() += 1;
                    open.push((link, *want));
                }
            }
            Frame::Compare(compare) => victim.agree(link, &compare),
            _ => {}
        });
        most_open = most_open.max(open.len());
        for (link, want) in std::mem::take(&mut open) {
            victim.reply(link, &want, &batches);
        }
    }
    assert_eq!(victim.delivered.len(), 80, "all of it comes in time");
    let counts = &victim.node.counters().rejected;
    assert_eq!(counts.get(&Reason::AuthorRate), None, "{counts:?}");
    assert!(asked.values().all(|count| *count == 1), "{asked:?}");
    assert!(most_open <= 16 + links.len() * ASKED_OF_A_LINK, "{most_open} at once");
}

#[test]
fn answers_that_are_not_checked_yet_take_the_room_of_wants() {
    let mut victim = Victim::among(4, 1);
    let peer = victim.link(1);
    let batches = victim.chain(4, 300);
    victim.announce(peer, &batches);
    victim.slow = true;
    victim.run(3000, gives(peer, &batches));
    let over = victim.node.occupancy().into_iter().find(|(_, entries, limit)| entries > limit);
    assert_eq!(over, None);
    assert!(victim.waiting.len() >= 32, "{} wait to be checked", victim.waiting.len());
    victim.slow = false;
    victim.answer();
    victim.run(3000, gives(peer, &batches));
    assert_eq!(victim.delivered.len(), 300, "and it goes on once they are checked");
}

/// Answers are under way for long, each request is consumed only with its last answer, and lying
/// authors let slots turn up one at a time. A few slots must not use up the link's credit.
#[test]
fn slots_that_turn_up_one_at_a_time_do_not_fill_a_link() {
    let authors = 12;
    let mut victim = Victim::among(4, authors);
    let link = victim.link(1);
    victim.misers.insert((link, Class::Request));
    let mut asked = 0;
    for author in 4..4 + authors {
        let batches = victim.chain(author, 1);
        victim.announce(link, &batches);
        victim.run(100, |_, _, frame| {
            asked += u16::from(matches!(frame, Frame::Request(_)));
        });
    }
    assert_eq!(asked, authors);
}
