//! Percentiles by nearest rank: always a value that was measured.

use std::collections::BTreeMap;

use super::{Hops, Latency};

/// The smallest value that at least `p` percent of the values do not exceed; `None` of no values.
/// `sorted` is ascending, `p` from 0 to 100.
pub fn percentile(sorted: &[u64], p: u64) -> Option<u64> {
    let rank = (sorted.len() as u64).saturating_mul(p.min(100)).div_ceil(100).max(1);
    sorted.get(usize::try_from(rank - 1).ok()?).copied()
}

/// Latencies in milliseconds, from microseconds in any order; `None` of none.
pub fn latency(mut micros: Vec<u64>) -> Option<Latency> {
    micros.sort_unstable();
    let at = |p| percentile(&micros, p).map(milliseconds);
    Some(Latency { p50: at(50)?, p90: at(90)?, p99: at(99)?, max: at(100)? })
}

fn milliseconds(micros: u64) -> f64 {
    // Three decimals: a microsecond is what was measured.
    micros as f64 / 1000.0
}

/// Hop counts in any order; `None` of none.
pub fn hops(mut counts: Vec<u64>) -> Option<Hops> {
    counts.sort_unstable();
    let mut histogram = BTreeMap::new();
    for count in &counts {
        *histogram.entry(*count).or_insert(0) += 1;
    }
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    Some(Hops {
        mean: (mean * 1000.0).round() / 1000.0,
        p50: percentile(&counts, 50)?,
        p99: percentile(&counts, 99)?,
        max: percentile(&counts, 100)?,
        histogram,
    })
}

#[cfg(test)]
mod tests {
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
    fn latency_and_hops_do_not_depend_on_order() {
        let found = latency(vec![3000, 1000, 2500]).expect("three values");
        assert_eq!(found, Latency { p50: 2.5, p90: 3.0, p99: 3.0, max: 3.0 });
        let hops = hops(vec![2, 1, 1, 3]).expect("four values");
        assert_eq!((hops.mean, hops.p50, hops.max), (1.75, 1, 3));
        assert_eq!(hops.histogram, BTreeMap::from([(1, 2), (2, 1), (3, 1)]));
        assert_eq!(latency(vec![]), None);
    }
}
