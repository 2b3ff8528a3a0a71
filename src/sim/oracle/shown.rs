//! Which of its own signatures a node that lost rows was shown since its start. Used for I6.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::Checks;
use super::keys::Keys;
use super::set::NodeSet;
use crate::protocol::Time;
use crate::wire::{Batch, Frame, Kind};

/// A node has checked a signature at most this long after it was shown it.
const CHECKED_WITHIN: Duration = Duration::from_millis(100);

/// Own signatures that nodes were shown by peers.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Nodes that lost safe rows: no other node can forget what it signed.
    forgetful: NodeSet,
    /// By node: own slots that it was shown, ascending, with the time of each.
    seen: BTreeMap<usize, Vec<(u64, Time)>>,
}

impl Shown {
    /// A node lost safe rows.
    pub(super) fn forgets(&mut self, node: usize) {
        self.forgetful.insert(node);
    }

    /// A node starts again and has forgotten what it was shown.
    pub(super) fn restarted(&mut self, node: usize) {
        self.seen.remove(&node);
    }

    /// A frame is handed to a node.
    pub(super) fn frame(
        &mut self,
        now: Time,
        node: usize,
        frame: &[u8],
        keys: &Keys,
        checks: &Checks,
    ) {
        let tells = [Kind::Push, Kind::Reply, Kind::Differ].map(|kind| Some(kind as u8));
        if !self.forgetful.contains(node) || !tells.contains(&frame.get(1).copied()) {
            return;
        }
        let own = |batch: &Batch| {
            let header = &batch.header;
            let good = checks.is_good(node_u32(node), header.seq, header.rest(), &batch.signature);
            (keys.is(node, &header.author) && good).then_some(header.seq)
        };
        let slot = match Frame::decode(frame) {
            Ok(Frame::Push(push)) => own(&push.batch),
            Ok(Frame::Reply(reply)) => own(&reply.batch),
            Ok(Frame::Differ(differ)) => {
                let tip = differ.tips.iter().map(|tip| tip.slot);
                tip.filter(|tip| keys.is(node, &tip.author))
                    .find(|tip| checks.is_good(node_u32(node), tip.seq, tip.rest, &tip.signature))
                    .map(|tip| tip.seq)
            }
            _ => None,
        };
        let seen = self.seen.entry(node).or_default();
        if let Some(slot) = slot
            && seen.last().is_none_or(|(last, _)| *last < slot)
        {
            seen.push((slot, now));
        }
    }

    /// Whether the node was shown a signature of its own for `slot` or a higher one long enough ago
    /// to have checked it.
    pub(super) fn knows(&self, now: Time, node: usize, slot: u64) -> bool {
        let seen = self.seen.get(&node).into_iter().flatten();
        seen.into_iter().any(|(shown, at)| *shown >= slot && at.after(CHECKED_WITHIN) <= now)
    }
}

fn node_u32(node: usize) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX)
}
