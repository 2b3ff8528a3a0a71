//! Liars against the choice of links.

use super::{Victim, identity};
use crate::protocol::{Down, Input, LinkId};
use crate::wire::limits::IDLE_WORK_BURST;
use crate::wire::{Frame, Hello, Instance};

#[test]
fn a_new_link_is_no_new_allowance() {
    let mut victim = Victim::among(4, 0);
    let link = victim.link(1);
    for _ in 0..IDLE_WORK_BURST / 50 {
        victim.say(link, &Frame::Ping);
    }
    assert_eq!(victim.node.links.get(link).map(|held| held.owed()), Some(0));
    victim.give(Input::LinkDown { link, cause: Down::Lost });
    let link = victim.link(1);
    victim.say(link, &Frame::Ping);
    assert_eq!(victim.node.links.get(link).map(|held| held.owed()), Some(1));
}

#[test]
fn a_peer_that_ends_every_link_after_its_hello_is_not_dialled_without_pause() {
    let mut victim = Victim::among(4, 0);
    let (peer, network) = (identity(1).public(), victim.network.id());
    victim.link(2);
    victim.link(3);
    let mut dials = 0;
    while dials < 1000 && victim.now.0 < 11_000_000 {
        if victim.dials.contains(&peer) {
            dials += 1;
            victim.dials.clear();
            let link = LinkId(1000 + dials);
            victim.give(Input::LinkUp { link, peer, dialled: true });
            let instance = Instance([1; 16]);
            victim.say(link, &Frame::Hello(Hello { version: 2, network, instance }));
            victim.give(Input::LinkDown { link, cause: Down::Lost });
        }
        victim.run(3, |_, _, _| ());
    }
    assert!(dials < 60, "{dials} dials in ten seconds");
}
