//! Signature checks: which signatures are known to be valid, how often nodes ask, and which of its
//! own signatures a node that lost rows was shown since its start. Checks R3, and serves I6.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, Facts, Leaky};
use super::nodes::{Keys, NodeSet};
use crate::crypto::{Digest, PublicKey, Signature};
use crate::protocol::Time;
use crate::wire::limits::{
    COMPARE_BURST, COMPARES_PER_S, IDLE_WORK_BURST, IDLE_WORK_PER_S, MAX_TIPS,
};
use crate::wire::{Batch, Frame, Kind, SignedSlot};

/// Checks of known statements per second that a link may cause: one for each tip in an answer to a
/// comparison, and one for each copy of a batch.
const REPEATS_PER_S: u64 = COMPARES_PER_S * MAX_TIPS as u64 + IDLE_WORK_PER_S;
/// The same as a burst after a pause.
const REPEAT_BURST: u64 = COMPARE_BURST * MAX_TIPS as u64 + IDLE_WORK_BURST;
/// Forgeries that are remembered. Beyond that all are forgotten at once, which can only excuse
/// nodes.
const FORGERIES: usize = 1 << 16;

/// A signature and its statement: the author's number, the slot, and the digest of the rest.
type Name = (Signature, u32, u64, Digest);

#[derive(Debug, Default)]
struct Statement {
    good: Option<bool>,
    asked: NodeSet,
}

/// All statements that were signed or checked in the run.
#[derive(Debug)]
pub(super) struct Checks {
    statements: BTreeMap<Name, Statement>,
    forgeries: usize,
    /// Repeated checks, by node.
    repeats: Vec<Leaky>,
}

fn name_of(
    keys: &Keys,
    key: &PublicKey,
    statement: &[u8; SignedSlot::STATEMENT],
    signature: &Signature,
) -> Name {
    let (mut seq, mut rest) = ([0; 8], [0; 32]);
    seq.copy_from_slice(&statement[80..88]);
    rest.copy_from_slice(&statement[88..]);
    let own = statement[16..48] == keys.network.0 && statement[48..80] == key.0;
    let author = keys.number(key).filter(|_| own).unwrap_or(u32::MAX);
    (*signature, author, u64::from_be_bytes(seq), Digest(rest))
}

impl Checks {
    /// Nothing is known yet, in a run of this many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { statements: BTreeMap::new(), forgeries: 0, repeats: vec![Leaky::default(); nodes] }
    }

    /// An honest node signed a batch of its own.
    pub(super) fn signed(&mut self, node: usize, batch: &Batch) {
        let Ok(author) = u32::try_from(node) else { return };
        let name = (batch.signature, author, batch.header.seq, batch.header.rest());
        self.statements.entry(name).or_default().good = Some(true);
    }

    /// Records the verdict of a check. Returns whether it agrees with the earlier ones: if an
    /// honest node's own signature were found invalid, every node would blame the peer that relays
    /// it.
    pub(super) fn checked(
        &mut self,
        keys: &Keys,
        (key, statement, signature): (&PublicKey, &[u8; SignedSlot::STATEMENT], &Signature),
        good: bool,
        facts: &mut Facts,
    ) -> bool {
        let held = self.statements.entry(name_of(keys, key, statement, signature)).or_default();
        let agreed = held.good.is_none_or(|before| before == good);
        if held.good.is_none() {
            held.good = Some(good);
            self.forgeries += usize::from(!good);
        }
        if !good {
            facts.count(Fact::ForgeriesChecked);
        }
        if self.forgeries > FORGERIES {
            self.statements.retain(|_, statement| statement.good != Some(false));
            self.forgeries = 0;
        }
        agreed
    }

    /// Whether a slot's signature was found valid in this run, or was made by an honest node.
    pub(super) fn is_good(
        &self,
        author: u32,
        seq: u64,
        rest: Digest,
        signature: &Signature,
    ) -> bool {
        let held = self.statements.get(&(*signature, author, seq, rest));
        held.is_some_and(|statement| statement.good == Some(true))
    }

    /// A node with this many links asks for a check.
    pub(super) fn asked(
        &mut self,
        (now, node, links): (Time, usize, u64),
        keys: &Keys,
        (key, statement, signature): (&PublicKey, &[u8; SignedSlot::STATEMENT], &Signature),
        facts: &mut Facts,
    ) {
        facts.count(Fact::Checks);
        let held = self.statements.entry(name_of(keys, key, statement, signature)).or_default();
        if held.asked.insert(node) {
            return;
        }
        facts.count(Fact::ChecksRepeated);
        let Some(repeats) = self.repeats.get_mut(node) else { return };
        let links = links.max(1);
        let (per_s, most) =
            (REPEATS_PER_S.saturating_mul(links), REPEAT_BURST.saturating_mul(links));
        if repeats.overflows(now, per_s, 1, most) {
            let what = || format!("checks known statements beyond the burst {most} and the rate");
            facts.broken("R3", now, Some(node), what);
        }
    }

    /// A node starts again and has forgotten which statements it had checked.
    pub(super) fn restarted(&mut self, node: usize) {
        if let Some(repeats) = self.repeats.get_mut(node) {
            repeats.level = 0;
        }
    }
}

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
