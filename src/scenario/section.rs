//! One table of the file, read strictly: known keys, right types, numbers within bounds.

use std::time::Duration;

use super::Ppm;
use super::error::{At, Wrong, meant, shown, wrong};
use super::quantity::{duration, ppm};
use super::tree::{Kind, Node, Table};

/// A table whose keys are all known.
pub(super) struct Section<'a> {
    /// Position of the table.
    pub at: At,
    /// The table's name in messages, such as `[mesh]`.
    name: &'a str,
    table: &'a Table,
}

/// A value and its position.
pub(super) struct Found<T> {
    pub at: At,
    pub value: T,
}

/// Drops the position, for use with `map_or`.
pub(super) fn value<T>(found: Found<T>) -> T {
    found.value
}

impl<'a> Section<'a> {
    /// Opens a table; fails if it has a key that is not in `keys`.
    pub(super) fn open(node: &'a Node, name: &'a str, keys: &[&str]) -> Result<Self, Wrong> {
        let Kind::Table(table) = &node.kind else {
            return wrong(node.at, format!("{name} is a table, not {}", node.what()));
        };
        // Report the unknown key that comes first in the file, not in the alphabet.
        let unknown = table.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        if let Some((key, (at, _))) = unknown.min_by_key(|(_, (at, _))| *at) {
            let near = meant(key, keys.iter().copied());
            let near =
                if near.is_empty() { format!("; {name} takes {}", list(keys)) } else { near };
            return wrong(*at, format!("unknown key `{}` in {name}{near}", shown(key)));
        }
        Ok(Self { at: node.at, name, table })
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.table.get(key).map(|(_, node)| node)
    }

    /// Returns the error that a required key is missing, with an example of it.
    pub(super) fn missing<T>(&self, key: &str, example: &str) -> Result<T, Wrong> {
        wrong(self.at, format!("{} has no `{key}`; add {example}", self.name))
    }

    /// Returns the one key of these that is given, if any. Several are an error, except that keys
    /// from overlays replace those in the file.
    pub(super) fn either(
        &self,
        keys: &[&'static str],
    ) -> Result<Option<(&'static str, &'a Node)>, Wrong> {
        let given = keys.iter().filter_map(|key| Some((*key, self.table.get(*key)?)));
        let mut given: Vec<_> = given.collect();
        let laid = |at: At| matches!(at, At::Overlay(_));
        if given.iter().any(|(_, (at, _))| laid(*at)) {
            given.retain(|(_, (at, _))| laid(*at));
        }
        given.sort_by_key(|(_, (at, _))| *at);
        if let [(first, _), (second, (at, _)), ..] = given[..] {
            return wrong(
                *at,
                format!("`{first}` and `{second}` are both given; give one of them"),
            );
        }
        Ok(given.first().map(|(key, (_, node))| (*key, node)))
    }

    /// Checks that only common keys and the parameters of this kind are given. For a parameter of
    /// another kind, the error names that kind.
    pub(super) fn only(
        &self,
        kind: &str,
        common: &[&str],
        params: &[&str],
        kinds: &[(&str, &[&str])],
    ) -> Result<(), Wrong> {
        let fits =
            |key: &&String| !common.contains(&key.as_str()) && !params.contains(&key.as_str());
        let foreign = self.table.iter().filter(|(key, _)| fits(key));
        let Some((key, (at, _))) = foreign.min_by_key(|(_, (at, _))| *at) else { return Ok(()) };
        let owners = kinds.iter().filter(|(_, params)| params.contains(&key.as_str()));
        let owners: Vec<&str> = owners.map(|(name, _)| *name).collect();
        let takes = list(params);
        let why = format!("`{key}` is of {}; {kind} takes {takes}", list(&owners));
        wrong(
            *at,
            format!("{why}; remove it, or write kind = \"{}\"", owners.first().unwrap_or(&kind)),
        )
    }

    /// Reads a string.
    pub(super) fn text(&self, key: &str) -> Result<Option<Found<&'a str>>, Wrong> {
        self.get(key).map(|node| text(key, node)).transpose()
    }

