//! A scenario's limits on the report's numbers: evaluated, and in words.

use serde_json::Value;

use super::{Expectation, Report};
use crate::scenario::{Expect, Limit};

/// Returns each limit with the measured number and whether it is met.
pub(super) fn evaluate(expects: &[Expect], report: &Report) -> Vec<Expectation> {
    if expects.is_empty() {
        return vec![];
    }
    // Every value has a JSON form; if one had none, all numbers would count as missing.
    let json = serde_json::to_value(report).unwrap_or_default();
    expects.iter().map(|expect| one(expect, &json)).collect()
}

impl Expectation {
    /// The limit in words, such as `delivery.ratio ≥ 1`.
    pub(super) fn limit_words(&self) -> String {
        let sign = match &*self.relation {
            "at_most" => "≤",
            "equals" => "=",
            _ => "≥",
        };
        format!("{} {sign} {}", self.name, self.limit)
    }

    /// The measured number in words.
    pub(super) fn actual_words(&self) -> String {
        self.actual.map_or_else(|| "not measured".into(), |actual| actual.to_string())
    }
}

fn one(expect: &Expect, json: &Value) -> Expectation {
    let actual = number(json, &expect.metric);
    let (relation, limit) = match expect.limit {
        Limit::AtLeast(limit) => ("at_least", limit),
        Limit::AtMost(limit) => ("at_most", limit),
        Limit::Equals(limit) => ("equals", limit),
    };
    let holds = |actual: f64| match expect.limit {
        Limit::AtLeast(limit) => actual >= limit,
        Limit::AtMost(limit) => actual <= limit,
        Limit::Equals(limit) => (actual - limit).abs() <= 1e-9 * limit.abs().max(1.0),
    };
    Expectation {
        name: expect.metric.clone(),
        actual,
        relation: relation.into(),
        limit,
        pass: actual.is_some_and(holds),
    }
}

/// Returns the number at a dotted path. Attacks, rejections and counts that are absent are 0.
fn number(json: &Value, path: &str) -> Option<f64> {
    let found = path.split('.').try_fold(json, |value, key| value.get(key));
    match found {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::Bool(yes)) => Some(f64::from(u8::from(*yes))),
        None if ["attacks.", "rejections.", "counted."].iter().any(|p| path.starts_with(p)) => {
            Some(0.0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_one_number_of_the_report() {
        let json = serde_json::json!({
            "delivery": {"ratio": 0.5, "hops": null}, "within_bound": true, "attacks": {},
        });
        let check = |metric: &str, limit| {
            let found = one(&Expect { metric: metric.into(), limit }, &json);
            (found.actual, found.pass)
        };
        assert_eq!(check("delivery.ratio", Limit::AtLeast(0.5)), (Some(0.5), true));
        assert_eq!(check("delivery.ratio", Limit::AtLeast(0.51)), (Some(0.5), false));
        assert_eq!(check("delivery.ratio", Limit::AtMost(0.49)), (Some(0.5), false));
        assert_eq!(check("delivery.ratio", Limit::Equals(0.5)), (Some(0.5), true));
        assert_eq!(check("delivery.ratio", Limit::Equals(0.6)), (Some(0.5), false));
        assert_eq!(check("within_bound", Limit::Equals(1.0)), (Some(1.0), true));
        // What was not measured meets no limit at all.
        assert_eq!(check("delivery.hops.max", Limit::AtMost(9.0)), (None, false));
        assert_eq!(check("delivery.hops", Limit::AtMost(9.0)), (None, false));
        assert_eq!(check("nothing", Limit::AtMost(9.0)), (None, false));
        assert_eq!(check("attacks.forge.accepted", Limit::AtMost(0.0)), (Some(0.0), true));
    }
}
