//! L1, L2, L5, O1 and O2: what must arrive arrives, and links hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{broken, lively, only};
use crate::protocol::{CloseWhy, Output};
use crate::sim::defects::Bend;
use crate::sim::oracle::testing::{World, identity};
use crate::wire::{Batch, Class, Frame, Kind, Reply};

#[test]
fn o1_a_network_that_stays_apart_trips() {
    for cut in [false, true] {
        let mut world = World::new(4, 0);
        if cut {
            world.defects().apart.extend([(0, 2), (0, 3), (1, 2), (1, 3)]);
        }
        world.run(40_000);
        assert_eq!(broken(&world), if cut { only("O1") } else { BTreeSet::new() });
    }
    let mut world = World::new(4, 0);
    world.defects().apart.extend([(0, 2), (0, 3), (1, 2), (1, 3)]);
    world.run(19_000);
    world.defects().apart.clear();
    let now = world.now();
    world.oracle().unsettled(now);
    world.run(60_000);
    assert_eq!(broken(&world), BTreeSet::new(), "it healed in time");
    assert!(world.counted("checkpoints_apart") > 10);
}

/// When an inbound link comes up at node 0, the oracle hears that it closes another link.
#[test]
fn o2_an_inbound_link_that_displaces_another_trips() {
    for displaces in [false, true] {
        let mut world = lively(4);
        world.run(1000);
        let other = world.end(0, 3);
        let mut once = displaces;
        world.defects().bend = Some(Box::new(move |_, node, output| {
            let hello = matches!(output, Output::Send { kind: Kind::Hello, .. });
            let close = Output::Close { link: other, why: CloseWhy::Rotated };
            let extra = (hello && node == 0 && std::mem::take(&mut once)).then_some(close);
            std::iter::once(output.clone()).chain(extra).collect()
        }));
        world.sim.world.link(1, 0);
        world.run(500);
        assert_eq!(broken(&world), if displaces { only("O2") } else { BTreeSet::new() });
    }
}

#[test]
fn l1_a_published_message_that_one_node_lacks_trips() {
    for deaf in [false, true] {
        let mut world = World::new(4, 0);
        world.defects().deaf.extend(deaf.then_some(2));
        world.run(1000);
        world.talk();
        world.run(3000);
        world.end_run();
        assert_eq!(broken(&world), if deaf { only("L1") } else { BTreeSet::new() });
    }
}

/// A liar's slot reaches one honest node, which can never tell the other one.
#[test]
fn l2_a_slot_that_one_node_alone_delivered_trips() {
    for apart in [false, true] {
        let mut world = World::new(3, 1);
        if apart {
            world.defects().apart.insert((0, 1));
        }
        world.run(1000);
        let batch = world.batch(2, "to one", false);
        world.push(2, 0, &batch);
        world.run(3000);
        world.end_run();
        assert!(!broken(&world).contains("L2"), "its bound is not over");
        world.run(20_000);
        world.end_run();
        assert!(world.counted("delivered") > 0);
        // The two are not linked either, which breaks O1.
        let both = ["L2", "O1"].map(String::from);
        assert_eq!(broken(&world), if apart { BTreeSet::from(both) } else { BTreeSet::new() });
    }
}

#[test]
fn l5_traffic_that_does_not_stop_trips() {
    for babbles in [false, true] {
        let mut world = lively(4);
        world.run(3000);
        let now = world.now();
        world.oracle().quiet(now);
        let batch: Batch = world.batch(0, "again", false);
        let told = batch.header.statement();
        let author = identity(0).public();
        world.oracle().checked(now, &author, &told, &batch.signature, true);
        let reply = Frame::Reply(Box::new(Reply { ticket: 1, hops: 1, batch }));
        let frame: Arc<[u8]> = reply.encode().into();
        world.defects().bend = babbles.then(|| -> Bend {
            Box::new(move |_, _, output| match output {
                Output::Send { link, kind: Kind::Compare, .. } => {
                    let (kind, class, frame) = (Kind::Reply, Class::Reply, frame.clone());
                    vec![output.clone(), Output::Send { link: *link, kind, class, frame }]
                }
                other => vec![other.clone()],
            })
        });
        world.run(8000);
        assert_eq!(broken(&world), if babbles { only("L5") } else { BTreeSet::new() });
        assert!(world.now().since(now) >= Duration::from_secs(8));
    }
}
