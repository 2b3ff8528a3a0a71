//! The behaviours: their names, their parameters with bounds and defaults, and what carries them
//! out. The parser, the printer and everybody else's lists follow from this table.

use std::fmt;
use std::time::Duration;

use super::delay::Delay;
use super::false_credit::{FalseCredit, TALES};
use super::false_differ::FalseDiffer;
use super::false_floor::FalseFloor;
use super::flood::{FLOODS, Flood};
use super::forge::Forge;
use super::gap::Gap;
use super::lie::{ActiveLie, Lie};
use super::malformed::Malformed;
use super::promise::Promise;
use super::replay::Replay;
use super::restart::Restart;
use super::stall::Stall;
use super::suggest::nearest;
use super::swallow::Swallow;
use super::tamper::Tamper;
use super::value::{
    Author, Chance, SpecError, Value, WHENS, When, chance, digits, duration, refuse,
};
use crate::crypto::PublicKey;
use crate::protocol::Network;
use crate::wire::limits::MAX_PAYLOAD;

/// A kind of behaviour; see `docs/SCENARIOS.md`.
pub(super) struct BehaviourKind {
    pub name: &'static str,
    /// Its parameters in the order in which they print: key, value, default (none if empty).
    params: &'static [(&'static str, Takes, &'static str)],
    /// Rank among the behaviours that a frame passes through, lowest first: a frame that is
    /// swallowed is not altered, and a frame is final before it is delayed.
    rank: u8,
    new: fn(&Behaviour, &Network, &[u8; 32]) -> Box<dyn Lie>,
}

/// What a parameter takes.
#[derive(Clone, Copy)]
enum Takes {
    Chance,
    /// A duration above 0 and at most a minute. It always prints, also if it is the default.
    Delay,
    /// A number from the first to the second; and what is said of another one, before the bounds
    /// and after them.
    Number(u32, u32, [&'static str; 2]),
    /// One of some words; and what is said of another one.
    Word(&'static [&'static str], &'static str),
    /// Authors, each with the key.
    Authors,
}

const RATE: Takes = Takes::Number(1, 1_000_000, ["must be a whole number per second, ", ""]);
/// Longest delay of a frame.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Most authors that one `censor` may name.
const MAX_CENSORED: usize = 64;
/// Rank of what filters no frames.
const LAST: u8 = 9;

/// Lists the behaviours: name, rank, parameters, and what carries it out.
macro_rules! table {
    ($($name:literal, $rank:expr, [$($param:expr),*],
        |$it:pat_param, $network:pat_param, $seed:pat_param| $lie:expr;)*) => {
        static TABLE: [BehaviourKind; 15] = [$(BehaviourKind {
            name: $name,
            rank: $rank,
            params: &[$($param),*],
            new: |$it, $network, $seed| Box::new($lie),
        }),*];
    };
}

table! {
    "forge", LAST, [], |_, _, seed| Forge::new(seed);
    "tamper", 7, [], |_, _, _| Tamper::default();
    "drop", 0, [("p", Takes::Chance, "1")], |it, _, _| Swallow::Others(it.chance("p"));
    // Authors that the network file does not list are left out: none of their batches is ever seen.
    "censor", 1, [("author", Takes::Authors, "")], |it, network, _|
        Swallow::These(it.authors().filter_map(|author| author.resolve(network)).collect());
    "delay", 8, [("by", Takes::Delay, "500ms")], |it, _, _| Delay::new(it.time("by"));
    "replay", LAST, [], |_, _, _| Replay::default();
    "flood", LAST, [
        ("rate", RATE, ""),
        ("what", Takes::Word(&FLOODS, "is not a kind of flood"), "garbage")
    ], |it, _, _| Flood::new(it.word("what").unwrap_or_default(), it.number("rate"));
    "malformed", LAST, [], |_, _, _| Malformed::new();
    "stall", LAST, [], |_, _, _| Stall::default();
    // Ids per second that it invents on each link.
    "promise", 3, [("rate", RATE, "20")],
        |it, _, _| Promise::new(it.number("rate").unwrap_or_default());
    // `every`: one slot in this many is left out. `rate`: batches that it signs per second. `size`:
    // bytes of each payload.
    "gap", 2, [
        ("every", Takes::Number(2, 1000, ["must be ", ""]), "3"),
        ("rate", RATE, "20"),
        ("size", Takes::Number(0, MAX_PAYLOAD as u32, ["must be ", " bytes"]), "64")
    ], |it, _, _| {
        let number = |key| it.number(key).unwrap_or_default();
        Gap::new(number("every"), number("rate"), number("size") as usize)
    };
    "false-floor", 4, [], |_, _, _| FalseFloor::default();
    "false-differ", 5, [], |_, _, _| FalseDiffer::default();
    "false-credit", 6, [("what", Takes::Word(&TALES, "is not a lie about credit"), "")],
        |it, _, _| FalseCredit::new(it.word("what"));
    // Steps per second.
    "restart", 2, [("rate", RATE, "10")],
        |it, _, _| Restart::new(it.number("rate").unwrap_or_default());
}

/// The names of all behaviours.
pub const KINDS: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].name;
        at += 1;
    }
    names
};
/// Names reserved for behaviours that are not implemented yet.
const LATER: [&str; 6] =
    ["equivocate", "withhold", "double-echo", "false-proof", "twin", "eclipse"];

