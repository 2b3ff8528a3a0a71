//! Claims: what members say about their own lanes of an author, and what more than `f` of them
//! agree on.

use std::collections::BTreeMap;

/// A member's claim about its own lane of an author.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// The member holds, gave up or has pruned every slot up to this one.
    pub solid: u64,
    /// The member has pruned or given up every slot up to this one.
    pub floor: u64,
}

impl Claim {
    /// The highest slot that the claim covers.
    pub(super) fn end(&self) -> u64 {
        self.solid.max(self.floor)
    }
}

/// All members' claims about one author's lane.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By key number; only members that are ahead of this node.
    by: BTreeMap<u32, Claim>,
    /// More than `f` members claim to be past every slot up to this one; never decreases.
    passed: u64,
    /// Slots that more than `f` members claim to hold: ranges `from..=to`, ascending.
    held: Vec<(u64, u64)>,
}

/// The `(f + 1)`-th highest value: at least one honest member claims that much.
fn agreed(values: impl Iterator<Item = u64>, f: usize) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(f).copied().unwrap_or(0)
}

impl Claims {
    pub(super) fn len(&self) -> usize {
        self.by.len()
    }

    /// A member's claim; zeros if it made none.
    pub(super) fn of(&self, member: u32) -> Claim {
        self.by.get(&member).copied().unwrap_or_default()
    }

    /// More than `f` members are past every slot up to this one.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether more than `f` members claim to hold a slot. Counted slot by slot, so that a few
    /// members that claim to have pruned everything cancel nothing that the others claim.
    pub(super) fn hold(&self, seq: u64) -> bool {
        let at = self.held.partition_point(|(_, to)| *to < seq);
        self.held.get(at).is_some_and(|(from, _)| *from <= seq)
    }

    /// Merges a new claim of a member into its earlier ones. Returns the slot up to which more than
    /// `f` members have pruned or given up everything.
    pub(super) fn take(&mut self, member: u32, said: Claim, f: usize) -> u64 {
        let claim = self.by.entry(member).or_default();
        let (solid, floor) = (claim.solid.max(said.solid), claim.floor.max(said.floor));
        *claim = Claim { solid, floor };
        let pruned = agreed(self.by.values().map(|claim| claim.floor), f);
        let solid = agreed(self.by.values().map(|claim| claim.solid), f);
        self.passed = self.passed.max(solid).max(pruned);
        self.held = held_by_more_than(f, self.by.values());
        pruned
    }

    /// Forgets members whose claims do not reach beyond `solid`.
    pub(super) fn forget(&mut self, solid: u64) {
        self.by.retain(|_, claim| claim.end() > solid);
    }
}

/// The ranges of slots that more than `f` members claim to hold, that is, from above their floor up
/// to their `solid`.
fn held_by_more_than<'a>(f: usize, claims: impl Iterator<Item = &'a Claim>) -> Vec<(u64, u64)> {
    let mut steps: Vec<(u64, i32)> = claims
        .filter(|claim| claim.floor < claim.solid)
        .flat_map(|claim| [(claim.floor, 1), (claim.solid, -1)])
        .collect();
    steps.sort_unstable(); // a range that begins where another ends keeps the count level
    let (mut ranges, mut count, mut began) = (Vec::<(u64, u64)>::new(), 0, 0);
    let most = i32::try_from(f).unwrap_or(i32::MAX);
    for (at, step) in steps {
        let before = count > most;
        count += step;
        match (before, count > most) {
            (false, true) => began = at,
            (true, false) if began < at => match ranges.last_mut() {
                Some(last) if last.1 == began => last.1 = at,
                _ => ranges.push((began + 1, at)),
            },
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hold(claims: &Claims, last: u64) -> Vec<u64> {
        (0..=last).filter(|seq| claims.hold(*seq)).collect()
    }

    #[test]
    fn whoever_claims_to_have_pruned_all_takes_nothing_from_what_others_vouch_for() {
        let mut claims = Claims::default();
        for (member, solid, floor) in [(1, 100, 0), (2, 105, 0), (3, 110, 110)] {
            claims.take(member, Claim { solid, floor }, 1);
        }
        assert_eq!(hold(&claims, 120), (1..=100).collect::<Vec<u64>>());
        assert_eq!(claims.passed(), 105, "that many are past it all the same");
    }

    #[test]
    fn extreme_claims_harm_nothing() {
        let mut claims = Claims::default();
        for (member, floor) in [(1, 0), (2, u64::MAX - 1), (3, u64::MAX)] {
            claims.take(member, Claim { solid: u64::MAX, floor }, 1);
        }
        assert!(claims.hold(u64::MAX) && !claims.hold(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn each_slot_is_counted(
            said in prop::collection::vec((0u64..30, 0u64..30), 0..9),
            f in 0usize..4,
        ) {
            let mut claims = Claims::default();
            for (member, (solid, floor)) in (0..).zip(&said) {
                claims.take(member, Claim { solid: *solid, floor: *floor }, f);
            }
            for seq in 0..40 {
                let by = said.iter().filter(|(solid, floor)| *floor < seq && seq <= *solid);
                prop_assert_eq!(claims.hold(seq), by.count() > f, "{}", seq);
            }
            prop_assert!(claims.held.windows(2).all(|two| two[0].1 + 1 < two[1].0));
        }
    }
}
