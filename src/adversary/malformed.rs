//! `malformed`: complete frames that no honest encoder makes.

use std::time::Duration;

use rand::RngExt as _;

use super::beat::{Beat, Cycle};
use super::spec::Chance;
use super::stage::Stage;
use crate::crypto::Digest;
use crate::protocol::{LinkId, Time};
use crate::wire::limits::VERSION;
use crate::wire::{Compare, Frame, List, Push, RangeHash};

const VARIANTS: [&str; 5] =
    ["truncated", "overlong", "non_canonical", "wrong_version", "bit_flipped"];

pub(super) struct Malformed {
    beat: Beat,
    cycle: Cycle,
}

impl Malformed {
    pub fn new() -> Self {
        Self {
            beat: Beat::new(Duration::from_millis(200)),
            cycle: Cycle::new(VARIANTS.len(), true),
        }
    }

    pub fn tick(&mut self, stage: &mut Stage, chance: Chance) {
        for (link, fresh) in self.beat.due(stage) {
            let Some(peer) = stage.links.peer(link) else { continue };
            // One round and one more: the first one ends the link, and next time it is another.
            for _ in 0..if fresh { self.cycle.length + 1 } else { 1 } {
                if !stage.takes(chance) {
                    continue;
                }
                let variant = self.cycle.next(peer);
                if let Some(frame) = malform(stage, variant) {
                    stage.send_raw(("malformed", VARIANTS[variant]), link, &frame, None);
                }
            }
        }
    }

    pub fn down(&mut self, link: LinkId) {
        self.beat.down(link);
    }

    pub fn deadline(&self, stage: &Stage) -> Option<Time> {
        self.beat.deadline(stage)
    }
}

/// A frame that is wrong in one way. Each is complete, with a length prefix that fits: an
/// incomplete one is a loss, and proves nothing.
fn malform(stage: &mut Stage, variant: usize) -> Option<Vec<u8>> {
    let own = stage.identity.clone();
    let batch = stage.next_batch(own.public(), &own)?;
    let mut frame = Frame::Push(Box::new(Push { hops: 1, batch })).encode();
    match variant {
        0 => frame.truncate(stage.rng.random_range(2..frame.len())),
        1 => {
            let more = stage.rng.random_range(1..64);
            frame.extend(stage.random(more));
        }
        2 => frame = unordered(stage)?,
        3 => {
            let version: u8 = stage.rng.random();
            frame[0] = if version == VERSION { 0 } else { version };
        }
        _ => {
            // Behind version, kind and hops, where every bit counts.
            let bit = stage.rng.random_range(3 * 8..frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
    Some(frame)
}

/// A comparison whose ranges are in the wrong order.
fn unordered(stage: &mut Stage) -> Option<Vec<u8>> {
    let range = |start| RangeHash { start, end: start + 1, hash: Digest::ZERO };
    let start = stage.rng.random_range(0..1 << 16);
    let ranges = List::new(vec![range(start + 1), range(start)])?;
    Some(Frame::Compare(Compare { ticket: 1, ranges }).encode())
}
