//! The network conditions of a swarm.

use std::time::Duration;

use super::dice::Dice;
use crate::scenario::{Latency, Net, Ppm};

/// Draws any latency model; loss, duplication and reordering in a third of the seeds each.
pub(super) fn net(dice: &mut Dice) -> Net {
    let latency = latency(dice);
    let jitter = if dice.one_in(2) { dice.ms(1..=20) } else { Duration::ZERO };
    let mut trouble = |most| if dice.one_in(3) { dice.share(1..=most) } else { Ppm::default() };
    let (loss, duplicate, reorder) = (trouble(50), trouble(50), trouble(100));
    // Never so thin that a whole load takes longer than the bound of the liveness phase.
    let bandwidth = dice.one_in(3).then(|| dice.range(128..=4096) * 1024);
    Net { latency, jitter, loss, duplicate, reorder, bandwidth }
}

fn latency(dice: &mut Dice) -> Latency {
    match dice.range(0..=4) {
        0 => Latency::Constant(dice.ms(0..=100)),
        1 => {
            let min = dice.ms(0..=50);
            Latency::Uniform { min, max: min + dice.ms(1..=150) }
        }
        2 => {
            let mean = dice.range(2..=80);
            let sd = dice.range(1..=mean.div_ceil(2));
            Latency::Normal { mean: Duration::from_millis(mean), sd: Duration::from_millis(sd) }
        }
        3 => {
            let median = dice.ms(1..=30);
            Latency::LongTailed { median, max: median + dice.ms(10..=500) }
        }
        _ => {
            let count = dice.count(2..=4);
            let names = (0..count).map(|region| format!("r{region}")).collect();
            let mut row = || (0..count).map(|_| dice.ms(1..=150)).collect();
            Latency::Regions { names, matrix: (0..count).map(|_| row()).collect() }
        }
    }
}
