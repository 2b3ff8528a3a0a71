//! Starting and stopping a mesh.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::child::{Extras, NodeProcess};
use super::{Created, MeshError, MeshFile, NodeEntry, create, decoys};
use crate::client::Client;
use crate::protocol::{Network, Time};

/// How long nodes may take to get linked, plus a share for each node.
const READY: Duration = Duration::from_secs(30);
const READY_PER_NODE: Duration = Duration::from_millis(500);
/// How often an unready node is asked.
const ASK: Duration = Duration::from_millis(25);

/// A malicious node to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liar {
    /// Its SPEC.
    pub spec: String,
    /// The behaviours in it.
    pub kinds: Vec<String>,
}

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All nodes.
    pub nodes: usize,
    /// The last of them, in order.
    pub liars: Vec<Liar>,
    /// Links that each node chooses; the node's own default if `None`.
    pub links: Option<usize>,
    /// Where everything is kept; empty or not there yet.
    pub dir: PathBuf,
    /// Whether nodes write JSON logs.
    pub log_json: bool,
}

/// A node of a running mesh.
pub struct MeshNode {
    /// Name, key, addresses, SPEC.
    pub entry: NodeEntry,
    /// Its behaviours, if it is a liar.
    pub kinds: Vec<String>,
    /// A client of its HTTP interface.
    pub client: Client,
    /// Its process.
    pub process: NodeProcess,
}

/// A running mesh. Dropping it kills its nodes; [`Mesh::stop`] stops them in order.
pub struct Mesh {
    /// Its folder.
    pub dir: PathBuf,
    /// Its network.
    pub network: Network,
    /// n0, n1, …, the malicious ones last.
    pub nodes: Vec<MeshNode>,
    /// When the first process was started.
    pub started: Instant,
    /// How long all honest nodes took to get linked.
    pub start_time: Option<Duration>,
}

impl Mesh {
    /// Starts all nodes at once and writes `DIR/mesh.json`. They are not linked yet.
    ///
    /// # Errors
    /// When the folder is not empty, an address is taken, or a process cannot be started.
    pub fn start(plan: &Plan, now: Time) -> Result<Self, MeshError> {
        refuse_if_not_empty(&plan.dir)?;
        let made = create(&plan.dir, plan.nodes, 0)?;
        let honest = plan.nodes.saturating_sub(plan.liars.len());
        let decoys_file = write_decoys(plan, &made, honest, now)?;
        let extras = Extras {
            network: &made.file,
            links: plan.links,
            decoys: Some(&decoys_file),
            log_json: plan.log_json,
        };
        let started = Instant::now();
        let mut nodes = Vec::with_capacity(plan.nodes);
        for (number, key) in made.members.iter().enumerate() {
            let liar = number.checked_sub(honest).and_then(|liar| plan.liars.get(liar));
            nodes.push(start_node(plan, key, liar, &extras)?);
        }
        let mesh =
            Self { dir: plan.dir.clone(), network: made.network, nodes, started, start_time: None };
        mesh.file(&made.file).write(&plan.dir)?;
        Ok(mesh)
    }

    fn file(&self, network_file: &Path) -> MeshFile {
        MeshFile {
            network: self.network.id().to_string(),
            network_file: network_file.to_owned(),
            launcher: std::process::id(),
            nodes: self.nodes.iter().map(|node| node.entry.clone()).collect(),
        }
    }

    /// The nodes that do not lie.
    pub fn honest(&self) -> impl Iterator<Item = &MeshNode> {
        self.nodes.iter().filter(|node| node.entry.malicious.is_none())
    }

    /// Waits until every honest node is linked and every liar answers; `seen` is told how many do.
    ///
    /// # Errors
    /// When a node dies or does not get there in time.
    pub async fn ready(&mut self, mut seen: impl FnMut(usize)) -> Result<(), MeshError> {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let patience = READY + READY_PER_NODE * count;
        let mut waiting = JoinSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let (client, liar) = (node.client.clone(), node.entry.malicious.is_some());
            waiting.spawn(async move {
                while !(if liar { client.healthy().await } else { client.ready().await }) {
                    tokio::time::sleep(ASK).await;
                }
                number
            });
        }
        let mut late: Vec<bool> = vec![true; self.nodes.len()];
        let mut look = tokio::time::interval(Duration::from_millis(100));
        while late.contains(&true) {
            tokio::select! {
                Some(done) = waiting.join_next() => {
                    if let Some(slot) = done.ok().and_then(|number| late.get_mut(number)) {
                        *slot = false;
                        seen(late.iter().filter(|late| !**late).count());
                    }
                }
                _ = look.tick() => {
                    self.check_alive()?;
                    if self.started.elapsed() > patience {
                        let names = self.nodes.iter().zip(&late).filter(|(_, late)| **late);
                        let names = names.map(|(node, _)| node.entry.name.clone()).collect();
                        return Err(MeshError::NotReady { names, seconds: patience.as_secs() });
                    }
                }
            }
        }
        self.start_time = Some(self.started.elapsed());
        Ok(())
    }

    /// # Errors
    /// With the end of its log, when a node has died.
    pub fn check_alive(&mut self) -> Result<(), MeshError> {
        for node in &mut self.nodes {
            if node.process.ended().is_some() {
                return Err(node.process.death(&node.entry.name));
            }
        }
        Ok(())
    }

    /// Stops all nodes and waits for them: politely first.
    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            node.process.ask_to_stop();
        }
        let mut ending = JoinSet::new();
        for mut node in self.nodes.drain(..) {
            ending.spawn(async move { node.process.wait_or_kill().await });
        }
        while ending.join_next().await.is_some() {}
    }
}

fn start_node(
    plan: &Plan,
    key: &super::network::CreatedKey,
    liar: Option<&Liar>,
    extras: &Extras<'_>,
) -> Result<MeshNode, MeshError> {
    let place = key.place.ok_or_else(|| MeshError::Network("a member has no address".into()))?;
    let mut entry = NodeEntry {
        name: key.name.clone(),
        key: key.identity.public().to_string(),
        key_file: key.file.clone(),
        api: format!("http://{}", place.api),
        gossip: place.gossip.to_string(),
        data: plan.dir.join(&key.name),
        pid: 0,
        malicious: liar.map(|liar| liar.spec.clone()),
    };
    let client = Client::new(&entry.api, None)
        .map_err(|error| MeshError::Node { name: key.name.clone(), why: error.to_string() })?;
    let process = NodeProcess::start(&entry, extras)?;
    entry.pid = process.pid().unwrap_or(0);
    let kinds = liar.map(|liar| liar.kinds.clone()).unwrap_or_default();
    Ok(MeshNode { entry, kinds, client, process })
}

fn refuse_if_not_empty(dir: &Path) -> Result<(), MeshError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(MeshError::NotEmpty(dir.to_owned())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(MeshError::File { what: "read", path: dir.to_owned(), error }),
    }
}

fn write_decoys(
    plan: &Plan,
    made: &Created,
    honest: usize,
    now: Time,
) -> Result<PathBuf, MeshError> {
    let path = plan.dir.join("decoys.hex");
    let identities: Vec<_> = made.members.iter().take(honest).map(|key| &key.identity).collect();
    let text = decoys(&identities, made.network.id(), now)?;
    fs::write(&path, text).map_err(MeshError::file("write", &path))?;
    Ok(path)
}
