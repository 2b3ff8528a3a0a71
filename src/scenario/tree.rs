//! The file as a tree of values with their positions. Overlays are applied to the tree before
//! anything is checked.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::{At, Wrong, shown, wrong};
use super::keys::{self, Key};

/// Maximum length of a file and of an overlay's value, in bytes.
pub(super) const MAX_TEXT: usize = 1 << 20;
const MAX_OVERLAYS: usize = 1000;
/// Maximum nesting of lists and tables. The parser has its own limit, 80 lists and inline tables
/// with keys of up to 80 parts each, which bounds the stack that freeing the result takes.
const MAX_DEPTH: usize = 16;

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub at: At,
    pub value: Value,
}

/// A value by its type.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Whole(i128),
    Float(f64),
    List(Vec<Located>),
    Table(Table),
    /// A type that no scenario uses: a boolean, a date, or a number out of all bounds.
    Other(&'static str),
}

/// The values of a table by key, each with the position of the key.
pub(super) type Table = BTreeMap<String, (At, Located)>;

impl Located {
    /// The value's type, in words.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Whole(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(what) => what,
        }
    }
}

/// Parses the file and applies the overlays to it.
pub(super) fn read(text: &str, overlays: &[String]) -> Result<Located, Wrong> {
    if text.len() > MAX_TEXT {
        return wrong(At::Text(0), format!("the file is longer than {MAX_TEXT} bytes"));
    }
    let parsed = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let why = if error.message().is_empty() { "is not valid TOML" } else { error.message() };
        Wrong::new(At::Text(at), why)
    })?;
    let value = Value::Table(table(parsed.into_inner(), None, 0)?);
    let mut root = Located { at: At::Text(0), value };
    if overlays.len() > MAX_OVERLAYS {
        return wrong(At::Overlay(0), format!("there are more than {MAX_OVERLAYS} overlays"));
    }
    for (number, overlay) in overlays.iter().enumerate() {
        lay(&mut root, overlay, At::Overlay(number))?;
    }
    Ok(root)
}

fn table(from: DeTable<'_>, overlay: Option<At>, depth: usize) -> Result<Table, Wrong> {
    let mut table = Table::new();
    for (key, value) in from {
        let at = overlay.unwrap_or(At::Text(key.span().start));
        if depth >= MAX_DEPTH {
            return wrong(at, format!("tables nest deeper than {MAX_DEPTH}"));
        }
        let value_at = overlay.unwrap_or(At::Text(value.span().start));
        let located = located(value.into_inner(), value_at, overlay, depth + 1)?;
        table.insert(key.into_inner().into_owned(), (at, located));
    }
    Ok(table)
}

fn located(
    value: DeValue<'_>,
    at: At,
    overlay: Option<At>,
    depth: usize,
) -> Result<Located, Wrong> {
    if depth > MAX_DEPTH {
        return wrong(at, format!("lists and tables nest deeper than {MAX_DEPTH}"));
    }
    let value = match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), Value::Whole),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Other("an invalid number"), Value::Float)
        }
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(list) => {
            let mut values = Vec::with_capacity(list.len());
            for value in list {
                let at = overlay.unwrap_or(At::Text(value.span().start));
                values.push(located(value.into_inner(), at, overlay, depth + 1)?);
            }
            Value::List(values)
        }
        DeValue::Table(of) => Value::Table(table(of, overlay, depth)?),
    };
    Ok(Located { at, value })
}

/// Whether a key from an overlay replaces an existing key, as the two exclude each other.
fn rivals(laid: &str, there: &str) -> bool {
    let has = |table: &&[Key], name| table.iter().any(|key| key.name == name && key.excludes());
    let tables = [keys::MESH, keys::SELECT, keys::EXPECT];
    laid != there && tables.iter().any(|table| has(table, laid) && has(table, there))
}

/// Applies the overlay `path.to.key=value` to the tree. A key that excludes another replaces it:
/// `mesh.nodes` replaces `mesh.f`.
fn lay(root: &mut Located, overlay: &str, at: At) -> Result<(), Wrong> {
    let Some((path, value)) = overlay.split_once('=') else {
        return wrong(at, "is not an overlay; write it like mesh.nodes=1000");
    };
    let path: Vec<&str> = path.split('.').map(str::trim).collect();
    if path.len() > MAX_DEPTH || path.iter().any(|part| part.is_empty()) {
        return wrong(at, "is not a path; write mesh.nodes=1000 or malicious.0.behave=drop");
    }
    if value.len() > MAX_TEXT {
        return wrong(at, format!("the value is longer than {MAX_TEXT} bytes"));
    }
    let mut place = root;
    for (depth, part) in path.iter().enumerate() {
        let so_far = shown(&path[..depth].join("."));
        let list_next = path.get(depth + 1).is_some_and(|next| index(next).is_some());
        let new = || {
            let value =
                if list_next { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
            Located { at, value }
        };
        let what = place.what();
        place = match &mut place.value {
            Value::Table(table) => {
                if depth + 1 == path.len() {
                    table.retain(|key, _| !rivals(part, key));
                }
                &mut table.entry((*part).to_owned()).or_insert_with(|| (at, new())).1
            }
            Value::List(list) => {
                let Some(number) = index(part).filter(|number| *number <= list.len()) else {
                    let why = format!("{so_far} has {} entries, numbered from 0", list.len());
                    return wrong(at, format!("{why}; the next is {so_far}.{}", list.len()));
                };
                if number == list.len() {
                    list.push(new());
                }
                &mut list[number]
            }
            _ => return wrong(at, format!("{so_far} is {what}, not a table")),
        };
    }
    *place = value_of(value.trim(), at)?;
    Ok(())
}

fn index(part: &str) -> Option<usize> {
    part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Parses `text` as a TOML value; anything else is taken as a string.
pub(super) fn value_of(text: &str, at: At) -> Result<Located, Wrong> {
    match DeValue::parse(text) {
        Ok(value) => located(value.into_inner(), at, Some(at), 0),
        Err(_) => Ok(Located { at, value: Value::Text(text.to_owned()) }),
    }
}
