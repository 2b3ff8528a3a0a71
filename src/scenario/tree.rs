//! The file as a tree of values with their positions. Overlays are applied to the tree before
//! anything is checked.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::{At, Wrong, shown, wrong};

/// Maximum length of a file and of an overlay's value, in bytes.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Maximum number of overlays.
const MAX_OVERLAYS: usize = 1000;
/// Maximum nesting of lists and tables. The parser has its own limit, 80 lists and inline tables
/// with keys of up to 80 parts each, which bounds the stack that freeing the result takes.
const MAX_DEPTH: usize = 16;

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: At,
    pub kind: Kind,
}

/// A value by its type.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    Whole(i128),
    Float(f64),
    List(Vec<Node>),
    Table(Table),
    /// A type that no scenario uses: a boolean, a date, or a number out of all bounds.
    Other(&'static str),
}

/// The values of a table by key, each with the position of the key.
pub(super) type Table = BTreeMap<String, (At, Node)>;

impl Node {
    /// The value's type, in words.
    pub(super) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Text(_) => "a string",
            Kind::Whole(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
            Kind::Other(what) => what,
        }
    }
}

/// Parses the file and applies the overlays to it.
pub(super) fn read(text: &str, overlays: &[String]) -> Result<Node, Wrong> {
    if text.len() > MAX_TEXT {
        return wrong(At::Text(0), format!("the file is longer than {MAX_TEXT} bytes"));
    }
    let parsed = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let why = if error.message().is_empty() { "is no TOML" } else { error.message() };
        Wrong::new(At::Text(at), why)
    })?;
    let kind = Kind::Table(table(parsed.into_inner(), None, 0)?);
    let mut root = Node { at: At::Text(0), kind };
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
        let node = node(value.into_inner(), value_at, overlay, depth + 1)?;
        table.insert(key.into_inner().into_owned(), (at, node));
    }
    Ok(table)
}

fn node(value: DeValue<'_>, at: At, overlay: Option<At>, depth: usize) -> Result<Node, Wrong> {
    if depth > MAX_DEPTH {
        return wrong(at, format!("lists and tables nest deeper than {MAX_DEPTH}"));
    }
    let kind = match value {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Kind::Other("a number beyond all bounds"), Kind::Whole),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Kind::Other("no number"), Kind::Float)
        }
        DeValue::Boolean(_) => Kind::Other("true or false"),
        DeValue::Datetime(_) => Kind::Other("a date or time"),
        DeValue::Array(list) => {
            let mut nodes = Vec::with_capacity(list.len());
            for value in list {
                let at = overlay.unwrap_or(At::Text(value.span().start));
                nodes.push(node(value.into_inner(), at, overlay, depth + 1)?);
            }
            Kind::List(nodes)
        }
        DeValue::Table(of) => Kind::Table(table(of, overlay, depth)?),
    };
    Ok(Node { at, kind })
}

/// Groups of keys that exclude each other.
const EITHER: [&[&str]; 3] =
    [&["nodes", "f"], &["count", "fraction", "nodes"], &["at_least", "at_most", "equals"]];

/// Whether a key from an overlay replaces the existing key of the same group.
fn rivals(laid: &str, there: &str) -> bool {
    laid != there && EITHER.iter().any(|keys| keys.contains(&laid) && keys.contains(&there))
}

/// Applies the overlay `path.to.key=value` to the tree. A key that excludes another replaces it:
/// `mesh.nodes` replaces `mesh.f`.
fn lay(root: &mut Node, overlay: &str, at: At) -> Result<(), Wrong> {
    let Some((path, value)) = overlay.split_once('=') else {
        return wrong(at, "is no overlay; write it like mesh.nodes=1000");
    };
    let path: Vec<&str> = path.split('.').map(str::trim).collect();
    if path.len() > MAX_DEPTH || path.iter().any(|part| part.is_empty()) {
        return wrong(at, "is no path; write it like mesh.nodes=1000 or malicious.0.behave=drop");
    }
    if value.len() > MAX_TEXT {
        return wrong(at, format!("the value is longer than {MAX_TEXT} bytes"));
    }
    let mut place = root;
    for (depth, part) in path.iter().enumerate() {
        let so_far = shown(&path[..depth].join("."));
        let list_next = path.get(depth + 1).is_some_and(|next| index(next).is_some());
        let new = || {
            let kind = if list_next { Kind::List(Vec::new()) } else { Kind::Table(Table::new()) };
            Node { at, kind }
        };
        let what = place.what();
        place = match &mut place.kind {
            Kind::Table(table) => {
                if depth + 1 == path.len() {
                    table.retain(|key, _| !rivals(part, key));
                }
                &mut table.entry((*part).to_owned()).or_insert_with(|| (at, new())).1
            }
            Kind::List(list) => {
                let Some(number) = index(part).filter(|number| *number <= list.len()) else {
                    let why = format!("{so_far} has {} entries, counted from 0", list.len());
                    return wrong(at, format!("{why}; the next to add is {so_far}.{}", list.len()));
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
fn value_of(text: &str, at: At) -> Result<Node, Wrong> {
    match DeValue::parse(text) {
        Ok(value) => node(value.into_inner(), at, Some(at), 0),
        Err(_) => Ok(Node { at, kind: Kind::Text(text.to_owned()) }),
    }
}
