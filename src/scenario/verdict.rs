//! The verdict on a run, from what was observed, and its exit code.

use serde::{Deserialize, Serialize};

/// How a run ended. The variants are ordered by precedence: a safety violation outweighs all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// An honest node accepted what it must refuse, an honest node banned another one, or a safety
    /// invariant did not hold.
    Safety,
    /// A message is missing at an honest node or a post was refused, or a liveness invariant or an
    /// expectation was not met.
    Liveness,
    /// Nothing else failed, but some liar had no behaviour that reached an honest node: the run
    /// proves nothing about that liar.
    NotExercised,
    /// Every message is everywhere, nothing false was accepted, and each liar had a behaviour that
    /// reached an honest node.
    Pass,
    /// The run was stopped before its end; what was measured until then is not judged.
    Interrupted,
}

/// The facts that the verdict rests on. Everything is counted at honest nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Deliveries in an honest author's name that it did not publish, and second deliveries of a
    /// slot.
    pub accepted: u64,
    /// Honest nodes that were banned by an honest node.
    pub honest_banned: u64,
    /// Messages that an honest node's API refused or never acknowledged.
    pub refused_posts: u64,
    /// Deliveries that are expected: published messages times living honest nodes, with the
    /// exceptions of the report's `delivery.expected`.
    pub expected: u64,
    /// How many of the expected deliveries happened.
    pub delivered: u64,
    /// Safety violations that an oracle saw.
    pub broken: u64,
    /// Liveness violations that an oracle saw.
    pub overdue: u64,
    /// Expectations of the scenario that were not met.
    pub missed: u64,
    /// Liars none of whose behaviours reached an honest node.
    pub idle_liars: u64,
}

impl Verdict {
    /// Returns the first verdict that applies: safety, liveness, not exercised, pass.
    pub fn of(facts: &Facts) -> Self {
        let unsafe_by = [facts.accepted, facts.honest_banned, facts.broken];
        let late_by = [facts.refused_posts, facts.overdue, facts.missed];
        if unsafe_by.iter().any(|count| *count > 0) {
            Self::Safety
        } else if facts.delivered < facts.expected || late_by.iter().any(|count| *count > 0) {
            Self::Liveness
        } else if facts.idle_liars > 0 {
            Self::NotExercised
        } else {
            Self::Pass
        }
    }

    /// The verdict's name in `report.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::NotExercised => "not_exercised",
            Self::Pass => "pass",
            Self::Interrupted => "interrupted",
        }
    }

    /// The program's exit code: 0 pass, 3 liveness missed, 4 safety broken, 5 not exercised, 130
    /// interrupted (128 plus the number of SIGINT, as in shells).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Liveness => 3,
            Self::Safety => 4,
            Self::NotExercised => 5,
            Self::Interrupted => 130,
        }
    }

    /// The exit code of a run for which the scenario expects a verdict: 0 if it ended as expected,
    /// 1 if it passed although another verdict was expected, else the code of this verdict.
    pub fn exit_code_against(self, expected: Self) -> u8 {
        match self {
            _ if self == expected && self != Self::Interrupted => 0,
            Self::Pass => 1,
            _ => self.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts { expected: 700, delivered: 700, ..Facts::default() }
    }

    #[test]
    fn a_clean_run_passes() {
        assert_eq!(Verdict::of(&good()), Verdict::Pass);
        assert_eq!(Verdict::Pass.exit_code(), 0);
    }

    #[test]
    fn one_accepted_forgery_breaks_safety() {
        assert_eq!(Verdict::of(&Facts { accepted: 1, ..good() }), Verdict::Safety);
    }

    #[test]
    fn one_honest_node_banned_breaks_safety() {
        assert_eq!(Verdict::of(&Facts { honest_banned: 1, ..good() }), Verdict::Safety);
    }

    #[test]
    fn one_missing_delivery_misses_liveness() {
        assert_eq!(Verdict::of(&Facts { delivered: 699, ..good() }), Verdict::Liveness);
        assert_eq!(Verdict::of(&Facts { refused_posts: 1, ..good() }), Verdict::Liveness);
    }

    #[test]
    fn an_oracle_and_missed_expectations_count() {
        assert_eq!(Verdict::of(&Facts { broken: 1, ..good() }), Verdict::Safety);
        assert_eq!(Verdict::of(&Facts { overdue: 1, ..good() }), Verdict::Liveness);
        assert_eq!(Verdict::of(&Facts { missed: 1, ..good() }), Verdict::Liveness);
        assert_eq!(Verdict::of(&Facts { missed: 1, broken: 1, ..good() }), Verdict::Safety);
    }

    #[test]
    fn an_expected_verdict_is_success_and_another_is_not() {
        use Verdict::{Liveness, NotExercised, Pass, Safety};
        let all = [Safety, Liveness, NotExercised, Pass];
        for verdict in all {
            assert_eq!(verdict.exit_code_against(verdict), 0);
            for other in all.into_iter().filter(|other| *other != verdict) {
                assert_ne!(verdict.exit_code_against(other), 0, "{verdict:?} for {other:?}");
            }
        }
        assert!(all.into_iter().all(|one| Verdict::Interrupted.exit_code_against(one) == 130));
        assert_eq!(Verdict::Interrupted.exit_code_against(Verdict::Interrupted), 130);
        assert_eq!(Pass.exit_code_against(Liveness), 1);
        assert_eq!(Safety.exit_code_against(Liveness), 4);
    }

    #[test]
    fn an_attack_that_reached_nobody_proves_nothing() {
        let facts = Facts { idle_liars: 1, ..good() };
        assert_eq!(Verdict::of(&facts), Verdict::NotExercised);
    }

    #[test]
    fn the_first_that_applies_wins() {
        let mut facts = Facts { accepted: 1, delivered: 0, idle_liars: 1, ..good() };
        assert_eq!(Verdict::of(&facts), Verdict::Safety);
        facts.accepted = 0;
        assert_eq!(Verdict::of(&facts), Verdict::Liveness);
        let codes = [Verdict::Liveness, Verdict::Safety, Verdict::NotExercised];
        assert_eq!(codes.map(Verdict::exit_code), [3, 4, 5]);
    }
}
