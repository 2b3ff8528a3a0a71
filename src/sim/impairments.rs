//! Link conditions: what the scenario's network and the active faults do to links.

use std::time::Duration;

use crate::scenario::{FaultKind, Net, Ppm};

/// The current conditions of one direction of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkConditions {
    pub jitter: Duration,
    pub loss: Ppm,
    pub duplicate: Ppm,
    pub reorder: Ppm,
    /// Bytes per second; `None` if unlimited.
    pub bandwidth: Option<u64>,
    /// Added to the one-way latency.
    pub delay: Duration,
}

/// A fault of links that is active.
pub(super) struct Active {
    pub fault: usize,
    pub kind: FaultKind,
    /// By node: whether the fault strikes it.
    pub struck: Vec<bool>,
}

/// The faults of links that are active.
#[derive(Default)]
pub(super) struct Impairments {
    pub active: Vec<Active>,
}

impl Impairments {
    /// Whether all data between two nodes is held back.
    pub(super) fn cut(&self, a: usize, b: usize) -> bool {
        self.active.iter().any(|active| {
            let (a, b) = (active.struck[a], active.struck[b]);
            match active.kind {
                FaultKind::Partition => a != b,
                FaultKind::Isolate => a || b,
                _ => false,
            }
        })
    }

    /// Whether any fault of links is active.
    pub(super) fn any(&self) -> bool {
        !self.active.is_empty()
    }

    /// The conditions of what node `a` sends to node `b`.
    pub(super) fn conditions(&self, net: &Net, a: usize, b: usize) -> LinkConditions {
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
