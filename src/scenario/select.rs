//! Reads a choice of nodes: a count, a fraction or a list of names.

use super::Who;
use super::error::{At, Wrong, shown, wrong};
use super::quantity::{MAX_NODES, size};
use super::section::{Section, chance, text, whole};
use super::tree::{Kind, Node};

/// Which nodes lie, for checks of the later parts of the file.
pub(super) struct Cast {
    /// Whether each node lies, by number.
    pub lies: Vec<bool>,
    /// Number of honest nodes.
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
pub(super) fn who(
    section: &Section<'_>,
    nodes: usize,
) -> Result<Option<(&'static str, At, Who)>, Wrong> {
    let Some((key, node)) = section.either(&["count", "fraction", "nodes"])? else {
        return Ok(None);
    };
    let who = match key {
        "count" => Who::Count(size(whole(key, node, 0, MAX_NODES as u64)?.value)),
        "fraction" => Who::Fraction(chance(key, node)?.value),
        _ => Who::Nodes(names(key, node, nodes)?),
    };
    Ok(Some((key, node.at, who)))
}

/// Reads a list of node names: at least one, and each only once.
pub(super) fn names(key: &str, node: &Node, nodes: usize) -> Result<Vec<usize>, Wrong> {
    let Kind::List(list) = &node.kind else {
        let why = format!("`{key}` is a list of nodes, as in [\"n7\"], not {}", node.what());
        return wrong(node.at, why);
    };
    let mut named = Vec::with_capacity(list.len());
    for entry in list {
        let name = text(key, entry)?;
        let Some(number) = node_number(name.value, nodes) else {
            let why = format!("`{key}`: `{}` is no node", shown(name.value));
            return wrong(name.at, format!("{why}; there are n0 to n{}", nodes - 1));
        };
        named.push((number, entry.at));
    }
    if named.is_empty() {
        return wrong(node.at, format!("`{key}` names nobody; name at least one, as in [\"n0\"]"));
    }
    let mut sorted = named.clone();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return wrong(pair[1].1, format!("`{key}` names n{} twice; name it once", pair[0].0));
    }
    Ok(named.into_iter().map(|(number, _)| number).collect())
}

/// Returns the number of a node name such as `n7`; `None` if there is no such node.
pub(super) fn node_number(name: &str, nodes: usize) -> Option<usize> {
    let number: usize = name.strip_prefix('n')?.parse().ok()?;
    (number < nodes && name == format!("n{number}")).then_some(number)
}
