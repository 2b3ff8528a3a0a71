//! Describes what a malicious node does: behaviours, their parameters, and when they are active.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::suggest::nearest;
use crate::crypto::PublicKey;
use crate::protocol::Network;

/// Ids per second that `promise` invents on each link, by default.
pub(super) const PROMISE_RATE: u32 = 20;
/// Batches per second that `restart` signs, by default.
pub(super) const RESTART_RATE: u32 = 10;
/// `gap` leaves out one slot in this many, by default.
pub(super) const GAP_EVERY: u32 = 3;
/// Slots per second that `gap` signs, by default.
pub(super) const GAP_RATE: u32 = 20;
/// Payload of a batch of `gap`, in bytes, by default.
pub(super) const GAP_SIZE: usize = 64;

/// What one malicious node does: one or more behaviours, each active at its own times. Parses from
/// and prints as a SPEC (`forge@after=2s`, `flood:rate=500:what=valid+drop:p=0.5`). It prints in
/// the shortest form that parses to an equal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub(super) behaviours: Vec<Behaviour>,
}

impl Spec {
    /// The names of its behaviours, in the order written.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.behaviours.iter().map(|behaviour| behaviour.kind.name())
    }

    /// The authors that it names, each by key or by name as in the SPEC.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.behaviours
            .iter()
            .filter_map(|behaviour| match &behaviour.kind {
                BehaviourKind::Censor { authors } => Some(authors),
                _ => None,
            })
            .flatten()
            .map(ToString::to_string)
    }

    /// Checks what depends on the network file: that every author named is in it.
    ///
    /// # Errors
    /// Names the first author that is not in the file, and the nearest name that is.
    pub fn check(&self, network: &Network) -> Result<(), SpecError> {
        for behaviour in &self.behaviours {
            let BehaviourKind::Censor { authors } = &behaviour.kind else { continue };
            for author in authors {
                if author.resolve(network).is_none() {
                    let names = network.keys().iter().map(|key| key.name.as_str());
                    return Err(SpecError::new(
                        &author.to_string(),
                        "is no key and no name of the network file",
                        nearest(&author.to_string(), names).map(str::to_owned),
                    ));
                }
            }
        }
        Ok(())
    }
}

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

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, behaviour) in self.behaviours.iter().enumerate() {
            let plus = if number == 0 { "" } else { "+" };
            write!(f, "{plus}{behaviour}")?;
        }
        Ok(())
    }
}

/// One behaviour and when it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    pub kind: BehaviourKind,
    pub when: When,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, self.when)
    }
}

/// The behaviours and their parameters; see `docs/SCENARIOS.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BehaviourKind {
    Forge,
    Tamper,
    Drop { p: Chance },
    Censor { authors: Vec<Author> },
    Delay { by: Duration },
    Replay,
    Flood { rate: Option<u32>, what: What },
    Malformed,
    Stall,
    Promise { rate: u32 },
    Gap { every: u32, rate: u32, size: usize },
    FalseFloor,
    FalseDiffer,
    FalseCredit { what: Option<Tale> },
    Restart { rate: u32 },
}

impl BehaviourKind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Forge => "forge",
            Self::Tamper => "tamper",
            Self::Drop { .. } => "drop",
            Self::Censor { .. } => "censor",
            Self::Delay { .. } => "delay",
            Self::Replay => "replay",
            Self::Flood { .. } => "flood",
            Self::Malformed => "malformed",
            Self::Stall => "stall",
            Self::Promise { .. } => "promise",
            Self::Gap { .. } => "gap",
            Self::FalseFloor => "false-floor",
            Self::FalseDiffer => "false-differ",
            Self::FalseCredit { .. } => "false-credit",
            Self::Restart { .. } => "restart",
        }
    }
}

impl fmt::Display for BehaviourKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Drop { p } if *p != Chance::ALWAYS => write!(f, ":p={p}"),
            Self::Censor { authors } => {
                authors.iter().try_for_each(|author| write!(f, ":author={author}"))
            }
            Self::Delay { by } => write!(f, ":by={}", Span(*by)),
            Self::Flood { rate, what } => {
                if let Some(rate) = rate {
                    write!(f, ":rate={rate}")?;
                }
                if *what == What::Garbage { Ok(()) } else { write!(f, ":what={}", what.name()) }
            }
            Self::Promise { rate } if *rate != PROMISE_RATE => write!(f, ":rate={rate}"),
            Self::Gap { every, rate, size } => {
                if *every != GAP_EVERY {
                    write!(f, ":every={every}")?;
                }
                if *rate != GAP_RATE {
                    write!(f, ":rate={rate}")?;
                }
                if *size == GAP_SIZE { Ok(()) } else { write!(f, ":size={size}") }
            }
            Self::FalseCredit { what: Some(what) } => write!(f, ":what={}", what.name()),
            Self::Restart { rate } if *rate != RESTART_RATE => write!(f, ":rate={rate}"),
            _ => Ok(()),
        }
    }
}

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Garbage,
    Valid,
    Duplicate,
    Oversize,
    Announce,
    Request,
}

impl What {
    pub(super) const ALL: [Self; 6] = [
        Self::Garbage,
        Self::Valid,
        Self::Duplicate,
        Self::Oversize,
        Self::Announce,
        Self::Request,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Valid => "valid",
            Self::Duplicate => "duplicate",
            Self::Oversize => "oversize",
            Self::Announce => "announce",
            Self::Request => "request",
        }
    }
}

/// How a liar lies about the credit it grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tale {
    /// Grants no credit.
    Withhold,
    /// Grants credit for one frame at a time, in as many frames as that takes.
    Crumbs,
    /// Grants credit for more than the peer ever sent, which proves the lie.
    Excess,
}

impl Tale {
    pub(super) const ALL: [Self; 3] = [Self::Withhold, Self::Crumbs, Self::Excess];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Crumbs => "crumbs",
            Self::Excess => "excess",
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
