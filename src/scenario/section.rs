//! One table of the file, read strictly: known keys, right types, numbers within bounds.

use std::time::Duration;

use super::Ppm;
use super::error::{At, Wrong, meant, shown, wrong};
use super::keys::{Key, TableKind, Takes, Without};
use super::quantity::{duration, ppm, span};
use super::tree::{Located, Table, Value, value_of};
use super::word::Word;

/// A table whose keys are all known.
pub(super) struct Section<'a> {
    /// Where the table is in the file, for errors about missing keys.
    pub at: At,
    /// The table's name in messages, such as `[mesh]`.
    name: String,
    keys: &'static [Key],
    table: &'a Table,
}

static EMPTY: Table = Table::new();

impl<'a> Section<'a> {
    /// Opens a table; fails if it has a key that is not in `keys`.
    pub(super) fn open(from: &'a Located, name: &str, keys: &'static [Key]) -> Result<Self, Wrong> {
        let Value::Table(table) = &from.value else {
            return wrong(from.at, format!("{name} must be a table, not {}", from.what()));
        };
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        // Report the unknown key that comes first in the file, not in the alphabet.
        let unknown = table.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        if let Some((key, (at, _))) = unknown.min_by_key(|(_, (at, _))| *at) {
            let near = meant(key, names.iter().copied());
            let near =
                if near.is_empty() { format!("; {name} takes {}", list(&names)) } else { near };
            return wrong(*at, format!("unknown key `{}` in {name}{near}", shown(key)));
        }
        Ok(Self { at: from.at, name: name.to_owned(), keys, table })
    }

    /// Opens the table of a key; an empty table if the key is left out.
    pub(super) fn table(&self, name: &str) -> Result<Self, Wrong> {
        let key = self.key(name);
        let Takes::Table(keys) = key.takes else { return self.missing(name) };
        let name = format!("[{name}]");
        match self.given(key.name) {
            Some(from) => Self::open(from, &name, keys),
            None if key.required() => self.missing(key.name),
            None => Ok(Self { at: self.at, name, keys, table: &EMPTY }),
        }
    }

    /// Opens each of the tables in the list of a key; there are none where it is left out.
    pub(super) fn tables(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = Result<Self, Wrong>> + use<'a>, Wrong> {
        let Takes::Tables(keys, most) = self.key(name).takes else { return self.missing(name) };
        let list = match self.given(name) {
            None => &[],
            Some(Located { value: Value::List(list), .. }) if list.len() <= most => &list[..],
            Some(Located { value: Value::List(_), at }) => {
                return wrong(*at, format!("more than {most} tables [[{name}]]"));
            }
            Some(from) => {
                let why = format!("`{name}` must be a list of tables; write [[{name}]]");
                return wrong(from.at, why);
            }
        };
        Ok(list.iter().map(move |from| Self::open(from, &format!("[[{name}]]"), keys)))
    }

    /// The description of a key.
    pub(super) fn key(&self, name: &str) -> &'static Key {
        let found = self.keys.iter().find(|key| key.name == name);
        debug_assert!(found.is_some(), "{} has no key {name}", self.name);
        found.unwrap_or(&self.keys[0])
    }

    /// The value of a key in the file.
    pub(super) fn given(&self, name: &str) -> Option<&'a Located> {
        self.table.get(name).map(|(_, value)| value)
    }

    /// Where the value of a key is; where the table is if the key is left out.
    pub(super) fn place(&self, name: &str) -> At {
        self.given(name).map_or(self.at, |value| value.at)
    }

    /// Reads a key that may be left out.
    pub(super) fn get<T: Read>(&self, name: &str) -> Result<Option<T>, Wrong> {
        let key = self.key(name);
        match (self.given(name), key.without) {
            (Some(value), _) => T::read(key, value).map(Some),
            (None, Without::Default(text)) => T::read(key, &value_of(text, self.at)?).map(Some),
            (None, _) => Ok(None),
        }
    }

    /// Reads a key that has a default, or must be there.
    pub(super) fn need<T: Read>(&self, name: &str) -> Result<T, Wrong> {
        self.get(name)?.map_or_else(|| self.missing(name), Ok)
    }

    /// Returns the error that a key is missing, with an example of it.
    pub(super) fn missing<T>(&self, name: &str) -> Result<T, Wrong> {
        let example = match self.key(name).without {
            Without::Required(example) | Without::Either(example) => example,
            _ => "",
        };
        self.lacks(name, example)
    }

    /// Returns the error that a key is missing, with this example.
    pub(super) fn lacks<T>(&self, name: &str, example: &str) -> Result<T, Wrong> {
        wrong(self.at, format!("{} has no `{name}`; add {example}", self.name))
    }

    /// Returns the one key that is given of those that exclude each other, of which one must be.
    /// Keys from overlays replace those in the file.
    pub(super) fn either(&self) -> Result<(&'static Key, &'a Located), Wrong> {
        let keys = self.keys.iter().filter(|key| key.excludes());
        let given = keys.clone().filter_map(|key| Some((key, self.table.get(key.name)?)));
        let mut given: Vec<_> = given.collect();
        let laid = |at: At| matches!(at, At::Overlay(_));
        if given.iter().any(|(_, (at, _))| laid(*at)) {
            given.retain(|(_, (at, _))| laid(*at));
        }
        given.sort_by_key(|(_, (at, _))| *at);
        match given[..] {
            [] => self.missing(keys.clone().next().map_or("", |key| key.name)),
            [(key, (_, value))] => Ok((key, value)),
            [(first, _), (second, (at, _)), ..] => {
                let (first, second) = (first.name, second.name);
                let why = format!("`{first}` and `{second}` are both given; give one of them");
                wrong(*at, why)
            }
        }
    }

    /// Reads the kind of the table, and checks that besides `common` only keys of this kind are
    /// given. For a key of another kind, the error names that kind.
    pub(super) fn kind(&self, common: &[&str]) -> Result<&'static TableKind, Wrong> {
        let Takes::Kind(kinds) = self.key("kind").takes else { return self.missing("kind") };
        let name: String = self.need("kind")?;
        let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
            return no_word(self.key("kind"), self.place("kind"), &name, &names);
        };
        let takes = kind.params(common);
        let fits = |key: &str| common.contains(&key) || takes.contains(&key);
        let foreign = self.table.iter().filter(|(key, _)| *key != "kind" && !fits(key));
        let Some((key, (at, _))) = foreign.min_by_key(|(_, (at, _))| *at) else { return Ok(kind) };
        let owners = kinds.iter().filter(|kind| kind.params(common).contains(&key.as_str()));
        let owners: Vec<&str> = owners.map(|kind| kind.name).collect();
        let why = format!("`{key}` is a key of {}; {name} takes {}", list(&owners), list(&takes));
        let first = owners.first().copied().unwrap_or(kind.name);
        wrong(*at, format!("{why}; remove it, or write kind = \"{first}\""))
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

