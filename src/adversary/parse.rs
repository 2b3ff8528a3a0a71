//! Parses a LIST of SPECs, and rejects invalid ones with a reason and a suggestion.

use std::str::FromStr;
use std::time::Duration;

use super::parse_kind::{self, KINDS, WHENS, chance, duration};
use super::spec::{Behaviour, BehaviourKind, Chance, Spec, SpecError, What, When, refuse};
use super::suggest::nearest;

/// Most liars in a list.
pub const MAX_LIARS: usize = 1024;
/// Longest list, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Longest time allowed in `@when`.
const MAX_WHEN: Duration = Duration::from_secs(24 * 3600);

/// Parses a LIST: SPECs separated by commas, one per malicious node; or a number K, which stands
/// for K nodes that take forge, drop and flood in turn. 0 means no malicious nodes.
///
/// # Errors
/// The first invalid part, the reason, and what was probably meant.
pub fn parse_list(text: &str) -> Result<Vec<Spec>, SpecError> {
    if text.len() > MAX_TEXT {
        return refuse(text, format!("is longer than {MAX_TEXT} bytes"));
    }
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let count = text.parse().ok().filter(|count| *count <= MAX_LIARS);
        let Some(count) = count else {
            return refuse(text, format!("is too many liars; at most {MAX_LIARS} can be"));
        };
        return Ok(in_turn().cycle().take(count).collect());
    }
    let specs: Vec<Spec> = text.split(',').map(spec).collect::<Result<_, _>>()?;
    if specs.len() > MAX_LIARS {
        return refuse(text, format!("lists too many liars; at most {MAX_LIARS} can be"));
    }
    Ok(specs)
}

fn in_turn() -> impl Iterator<Item = Spec> + Clone {
    let flood = BehaviourKind::Flood { rate: None, what: What::Garbage };
    [BehaviourKind::Forge, BehaviourKind::Drop { p: Chance::ALWAYS }, flood]
        .into_iter()
        .map(|kind| Spec { behaviours: vec![Behaviour { kind, when: When::Always }] })
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // A suggestion of two SPECs would be rejected here too.
        spec(text).map_err(|error| SpecError {
            suggestion: error.suggestion.filter(|meant| !meant.contains(',')),
            ..error
        })
    }
}

fn spec(text: &str) -> Result<Spec, SpecError> {
    if text.trim().is_empty() {
        return refuse(text, format!("names no behaviour; there are {}", KINDS.join(", ")));
    }
    if text.len() > MAX_TEXT {
        return refuse(text, format!("is longer than {MAX_TEXT} bytes"));
    }
    if text.contains(',') {
        return refuse(text, "is several SPECs; a single node takes one: join behaviours by `+`");
    }
    let behaviours: Vec<_> =
        text.split('+').map(|part| behaviour(part.trim())).collect::<Result<_, _>>()?;
    for (number, later) in behaviours.iter().enumerate() {
        for earlier in &behaviours[..number] {
            contradiction(text.trim(), earlier, later)?;
        }
    }
    Ok(Spec { behaviours })
}

fn contradiction(text: &str, one: &Behaviour, two: &Behaviour) -> Result<(), SpecError> {
    let (a, b) = (one.kind.name(), two.kind.name());
    if a == b {
        let same = (one == two).then(|| one.to_string());
        let why = match same {
            Some(_) => format!("has {a} twice, which is the same as once"),
            None => format!("has {a} twice; a node has one of each, so give them to two nodes"),
        };
        return Err(SpecError::new(text, why, same.or(Some(format!("{one},{two}")))));
    }
    if a == "stall" || b == "stall" {
        let why = "contradicts itself: a node that stalls neither sends nor relays anything else";
        return Err(SpecError::new(text, why, Some(format!("{one},{two}"))));
    }
    if [a, b] == ["gap", "restart"] || [a, b] == ["restart", "gap"] {
        let why = "contradicts itself: both sign the node's own lane, each in its way";
        return Err(SpecError::new(text, why, Some(format!("{one},{two}"))));
    }
    let all = |x: &Behaviour| {
        x.kind == BehaviourKind::Drop { p: Chance::ALWAYS } && x.when.chance() == Chance::ALWAYS
    };
    let (dropped, other) = match (all(one), all(two)) {
        (true, _) => (one, two),
        (_, true) => (two, one),
        _ => return Ok(()),
    };
    let relays = ["tamper", "censor", "delay"].contains(&other.kind.name());
    if relays && (dropped.when == When::Always || dropped.when == other.when) {
        let why = format!(
            "contradicts itself: a node that drops all it should relay has nothing to {}",
            other.kind.name()
        );
        let suggestion = format!("drop:p=0.5{}+{other}", dropped.when);
        return Err(SpecError::new(text, why, Some(suggestion)));
    }
    Ok(())
}

fn behaviour(text: &str) -> Result<Behaviour, SpecError> {
    let (what, when) = match text.split_once('@') {
        Some((what, when)) => (what, read_when(when)?),
        None => (text, When::Always),
    };
    let mut parts = what.split(':');
    let name = parts.next().unwrap_or_default();
    let mut params = Vec::new();
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => params.push((key, value)),
            _ => return refuse(part, format!("is no parameter of {name}; write key=value")),
        }
    }
    Ok(Behaviour { kind: parse_kind::kind(name, &params)?, when })
}

fn read_when(text: &str) -> Result<When, SpecError> {
    if text.contains('@') {
        return refuse(text, "has several times; a behaviour has one");
    }
    if text.contains(':') {
        return refuse(text, "has parameters after the time; the time comes last");
    }
    match text.split_once('=') {
        None if text == "always" => Ok(When::Always),
        Some(("after", from)) => Ok(When::After(duration(from, MAX_WHEN)?)),
        Some(("between", range)) => {
            let Some((from, until)) = range.split_once("..") else {
                return refuse(range, "is no range of times; write it like between=5s..20s");
            };
            let (from, until) = (duration(from, MAX_WHEN)?, duration(until, MAX_WHEN)?);
            if from >= until {
                let swapped = When::Between(until, from).to_string();
                let suggestion = (from > until).then(|| swapped.trim_start_matches('@').to_owned());
                return Err(SpecError::new(range, "ends before it begins", suggestion));
            }
            Ok(When::Between(from, until))
        }
        Some(("p", p)) => Ok(match chance(p)? {
            Chance::ALWAYS => When::Always,
            p => When::Sometimes(p),
        }),
        _ => {
            let key = text.split('=').next().unwrap_or_default();
            let example = match nearest(key, WHENS) {
                Some("after") => Some("after=10s"),
                Some("between") => Some("between=5s..20s"),
                Some("p") => Some("p=0.2"),
                other => other,
            };
            let why = "is no time; there are always, after=10s, between=5s..20s and p=0.2";
            Err(SpecError::new(text, why, example.map(str::to_owned)))
        }
    }
}
