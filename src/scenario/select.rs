//! Reads a choice of nodes: a count, a fraction or a list of names.

use super::Who;
use super::error::{At, Wrong, shown, wrong};
use super::keys::Key;
use super::quantity::size;
use super::section::{Read, Section};
use super::tree::{Located, Value};

/// Which nodes lie, for checks of the later parts of the file.
pub(super) struct Liars {
    /// Whether each node lies, by number.
    pub lies: Vec<bool>,
    pub honest: usize,
}

impl Who {
    /// Returns how many nodes are chosen out of `of`.
    pub(super) fn count(&self, of: usize) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Fraction(share) => size(share.of(of as u64)),
            Self::Nodes(nodes) => nodes.len(),
        }
    }
}

/// Reads `count`, `fraction` or `nodes`, whichever is given: returns the key, its position and the
/// choice.
pub(super) fn who(section: &Section<'_>, nodes: usize) -> Result<(&'static str, At, Who), Wrong> {
    let (key, value) = section.either()?;
    let who = match key.name {
        "count" => Who::Count(Read::read(key, value)?),
        "fraction" => Who::Fraction(Read::read(key, value)?),
        _ => Who::Nodes(names(key, value, nodes)?),
    };
    Ok((key.name, value.at, who))
}

/// Reads a list of node names: at least one, and each only once.
pub(super) fn names(key: &Key, from: &Located, nodes: usize) -> Result<Vec<usize>, Wrong> {
    let name = key.name;
    let Value::List(list) = &from.value else {
        let why = format!("`{name}` must be a list of nodes, as in [\"n7\"], not {}", from.what());
        return wrong(from.at, why);
    };
    let mut named = Vec::with_capacity(list.len());
    for entry in list {
        let text = String::read(key, entry)?;
        let Some(number) = node_number(&text, nodes) else {
            let why = format!("`{name}`: `{}` is not a node", shown(&text));
            return wrong(entry.at, format!("{why}; the nodes are n0 to n{}", nodes - 1));
        };
        named.push((number, entry.at));
    }
    if named.is_empty() {
        return wrong(
            from.at,
            format!("`{name}` names no node; name at least one, as in [\"n0\"]"),
        );
    }
    let mut sorted = named.clone();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return wrong(pair[1].1, format!("`{name}` names n{} twice; name it once", pair[0].0));
    }
    Ok(named.into_iter().map(|(number, _)| number).collect())
}

/// Returns the number of a node name such as `n7`; `None` if there is no such node.
pub(super) fn node_number(name: &str, nodes: usize) -> Option<usize> {
    let number: usize = name.strip_prefix('n')?.parse().ok()?;
    (number < nodes && name == format!("n{number}")).then_some(number)
}
