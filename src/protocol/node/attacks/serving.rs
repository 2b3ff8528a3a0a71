//! Askers that want more than their share, and what they are told.

use std::collections::BTreeMap;

use super::{Victim, identity, list};
use crate::crypto::Digest;
use crate::protocol::{Input, LinkId, Reason};
use crate::wire::limits::{
    MAX_BODY, MAX_READS_PER_PEER, MAX_SLOT, SERVE_BYTE_BURST, SERVE_BYTES_PER_S, WINDOW,
};
use crate::wire::{Batch, Class, Frame, Missing, Reply, Request, Want, WhyMissing};

const BODY: usize = 1 << 20;

/// A node that holds `count` long batches of author 4, and a short one of author 5 that is not
/// among the newest. Member 3 is its only link.
fn laden(count: u64) -> Victim {
    let mut victim = Victim::among(4, 2);
    let feeder = victim.link(3);
    let small = victim.batch(5, 1, Digest::ZERO, "small");
    victim.push(feeder, &small);
    let mut prev = Digest::ZERO;
    for seq in 1..=count {
        let batch = victim.batch(4, seq, prev, vec![seq as u8; BODY - 100]);
        prev = batch.id();
        victim.push(feeder, &batch);
        victim.run(100, polite);
    }
    assert_eq!(victim.delivered.len() as u64, count + 1);
    victim.sent.clear();
    victim
}

fn polite(victim: &mut Victim, link: LinkId, frame: Frame) {
    if let Frame::Compare(compare) = frame {
        victim.agree(link, &compare);
    }
}

fn request(author: u16, first_ticket: u32, seqs: impl Iterator<Item = u64>) -> Frame {
    let author = identity(author).public();
    let want = |(i, seq)| Want { ticket: first_ticket + i, author, seq, id: None };
    Frame::Request(Request { wants: list((0..).zip(seqs).map(want).collect()) })
}

fn missing(frames: impl Iterator<Item = (LinkId, Frame)>) -> Vec<Missing> {
    frames.filter_map(|(_, f)| if let Frame::Missing(m) = f { Some(m) } else { None }).collect()
}

#[test]
fn what_is_pruned_while_the_node_runs_is_said_to_be_pruned() {
    let mut victim = Victim::among(4, 2);
    let newcomer = victim.link(1);
    // More than the newest batches that are held in memory.
    for author in [4, 5] {
        let batches = victim.chain(author, 300);
        victim.push_all(newcomer, &batches);
    }
    let author = identity(4).public();
    victim.give(Input::Pruned { author, floor: 50 });
    victim.sent.clear();
    victim.unreadable = true;
    victim.say(newcomer, &request(4, 1, [2, 50, 51, 301].into_iter()));
    let answers = missing(std::mem::take(&mut victim.sent).into_iter());
    let why = |n: usize| (answers[n].ticket, answers[n].why, answers[n].floor, answers[n].next);
    assert_eq!(why(0), (1, WhyMissing::Pruned, 50, 51));
    assert_eq!(why(1), (2, WhyMissing::Pruned, 50, 51));
    assert_eq!(why(2), (4, WhyMissing::Unknown, 50, 0), "nothing is read for it");
    assert_eq!(why(3), (3, WhyMissing::Busy, 50, 52), "a read that failed");
}

/// A row that cannot be read may reach a full disk a little later, or never. Its slot must be
/// listed to peers again, after pauses that grow from 2 s to 60 s.
#[test]
fn what_could_not_be_read_is_named_again_before_long() {
    let mut victim = Victim::among(4, 2);
    let link = victim.link(1);
    // Above the tip, and more than the newest batches that are held in memory.
    for author in [4, 5] {
        let batches = victim.chain(author, 300);
        victim.push_all(link, &batches[1..]);
    }
    let awake = |victim: &mut Victim, link, frame: Frame| match frame {
        Frame::Ping => victim.say(link, &Frame::Ping),
        frame => polite(victim, link, frame),
    };
    victim.run(500, awake);
    let names = |victim: &mut Victim| {
        let author = victim.index(4);
        let key = identity(4).public();
        victim.node.lanes.above(author, key, victim.now).any(|slot| slot.seq == 2)
    };
    let mut pauses = Vec::new();
    for ticket in 1..8 {
        assert!(names(&mut victim));
        victim.unreadable = true;
        victim.say(link, &request(4, ticket, [2].into_iter()));
        let since = victim.now;
        while !names(&mut victim) {
            victim.run(500, awake);
        }
        pauses.push(victim.now.since(since).as_millis());
    }
    let near = |pause: u128, least: u128| (least..=least + 500).contains(&pause);
    assert!(near(pauses[0], 2000) && near(pauses[6], 60_000), "{pauses:?}");
    assert!(pauses.windows(2).all(|two| two[0] < two[1] && two[1] <= 2 * two[0] + 1000));
}