fn no_word<T>(key: &Key, at: At, word: &str, words: &[&str]) -> Result<T, Wrong> {
    let near = meant(word, words.iter().copied());
    wrong(at, format!("`{}` must be {}, not `{}`{near}", key.name, list(words), shown(word)))
}

/// What the value of a key is read as.
pub(super) trait Read: Sized {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong>;
}

impl<T: Word> Read for T {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        let word = String::read(key, value)?;
        let found = T::WORDS.iter().find(|(known, _)| *known == word);
        let names: Vec<&str> = T::WORDS.iter().map(|(known, _)| *known).collect();
        found.map_or_else(|| no_word(key, value.at, &word, &names), |(_, meaning)| Ok(*meaning))
    }
}

impl Read for String {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        match &value.value {
            Value::Text(text) => Ok(text.clone()),
            _ => wrong(value.at, format!("`{}` must be a string, not {}", key.name, value.what())),
        }
    }
}

impl Read for u64 {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        let (least, most) = match key.takes {
            Takes::Whole(least, most) | Takes::Shared(_, least, most) => (least, most),
            _ => (0, 0),
        };
        let said = match &value.value {
            Value::Whole(number) => {
                match Self::try_from(*number).ok().filter(|n| (least..=most).contains(n)) {
                    Some(number) => return Ok(number),
                    None => number.to_string(),
                }
            }
            Value::Float(number) => number.to_string(),
            _ => value.what().to_owned(),
        };
        let name = key.name;
        wrong(
            value.at,
            format!("`{name}` must be a whole number from {least} to {most}, not {said}"),
        )
    }
}

impl Read for usize {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        u64::read(key, value).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

impl Read for u32 {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        u64::read(key, value).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

impl Read for f64 {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        let number = match &value.value {
            Value::Float(number) => *number,
            Value::Whole(number) => *number as Self,
            _ => {
                return wrong(
                    value.at,
                    format!("`{}` must be a number, not {}", key.name, value.what()),
                );
            }
        };
        if number.is_finite() {
            return Ok(number);
        }
        wrong(value.at, format!("`{}` must be a finite number, not {number}", key.name))
    }
}

impl Read for Ppm {
    fn read(key: &Key, value: &Located) -> Result<Self, Wrong> {
        let number = f64::read(key, value)?;
        let why = || format!("`{}` must be a number from 0 to 1, not {number}", key.name);
        ppm(number).ok_or_else(|| Wrong::new(value.at, why()))
    }
}

impl Read for Duration {
    fn read(key: &Key, from: &Located) -> Result<Self, Wrong> {
        let (least, most) = match key.takes {
            Takes::Span(least, most) => (least, most),
            _ => (Self::ZERO, Self::ZERO),
        };
        let key = key.name;
        let said = match &from.value {
            Value::Text(said) => said,
            Value::Whole(number) if *number >= 0 => {
                return wrong(from.at, no_unit(key, &number.to_string()));
            }
            Value::Float(number) if *number >= 0.0 && number.is_finite() => {
                return wrong(from.at, no_unit(key, &number.to_string()));
            }
            Value::Whole(_) | Value::Float(_) => return wrong(from.at, negative(key)),
            _ => return wrong(from.at, format!("`{key}` must be a duration, not {}", from.what())),
        };
        let Some(value) = duration(said) else {
            if said.parse::<f64>().is_ok_and(|number| number >= 0.0 && number.is_finite()) {
                return wrong(from.at, no_unit(key, &shown(said)));
            }
            if said.trim_start().starts_with('-') {
                return wrong(from.at, negative(key));
            }
            let why = "is not a duration; write it like 250ms, 5s or 10m";
            return wrong(from.at, format!("`{key}`: `{}` {why}", shown(said)));
        };
        if value < least || value > most {
            let why = format!(
                "`{key}` must be from {} to {}, not {}",
                span(least),
                span(most),
                shown(said)
            );
            return wrong(from.at, why);
        }
        Ok(value)
    }
}

/// The error for a number without a unit: it may mean seconds or milliseconds, so the user has to
/// say which.
fn no_unit(key: &str, number: &str) -> String {
    format!("`{key}` is a duration and {number} has no unit; write \"{number}ms\" or \"{number}s\"")
}

fn negative(key: &str) -> String {
    format!("`{key}` must not be negative; write a duration like 250ms, 5s or 10m")
}
