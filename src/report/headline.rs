//! The verdict in a word and a sentence that says what was missed.

use super::{ClockStep, Report};
use crate::scenario::Verdict;

/// The name of a verdict for people.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Liveness => "LIVENESS MISSED",
        Verdict::Safety => "SAFETY BROKEN",
        Verdict::NotExercised => "NOT EXERCISED",
        Verdict::Interrupted => "INTERRUPTED",
    }
}

/// The reasons for the verdict. The sentence holds names from the run: escape it before printing.
pub(super) fn sentence(report: &Report) -> String {
    match report.verdict {
        Verdict::Pass if !report.within_bound => "beyond the bound: nothing was promised".into(),
        Verdict::Pass => "every message reached every honest node, and nothing false did".into(),
        Verdict::Liveness => missed(report).join("; "),
        Verdict::Safety => broken(report).join("; "),
        Verdict::NotExercised => {
            let liars = report.idle_liars.join(", ");
            format!("no behaviour of {liars} reached an honest node")
        }
        Verdict::Interrupted => {
            let (done, due) = (report.delivery.delivered, report.delivery.expected);
            let sent = report.published;
            format!(
                "nothing is judged; {sent} messages were published, {done} of {due} deliveries made"
            )
        }
    }
}

impl ClockStep {
    /// Describes the step, and what it means for the measured latencies.
    pub fn words(&self) -> String {
        let (at, by, slept) = (self.at_ms / 1e3, self.by_ms / 1e3, self.slept_ms / 1e3);
        let set = by - slept;
        let mut what = Vec::new();
        if slept >= 1.0 {
            what.push(format!("the machine slept for {slept:.1} s"));
        }
        if set.abs() >= 1.0 {
            let way = if set < 0.0 { "back" } else { "forward" };
            what.push(format!("the wall clock was set {:.1} s {way}", set.abs()));
        }
        format!(
            "{}, {at:.1} s into the run: latencies do not include it, except at nodes that started \
             later",
            what.join(" and ")
        )
    }
}

/// What a run that missed liveness lacked: deliveries, posts, limits, invariants.
fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    let (delivered, expected) = (report.delivery.delivered, report.delivery.expected);
    if delivered < expected {
        let lacking = expected - delivered;
        missed.push(format!("{lacking} of {expected} deliveries are missing at honest nodes"));
    }
    if report.refused_posts > 0 {
        missed.push(format!("{} posts were refused", report.refused_posts));
    }
    let limits = report.expectations.iter().filter(|one| !one.pass);
    missed.extend(
        limits
            .map(|one| format!("{} was not met: it is {}", one.limit_words(), one.actual_words())),
    );
    missed.extend(invariants(report, true));
    missed
}

fn broken(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    let accepted: u64 = report.attacks.values().map(|attack| attack.accepted).sum();
    if accepted > 0 {
        broken.push(format!("honest nodes accepted {accepted} messages that they must refuse"));
    }
    if report.bans.honest > 0 {
        broken.push(format!("{} honest nodes were banned by honest nodes", report.bans.honest));
    }
    broken.extend(invariants(report, false));
    if broken.is_empty() {
        broken.push("an honest node accepted or banned what it must not".into());
    }
    broken
}

/// The invariants of one kind that did not hold, each named once.
fn invariants(report: &Report, liveness: bool) -> Option<String> {
    let of_kind = report.violations.iter().filter(|one| one.liveness == liveness);
    let mut names: Vec<&str> = of_kind.map(|one| &*one.invariant).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("{} did not hold", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::clean;
    use crate::report::{Violation, judge};
    use crate::scenario::{Expect, Limit};

    #[test]
    fn a_headline_says_what_was_missed() {
        let mut run = clean();
        assert!(sentence(&judge(&run)).starts_with("every message"));
        run.f = 0;
        let beyond = judge(&run);
        assert_eq!(beyond.verdict, Verdict::Pass);
        assert_eq!(sentence(&beyond), "beyond the bound: nothing was promised");
        let limit = Limit::AtMost(-1.0);
        run.expects.push(Expect { metric: "delivery.latency_ms.max".into(), limit });
        let text = sentence(&judge(&run));
        assert!(text.starts_with("delivery.latency_ms.max ≤ -1 was not met: it is "), "{text}");
        let violation = Violation {
            invariant: "L7".into(),
            liveness: true,
            at: 1,
            node: None,
            what: "x".into(),
        };
        run.violations.push(violation);
        assert!(sentence(&judge(&run)).ends_with("; L7 did not hold"));
        run.violations[0].liveness = false;
        assert_eq!(sentence(&judge(&run)), "L7 did not hold");
    }

    #[test]
    fn what_was_interrupted_passes_nothing() {
        let mut run = clean();
        run.interrupted = true;
        let report = judge(&run);
        assert_eq!((report.verdict.name(), report.verdict.exit_code()), ("interrupted", 130));
        assert!(sentence(&report).starts_with("nothing is judged; "), "{}", sentence(&report));
        let text = crate::report::terminal(&report);
        assert!(text.contains("INTERRUPTED") && !text.contains("PASS"), "{text}");
        assert!(crate::report::junit(&report).contains("failures=\"1\""));
        assert!(crate::report::html(&run, &report).contains("badge interrupted"));
        let json = report.to_json().expect("JSON");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("reads"), report);
    }

    #[test]
    fn a_step_of_the_clock_is_told_with_its_cause() {
        let words = |by_ms, slept_ms| ClockStep { at_ms: 3200.0, by_ms, slept_ms }.words();
        let set = words(7_200_000.0, 0.0);
        assert!(set.starts_with("the wall clock was set 7200.0 s forward, 3.2 s into"), "{set}");
        assert!(words(-60_000.0, 0.0).contains("60.0 s back"));
        let slept = words(60_000.0, 60_000.0);
        assert!(slept.starts_with("the machine slept for 60.0 s, "), "{slept}");
        assert!(
            words(0.0, 60_000.0)
                .contains("slept for 60.0 s and the wall clock was set 60.0 s back")
        );
        let mut run = clean();
        run.clock_steps.push(ClockStep { at_ms: 3200.0, by_ms: 7_200_000.0, slept_ms: 0.0 });
        assert!(
            crate::report::terminal(&judge(&run)).contains("clock      the wall clock was set")
        );
    }

    #[test]
    fn a_liar_that_reached_nobody_is_named() {
        let mut run = clean();
        run.nodes[3].kinds = vec!["forge".into()];
        run.nodes[1].rejections.clear();
        assert_eq!(sentence(&judge(&run)), "no behaviour of n3 reached an honest node");
    }
}