#[test]
fn an_asker_is_told_what_comes_after_a_gap() {
    let mut victim = Victim::among(4, 1);
    let link = victim.link(1);
    let batches = victim.chain(4, 9);
    [0, 1, 4, 8].into_iter().for_each(|i| victim.push(link, &batches[i]));
    victim.sent.clear();
    victim.say(link, &request(4, 1, [3, 4, 6, WINDOW, MAX_SLOT].into_iter()));
    let answers = missing(std::mem::take(&mut victim.sent).into_iter());
    let next: Vec<u64> = answers.iter().map(|missing| missing.next).collect();
    assert_eq!(next, [5, 5, 9, 0, 0]);
}

/// A liar asks for long batches for ten seconds, four requests at a time. The node must read no
/// more than it serves.
#[test]
fn no_more_is_read_than_is_served() {
    let mut victim = laden(17);
    let liar = victim.link(1);
    let (mut sent, mut ticket) = (0u64, 0);
    let (mut served, mut refused) = (0u64, 0);
    let begun = victim.now;
    let before = victim.read;
    let requests = (liar, Class::Request as u8);
    while victim.now.since(begun).as_secs() < 10 {
        while sent - victim.consumed.get(&requests).map_or(0, |(frames, _)| *frames) < 4 {
            victim.say(liar, &request(4, ticket, 1..17));
            (sent, ticket) = (sent + 1, ticket + 16);
        }
        victim.run(5, |victim, link, frame| match frame {
            Frame::Reply(reply) => served += reply.batch.body.len() as u64,
            Frame::Missing(_) => refused += 1,
            frame => polite(victim, link, frame),
        });
    }
    let read = victim.read - before;
    let most = SERVE_BYTE_BURST + 10 * SERVE_BYTES_PER_S + (MAX_READS_PER_PEER * MAX_BODY) as u64;
    assert!(served > 9 * SERVE_BYTES_PER_S, "{served} bytes: it is served what it may be");
    assert!(read <= most, "{} MiB read, and {} served", read >> 20, served >> 20);
    assert!(read <= served + BODY as u64 && refused == 0, "{refused} refused");
}

#[test]
fn more_wants_than_may_be_open_are_refused() {
    for excess in [0, 1] {
        let mut victim = laden(16);
        let liar = victim.link(1);
        for frame in 0..4 {
            victim.say(liar, &request(4, frame * 16, 1..17));
        }
        let replies = |victim: &Victim| {
            let is_reply = |(_, frame): &&(LinkId, Frame)| matches!(frame, Frame::Reply(_));
            victim.sent.iter().filter(is_reply).count() as u64
        };
        let room = replies(&victim);
        assert!((1..16).contains(&room), "the others wait for the rate: {room}");
        victim.say(liar, &request(4, 100, 1..1 + room + excess));
        assert_eq!(replies(&victim), room);
        let rejected = &victim.node.counters().rejected;
        let blamed = rejected.get(&Reason::CreditOverrun).copied().unwrap_or(0);
        assert_eq!(blamed, excess, "{rejected:?}");
    }
}

#[test]
fn all_that_a_link_may_want_is_served_before_its_asker_gives_it_up() {
    let mut victim = laden(16);
    let link = victim.link(1);
    for frame in 0..4 {
        victim.say(link, &request(4, frame * 16, 1..17));
    }
    let (mut tickets, begun) = (BTreeMap::new(), victim.now);
    victim.run(10_000, |victim, link, frame| match frame {
        Frame::Reply(reply) => drop(tickets.insert(reply.ticket, victim.now.since(begun))),
        Frame::Missing(missing) => panic!("{missing:?}"),
        frame => polite(victim, link, frame),
    });
    assert_eq!(tickets.len(), 64);
    let last = tickets.values().max().expect("some");
    assert!(last.as_secs() < 5, "the last after {last:?}");
}

