//! What the network does to links: as the scenario says, and by faults that are in force.

use std::time::Duration;

use crate::scenario::{FaultKind, Net, Ppm};

/// What the network does to a direction of a link at this moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkConditions {
    pub jitter: Duration,
    pub loss: Ppm,
    pub duplicate: Ppm,
    pub reorder: Ppm,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// Added one way.
    pub delay: Duration,
}

/// A fault of links that is in force.
pub(super) struct Active {
    pub fault: usize,
    pub kind: FaultKind,
    /// By node: whether the fault strikes it.
    pub struck: Vec<bool>,
}

/// The faults of links that are in force.
#[derive(Default)]
pub(super) struct Impairments {
    pub active: Vec<Active>,
}

impl Impairments {
    /// Whether nothing passes between two nodes.
    pub fn cut(&self, a: usize, b: usize) -> bool {
        self.active.iter().any(|active| {
            let (a, b) = (active.struck[a], active.struck[b]);
            match active.kind {
                FaultKind::Partition => a != b,
                FaultKind::Isolate => a || b,
                _ => false,
            }
        })
    }

    /// Whether anything is in force.
    pub fn any(&self) -> bool {
        !self.active.is_empty()
    }

    /// What the network does to what one node sends another.
    pub fn conditions(&self, net: &Net, a: usize, b: usize) -> LinkConditions {
        let mut conditions = LinkConditions {
            jitter: net.jitter,
            loss: net.loss,
            duplicate: net.duplicate,
            reorder: net.reorder,
            bandwidth: net.bandwidth,
            delay: Duration::ZERO,
        };
        for active in self.active.iter().filter(|active| active.struck[a] || active.struck[b]) {
            match active.kind {
                FaultKind::Loss(p) => conditions.loss = Ppm(conditions.loss.0.max(p.0)),
                FaultKind::Delay(by) => conditions.delay = conditions.delay.saturating_add(by),
                FaultKind::Cap(rate) => {
                    conditions.bandwidth = Some(conditions.bandwidth.map_or(rate, |b| b.min(rate)));
                }
                _ => {}
            }
        }
        conditions
    }
}
