//! Each invariant is tested in pairs: a healthy world trips nothing, and one deliberate defect
//! trips exactly that invariant.

mod authenticity;
mod bounds;
mod durability;
mod liveness;

use std::collections::BTreeSet;

use super::testing::World;
use crate::protocol::Output;
use crate::sim::defects::Bend;

fn broken(world: &World) -> BTreeSet<String> {
    for violation in world.sim.violations().iter().take(5) {
        eprintln!("{violation:?}");
    }
    world.broken()
}

fn only(rule: &str) -> BTreeSet<String> {
    BTreeSet::from([rule.to_owned()])
}

/// `n` linked honest nodes, each of which has published one message.
fn lively(n: usize) -> World {
    let mut world = World::new(n, 0);
    world.run(1000);
    world.talk();
    world
}

/// The oracle hears each output twice for which `wanted` is true.
fn twice(mut wanted: impl FnMut(&Output) -> bool + 'static) -> Bend {
    Box::new(move |_, _, output| {
        let copies = if wanted(output) { 2 } else { 1 };
        vec![output.clone(); copies]
    })
}

/// Two honest nodes that cannot link to each other, and a raw peer that is linked to both.
fn beset() -> World {
    let mut world = World::new(3, 1);
    world.defects().apart.insert((0, 1));
    world.run(1000);
    world
}

#[test]
fn healthy_worlds_are_silent() {
    for n in [2, 4, 7, 20] {
        let mut world = lively(n);
        for round in 0..40 {
            world.talk();
            world.run(100 + round);
        }
        world.run(3000);
        let now = world.now();
        world.oracle().quiet(now);
        world.run(30_000);
        world.end_run();
        assert_eq!(broken(&world), BTreeSet::new(), "{n} nodes");
        assert_eq!(world.counted("delivered"), 41 * n as u64 * n as u64);
        assert!(world.counted("frames_sent") > 0 && world.counted("checks") > 0);
    }
}

#[test]
fn crashes_that_lose_unsynced_writes_are_counted_and_forgiven() {
    let mut world = lively(5);
    for round in 0..20 {
        world.talk();
        world.run(15 + round % 7);
        world.sim.kill(4);
        world.run(500);
        world.sim.start(4);
        world.run(1500);
    }
    world.run(5000);
    world.end_run();
    assert_eq!(broken(&world), BTreeSet::new());
    assert_eq!((world.counted("crashes"), world.counted("restarts")), (20, 20));
    assert!(world.counted("lost_unsynced") > 0);
    assert_eq!(world.counted("redelivered_after_crash"), world.counted("lost_unsynced"));
}