    /// Reads a whole number from `least` to `most`.
    pub(super) fn whole(
        &self,
        key: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<Found<u64>>, Wrong> {
        self.get(key).map(|node| whole(key, node, least, most)).transpose()
    }

    /// Reads a duration from `least` to `most`; `None` if the key is missing.
    pub(super) fn span(
        &self,
        key: &str,
        (least, most): (Duration, Duration),
    ) -> Result<Option<Found<Duration>>, Wrong> {
        self.get(key).map(|node| time(key, node, least, most)).transpose()
    }

    /// Reads a number from 0 to 1, as millionths.
    pub(super) fn chance(&self, key: &str) -> Result<Option<Found<Ppm>>, Wrong> {
        self.get(key).map(|node| chance(key, node)).transpose()
    }

    /// Reads a finite number.
    pub(super) fn number(&self, key: &str) -> Result<Option<Found<f64>>, Wrong> {
        self.get(key).map(|node| number(key, node)).transpose()
    }

    /// Reads one of the given words and returns its meaning.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Wrong> {
        let Some(Found { at, value }) = self.text(key)? else { return Ok(None) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == value) {
            return Ok(Some(*meaning));
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = meant(value, names.iter().copied());
        wrong(at, format!("`{key}` is {}, not `{}`{near}", list(&names), shown(value)))
    }

    /// Reads a list of at most `most` tables; empty if the key is missing.
    pub(super) fn list(&self, key: &str, most: usize) -> Result<&'a [Node], Wrong> {
        let Some(node) = self.get(key) else { return Ok(&[]) };
        match &node.kind {
            Kind::List(list) if list.len() <= most => Ok(list),
            Kind::List(_) => wrong(node.at, format!("there are more than {most} of [[{key}]]")),
            _ => wrong(node.at, format!("`{key}` is a list of tables; begin each with [[{key}]]")),
        }
    }
}

/// Joins words into a phrase: `a`, `b` or `c`.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

pub(super) fn text<'a>(key: &str, node: &'a Node) -> Result<Found<&'a str>, Wrong> {
    match &node.kind {
        Kind::Text(value) => Ok(Found { at: node.at, value }),
        _ => wrong(node.at, format!("`{key}` is a string, not {}", node.what())),
    }
}

pub(super) fn whole(key: &str, node: &Node, least: u64, most: u64) -> Result<Found<u64>, Wrong> {
    let said = match &node.kind {
        Kind::Whole(number) => {
            match u64::try_from(*number).ok().filter(|n| (least..=most).contains(n)) {
                Some(value) => return Ok(Found { at: node.at, value }),
                None => number.to_string(),
            }
        }
        Kind::Float(number) => number.to_string(),
        _ => node.what().to_owned(),
    };
    wrong(node.at, format!("`{key}` is a whole number from {least} to {most}, not {said}"))
}

pub(super) fn number(key: &str, node: &Node) -> Result<Found<f64>, Wrong> {
    let value = match &node.kind {
        Kind::Float(number) => *number,
        Kind::Whole(number) => *number as f64,
        _ => return wrong(node.at, format!("`{key}` is a number, not {}", node.what())),
    };
    if value.is_finite() {
        return Ok(Found { at: node.at, value });
    }
    wrong(node.at, format!("`{key}` is a finite number, not {value}"))
}

pub(super) fn chance(key: &str, node: &Node) -> Result<Found<Ppm>, Wrong> {
    let Found { at, value } = number(key, node)?;
    match ppm(value) {
        Some(value) => Ok(Found { at, value }),
        None => wrong(at, format!("`{key}` is a number from 0 to 1, not {value}")),
    }
}

pub(super) fn time(
    key: &str,
    node: &Node,
    least: Duration,
    most: Duration,
) -> Result<Found<Duration>, Wrong> {
    let said = match &node.kind {
        Kind::Text(said) => said,
        Kind::Whole(number) if *number >= 0 => {
            return wrong(node.at, no_unit(key, &number.to_string()));
        }
        Kind::Float(number) if *number >= 0.0 && number.is_finite() => {
            return wrong(node.at, no_unit(key, &number.to_string()));
        }
        Kind::Whole(_) | Kind::Float(_) => return wrong(node.at, negative(key)),
        _ => return wrong(node.at, format!("`{key}` is a duration, not {}", node.what())),
    };
    let Some(value) = duration(said) else {
        if said.parse::<f64>().is_ok_and(|number| number >= 0.0 && number.is_finite()) {
            return wrong(node.at, no_unit(key, &shown(said)));
        }
        if said.trim_start().starts_with('-') {
            return wrong(node.at, negative(key));
        }
        let why = "is no duration; write it like 250ms, 5s or 10m";
        return wrong(node.at, format!("`{key}`: `{}` {why}", shown(said)));
    };
    if value < least || value > most {
        let why = format!("`{key}` is from {} to {}, not {}", show(least), show(most), shown(said));
        return wrong(node.at, why);
    }
    Ok(Found { at: node.at, value })
}

/// The error for a number without a unit: it may mean seconds or milliseconds, so the user has to
/// say which.
fn no_unit(key: &str, number: &str) -> String {
    format!("`{key}` is a duration and {number} has no unit; write \"{number}ms\" or \"{number}s\"")
}

fn negative(key: &str) -> String {
    format!("`{key}` is a duration, and none is negative; write it like 250ms, 5s or 10m")
}

fn show(duration: Duration) -> String {
    super::quantity::span(duration)
}
