//! Links that a node dialled and keeps: those it chose, and visits, which end. Checks R8.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Facts;
use super::set::NodeSet;
use crate::protocol::{LinkId, Time};

/// Most visits of a node at once.
const VISITS: usize = 4;
/// A visit ends after 10 s and is checked every second; twice that, for a node that was busy.
const RECENT: Duration = Duration::from_secs(20);

/// The ends of links that honest nodes dialled and that are still open.
#[derive(Debug)]
pub(super) struct Dials {
    /// Node that dialled, and when the link came up.
    ends: BTreeMap<LinkId, (u32, Time)>,
    /// Number of links that a node chooses.
    chosen: usize,
}

impl Dials {
    /// No links yet, among nodes that choose `chosen` links each.
    pub(super) fn new(chosen: usize) -> Self {
        Self { ends: BTreeMap::new(), chosen }
    }

    /// Sets the number of links that a node chooses.
    pub(super) fn choosing(&mut self, chosen: usize) {
        self.chosen = chosen;
    }

    /// A node is told that a link it dialled is up.
    pub(super) fn up(&mut self, end: LinkId, node: usize, now: Time) {
        if let Ok(node) = u32::try_from(node) {
            self.ends.insert(end, (node, now));
        }
    }

    /// The node closed the link, or the link broke.
    pub(super) fn gone(&mut self, end: LinkId) {
        self.ends.remove(&end);
    }

    /// Checks R8 for the nodes that are up: besides the chosen links and one that is being
    /// replaced, a node keeps few links that it dialled, and none of them for long.
    pub(super) fn checkpoint(&self, now: Time, up: &NodeSet, facts: &mut Facts) {
        let mut counts: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for (node, since) in self.ends.values() {
            let (all, old) = counts.entry(*node).or_default();
            *all += 1;
            *old += usize::from(now.since(*since) > RECENT);
        }
        let most = self.chosen.saturating_add(1);
        for (node, (all, old)) in counts {
            let node = node as usize;
            if !up.contains(node) || (all <= most + VISITS && old <= most) {
                continue;
            }
            facts.broken("R8", now, Some(node), || {
                format!("keeps {all} links that it dialled, {old} of them long, and chose {most}")
            });
        }
    }
}
