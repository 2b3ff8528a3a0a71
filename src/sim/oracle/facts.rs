//! What was found: violations, a bounded number of them, and counted facts.

use std::collections::BTreeMap;

use crate::protocol::Time;
use crate::report::Violation;

/// Violations that are kept in words; the others are counted.
const KEPT: usize = 100;
/// Of one invariant, so that a flood of one does not hide the others.
const KEPT_EACH: u64 = 20;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Batches that honest nodes delivered, deliveries undone by a crash included.
    Delivered,
    /// Batches that honest nodes signed.
    Signed,
    /// Deliveries undone by a crash that lost their unsynced write.
    LostUnsynced,
    /// Slots that an author signed anew whose disk had lost them, and that nobody had shown it.
    SignedAnew,
    /// Slots and nodes that lack them, where nobody has the payload any more.
    Skipped,
    /// Bytes of batches that honest nodes sent each other.
    BatchBytesSent,
    /// Bytes of the batches that honest nodes delivered.
    BatchBytesDelivered,
    /// Such slots that were delivered again afterwards.
    RedeliveredAfterCrash,
    /// Rejections that blame their link.
    RejectedFatal,
    /// Rejections that blame nobody.
    RejectedSoft,
    /// Rejections that blame an author.
    EquivocationsSeen,
    /// Slots in which honest nodes delivered different batches.
    ConflictingSlots,
    /// Bans by honest nodes.
    Bans,
    /// Signature checks that honest nodes asked for.
    Checks,
    /// Those of a statement that the same node had checked before.
    ChecksRepeated,
    /// Those that found a forgery.
    ForgeriesChecked,
    /// Frames that honest nodes sent.
    FramesSent,
    /// Bytes of replies that honest nodes sent.
    BytesServed,
    /// Batches that honest nodes read from disk for their peers.
    Reads,
    /// Bytes of bodies among them.
    BytesRead,
    /// Crashes of honest nodes.
    Crashes,
    /// Restarts of honest nodes.
    Restarts,
    /// Checkpoints at which the honest nodes were not one connected graph.
    CheckpointsApart,
    /// Checkpoints at which too few honest members could vouch for what another had missed.
    CheckpointsUnvouched,
    /// Violations beyond those that are kept in words.
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
    /// Counts one.
    pub fn count(&mut self, fact: Fact) {
        self.add(fact, 1);
    }

    /// Counts some.
    pub fn add(&mut self, fact: Fact, some: u64) {
        let held = &mut self.counted[fact as usize];
        *held = held.saturating_add(some);
    }

    /// An invariant did not hold. Those of liveness say that something happens in time: the `L`s,
    /// and `O1`.
    pub fn broken(
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

    /// Those that are kept in words.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many of something were counted.
    pub fn of(&self, fact: Fact) -> u64 {
        self.counted[fact as usize]
    }

    /// Every counter by name, and `broken.INVARIANT` for each that broke.
    pub fn counted(&self) -> BTreeMap<String, u64> {
        let facts =
            NAMES.iter().map(|(fact, name)| ((*name).to_owned(), self.counted[*fact as usize]));
        let broken = self.each.iter().map(|(name, count)| (format!("broken.{name}"), *count));
        facts.chain(broken).collect()
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
