//! Reads a scenario: the top level, the mesh and its liars.

use std::time::Duration;

use super::error::{At, Wrong, shown, wrong};
use super::quantity::{DAY, MAX_NODES, size};
use super::section::{Found, Section, value, whole};
use super::select::{Cast, node_number, who};
use super::tree::{self, Node};
use super::{
    Cryptography, Group, MeshShape, Scenario, ScenarioError, Start, Verdict, Who, keys, read_fault,
    read_load, read_net,
};
use crate::adversary::Spec;

const MAX_F: u64 = (MAX_NODES as u64 - 1) / 3;
const MAX_LINKS: u64 = 64;
const MAX_GROUPS: usize = 1024;
const MAX_NAME: usize = 64;
const MAX_ABOUT: usize = 200;
const DEFAULT_SEED: u64 = 1;
const DEFAULT_SETTLE: Duration = Duration::from_secs(10);

impl Scenario {
    /// Reads a scenario. `overlays` have the form `path.to.key=value` and are applied to the file
    /// in order before anything is checked. A value is TOML; anything else is taken as a string.
    ///
    /// Defaults: seed 1, duration 0s, settle 10s, verdict pass, real signatures; the node's own
    /// number of links; 1ms of latency without jitter, loss or bandwidth limit; a load of 256 bytes
    /// per message, from the start, by all honest nodes.
    ///
    /// # Errors
    /// The first error: its line and column, or the overlay that it comes from; what would be
    /// right; and the nearest name for a misspelt one.
    pub fn parse(text: &str, overlays: &[String]) -> Result<Self, ScenarioError> {
        let root = tree::read(text, overlays);
        root.and_then(|root| scenario(&root)).map_err(|wrong| wrong.locate(text, overlays))
    }
}

fn scenario(root: &Node) -> Result<Scenario, Wrong> {
    let top = Section::open(root, "the file", keys::TOP)?;
    let mut scenario = Scenario {
        name: name(&top)?,
        about: about(&top)?,
        seed: top.whole("seed", 0, u64::MAX)?.map_or(DEFAULT_SEED, |seed| seed.value),
        duration: top.span("duration", (Duration::ZERO, DAY))?.map_or(Duration::ZERO, value),
        settle: top.span("settle", (Duration::from_millis(1), DAY))?.map_or(DEFAULT_SETTLE, value),
        verdict: top.word("verdict", &VERDICTS)?.unwrap_or(Verdict::Pass),
        crypto: top.word("crypto", &CRYPTOGRAPHY)?.unwrap_or_default(),
        mesh: mesh(&top)?,
        net: read_net::net(&top)?,
        store: read_net::store(&top)?,
        cpu: read_net::cpu(&top)?,
        malicious: Vec::new(),
        faults: Vec::new(),
        loads: Vec::new(),
        expects: Vec::new(),
    };
    scenario.malicious = groups(&top, scenario.mesh.nodes)?;
    let lies: Vec<bool> = scenario.cast().iter().map(Option::is_some).collect();
    let honest = lies.iter().filter(|lies| !**lies).count();
    let cast = Cast { lies, honest };
    scenario.faults = read_fault::faults(&top, &cast, scenario.duration)?;
    scenario.loads = read_load::loads(&top, &cast, scenario.duration)?;
    scenario.expects = read_load::expects(&top)?;
    Ok(scenario)
}

pub(super) const VERDICTS: [(&str, Verdict); 4] = [
    ("pass", Verdict::Pass),
    ("liveness", Verdict::Liveness),
    ("safety", Verdict::Safety),
    ("not_exercised", Verdict::NotExercised),
];
const CRYPTOGRAPHY: [(&str, Cryptography); 2] =
    [("real", Cryptography::Real), ("modelled", Cryptography::Modelled)];
const STARTS: [(&str, Start); 2] = [("linked", Start::Linked), ("cold", Start::Cold)];

fn name(top: &Section<'_>) -> Result<String, Wrong> {
    let Some(Found { at, value }) = top.text("name")? else {
        return top.missing("name", "name = \"three-liars\"");
    };
    let plain = value.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if plain && (1..=MAX_NAME).contains(&value.len()) {
        return Ok(value.to_owned());
    }
    let why = format!("`name` has 1 to {MAX_NAME} of a-z, 0-9 and -, unlike `{}`", shown(value));
    wrong(at, why)
}

fn about(top: &Section<'_>) -> Result<String, Wrong> {
    let Some(Found { at, value }) = top.text("about")? else { return Ok(String::new()) };
    if value.chars().count() <= MAX_ABOUT && !value.chars().any(char::is_control) {
        return Ok(value.to_owned());
    }
    wrong(at, format!("`about` is one line of at most {MAX_ABOUT} characters"))
}

fn mesh(top: &Section<'_>) -> Result<MeshShape, Wrong> {
    let Some(node) = top.get("mesh") else {
        return top.missing("mesh", "a table [mesh] with nodes = 10");
    };
    let mesh = Section::open(node, "[mesh]", keys::MESH)?;
    let nodes = match mesh.either(&["nodes", "f"])? {
        Some(("f", f)) => 3 * whole("f", f, 0, MAX_F)?.value + 1,
        Some((key, nodes)) => whole(key, nodes, 1, MAX_NODES as u64)?.value,
        None => return mesh.missing("nodes", "nodes = 10 (or f = 3, for 3f+1 nodes)"),
    };
    Ok(MeshShape {
        nodes: size(nodes),
        links: mesh.whole("links", 1, MAX_LINKS)?.map(|links| size(links.value)),
        start: mesh.word("start", &STARTS)?.unwrap_or_default(),
    })
}

fn groups(top: &Section<'_>, nodes: usize) -> Result<Vec<Group>, Wrong> {
    let mut groups = Vec::new();
    let mut liars = 0_usize;
    let mut named = Vec::new();
    for node in top.list("malicious", MAX_GROUPS)? {
        let section = Section::open(node, "[[malicious]]", keys::MALICIOUS)?;
        let Some((key, at, who)) = who(&section, nodes)? else {
            return section.missing("count", "count = 1, fraction = 0.3 or nodes = [\"n7\"]");
        };
        if let Who::Nodes(these) = &who {
            named.extend_from_slice(these);
        }
        liars = liars.saturating_add(who.count(nodes));
        if liars >= nodes {
            let why =
                format!("`{key}` makes {liars} liars of {nodes} nodes; at most {}", nodes - 1);
            return wrong(at, format!("{why} can lie, for at least one must be honest"));
        }
        groups.push(Group { who, behave: behave(&section, nodes)? });
        twice(&mut named, at)?;
    }
    Ok(groups)
}

fn twice(named: &mut [usize], at: At) -> Result<(), Wrong> {
    named.sort_unstable();
    match named.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let why = format!("n{} is told to lie twice; join its behaviours by `+`", pair[0]);
            wrong(at, why)
        }
        None => Ok(()),
    }
}

fn behave(section: &Section<'_>, nodes: usize) -> Result<Spec, Wrong> {
    let Some(Found { at, value }) = section.text("behave")? else {
        return section.missing("behave", "behave = \"drop\"");
    };
    let spec: Spec = value.parse().map_err(|error| Wrong::new(at, format!("`behave`: {error}")))?;
    for name in spec.names() {
        if node_number(&name, nodes).is_none() {
            let why = format!("`behave`: `{}` is no node;", shown(&name));
            return wrong(at, format!("{why} there are n0 to n{}", nodes - 1));
        }
    }
    Ok(spec)
}
