//! Links between nodes: whether they form one connected graph, how much is served on them, and how
//! many a node keeps of those that it dialled: the ones it chose, and visits, which end. Checks O1,
//! O2, R4 and R8.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, Facts, Leaky};
use super::nodes::{Forest, Keys, NodeSet};
use crate::protocol::{LinkId, Time};
use crate::wire::limits::{MAX_BODY, MAX_READS_PER_PEER, SERVE_BYTE_BURST, SERVE_BYTES_PER_S};

/// The honest nodes must form one connected graph again within this time: the longest wait after a
/// failed dial (15 s) and a few visits.
pub(super) const CONNECTED_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a reply without the body; only the body is charged.
const REPLY_OVERHEAD: usize = 2 + 4 + 1 + 152 + 64 + 4;

#[derive(Debug)]
pub(super) struct End {
    pub node: u32,
    pub peer: u32,
    pub dialled: bool,
    greeted: bool,
    closed: bool,
}

/// The ends of links at honest nodes.
#[derive(Debug)]
pub(super) struct Links {
    ends: BTreeMap<LinkId, End>,
    /// Number of links of each node.
    count: Vec<u32>,
    /// Bytes served, by node and peer.
    served: BTreeMap<(u32, u32), Leaky>,
    unsettled_until: Time,
    apart_since: Option<Time>,
    told: bool,
}

impl Links {
    /// No links yet, among this many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            ends: BTreeMap::new(),
            count: vec![0; nodes],
            served: BTreeMap::new(),
            unsettled_until: Time::default(),
            apart_since: None,
            told: false,
        }
    }

    pub(super) fn up(&mut self, end: LinkId, node: usize, peer: usize) {
        let (Ok(node), Ok(peer)) = (u32::try_from(node), u32::try_from(peer)) else { return };
        let new = End { node, peer, dialled: false, greeted: false, closed: false };
        if self.ends.insert(end, new).is_none()
            && let Some(count) = self.count.get_mut(node as usize)
        {
            *count += 1;
        }
    }

    pub(super) fn down(&mut self, end: LinkId) {
        if let Some(gone) = self.ends.remove(&end)
            && let Some(count) = self.count.get_mut(gone.node as usize)
        {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn end(&self, end: LinkId) -> Option<&End> {
        self.ends.get(&end)
    }

    /// Records whether the owner of the end dialled.
    pub(super) fn dialled(&mut self, end: LinkId, dialled: bool) {
        if let Some(end) = self.ends.get_mut(&end) {
            end.dialled = dialled;
        }
    }

    pub(super) fn greeted(&mut self, end: LinkId) {
        if let Some(end) = self.ends.get_mut(&end) {
            end.greeted = true;
        }
    }

    /// The owner of the end has closed the link.
    pub(super) fn closed(&mut self, end: LinkId) {
        if let Some(end) = self.ends.get_mut(&end) {
            end.closed = true;
        }
    }

    /// The number of links of a node.
    pub(super) fn of(&self, node: usize) -> u64 {
        self.count.get(node).copied().unwrap_or(0).into()
    }

    /// A fault or a partition may keep links down until `until`.
    pub(super) fn unsettled(&mut self, until: Time) {
        self.unsettled_until = self.unsettled_until.max(until);
    }

    /// A node sends a reply. Nodes account for what they serve by peer, so a new link brings no new
    /// allowance. They check the bucket before and charge it after a reply, so concurrent reads may
    /// exceed it.
    pub(super) fn serves(&mut self, now: Time, end: LinkId, bytes: usize, facts: &mut Facts) {
        facts.add(Fact::BytesServed, bytes as u64);
        let Some(held) = self.ends.get(&end) else { return };
        let (node, peer) = (held.node, held.peer);
        let served = self.served.entry((node, peer)).or_default();
        let body = bytes.saturating_sub(REPLY_OVERHEAD) as u64;
        // One body from memory beside those being read, and one unit more because the node's bucket
        // rounds nanoseconds.
        let most = SERVE_BYTE_BURST + ((MAX_READS_PER_PEER + 1) * MAX_BODY) as u64 + 1;
        if served.overflows(now, SERVE_BYTES_PER_S, body, most) {
            facts.broken("R4", now, Some(node as usize), || {
                format!("serves node {peer} beyond the burst of {most} bytes and the rate")
            });
        }
    }

    /// A node starts again and has forgotten what it served.
    pub(super) fn restarted(&mut self, node: usize) {
        let Ok(node) = u32::try_from(node) else { return };
        let of: Vec<_> = self.served.range((node, 0)..=(node, u32::MAX)).map(|(k, _)| *k).collect();
        for key in of {
            self.served.remove(&key);
        }
    }

    /// Checks O1 among the honest nodes that are up: links with hellos in both directions connect
    /// them all, except for short times.
    pub(super) fn checkpoint(&mut self, now: Time, up: &NodeSet, keys: &Keys, facts: &mut Facts) {
        let mut forest = Forest::new(keys.nodes());
        let ready = |end: &&End| end.greeted && !end.closed;
        for (id, end) in &self.ends {
            let other = self.ends.get(&LinkId(id.0 ^ 1));
            if id.0 & 1 == 0 && ready(&end) && other.as_ref().is_some_and(ready) {
                forest.join(end.node as usize, end.peer as usize);
            }
        }
        let nobody = NodeSet::default();
        let mut nodes = up.without(&nobody);
        let first = nodes.next();
        let root = first.map(|node| forest.root(node));
        let apart = nodes.find(|node| Some(forest.root(*node)) != root);
        let Some(apart) = apart else {
            (self.apart_since, self.told) = (None, false);
            return;
        };
        facts.count(Fact::CheckpointsApart);
        let since = *self.apart_since.get_or_insert(now);
        let late = now >= since.max(self.unsettled_until).after(CONNECTED_WITHIN);
        if late && !std::mem::replace(&mut self.told, true) {
            facts.broken("O1", now, Some(apart), || {
                let first = first.unwrap_or_default();
                format!(
                    "no path of links to node {first} for more than {} s",
                    CONNECTED_WITHIN.as_secs()
                )
            });
        }
    }
}

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
                format!("keeps {all} dialled links, {old} of them old; its limit is {most}")
            });
        }
    }
}
