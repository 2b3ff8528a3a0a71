//! Percentiles by nearest rank: always a measured value.

use super::{Hops, Latency};

/// Returns the smallest value that at least `p` percent of the values do not exceed; `None` if
/// there are no values. `sorted` must be ascending, `p` is from 0 to 100.
pub fn percentile(sorted: &[u64], p: u64) -> Option<u64> {
    let rank = (sorted.len() as u64).saturating_mul(p.min(100)).div_ceil(100).max(1);
    sorted.get(usize::try_from(rank - 1).ok()?).copied()
}

/// Converts ascending latencies from microseconds to percentiles in milliseconds; `None` if there
/// are none.
pub fn latency_of(sorted: &[u64]) -> Option<Latency> {
    let at = |p| percentile(sorted, p).map(milliseconds);
    Some(Latency { p50: at(50)?, p90: at(90)?, p99: at(99)?, max: at(100)? })
}

fn milliseconds(micros: u64) -> f64 {
    // Three decimals: the measurements have microsecond resolution.
    micros as f64 / 1000.0
}

/// Summarises hop counts; `counts[h]` is the number of deliveries with `h` hops. `None` if there
/// are none.
pub fn hops_of(counts: &[u64]) -> Option<Hops> {
    let total = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let weighted = (0u64..)
        .zip(counts)
        .fold(0u64, |sum, (hops, count)| sum.saturating_add(hops.saturating_mul(*count)));
    let rank = |p: u64| {
        let rank = total.saturating_mul(p).div_ceil(100).max(1);
        let mut below = 0u64;
        (0u64..).zip(counts).find_map(|(hops, count)| {
            below = below.saturating_add(*count);
            (below >= rank).then_some(hops)
        })
    };
    let histogram = (0u64..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
    let mean = weighted as f64 / total.max(1) as f64;
    Some(Hops {
        mean: (mean * 1000.0).round() / 1000.0,
        p50: rank(50)?,
        p99: rank(99)?,
        max: rank(100)?,
        histogram,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_percentile_is_a_measured_value_of_nearest_rank() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 0), Some(7));
        assert_eq!(percentile(&[7], 100), Some(7));
        // The example of the textbook definition: ranks 1, 2, 2, 3, 5 of five values.
        let five = [15, 20, 35, 40, 50];
        let found = [5, 30, 40, 50, 100].map(|p| percentile(&five, p));
        assert_eq!(found, [Some(15), Some(20), Some(20), Some(35), Some(50)]);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&hundred, 400), Some(100));
    }

    #[test]
    fn latency_and_hops_are_measured_values() {
        let found = latency_of(&[1000, 2500, 3000]).expect("three values");
        assert_eq!(found, Latency { p50: 2.5, p90: 3.0, p99: 3.0, max: 3.0 });
        let hops = hops_of(&[0, 2, 1, 1]).expect("four values");
        assert_eq!((hops.mean, hops.p50, hops.p99, hops.max), (1.75, 1, 3, 3));
        assert_eq!(hops.histogram, BTreeMap::from([(1, 2), (2, 1), (3, 1)]));
        assert_eq!((latency_of(&[]), hops_of(&[]), hops_of(&[0, 0])), (None, None, None));
    }
}
