//! Quiet: once everything is delivered, only the traffic that keeps links up and compares lanes is
//! allowed. Checks L5.

use std::collections::BTreeMap;
use std::time::Duration;

use super::nodes::Keys;
use super::slots::Slots;
use crate::crypto::PublicKey;
use crate::protocol::Time;
use crate::wire::Kind;

/// Time after the last delivery for late answers, and for announcements that waited for credit.
const QUIET_AFTER: Duration = Duration::from_secs(2);
/// A slot that was signed anew has two batches, and both are spread to all nodes. Traffic may go on
/// for this much longer until they are, as the second one may be at a node that came back last.
const SECONDS_WITHIN: Duration = Duration::from_secs(10);

/// Whether nothing new happens, and which nodes may still ask for slots that no node can give.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    from: Option<Time>,
    /// Number of slots in holes by node and lane, with the tip of the lane; slots missing above the
    /// tip are not in holes. No node has these slots: a node asks every peer for each of them once,
    /// and later the peers that it could not ask at first.
    holes: BTreeMap<(usize, PublicKey), (u64, u64)>,
    /// Number of requests of each node since the quiet began.
    probes: BTreeMap<usize, u64>,
}

impl Quiet {
    /// From now on nothing new happens.
    pub(super) fn begins(&mut self, now: Time) {
        self.from = Some(now.after(QUIET_AFTER));
        self.probes.clear();
    }

    /// Something new may happen, until [`Quiet::begins`] is called again.
    pub(super) fn ends(&mut self) {
        self.from = None;
    }

    /// A delivery allows traffic for a while.
    pub(super) fn disturb(&mut self, now: Time) {
        self.from = self.from.map(|from| from.max(now.after(QUIET_AFTER)));
    }

    /// A node wrote the number of slots in the holes of a lane, and the lane's tip.
    pub(super) fn holes(&mut self, node: usize, author: PublicKey, (slots, tip): (u64, u64)) {
        self.holes.insert((node, author), (slots, tip));
    }

    /// Whether a node may send that frame to the node `to`, if known, in a mesh of `nodes`. A node
    /// may ask each other node once for every slot that it lacks: in holes, and between its tip and
    /// the highest slot that it delivered. While a node lacks one of a slot's two batches, all
    /// nodes may send anything for a limited time.
    pub(super) fn allows(
        &mut self,
        now: Time,
        (node, to): (usize, Option<usize>),
        kind: Kind,
        (nodes, slots, keys): (usize, &Slots, &Keys),
    ) -> bool {
        let Some(from) = self.from.filter(|from| now >= *from) else { return true };
        if now < from.after(SECONDS_WITHIN) && slots.awaits_second() {
            return true;
        }
        let lacks = |node| -> u64 {
            let lanes = (node, PublicKey([0; 32]))..=(node, PublicKey([255; 32]));
            let noted = self.holes.range(lanes).map(|(_, (slots, _))| *slots);
            let tip = |key: &PublicKey| self.holes.get(&(node, *key)).map_or(0, |(_, tip)| *tip);
            noted.fold(slots.skipped_by(node, keys, tip), u64::saturating_add)
        };
        match kind {
            Kind::Hello | Kind::Credit | Kind::Ping | Kind::Compare | Kind::Differ => true,
            Kind::Missing => to.is_some_and(|to| lacks(to) > 0),
            Kind::Request => {
                let most = lacks(node).saturating_mul(nodes.saturating_sub(1) as u64);
                let probes = self.probes.entry(node).or_default();
                *probes += 1;
                *probes <= most
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{identity, network};

    fn keys() -> Keys {
        let all = (0..4).map(|node| identity(node).public()).collect();
        Keys::new(&network(4, 0), vec![true; 4], all)
    }

    #[test]
    fn whoever_has_a_hole_asks_each_other_node_once() {
        let (now, author) = (Time(9_000_000), PublicKey([1; 32]));
        let (none, keys) = (Slots::default(), keys());
        let none = (4, &none, &keys);
        let mut quiet = Quiet::default();
        assert!(quiet.allows(now, (0, None), Kind::Request, none), "it has not begun");
        quiet.begins(Time(0));
        assert!(!quiet.allows(now, (0, Some(1)), Kind::Request, none));
        quiet.holes(0, author, (1, 9));
        quiet.begins(Time(0));
        for asked in 1..=5 {
            assert_eq!(quiet.allows(now, (0, Some(1)), Kind::Request, none), asked < 4, "{asked}");
        }
        quiet.holes(0, PublicKey([2; 32]), (2, 9));
        assert!(quiet.allows(now, (0, Some(1)), Kind::Request, none), "for each slot");
        assert!(quiet.allows(now, (1, Some(0)), Kind::Missing, none));
        assert!(!quiet.allows(now, (0, Some(1)), Kind::Missing, none));
        assert!(!quiet.allows(now, (1, Some(0)), Kind::Reply, none), "that would be news");
        quiet.holes(0, author, (0, 9));
        quiet.holes(0, PublicKey([2; 32]), (0, 9));
        assert!(!quiet.allows(now, (1, Some(0)), Kind::Missing, none));
    }

    /// What a node holds above its tip is in no hole: what it lacks below that is asked for, too.
    #[test]
    fn so_does_whoever_lacks_a_slot_below_what_it_delivered() {
        let now = Time(9_000_000);
        let mut quiet = Quiet::default();
        quiet.begins(Time(0));
        let keys = keys();
        let asks = |quiet: &mut Quiet, slots: &Slots| {
            quiet.allows(now, (0, Some(1)), Kind::Request, (4, slots, &keys))
        };
        assert!(!asks(&mut quiet, &Slots::of(3, &[1, 2], 0, false)), "nothing is missing");
        assert!(!asks(&mut quiet, &Slots::of(3, &[2], 1, false)), "another node lacks it");
        quiet.begins(Time(0));
        let lacks = Slots::of(3, &[2], 0, false);
        assert_eq!([(); 4].map(|()| asks(&mut quiet, &lacks)), [true, true, true, false]);
        let of = (4, &lacks, &keys);
        assert!(quiet.allows(now, (1, Some(0)), Kind::Missing, of), "it is told so");
        // Once it is in a hole, it is not counted twice.
        let author = *keys.key(3).expect("one of them");
        quiet.holes(0, author, (1, 2));
        quiet.begins(Time(0));
        assert_eq!([(); 4].map(|()| asks(&mut quiet, &lacks)), [true, true, true, false]);
    }

    #[test]
    fn second_batches_may_go_round_for_a_while() {
        let now = |ms: u64| Time(0).after(Duration::from_millis(ms));
        let (mut quiet, keys) = (Quiet::default(), keys());
        quiet.begins(now(0));
        let over = (QUIET_AFTER + SECONDS_WITHIN).as_millis() as u64;
        for (ms, awaits, allowed) in
            [(5000, true, true), (5000, false, false), (over - 1, true, true), (over, true, false)]
        {
            let slots = Slots::of(3, &[1], 0, awaits);
            let may = quiet.allows(now(ms), (0, Some(1)), Kind::Reply, (4, &slots, &keys));
            assert_eq!(may, allowed, "{ms} ms, {awaits}");
        }
    }
}
