//! Latency between two nodes, drawn from the scenario's distribution. It is the same in both
//! worlds, and computed in integers so that it does not depend on a platform's floating point.

use std::time::Duration;

use super::dice::Dice;
use super::{Latency, Net};

impl Net {
    /// Returns the one-way latency from one node to another, without jitter and bandwidth. It
    /// depends only on the pair and the seed, and is the same in both directions, except between
    /// regions.
    pub fn one_way(&self, from: usize, to: usize, seed: u64) -> Duration {
        let mut dice = Dice::of_pair(from.min(to), from.max(to), seed);
        match &self.latency {
            Latency::Constant(latency) => *latency,
            Latency::Uniform { min, max } => {
                let (low, high) = (nanos(*min), nanos(*max));
                let span = high.saturating_sub(low);
                Duration::from_nanos(low.saturating_add(dice.below(span.saturating_add(1))))
            }
            Latency::Normal { mean, sd } => normal(&mut dice, nanos(*mean), nanos(*sd)),
            Latency::LongTailed { median, max } => pareto(&mut dice, nanos(*median)).min(*max),
            Latency::Regions { matrix, .. } => region(matrix, from, to),
        }
    }
}

fn region(matrix: &[Vec<Duration>], from: usize, to: usize) -> Duration {
    let count = matrix.len().max(1);
    matrix.get(from % count).and_then(|row| row.get(to % count)).copied().unwrap_or_default()
}

/// Nanoseconds, saturating at about 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Approximates a normal distribution: the sum of twelve uniform numbers has variance 1 (Irwin and
/// Hall). It never deviates more than six standard deviations from the mean; negative values become
/// 0.
fn normal(dice: &mut Dice, mean: u64, sd: u64) -> Duration {
    let sum: i128 = (0..12).map(|_| i128::from(dice.next() >> 32)).sum();
    let deviation = ((sum - (6 << 32)) * i128::from(sd)) >> 32;
    let value = i128::from(mean).saturating_add(deviation).max(0);
    Duration::from_nanos(u64::try_from(value).unwrap_or(u64::MAX))
}

/// A Pareto distribution of exponent 1 by inversion: half the median divided by a uniform number.
fn pareto(dice: &mut Dice, median: u64) -> Duration {
    let uniform = u128::from(dice.next()) + 1;
    let value = (u128::from(median / 2) << 64) / uniform;
    Duration::from_nanos(u64::try_from(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Ppm;

    const MS: Duration = Duration::from_millis(1);

    fn net(latency: Latency) -> Net {
        let (jitter, none) = (Duration::ZERO, Ppm(0));
        Net { latency, jitter, loss: none, duplicate: none, reorder: none, bandwidth: None }
    }

    /// Ten thousand draws, ascending.
    fn draws(latency: Latency) -> Vec<Duration> {
        let net = net(latency);
        let pairs = (0..100).flat_map(|a| (100..200).map(move |b| (a, b)));
        let mut all: Vec<Duration> = pairs.map(|(a, b)| net.one_way(a, b, 7)).collect();
        all.sort();
        all
    }

    fn near(value: Duration, wanted: Duration) -> bool {
        value.abs_diff(wanted) * 20 <= wanted
    }

    #[test]
    fn a_pair_is_drawn_once_and_for_both_directions() {
        let net = net(Latency::Uniform { min: MS, max: MS * 100 });
        assert_eq!(net.one_way(3, 9, 1), net.one_way(9, 3, 1));
        assert_eq!(net.one_way(3, 9, 1), net.one_way(3, 9, 1));
        assert_ne!(net.one_way(3, 9, 1), net.one_way(3, 9, 2), "another seed");
        assert_ne!(net.one_way(3, 9, 1), net.one_way(3, 8, 1), "another pair");
        assert_ne!(net.one_way(0, 1, 1), net.one_way(0, 2, 1));
        // Pinned: a digest of a simulated run rests on it.
        assert_eq!(net.one_way(0, 1, 1), Duration::from_nanos(42_897_933));
    }

    #[test]
    fn draws_have_the_shape_that_was_asked_for() {
        assert_eq!(draws(Latency::Constant(MS)).last(), Some(&MS));
        let uniform = draws(Latency::Uniform { min: MS * 10, max: MS * 30 });
        assert!(uniform[0] >= MS * 10 && uniform[9_999] <= MS * 30);
        assert!(near(uniform[5_000], MS * 20) && near(uniform[2_500], MS * 15), "{uniform:?}");
        assert_eq!(draws(Latency::Uniform { min: MS, max: MS })[9_999], MS);

        let normal = draws(Latency::Normal { mean: MS * 50, sd: MS * 10 });
        // One deviation below, the mean, one and two deviations above.
        let wanted = [(1_587, 40), (5_000, 50), (8_413, 60), (9_772, 70)];
        assert!(wanted.iter().all(|(at, ms)| near(normal[*at], MS * *ms)), "{normal:?}");
        assert_eq!(draws(Latency::Normal { mean: Duration::ZERO, sd: MS })[0], Duration::ZERO);

        let tail = draws(Latency::LongTailed { median: MS * 20, max: MS * 500 });
        let wanted = [(5_000, 20), (7_500, 40), (8_750, 80), (9_375, 160)];
        assert!(wanted.iter().all(|(at, ms)| near(tail[*at], MS * *ms)), "{tail:?}");
        assert_eq!(tail[9_999], MS * 500);
        assert!(tail[0] >= MS * 10);
    }

    #[test]
    fn regions_may_differ_by_direction() {
        let matrix = vec![vec![MS, MS * 40], vec![MS * 50, MS * 2]];
        let net = net(Latency::Regions { names: vec!["a".into(), "b".into()], matrix });
        let way = |from, to| net.one_way(from, to, 1);
        assert_eq!([way(0, 2), way(0, 3), way(3, 0), way(1, 5)], [MS, MS * 40, MS * 50, MS * 2]);
    }

    #[test]
    fn extremes_do_no_harm() {
        let most = Duration::MAX;
        for latency in [
            Latency::Uniform { min: Duration::ZERO, max: most },
            Latency::Uniform { min: most, max: Duration::ZERO },
            Latency::Normal { mean: most, sd: most },
            Latency::LongTailed { median: most, max: most },
            Latency::LongTailed { median: Duration::ZERO, max: Duration::ZERO },
            Latency::Regions { names: vec![], matrix: vec![] },
        ] {
            let net = net(latency);
            for pair in 0..100 {
                let _ = net.one_way(pair, usize::MAX, u64::MAX);
            }
        }
    }
}
