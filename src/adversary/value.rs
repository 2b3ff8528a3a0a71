//! The values in a SPEC: numbers, durations, chances, authors and times; and why one is refused.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::suggest::nearest;
use crate::crypto::PublicKey;
use crate::protocol::Network;

/// The keywords allowed after `@`.
pub(super) const WHENS: [&str; 4] = ["always", "after", "between", "p"];
/// Longest time allowed in `@when`.
const MAX_WHEN: Duration = Duration::from_secs(24 * 3600);

/// Why a SPEC is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{part}` {why}{}", meant(.suggestion))]
pub struct SpecError {
    /// The part of the SPEC that is wrong, cut to 80 characters, with control characters escaped.
    pub part: String,
    /// What is wrong with it, and what would be right.
    pub why: String,
    /// What was probably meant, if there is a guess.
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

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Chance(Chance),
    Time(Duration),
    Number(u32),
    Word(&'static str),
    Author(Author),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chance(chance) => chance.fmt(f),
            Self::Time(time) => Span(*time).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => f.write_str(word),
            Self::Author(author) => author.fmt(f),
        }
    }
}

/// An author as named in a SPEC: by key, or by name in the network file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Author {
    Key(PublicKey),
    Name(String),
}

impl Author {
    pub(super) fn resolve(&self, network: &Network) -> Option<PublicKey> {
        match self {
            Self::Key(key) => network.get(key).map(|member| member.key),
            Self::Name(name) => {
                network.keys().iter().find(|key| key.name == *name).map(|key| key.key)
            }
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// When a behaviour is active, counted from the node's first link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    After(Duration),
    Between(Duration, Duration),
    Sometimes(Chance),
}

impl When {
    /// Whether the behaviour may act at `elapsed` after the first link, chance aside.
    pub(super) fn covers(self, elapsed: Duration) -> bool {
        match self {
            Self::Always | Self::Sometimes(_) => true,
            Self::After(from) => elapsed >= from,
            Self::Between(from, until) => (from..until).contains(&elapsed),
        }
    }

    /// The next time after `elapsed` at which [`When::covers`] changes.
    pub(super) fn next_change(self, elapsed: Duration) -> Option<Duration> {
        match self {
            Self::Always | Self::Sometimes(_) => None,
            Self::After(from) => Some(from).filter(|at| *at > elapsed),
            Self::Between(from, until) => [from, until].into_iter().find(|at| *at > elapsed),
        }
    }

    /// The probability with which each opportunity is taken.
    pub(super) fn chance(self) -> Chance {
        if let Self::Sometimes(p) = self { p } else { Chance::ALWAYS }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => Ok(()),
            Self::After(from) => write!(f, "@after={}", Span(*from)),
            Self::Between(from, until) => {
                write!(f, "@between={}..{}", Span(*from), Span(*until))
            }
            Self::Sometimes(p) => write!(f, "@p={p}"),
        }
    }
}

/// A probability in millionths, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chance(pub u32);

impl Chance {
    pub(super) const ALWAYS: Self = Self(1_000_000);
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= Self::ALWAYS.0 {
            return f.write_str("1");
        }
        f.write_str(format!("0.{:06}", self.0).trim_end_matches('0'))
    }
}

/// Prints a duration in the largest unit that is exact.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0s"),
            _ if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            _ if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

/// Reads what comes after `@`.
pub(super) fn when(text: &str) -> Result<When, SpecError> {
    if text.contains('@') {
        return refuse(text, "has more than one time; give one");
    }
    if text.contains(':') {
        return refuse(text, "has parameters after the time; write the time last");
    }
    match text.split_once('=') {
        None if text == "always" => Ok(When::Always),
        Some(("after", from)) => Ok(When::After(duration(from, MAX_WHEN)?)),
        Some(("between", range)) => {
            let Some((from, until)) = range.split_once("..") else {
                return refuse(range, "is not a time range; write it like between=5s..20s");
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
            let why = "is not a time; write it like always, after=10s, between=5s..20s or p=0.2";
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
            true => "is negative; write a duration like 250ms, 5s or 10m",
            false => "is not a duration; write it like 250ms, 5s or 10m",
        };
        return refuse(text, why);
    };
    let span = Duration::from_millis(number.saturating_mul(scale));
    if span > most {
        return refuse(text, format!("is too long; at most {}s", most.as_secs()));
    }
    Ok(span)
}

/// A decimal above 0 and at most 1, with at most six decimal places.
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
        _ => refuse(text, "is not a probability; it must be above 0 and at most 1, like 0.2"),
    }
}
