//! Links that a node dialled and keeps: those that it chose, and visits that end. R8.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Facts;
use super::set::NodeSet;
use crate::protocol::{LinkId, Time};

/// Visits of a node at once.
const VISITS: usize = 4;
/// A visit is over after 10 s, and looked at every second; as long again for a node that had more
/// to do.
const RECENT: Duration = Duration::from_secs(20);

/// The ends of links that honest nodes dialled and have not closed.
#[derive(Debug)]
pub(super) struct Dials {
    /// Whose, and since when.
    ends: BTreeMap<LinkId, (u32, Time)>,
    /// Links that a node chooses.
    chosen: usize,
}

impl Dials {
    /// Of nodes that choose so many links each.
    pub fn new(chosen: usize) -> Self {
        Self { ends: BTreeMap::new(), chosen }
    }

    /// Nodes choose so many.
    pub fn choosing(&mut self, chosen: usize) {
        self.chosen = chosen;
    }

    /// A node hears that a link is up that it dialled.
    pub fn up(&mut self, end: LinkId, node: usize, now: Time) {
        if let Ok(node) = u32::try_from(node) {
            self.ends.insert(end, (node, now));
        }
    }

    /// The node has closed it, or it broke.
    pub fn gone(&mut self, end: LinkId) {
        self.ends.remove(&end);
    }

    /// R8 of the nodes that are up: beside what it chose, and one that is being exchanged, a node
    /// keeps few links that it dialled, and none of those for long.
    pub fn checkpoint(&self, now: Time, up: &NodeSet, facts: &mut Facts) {
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