#[test]
fn one_that_asks_for_much_does_not_hold_up_one_that_asks_for_little() {
    let mut victim = laden(17);
    let (liar, honest) = (victim.link(1), victim.link(2));
    victim.slow = true;
    for frame in 0..4 {
        victim.say(liar, &request(4, frame * 16, 1..17));
    }
    let reads = |victim: &Victim| {
        victim.waiting.iter().filter(|input| matches!(input, Input::Read { .. })).count()
    };
    assert!(reads(&victim) <= MAX_READS_PER_PEER, "{} reads at once", reads(&victim));
    let before = reads(&victim);
    victim.say(honest, &request(5, 1, 1..2));
    assert_eq!(reads(&victim), before + 1, "its turn comes at once");
}

#[test]
fn a_link_that_goes_while_it_is_served_pays_for_what_was_read() {
    let mut victim = laden(17);
    for round in 0..20u64 {
        victim.slow = true;
        let link = victim.link_as(1, LinkId(100 + round));
        victim.say(link, &request(4, 1, 1..17));
        victim.lose(link);
        victim.slow = false;
        victim.answer();
    }
    let read = victim.read;
    let most = SERVE_BYTE_BURST + ((MAX_READS_PER_PEER + 17) * MAX_BODY) as u64;
    assert!(read <= most, "{} MiB read for nobody", read >> 20);
}

/// A liar brings each link up before it uses the one before it, and says hello on it once that one
/// has spent all it may. The new link must not come with a full budget.
#[test]
fn a_link_that_came_up_before_is_no_fresh_start() {
    let mut victim = laden(17);
    let up = |victim: &mut Victim, link| {
        let peer = identity(1).public();
        victim.give(Input::LinkUp { link: LinkId(link), peer, dialled: false });
    };
    up(&mut victim, 100);
    for link in 100..120 {
        victim.hello(LinkId(link), link as u8);
        up(&mut victim, link + 1);
        victim.say(LinkId(link), &request(4, 1, 1..17));
    }
    let most = SERVE_BYTE_BURST + (MAX_READS_PER_PEER * MAX_BODY) as u64;
    assert!(victim.read <= most, "{} MiB read", victim.read >> 20);
}

#[test]
fn a_ticket_that_is_open_names_no_second_want() {
    for apart in [false, true] {
        let mut victim = laden(17);
        let link = victim.link(1);
        victim.slow = true;
        if apart {
            victim.say(link, &request(4, 7, 1..2));
            victim.say(link, &request(4, 7, 2..3));
        } else {
            let author = identity(4).public();
            let want = |seq| Want { ticket: 7, author, seq, id: None };
            let wants = list(vec![want(1), want(2)]);
            victim.say(link, &Frame::Request(Request { wants }));
        }
        assert_eq!(victim.blamed(1), Some(Reason::Malformed));
        let reads = victim.waiting.iter().filter(|input| matches!(input, Input::Read { .. }));
        assert_eq!(reads.count(), usize::from(apart), "of a frame that is refused nothing is read");
    }
    // A ticket may be used again once its want is answered.
    let mut victim = laden(1);
    let link = victim.link(1);
    for _ in 0..3 {
        victim.say(link, &request(4, 7, 1..2));
    }
    assert_eq!(victim.blamed(1), None);
}

#[test]
fn an_answer_to_nothing_convicts_and_one_to_a_want_does_not() {
    let mut victim = Victim::among(4, 1);
    let batches = victim.chain(4, 2);
    let (liar, other, honest) = (victim.link(1), victim.link(2), victim.link(3));
    let reply = |ticket, batch: &Batch| {
        Frame::Reply(Box::new(Reply { ticket, hops: 1, batch: batch.clone() }))
    };
    victim.say(liar, &reply(9, &batches[0]));
    assert_eq!(victim.blamed(1), Some(Reason::CreditOverrun), "no want was open");
    for link in [other, honest] {
        victim.announce(link, &batches[..1]);
    }
    victim.run(1000, |victim, link, frame| match frame {
        Frame::Request(asked) => {
            let answer = if link == other { &batches[1] } else { &batches[0] };
            victim.say(link, &reply(asked.wants[0].ticket, answer));
            victim.say(link, &reply(asked.wants[0].ticket, answer));
        }
        frame => polite(victim, link, frame),
    });
    assert_eq!(victim.blamed(2), Some(Reason::CreditOverrun), "the ticket's want is another");
    assert_eq!(victim.blamed(3), Some(Reason::CreditOverrun), "it was answered already");
    assert_eq!(victim.delivered, [batches[0].id()]);
}
