//! `junit.xml`: one test suite, for tools that show test results.

use std::fmt::Write as _;

use super::Report;
use super::escape::xml;
use crate::scenario::Verdict;

/// The suite: the verdict, safety, liveness, each behaviour and each expectation is a test case. An
/// interrupted run, or one that expects another verdict than `pass`, has only the verdict as a
/// case, since its parts may or must fail.
pub fn junit(report: &Report) -> String {
    let mut cases = Vec::new();
    let (verdict, expected) = (report.verdict.name(), report.expected_verdict.name());
    let missed = (report.verdict != report.expected_verdict)
        .then(|| format!("{verdict}, but {expected} was expected"));
    cases.push(("verdict".to_owned(), missed));
    if report.expected_verdict == Verdict::Pass && report.verdict != Verdict::Interrupted {
        cases.push(("safety".into(), safety(report)));
        cases.push(("liveness".into(), liveness(report)));
        for kind in report.attacks.keys() {
            // A behaviour that was not exercised is no failure as long as no liar was idle.
            let untried = !report.idle_liars.is_empty() && report.not_exercised.contains(kind);
            let why = untried.then(|| format!("{kind} reached no honest node"));
            cases.push((format!("exercised: {kind}"), why));
        }
        for one in &report.expectations {
            let why = (!one.pass).then(|| format!("it is {}", one.actual_words()));
            cases.push((format!("expected: {}", one.limit_words()), why));
        }
    }
    suite(report, &cases)
}

fn suite(report: &Report, cases: &[(String, Option<String>)]) -> String {
    let failures = cases.iter().filter(|(_, failure)| failure.is_some()).count();
    let seconds = report.resources.wall_s.unwrap_or(0.0);
    let name = xml(&report.name);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<testsuite name=\"loyal {name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"0\" time=\"{seconds:.3}\">",
        cases.len()
    );
    let _ = writeln!(
        out,
        "  <properties>\n    <property name=\"reproduce\" value=\"{}\"/>\n  </properties>",
        xml(&report.reproduce)
    );
    for (case, failure) in cases {
        let head = format!("  <testcase classname=\"loyal.{name}\" name=\"{}\"", xml(case));
        let _ = match failure {
            None => writeln!(out, "{head}/>"),
            Some(why) => {
                writeln!(out, "{head}>\n    <failure message=\"{}\"/>\n  </testcase>", xml(why))
            }
        };
    }
    out + "</testsuite>\n"
}

fn safety(report: &Report) -> Option<String> {
    let mut why = broken(report, false);
    let d = &report.delivery;
    let counts = [
        (d.unpublished, "deliveries that their author did not publish"),
        (d.duplicates, "second deliveries of a slot"),
        (report.bans.honest, "honest nodes banned"),
    ];
    why.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    (!why.is_empty()).then(|| why.join("; "))
}

fn liveness(report: &Report) -> Option<String> {
    let mut why = broken(report, true);
    let d = &report.delivery;
    if d.delivered < d.expected {
        why.push(format!("{} of {} deliveries", d.delivered, d.expected));
    }
    if report.refused_posts > 0 {
        why.push(format!("{} posts refused", report.refused_posts));
    }
    (!why.is_empty()).then(|| why.join("; "))
}

fn broken(report: &Report, liveness: bool) -> Vec<String> {
    let fitting = report.violations.iter().filter(|one| one.liveness == liveness).take(20);
    fitting.map(|one| format!("{}: {}", one.invariant, one.what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judge;
    use crate::report::testing::clean;
    use crate::scenario::{Expect, Limit};

    #[test]
    fn every_part_of_the_verdict_is_a_case() {
        let mut run = clean();
        run.expects.push(Expect { metric: "delivery.ratio".into(), limit: Limit::AtLeast(1.0) });
        let good = junit(&judge(&run));
        assert!(good.contains("tests=\"6\" failures=\"0\""), "{good}");
        for case in ["safety", "liveness", "exercised: forge", "expected: delivery.ratio ≥ 1"] {
            assert!(good.contains(&format!("name=\"{case}\"/>")), "{case} in {good}");
        }
        run.arrivals.pop();
        let bad = junit(&judge(&run));
        assert!(bad.contains("failures=\"3\""), "verdict, liveness, expectation: {bad}");
        assert!(bad.contains("2 of 3 deliveries"), "{bad}");
        // Where that was expected, nothing failed.
        run.expected_verdict = Verdict::Liveness;
        assert!(junit(&judge(&run)).contains("tests=\"1\" failures=\"0\""));
    }

    #[test]
    fn hostile_text_is_escaped() {
        let mut run = clean();
        run.name = "a\"><b>&\u{0}\u{1b}".into();
        let text = junit(&judge(&run));
        assert!(text.contains("a&quot;&gt;&lt;b&gt;&amp;\u{fffd}\u{fffd}"), "{text}");
    }
}
