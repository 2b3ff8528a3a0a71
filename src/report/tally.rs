//! Compares what honest nodes delivered with what was published.

use std::collections::BTreeMap;

use super::paths::{ByBatch, Paths};
use super::{Delivery, EpidemicModel, Hops, Latency, Recording};

/// Counts over all arrivals. Takes time linear in their number, apart from sorting.
pub(super) struct Tally {
    /// Messages that an honest node's API acknowledged.
    pub published: u64,
    /// Messages that an honest node's API refused or never acknowledged.
    pub refused: u64,
    /// As [`Delivery::expected`](super::Delivery::expected).
    pub expected: u64,
    /// How many of `expected` happened.
    pub delivered: u64,
    /// Second deliveries of a slot.
    pub duplicates: u64,
    /// Deliveries of batches in the name of an honest author that did not publish them.
    pub unpublished: u64,
    /// Arrivals that must not happen, by index: the duplicates, then the unpublished ones.
    pub accepted: Vec<u32>,
    /// Microseconds from post to delivery, ascending.
    pub latencies: Vec<u64>,
    /// Time of each of those deliveries, in the order of the recording, so not aligned with
    /// `latencies`.
    pub times: Vec<u64>,
    /// Number of relayed deliveries, by claimed hops.
    pub claimed: Vec<u64>,
    /// Number of relayed deliveries, by true hops.
    pub crossed: Vec<u64>,
    /// Relayed deliveries whose path is unknown.
    pub untraced: u64,
    relayed_batches: u64,
    relayed_bytes: u64,
}

/// Whether deliveries are expected of each node.
fn counts(run: &Recording) -> Vec<bool> {
    run.nodes.iter().map(|node| node.honest() && !node.dead).collect()
}

impl Tally {
    /// Counts the arrivals of a run.
    pub(super) fn of(run: &Recording) -> Self {
        let by_batch = ByBatch::of(run);
        let ways = Paths::of(run, &by_batch);
        let posts = || run.posts.iter().filter(|post| run.is_honest(post.author));
        let mut tally = Self {
            published: posts().filter(|post| post.taken.is_some()).count() as u64,
            refused: posts().filter(|post| post.taken.is_none() && !post.excused).count() as u64,
            expected: 0,
            delivered: 0,
            duplicates: 0,
            unpublished: 0,
            accepted: again(run, &by_batch),
            latencies: vec![],
            times: vec![],
            claimed: vec![],
            crossed: vec![],
            untraced: 0,
            relayed_batches: 0,
            relayed_bytes: 0,
        };
        tally.duplicates = tally.accepted.len() as u64;
        let mut forged = Vec::new();
        let alive = counts(run);
        tally.expect(run, &by_batch, &alive);
        for (number, arrival) in run.arrivals.iter().enumerate() {
            let Some(batch) = run.batches.get(arrival.batch as usize) else { continue };
            let honest_author = batch.author.is_some_and(|author| run.is_honest(author));
            if !honest_author || !run.is_honest(arrival.node) {
                continue;
            }
            let number32 = u32::try_from(number).unwrap_or(u32::MAX);
            if batch.posts.is_empty() {
                // A second delivery that is also a forgery counts only once.
                if !tally.is_again(number32) {
                    forged.push(number32);
                }
            } else if alive[arrival.node as usize] && !tally.is_again(number32) {
                tally.count(run, number, ways.hops(number));
            }
        }
        tally.latencies.sort_unstable();
        tally.unpublished = forged.len() as u64;
        tally.accepted.append(&mut forged);
        tally
    }

    fn is_again(&self, number: u32) -> bool {
        !self.accepted.is_empty() && self.accepted.binary_search(&number).is_ok()
    }

