//! What a newcomer is told of what is gone.

use super::{Victim, identity, list};
use crate::protocol::Input;
use crate::wire::{Frame, Request, Want, WhyMissing};

#[test]
fn what_is_pruned_while_the_node_runs_is_said_to_be_pruned() {
    let mut victim = Victim::among(4, 2);
    let newcomer = victim.link(1);
    // More than the newest that are held in memory.
    for author in [4, 5] {
        let batches = victim.chain(author, 300);
        batches.iter().for_each(|batch| victim.push(newcomer, batch));
    }
    let author = identity(4).public();
    victim.give(Input::Pruned { author, floor: 50 });
    victim.sent.clear();
    let want = |seq: u64| Want { ticket: seq as u32, author, seq, id: None };
    let wants = list(vec![want(2), want(50), want(51)]);
    victim.say(newcomer, &Frame::Request(Request { wants }));
    let answers: Vec<_> = victim
        .sent
        .drain(..)
        .filter_map(|(_, frame)| match frame {
            Frame::Missing(missing) => Some((missing.ticket, missing.why, missing.floor)),
            _ => None,
        })
        .collect();
    let (pruned, unknown) = (WhyMissing::Pruned, WhyMissing::Unknown);
    assert_eq!(answers, [(2, pruned, 50), (50, pruned, 50), (51, unknown, 50)]);
}
