//! What a malicious node does, as a SPEC: reads and prints it, and rejects an invalid one with a
//! reason and a suggestion.

use std::fmt;
use std::str::FromStr;

use super::kinds::{Behaviour, KINDS};
use super::suggest::nearest;
use super::value::{self, Chance, SpecError, When, refuse};
use crate::protocol::Network;

/// Most liars in a list.
pub const MAX_LIARS: usize = 1024;
/// Longest list, in bytes.
const MAX_TEXT: usize = 64 << 10;

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
        self.behaviours.iter().map(|behaviour| behaviour.kind.name)
    }

    /// The authors that it names, each by key or by name as in the SPEC.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.behaviours.iter().flat_map(Behaviour::authors).map(ToString::to_string)
    }

    /// Checks what depends on the network file: that every author named is in it.
    ///
    /// # Errors
    /// Names the first author that is not in the file, and the nearest name that is.
    pub fn check(&self, network: &Network) -> Result<(), SpecError> {
        for author in self.behaviours.iter().flat_map(Behaviour::authors) {
            if author.resolve(network).is_none() {
                let names = network.keys().iter().map(|key| key.name.as_str());
                return Err(SpecError::new(
                    &author.to_string(),
                    "is neither a key nor a name in the network file",
                    nearest(&author.to_string(), names).map(str::to_owned),
                ));
            }
        }
        Ok(())
    }
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
            return refuse(text, format!("is too many liars; at most {MAX_LIARS} are allowed"));
        };
        return ["forge", "drop", "flood"].into_iter().cycle().take(count).map(spec).collect();
    }
    let specs: Vec<Spec> = text.split(',').map(spec).collect::<Result<_, _>>()?;
    if specs.len() > MAX_LIARS {
        return refuse(text, format!("lists too many liars; at most {MAX_LIARS} are allowed"));
    }
    Ok(specs)
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
        return refuse(text, format!("names no behaviour; choose from {}", KINDS.join(", ")));
    }
    if text.len() > MAX_TEXT {
        return refuse(text, format!("is longer than {MAX_TEXT} bytes"));
    }
    if text.contains(',') {
        return refuse(text, "is several SPECs, but a node takes one; join behaviours with `+`");
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
    let (a, b) = (one.kind.name, two.kind.name);
    if a == b {
        let same = (one == two).then(|| one.to_string());
        let why = match same {
            Some(_) => format!("has {a} twice; give it once"),
            None => format!("has {a} twice; a node has each behaviour once, so use two nodes"),
        };
        return Err(SpecError::new(text, why, same.or(Some(format!("{one},{two}")))));
    }
    if a == "stall" || b == "stall" {
        let why = "contradicts itself: a node that stalls neither sends nor relays anything else";
        return Err(SpecError::new(text, why, Some(format!("{one},{two}"))));
    }
    if [a, b] == ["gap", "restart"] || [a, b] == ["restart", "gap"] {
        let why = "contradicts itself: both change how the node signs its own lane";
        return Err(SpecError::new(text, why, Some(format!("{one},{two}"))));
    }
    let all = |x: &Behaviour| {
        let always = x.chance("p") == Chance::ALWAYS && x.when.chance() == Chance::ALWAYS;
        x.kind.name == "drop" && always
    };
    let (dropped, other) = match (all(one), all(two)) {
        (true, _) => (one, two),
        (_, true) => (two, one),
        _ => return Ok(()),
    };
    let relays = ["tamper", "censor", "delay"].contains(&other.kind.name);
    if relays && (dropped.when == When::Always || dropped.when == other.when) {
        let why = format!(
            "contradicts itself: a node that relays nothing has nothing to {}",
            other.kind.name
        );
        let suggestion = format!("drop:p=0.5{}+{other}", dropped.when);
        return Err(SpecError::new(text, why, Some(suggestion)));
    }
    Ok(())
}

fn behaviour(text: &str) -> Result<Behaviour, SpecError> {
    let (what, when) = match text.split_once('@') {
        Some((what, when)) => (what, value::when(when)?),
        None => (text, When::Always),
    };
    let mut parts = what.split(':');
    let name = parts.next().unwrap_or_default();
    let mut params = Vec::new();
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => params.push((key, value)),
            _ => return refuse(part, format!("is not a parameter of {name}; write key=value")),
        }
    }
    Behaviour::read(name, &params, when)
}