    /// Expects every message at every living honest node, except for skipped pairs and for messages
    /// that died with their publisher before any living node had them.
    fn expect(&mut self, run: &Recording, by_batch: &ByBatch, alive: &[bool]) {
        let nodes = alive.iter().filter(|alive| **alive).count() as u64;
        let mut skipped: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, batch) in &run.skipped {
            *skipped.entry(*batch).or_default() += 1;
        }
        let is_alive = |node: u32| alive.get(node as usize).copied().unwrap_or(false);
        for post in run.posts.iter().filter(|post| run.is_honest(post.author)) {
            let Some((batch, _)) = post.taken else { continue };
            let mut had = by_batch.arrivals(batch as usize).iter();
            let lost = !is_alive(post.author)
                && !had.any(|arrival| is_alive(run.arrivals[*arrival as usize].node));
            if !lost {
                let excused = skipped.get(&batch).copied().unwrap_or(0);
                self.expected = self.expected.saturating_add(nodes.saturating_sub(excused));
            }
        }
    }

    fn count(&mut self, run: &Recording, number: usize, crossed: Option<u32>) {
        let arrival = &run.arrivals[number];
        let batch = &run.batches[arrival.batch as usize];
        let relayed = batch.author != Some(arrival.node);
        self.relayed_batches += u64::from(relayed);
        for post in batch.posts.iter().filter_map(|post| run.posts.get(*post as usize)) {
            // A POST whose answer was lost may have taken effect: its message is genuine, but not
            // expected.
            if post.taken.is_none_or(|(batch, _)| batch != arrival.batch) {
                continue;
            }
            self.delivered += 1;
            self.times.push(arrival.at);
            self.latencies.push(arrival.at.saturating_sub(post.at));
            if relayed {
                self.relayed_bytes = self.relayed_bytes.saturating_add(u64::from(post.size));
                add(&mut self.claimed, usize::from(arrival.hops));
                match crossed {
                    Some(hops) => add(&mut self.crossed, hops as usize),
                    None => self.untraced += 1,
                }
            }
        }
    }

    /// Returns the report's section on delivery.
    pub(super) fn delivery(&self, run: &Recording) -> Delivery {
        let alive = run.nodes.iter().filter(|node| node.honest() && !node.dead);
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        let sum = |all: u64, one: u64| all.saturating_add(one);
        let copies = alive.clone().map(|node| node.duplicates).fold(0, sum);
        let received = alive.map(|node| node.bytes_received).fold(0, sum);
        Delivery {
            expected: self.expected,
            delivered: self.delivered,
            ratio: ratio(self.delivered, self.expected),
            duplicates: self.duplicates,
            unpublished: self.unpublished,
            latency_ms: latency_of(&self.latencies),
            hops: hops_of(&self.claimed),
            true_hops: hops_of(&self.crossed),
            untraced: self.untraced,
            theory: EpidemicModel::of(run.nodes.len(), run.links.len()),
            copies_per_delivery: ratio(
                self.relayed_batches.saturating_add(copies),
                self.relayed_batches,
            ),
            bytes_per_payload_byte: ratio(received, self.relayed_bytes),
        }
    }
}

fn add(histogram: &mut Vec<u64>, at: usize) {
    if histogram.len() <= at {
        histogram.resize(at + 1, 0);
    }
    histogram[at] += 1;
}

/// Returns the arrivals at honest nodes of a slot that the node had delivered before, whether in
/// the same batch or in another; ascending.
fn again(run: &Recording, by_batch: &ByBatch) -> Vec<u32> {
    let mut slots: Vec<(u32, u64, u32)> = (0u32..)
        .zip(&run.batches)
        .filter_map(|(number, batch)| Some((batch.author?, batch.seq, number)))
        .collect();
    slots.sort_unstable();
    let mut found = Vec::new();
    let mut seen = vec![false; run.nodes.len()];
    for slot in slots.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let of_batch = |(_, _, batch): &(u32, u64, u32)| by_batch.arrivals(*batch as usize);
        let mut arrivals: Vec<u32> = slot.iter().flat_map(of_batch).copied().collect();
        // In the order of the recording: the first arrival is the legitimate one.
        arrivals.sort_unstable();
        arrivals.retain(|number| run.is_honest(run.arrivals[*number as usize].node));
        for number in &arrivals {
            let node = run.arrivals[*number as usize].node as usize;
            if std::mem::replace(&mut seen[node], true) {
                found.push(*number);
            }
        }
        for number in &arrivals {
            seen[run.arrivals[*number as usize].node as usize] = false;
        }
    }
    found.sort_unstable();
    found
}

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
