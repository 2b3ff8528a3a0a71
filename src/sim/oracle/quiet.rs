//! Quiet: once all is everywhere, traffic stops but for what keeps links and lanes level. L5.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::crypto::PublicKey;
use crate::protocol::Time;
use crate::wire::Kind;

/// What is under way when everything is delivered has passed after this: late answers, and
/// announcements that waited for credit.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// Whether nothing is new, and who may still ask for what nobody has any more.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    from: Option<Time>,
    /// Lanes with holes that are given up, by node: it asks whoever it could not ask before, once.
    gone: BTreeMap<usize, BTreeSet<PublicKey>>,
    /// Requests of such nodes since it is quiet.
    probes: BTreeMap<usize, usize>,
}

impl Quiet {
    /// Nothing is new from now on.
    pub fn begins(&mut self, now: Time) {
        self.from = Some(now.after(QUIET_AFTER));
        self.probes.clear();
    }

    /// Something is new.
    pub fn ends(&mut self) {
        self.from = None;
    }

    /// Something is delivered: that is news for a while.
    pub fn disturb(&mut self, now: Time) {
        self.from = self.from.map(|from| from.max(now.after(QUIET_AFTER)));
    }

    /// A node wrote down a lane's holes, some of which it gave up or none.
    pub fn holes(&mut self, node: usize, author: PublicKey, gone: bool) {
        let lanes = self.gone.entry(node).or_default();
        match gone {
            true => lanes.insert(author),
            false => lanes.remove(&author),
        };
    }

    /// Whether a node may send that frame, to a node if it is known which, in a mesh of so many.
    pub fn allows(
        &mut self,
        now: Time,
        (node, to): (usize, Option<usize>),
        kind: Kind,
        nodes: usize,
    ) -> bool {
        if self.from.is_none_or(|from| now < from) {
            return true;
        }
        let lacks = |node| self.gone.get(&node).is_some_and(|lanes| !lanes.is_empty());
        match kind {
            Kind::Hello | Kind::Credit | Kind::Ping | Kind::Compare | Kind::Differ => true,
            Kind::Missing => to.is_some_and(lacks),
            Kind::Request if lacks(node) => {
                let probes = self.probes.entry(node).or_default();
                *probes += 1;
                *probes < nodes
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gave_up_a_hole_asks_each_other_node_once() {
        let (now, author) = (Time(9_000_000), PublicKey([1; 32]));
        let mut quiet = Quiet::default();
        assert!(quiet.allows(now, (0, None), Kind::Request, 4), "it has not begun");
        quiet.begins(Time(0));
        assert!(!quiet.allows(now, (0, Some(1)), Kind::Request, 4));
        quiet.holes(0, author, true);
        for asked in 1..=5 {
            assert_eq!(quiet.allows(now, (0, Some(1)), Kind::Request, 4), asked < 4, "{asked}");
        }
        assert!(quiet.allows(now, (1, Some(0)), Kind::Missing, 4));
        assert!(!quiet.allows(now, (0, Some(1)), Kind::Missing, 4));
        assert!(!quiet.allows(now, (1, Some(0)), Kind::Reply, 4), "that would be news");
        quiet.holes(0, author, false);
        assert!(!quiet.allows(now, (1, Some(0)), Kind::Missing, 4));
    }
}
