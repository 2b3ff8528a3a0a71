//! The network conditions of a swarm.

use std::time::Duration;

use super::random::Random;
use crate::scenario::{Latency, Net, Ppm};

/// Draws any latency model; loss, duplication and reordering in a third of the seeds each.
pub(super) fn net(random: &mut Random) -> Net {
    let latency = latency(random);
    let jitter = if random.one_in(2) { random.ms(1..=20) } else { Duration::ZERO };
    let mut trouble = |most| if random.one_in(3) { random.share(1..=most) } else { Ppm::default() };
    let (loss, duplicate, reorder) = (trouble(50), trouble(50), trouble(100));
    // Never so thin that a whole load takes longer than the bound of the liveness phase.
    let bandwidth = random.one_in(3).then(|| random.range(128..=4096) * 1024);
    Net { latency, jitter, loss, duplicate, reorder, bandwidth }
}

fn latency(random: &mut Random) -> Latency {
    match random.range(0..=4) {
        0 => Latency::Constant(random.ms(0..=100)),
        1 => {
            let min = random.ms(0..=50);
            Latency::Uniform { min, max: min + random.ms(1..=150) }
        }
        2 => {
            let mean = random.range(2..=80);
            let sd = random.range(1..=mean.div_ceil(2));
            Latency::Normal { mean: Duration::from_millis(mean), sd: Duration::from_millis(sd) }
        }
        3 => {
            let median = random.ms(1..=30);
            Latency::LongTailed { median, max: median + random.ms(10..=500) }
        }
        _ => {
            let count = random.count(2..=4);
            let names = (0..count).map(|region| format!("r{region}")).collect();
            let mut row = || (0..count).map(|_| random.ms(1..=150)).collect();
            Latency::Regions { names, matrix: (0..count).map(|_| row()).collect() }
        }
    }
}
