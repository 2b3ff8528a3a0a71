//! Liars against the table of what is looked for.

use super::{Victim, identity, list};
use crate::crypto::Digest;
use crate::protocol::LinkId;
use crate::wire::limits::MAX_WANTED_PER_LINK;
use crate::wire::{Announce, Batch, Frame, SlotId};

#[test]
fn a_neighbour_that_answers_nothing_does_not_hold_up_what_others_have() {
    let mut victim = Victim::among(4, 1);
    let (liar, honest) = (victim.link(1), victim.link(2));
    let batches = victim.chain(4, 300);
    // The liar is quick to name everything, and slow to give anything.
    victim.announce(liar, &batches);
    victim.announce(honest, &batches);
    victim.run(6000, |victim, link, frame| match frame {
        Frame::Request(request) if link == honest => {
            request.wants.iter().for_each(|want| victim.reply(link, want, &batches));
        }
        _ => {}
    });
    assert_eq!(victim.delivered.len(), 300);
}

#[test]
fn naming_what_is_found_elsewhere_gives_nobody_a_larger_share() {
    let mut victim = Victim::among(4, 2);
    let (liar, honest) = (victim.link(1), victim.link(2));
    let author = identity(5).public();
    let invent = |victim: &mut Victim, from: u64| {
        for from in (from..from + 512).step_by(128) {
            let item = |seq| SlotId { author, seq, id: Digest([9; 32]) };
            let items = list((from..from + 128).map(item).collect());
            victim.say(liar, &Frame::Announce(Announce { items }));
        }
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
        for from in 0..4 {
            let id = |seq: u64| Digest::of(&[&liar.to_be_bytes(), &seq.to_be_bytes()]);
            let items = (1..=128).map(|i| SlotId { author, seq: from * 128 + i, id: id(i) });
            victim.say(link, &Frame::Announce(Announce { items: list(items.collect()) }));
        }
    }
    let honest = victim.link(liars + 1);
    let batches = victim.chain(64, 200);
    victim.announce(honest, &batches);
    victim.run(2000, |victim, link, frame| match frame {
        Frame::Request(request) if link == honest => {
            request.wants.iter().for_each(|want| victim.reply(link, want, &batches));
        }
        _ => {}
    });
    assert_eq!(victim.delivered.len(), 200);
}

#[test]
fn many_liars_that_name_a_batch_first_do_not_crowd_out_the_one_that_has_it() {
    let mut victim = Victim::among(31, 3);
    let batches: Vec<Batch> = (31..34).flat_map(|author| victim.chain(author, 300)).collect();
    let links: Vec<LinkId> = (1..=11).map(|n| victim.link(n)).collect();
    links.iter().for_each(|link| victim.announce(*link, &batches));
    let honest = links[10];
    victim.run(6000, |victim, link, frame| match frame {
        Frame::Request(request) if link == honest => {
            request.wants.iter().for_each(|want| victim.reply(link, want, &batches));
        }
        _ => {}
    });
    assert_eq!(victim.delivered.len(), 900);
}
