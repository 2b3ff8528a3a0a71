//! True hops: traces a batch's path to a node back from neighbour to neighbour, regardless of the
//! hops that frames claim.

use super::Recording;

/// Arrivals grouped by batch, each group in the order of the recording.
pub(super) struct ByBatch {
    starts: Vec<usize>,
    items: Vec<u32>,
}

impl ByBatch {
    /// Groups the arrivals, in time linear in their number.
    pub(super) fn of(run: &Recording) -> Self {
        let mut starts = vec![0usize; run.batches.len() + 1];
        for arrival in &run.arrivals {
            if let Some(count) = starts.get_mut(arrival.batch as usize + 1) {
                *count += 1;
            }
        }
        for batch in 1..starts.len() {
            starts[batch] += starts[batch - 1];
        }
        let mut next = starts.clone();
        let mut items = vec![0; starts.last().copied().unwrap_or(0)];
        for (number, arrival) in run.arrivals.iter().enumerate() {
            let batch = arrival.batch as usize;
            if batch + 1 >= starts.len() {
                continue;
            }
            if let (Some(item), Ok(number)) = (items.get_mut(next[batch]), u32::try_from(number)) {
                *item = number;
                next[batch] += 1;
            }
        }
        Self { starts, items }
    }

    /// Returns the arrivals of a batch, by index; empty if there is no such batch.
    pub(super) fn arrivals(&self, batch: usize) -> &[u32] {
        let range = self.starts.get(batch).zip(self.starts.get(batch + 1));
        range.and_then(|(from, to)| self.items.get(*from..*to)).unwrap_or_default()
    }
}

const NEW: u32 = u32::MAX;
const OPEN: u32 = u32::MAX - 1;
const UNKNOWN: u32 = u32::MAX - 2;
const NOWHERE: u32 = u32::MAX;

/// The number of links that each arrival really crossed.
pub(super) struct Paths {
    depth: Vec<u32>,
}

impl Paths {
    /// Traces every arrival back to its author, in time linear in arrivals. A path is unknown if it
    /// is circular or if some node on it did not report its arrival.
    pub(super) fn of(run: &Recording, by_batch: &ByBatch) -> Self {
        let mut ways = Self { depth: vec![NEW; run.arrivals.len()] };
        let mut at_node = vec![NOWHERE; run.nodes.len()];
        for batch in 0..run.batches.len() {
            let arrivals = by_batch.arrivals(batch);
            // In reverse, so that a node's first arrival is the one that remains.
            for number in arrivals.iter().rev() {
                let node = run.arrivals[*number as usize].node as usize;
                if let Some(place) = at_node.get_mut(node) {
                    *place = *number;
                }
            }
            for number in arrivals {
                ways.follow(run, &at_node, *number);
            }
            for number in arrivals {
                let node = run.arrivals[*number as usize].node as usize;
                if let Some(place) = at_node.get_mut(node) {
                    *place = NOWHERE;
                }
            }
        }
        ways
    }

    fn follow(&mut self, run: &Recording, at_node: &[u32], number: u32) {
        let mut path = Vec::new();
        let mut current = number as usize;
        let mut depth = loop {
            match self.depth[current] {
                NEW => {}
                OPEN | UNKNOWN => break UNKNOWN,
                known => break known,
            }
            let arrival = &run.arrivals[current];
            let Some(from) = arrival.from else {
                // Without a neighbour, the batch came from the node's own API: the path starts
                // here.
                let author = run.batches[arrival.batch as usize].author;
                let begins = author.is_none_or(|author| author == arrival.node);
                self.depth[current] = if begins { 0 } else { UNKNOWN };
                break self.depth[current];
            };
            self.depth[current] = OPEN;
            path.push(current);
            match at_node.get(from as usize).copied().unwrap_or(NOWHERE) {
                NOWHERE => break UNKNOWN,
                parent => current = parent as usize,
            }
        };
        while let Some(one) = path.pop() {
            depth = if depth == UNKNOWN { UNKNOWN } else { (depth + 1).min(UNKNOWN - 1) };
            self.depth[one] = depth;
        }
    }

    /// Returns the true hops of an arrival; `None` if its path is unknown.
    pub(super) fn hops(&self, arrival: usize) -> Option<u32> {
        self.depth.get(arrival).copied().filter(|depth| *depth < UNKNOWN)
    }
}
