//! Reads a scenario: the top level, the mesh and its liars.

use super::error::{At, Wrong, shown, wrong};
use super::section::{Read, Section};
use super::select::{Liars, node_number, who};
use super::tree::{self, Located};
use super::{
    CpuShape, Group, MeshShape, Scenario, ScenarioError, StoreShape, Who, keys, read_fault,
    read_load, read_net,
};
use crate::adversary::Spec;

const MAX_NAME: usize = 64;
const MAX_ABOUT: usize = 200;

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

fn scenario(root: &Located) -> Result<Scenario, Wrong> {
    let top = Section::open(root, "the file", keys::TOP)?;
    let mut scenario = Scenario {
        name: name(&top)?,
        about: about(&top)?,
        seed: top.need("seed")?,
        duration: top.need("duration")?,
        settle: top.need("settle")?,
        verdict: top.need("verdict")?,
        crypto: top.need("crypto")?,
        mesh: mesh(&top)?,
        net: read_net::net(&top)?,
        store: StoreShape { max_bytes: top.table("store")?.get("max_bytes")? },
        cpu: CpuShape { check: top.table("cpu")?.get("check")? },
        malicious: Vec::new(),
        faults: Vec::new(),
        loads: Vec::new(),
        expects: Vec::new(),
    };
    scenario.malicious = groups(&top, scenario.mesh.nodes)?;
    let lies: Vec<bool> = scenario.specs().iter().map(Option::is_some).collect();
    let honest = lies.iter().filter(|lies| !**lies).count();
    let liars = Liars { lies, honest };
    scenario.faults = read_fault::faults(&top, &liars, scenario.duration)?;
    scenario.loads = read_load::loads(&top, &liars, scenario.duration)?;
    scenario.expects = read_load::expects(&top)?;
    Ok(scenario)
}

fn name(top: &Section<'_>) -> Result<String, Wrong> {
    let name: String = top.need("name")?;
    let plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if plain && (1..=MAX_NAME).contains(&name.len()) {
        return Ok(name);
    }
    let why = format!("`name` must be 1 to {MAX_NAME} of a-z, 0-9 and -, not `{}`", shown(&name));
    wrong(top.place("name"), why)
}

fn about(top: &Section<'_>) -> Result<String, Wrong> {
    let about: String = top.need("about")?;
    if about.chars().count() <= MAX_ABOUT && !about.chars().any(char::is_control) {
        return Ok(about);
    }
    wrong(top.place("about"), format!("`about` must be one line of at most {MAX_ABOUT} characters"))
}

fn mesh(top: &Section<'_>) -> Result<MeshShape, Wrong> {
    let mesh = top.table("mesh")?;
    let (key, value) = mesh.either()?;
    let number = usize::read(key, value)?;
    Ok(MeshShape {
        nodes: if key.name == "f" { 3 * number + 1 } else { number },
        links: mesh.get("links")?,
        start: mesh.need("start")?,
    })
}

fn groups(top: &Section<'_>, nodes: usize) -> Result<Vec<Group>, Wrong> {
    let mut groups = Vec::new();
    let mut liars = 0_usize;
    let mut named = Vec::new();
    for section in top.tables("malicious")? {
        let section = section?;
        let (key, at, who) = who(&section, nodes)?;
        if let Who::Nodes(these) = &who {
            named.extend_from_slice(these);
        }
        liars = liars.saturating_add(who.count(nodes));
        if liars >= nodes {
            let why =
                format!("`{key}` makes {liars} liars of {nodes} nodes; at most {}", nodes - 1);
            return wrong(at, format!("{why} can lie, because one must be honest"));
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
            let why = format!("n{} is named twice; join its behaviours with `+`", pair[0]);
            wrong(at, why)
        }
        None => Ok(()),
    }
}

fn behave(section: &Section<'_>, nodes: usize) -> Result<Spec, Wrong> {
    let (text, at) = (section.need::<String>("behave")?, section.place("behave"));
    let spec: Spec = text.parse().map_err(|error| Wrong::new(at, format!("`behave`: {error}")))?;
    for name in spec.names() {
        if node_number(&name, nodes).is_none() {
            let why = format!("`behave`: `{}` is not a node;", shown(&name));
            return wrong(at, format!("{why} the nodes are n0 to n{}", nodes - 1));
        }
    }
    Ok(spec)
}