/// One behaviour and when it is active.
#[derive(Clone)]
pub(super) struct Behaviour {
    pub kind: &'static BehaviourKind,
    /// The values of its parameters, also of those that were left out and have a default.
    values: Vec<(&'static str, Value)>,
    pub when: When,
}

impl Behaviour {
    /// Reads a behaviour by its name, its parameters and its time.
    pub(super) fn read(name: &str, params: &[(&str, &str)], when: When) -> Result<Self, SpecError> {
        let choice = || format!("choose from {}", KINDS.join(", "));
        let Some(kind) = TABLE.iter().find(|kind| kind.name == name) else {
            if name.is_empty() {
                return refuse(name, format!("names no behaviour; {}", choice()));
            }
            if LATER.contains(&name) {
                return refuse(name, format!("is not implemented; {}", choice()));
            }
            let suggestion = nearest(name, KINDS.into_iter().chain(LATER)).map(str::to_owned);
            return Err(SpecError::new(
                name,
                format!("is not a behaviour; {}", choice()),
                suggestion,
            ));
        };
        known(kind, params)?;
        let mut values = Vec::new();
        for (key, takes, default) in kind.params {
            if matches!(takes, Takes::Authors) {
                values.extend(authors(params)?.into_iter().map(|author| (*key, author)));
                continue;
            }
            let default = Some(*default).filter(|default| !default.is_empty());
            if let Some(text) = one(params, key)?.or(default) {
                values.push((*key, takes.read(text)?));
            }
        }
        Ok(Self { kind, values, when })
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub(super) fn chance(&self, key: &str) -> Chance {
        if let Some(Value::Chance(chance)) = self.value(key) { *chance } else { Chance::ALWAYS }
    }

    fn time(&self, key: &str) -> Duration {
        if let Some(Value::Time(time)) = self.value(key) { *time } else { Duration::ZERO }
    }

    fn number(&self, key: &str) -> Option<u32> {
        if let Some(Value::Number(number)) = self.value(key) { Some(*number) } else { None }
    }

    fn word(&self, key: &str) -> Option<&'static str> {
        if let Some(Value::Word(word)) = self.value(key) { Some(word) } else { None }
    }

    /// The authors that it names.
    pub(super) fn authors(&self) -> impl Iterator<Item = &Author> {
        self.values.iter().filter_map(|(_, value)| match value {
            Value::Author(author) => Some(author),
            _ => None,
        })
    }

