//! Findings of the oracle: a bounded number of violations, and counters.

use std::collections::BTreeMap;

use crate::protocol::{Time, micros};
use crate::report::Violation;

/// Most violations kept in words; further ones are only counted.
const KEPT: usize = 100;
/// The same for one invariant, so that many violations of one do not hide the others.
const KEPT_EACH: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Batches that honest nodes delivered, including deliveries that a crash undid.
    Delivered,
    /// Batches that honest nodes signed.
    Signed,
    /// Deliveries undone by a crash that lost their unsynced write.
    LostUnsynced,
    /// Slots whose author lost its first batch, was not shown it again, and signed another.
    SignedAnew,
    /// Pairs of a slot and a node that lacks it, where no node can give the slot or the node has no
    /// room for it.
    Skipped,
    /// Bytes of pushes and replies that honest nodes sent each other.
    BatchBytesSent,
    /// Bytes of the batches that honest nodes delivered, counted as pushes.
    BatchBytesDelivered,
    /// Deliveries repeated after a crash, a bad row or a lost disk undid the first one.
    RedeliveredAfterCrash,
    /// Rejections that blame their link.
    RejectedFatal,
    /// Rejections that blame nobody.
    RejectedSoft,
    /// Rejections that blame an author.
    EquivocationsSeen,
    /// Slots in which honest nodes delivered different batches.
    ConflictingSlots,
    Bans,
    /// Signature checks that honest nodes asked for.
    Checks,
    /// Signature checks of a statement that the same node had asked for before.
    ChecksRepeated,
    /// Signature checks that found a forgery.
    ForgeriesChecked,
    /// Frames that honest nodes sent.
    FramesSent,
    /// Bytes of replies that honest nodes sent.
    BytesServed,
    /// Batches that honest nodes read from disk for their peers.
    Reads,
    /// Bytes of the bodies of those batches.
    BytesRead,
    Crashes,
    Restarts,
    /// Checkpoints at which the honest nodes did not form one connected graph.
    CheckpointsApart,
    /// Returned nodes, counted once per checkpoint, for which too few honest members could vouch.
    CheckpointsUnvouched,
    /// Violations beyond the number kept in words.
    ViolationsUnkept,
}

const NAMES: [(Fact, &str); 25] = [
    (Fact::Delivered, "delivered"),
    (Fact::Signed, "signed"),
    (Fact::LostUnsynced, "lost_unsynced"),
    (Fact::SignedAnew, "signed_anew"),
    (Fact::Skipped, "skipped"),
    (Fact::BatchBytesSent, "batch_bytes_sent"),
    (Fact::BatchBytesDelivered, "batch_bytes_delivered"),
    (Fact::RedeliveredAfterCrash, "redelivered_after_crash"),
    (Fact::RejectedFatal, "rejected_fatal"),
    (Fact::RejectedSoft, "rejected_soft"),
    (Fact::EquivocationsSeen, "equivocations_seen"),
    (Fact::ConflictingSlots, "conflicting_slots"),
    (Fact::Bans, "bans"),
    (Fact::Checks, "checks"),
    (Fact::ChecksRepeated, "checks_repeated"),
    (Fact::ForgeriesChecked, "forgeries_checked"),
    (Fact::FramesSent, "frames_sent"),
    (Fact::BytesServed, "bytes_served"),
    (Fact::Reads, "reads"),
    (Fact::BytesRead, "bytes_read"),
    (Fact::Crashes, "crashes"),
    (Fact::Restarts, "restarts"),
    (Fact::CheckpointsApart, "checkpoints_apart"),
    (Fact::CheckpointsUnvouched, "checkpoints_unvouched"),
    (Fact::ViolationsUnkept, "violations_unkept"),
];

/// Violations and counters.
#[derive(Debug, Default)]
pub(super) struct Facts {
    violations: Vec<Violation>,
    each: BTreeMap<&'static str, u64>,
    counted: [u64; NAMES.len()],
}

impl Facts {
    pub(super) fn count(&mut self, fact: Fact) {
        self.add(fact, 1);
    }

    pub(super) fn add(&mut self, fact: Fact, some: u64) {
        let held = &mut self.counted[fact as usize];
        *held = held.saturating_add(some);
    }

    /// Records a violation. The invariants of liveness, which require something to happen in time,
    /// are the `L`s and `O1`.
    pub(super) fn broken(
        &mut self,
        invariant: &'static str,
        now: Time,
        node: Option<usize>,
        what: impl FnOnce() -> String,
    ) {
        let each = self.each.entry(invariant).or_default();
        *each += 1;
        if *each > KEPT_EACH || self.violations.len() >= KEPT {
            return self.count(Fact::ViolationsUnkept);
        }
        self.violations.push(Violation {
            invariant: invariant.to_owned(),
            liveness: invariant.starts_with('L') || invariant == "O1",
            at: now.0,
            node: node.and_then(|node| u32::try_from(node).ok()),
            what: what(),
        });
    }

    /// The violations kept in words, in the order in which they were seen.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(super) fn of(&self, fact: Fact) -> u64 {
        self.counted[fact as usize]
    }

    /// All counters by name, and `broken.INVARIANT` for each invariant that was violated.
    pub(super) fn counted(&self) -> BTreeMap<String, u64> {
        let facts =
            NAMES.iter().map(|(fact, name)| ((*name).to_owned(), self.counted[*fact as usize]));
        let broken = self.each.iter().map(|(name, count)| (format!("broken.{name}"), *count));
        facts.chain(broken).collect()
    }
}

/// A leaky bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaky {
    /// The level times a million, as of the last update.
    pub level: u64,
    then: Time,
}

impl Leaky {
    /// Adds `some` to what is left of the level at `per_s` a second. Returns whether it then
    /// exceeds `most`.
    pub(super) fn overflows(&mut self, now: Time, per_s: u64, some: u64, most: u64) -> bool {
        let paid = micros(now.since(self.then)).saturating_mul(per_s);
        self.level = self.level.saturating_sub(paid).saturating_add(some.saturating_mul(1_000_000));
        self.then = now;
        self.level > most.saturating_mul(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_own_place() {
        for (place, (fact, _)) in NAMES.iter().enumerate() {
            assert_eq!(*fact as usize, place);
        }
    }

    #[test]
    fn a_flood_of_one_violation_hides_no_other() {
        let mut facts = Facts::default();
        for _ in 0..1000 {
            facts.broken("I4", Time(1), Some(3), || "again".into());
        }
        facts.broken("L1", Time(2), None, || "missing".into());
        assert_eq!(facts.violations().len() as u64, KEPT_EACH + 1);
        let liveness: Vec<bool> = facts.violations().iter().map(|v| v.liveness).collect();
        assert!(!liveness[0] && liveness[KEPT_EACH as usize]);
        let counted = facts.counted();
        assert_eq!((counted["broken.I4"], counted["violations_unkept"]), (1000, 1000 - KEPT_EACH));
    }
}
