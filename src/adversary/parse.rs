//! Reads a LIST of SPECs, and refuses what makes no sense with a reason and a suggestion.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::parse_kind;
use super::spec::{Behaviour, Chance, Kind, Spec, What, When};
use super::suggest::nearest;

/// Most liars in a list.
pub const MAX_LIARS: usize = 1024;
/// Longest list, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Longest time that `@when` may name.
const MAX_WHEN: Duration = Duration::from_secs(24 * 3600);

/// Every behaviour that there is, by name.
pub const KINDS: [&str; 15] = [
    "forge",
    "tamper",
    "drop",
    "censor",
    "delay",
    "replay",
    "flood",
    "malformed",
    "stall",
    "promise",
    "gap",
    "false-floor",
    "false-differ",
    "false-credit",
    "restart",
];
pub(super) const LATER: [&str; 6] =
    ["equivocate", "withhold", "double-echo", "false-proof", "twin", "eclipse"];

/// Why a SPEC is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{part}` {why}{}", meant(.suggestion))]
pub struct SpecError {
    /// The part of the SPEC that is wrong, cut to 80 characters, with control characters escaped.
    pub part: String,
    /// What is wrong with it, and what would be right.
    pub why: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

fn meant(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

impl SpecError {
    pub(super) fn new(part: &str, why: impl Into<String>, suggestion: Option<String>) -> Self {
        let part = part.chars().take(80).flat_map(char::escape_debug).collect();
        Self { part, why: why.into(), suggestion }
    }
}

pub(super) fn refuse<T>(part: &str, why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError::new(part, why, None))
}

/// Reads a LIST: SPECs separated by commas, one a malicious node; or a number K, which stands for
/// K nodes that take forge, drop and flood in turn; 0 is none.
///
/// # Errors
/// The first part that makes no sense, why, and what was probably meant.
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
    let flood = Kind::Flood { rate: None, what: What::Garbage };
    [Kind::Forge, Kind::Drop { p: Chance::ALWAYS }, flood]
        .into_iter()
        .map(|kind| Spec { behaviours: vec![Behaviour { kind, when: When::Always }] })
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // Where a single SPEC is asked for, a list of two would be refused as well.
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
        x.kind == Kind::Drop { p: Chance::ALWAYS } && x.when.chance() == Chance::ALWAYS
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

pub(super) const WHENS: [&str; 4] = ["always", "after", "between", "p"];

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

pub(super) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

pub(super) fn duration(text: &str, most: Duration) -> Result<Duration, SpecError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let (Some(number), Some(scale)) = (digits(number), scale) else {
        if let Some(number) = digits(text) {
            let why = format!("has no unit; write {number}ms, {number}s or {number}m");
            return refuse(text, why);
        }
        let why = match text.starts_with('-') {
            true => "is negative, and no duration is; write it like 250ms, 5s or 10m",
            false => "is no duration; write it like 250ms, 5s or 10m",
        };
        return refuse(text, why);
    };
    let span = Duration::from_millis(number.saturating_mul(scale));
    if span > most {
        return refuse(text, format!("is too long; at most {}s", most.as_secs()));
    }
    Ok(span)
}

/// A decimal above 0 and at most 1, with at most six places.
pub(super) fn chance(text: &str) -> Result<Chance, SpecError> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let millionths = match (digits(whole), digits(places)) {
        (Some(whole @ 0..=1), Some(number)) if places.len() <= 6 => {
            let scale = 10_u64.pow(u32::try_from(6 - places.len()).unwrap_or(0));
            u32::try_from(whole * 1_000_000 + number * scale).ok()
        }
        _ => None,
    };
    match millionths {
        Some(p @ 1..=1_000_000) => Ok(Chance(p)),
        _ => refuse(text, "is no chance; it is above 0 and at most 1, like 0.2"),
    }
}