    /// Puts it to work: itself, and for one that signs the node's own lane also what swallows all
    /// that the node says of that lane.
    pub(super) fn start(&self, network: &Network, seed: &[u8; 32]) -> Vec<ActiveLie> {
        let BehaviourKind { name, rank, new, .. } = self.kind;
        let mut lies = vec![new(self, network, seed)];
        if ["gap", "restart"].contains(name) {
            lies.push(Box::new(Swallow::Own(name)));
        }
        lies.into_iter().map(|lie| ActiveLie::new(self.when, *rank, lie)).collect()
    }
}

impl PartialEq for Behaviour {
    fn eq(&self, other: &Self) -> bool {
        (self.kind.name, &self.values, self.when) == (other.kind.name, &other.values, other.when)
    }
}

impl Eq for Behaviour {}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints the shortest form that is read as the same.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        for (key, value) in &self.values {
            let (text, mut params) = (value.to_string(), self.kind.params.iter());
            let usual = params.any(|(known, _, default)| known == key && *default == text);
            if !usual || matches!(value, Value::Time(_)) {
                write!(f, ":{key}={text}")?;
            }
        }
        self.when.fmt(f)
    }
}

fn known(kind: &BehaviourKind, params: &[(&str, &str)]) -> Result<(), SpecError> {
    let (name, keys) = (kind.name, kind.params.iter().map(|(key, ..)| *key));
    let Some((key, _)) = params.iter().find(|(key, _)| !keys.clone().any(|known| known == *key))
    else {
        return Ok(());
    };
    if kind.params.is_empty() {
        return Err(SpecError::new(
            key,
            format!("is not a parameter of {name}, which takes none; write times after `@`"),
            WHENS.contains(key).then(|| format!("{name}@{key}=…")),
        ));
    }
    let list = keys.clone().collect::<Vec<_>>().join(", ");
    let why = format!("is not a parameter of {name}, which takes {list}");
    Err(SpecError::new(key, why, nearest(key, keys).map(str::to_owned)))
}

fn one<'a>(params: &[(&str, &'a str)], key: &str) -> Result<Option<&'a str>, SpecError> {
    let mut values = params.iter().filter(|(name, _)| *name == key).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() { refuse(key, "is given twice; give it once") } else { Ok(first) }
}

impl Takes {
    fn read(self, text: &str) -> Result<Value, SpecError> {
        match self {
            Self::Chance => chance(text).map(Value::Chance),
            Self::Delay => match duration(text, MAX_DELAY)? {
                Duration::ZERO => {
                    refuse("by=0s", "delays nothing; give more than 0 and at most 60s")
                }
                by => Ok(Value::Time(by)),
            },
            Self::Number(least, most, [before, after]) => {
                let number = digits(text).and_then(|number| u32::try_from(number).ok());
                match number.filter(|number| (least..=most).contains(number)) {
                    Some(number) => Ok(Value::Number(number)),
                    None => refuse(text, format!("{before}{least} to {most}{after}")),
                }
            }
            Self::Word(words, why) => match words.iter().find(|word| **word == text) {
                Some(word) => Ok(Value::Word(word)),
                None => {
                    let why = format!("{why}; choose from {}", words.join(", "));
                    let near = nearest(text, words.iter().copied());
                    Err(SpecError::new(text, why, near.map(str::to_owned)))
                }
            },
            Self::Authors => author(text).map(Value::Author),
        }
    }
}

fn author(text: &str) -> Result<Author, SpecError> {
    if text.len() > 64 || !text.chars().all(|c| c.is_ascii_graphic()) {
        return refuse(text, "is neither a key (64 hex digits) nor a name in a network file");
    }
    Ok(PublicKey::from_hex(text).map_or_else(|| Author::Name(text.to_owned()), Author::Key))
}

fn authors(params: &[(&str, &str)]) -> Result<Vec<Value>, SpecError> {
    let mut authors = Vec::new();
    for (_, text) in params {
        let author = Takes::Authors.read(text)?;
        if authors.contains(&author) {
            return refuse(text, "is censored twice; name each author once");
        }
        authors.push(author);
    }
    match authors.len() {
        0 => Err(SpecError::new(
            "censor",
            "needs an author: a key, or a name in the network file",
            Some("censor:author=n0".to_owned()),
        )),
        1..=MAX_CENSORED => Ok(authors),
        _ => refuse("censor", format!("names more than {MAX_CENSORED} authors")),
    }
}
