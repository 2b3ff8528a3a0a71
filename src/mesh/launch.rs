//! Starting and stopping a mesh.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::TryRng as _;
use tokio::task::JoinSet;

use super::child::{Extras, NodeProcess};
use super::clock::ClockWatch;
use super::{Created, MeshError, MeshFile, NodeEntry, create, decoys};
use crate::adversary::Spec;
use crate::client::Client;
use crate::crypto::hex;
use crate::protocol::{Network, Time};
use crate::scenario::Scenario;
use crate::store::Made;

/// How long nodes may take to be linked, plus an allowance per node.
const READY: Duration = Duration::from_secs(30);
const READY_PER_NODE: Duration = Duration::from_millis(500);
/// Interval between two readiness checks of a node.
const ASK: Duration = Duration::from_millis(25);

/// A node of a running mesh.
pub struct MeshNode {
    /// Name, key, addresses and SPEC, as in `mesh.json`.
    pub entry: NodeEntry,
    /// The names of the node's behaviours; empty for an honest node.
    pub kinds: Vec<String>,
    /// A client of the node's HTTP interface, without a token.
    pub client: Client,
    /// A client with the lab token, for the lab routes.
    pub lab: Client,
    /// The running process; killed when this is dropped.
    pub process: NodeProcess,
    /// Whether the node was killed on purpose and has not been started again.
    pub killed: bool,
}

/// A running mesh. Dropping it kills the nodes; [`Mesh::stop`] shuts them down cleanly.
pub struct Mesh {
    /// The folder that holds keys, data and logs.
    pub dir: PathBuf,
    /// The network that the nodes belong to.
    pub network: Network,
    /// The nodes, by number: n0, n1, ….
    pub nodes: Vec<MeshNode>,
    extras: Extras,
    /// When the first process was started.
    pub started: Instant,
    /// How long it took until all honest nodes were linked; `None` before that.
    pub start_time: Option<Duration>,
    /// Watches the wall clock, since before the first process was started.
    pub(super) clock: ClockWatch,
}

impl Mesh {
    /// Starts all nodes of a scenario at once and writes `DIR/mesh.json`. Does not wait until they
    /// are linked. The folder must be empty, or not exist yet.
    ///
    /// # Errors
    /// If the folder is not empty, an address is taken, or a process cannot be started.
    pub fn start(
        scenario: &Scenario,
        dir: &Path,
        log_json: bool,
        now: Time,
    ) -> Result<Self, MeshError> {
        refuse_if_not_empty(dir)?;
        let _made = Made::folder(dir).map_err(MeshError::file("create", dir))?;
        Self::start_in(scenario, dir, log_json, now).inspect_err(|_| {
            // The folder was empty, so everything in it is ours, keys included. What cannot be
            // removed stays.
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        })
    }

    fn start_in(
        scenario: &Scenario,
        dir: &Path,
        log_json: bool,
        now: Time,
    ) -> Result<Self, MeshError> {
        let specs = scenario.specs();
        let made = create(dir, specs.len(), 0)?;
        let (lab_token, token) = write_token(dir)?;
        let extras = Extras {
            network: made.file.clone(),
            links: scenario.mesh.links,
            decoys: write_decoys(dir, &specs, &made, now)?,
            lab_token,
            log_json,
        };
        let (clock, started) = (ClockWatch::start(), Instant::now());
        let mut nodes = Vec::with_capacity(specs.len());
        for (key, spec) in made.members.iter().zip(&specs) {
            nodes.push(start_node(dir, key, spec.as_ref(), &extras, &token)?);
        }
        let (dir, network) = (dir.to_owned(), made.network);
        let mesh = Self { dir, network, nodes, extras, started, start_time: None, clock };
        mesh.write_file()?;
        Ok(mesh)
    }

    fn write_file(&self) -> Result<(), MeshError> {
        let file = MeshFile {
            network: self.network.id().to_string(),
            network_file: self.extras.network.clone(),
            launcher: std::process::id(),
            nodes: self.nodes.iter().map(|node| node.entry.clone()).collect(),
        };
        file.write(&self.dir)
    }

    /// Kills a node and marks it as killed on purpose. Does nothing if it is dead already.
    pub async fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(number).filter(|node| !node.killed) {
            node.killed = true;
            node.process.kill().await;
        }
    }

    /// Removes the database of a killed node and keeps its key. Does nothing if the node is alive.
    ///
    /// # Errors
    /// If an existing file cannot be removed.
    pub fn wipe(&mut self, number: usize) -> Result<(), MeshError> {
        let Some(node) = self.nodes.get(number).filter(|node| node.killed) else { return Ok(()) };
        for name in ["node.sqlite", "node.sqlite-wal", "node.sqlite-shm"] {
            let path = node.entry.data.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(MeshError::file("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a killed node again as a new process with the same key, folder and addresses. Does
    /// nothing if it is alive. Call this on the thread that outlives all others: the kernel sends
    /// the child its parent-death signal when the thread that started it ends, not the process.
    ///
    /// # Errors
    /// If the process cannot be started, or the wall clock was set since the other nodes started.
    pub fn start_again(&mut self, number: usize) -> Result<(), MeshError> {
        let Some(node) = self.nodes.get_mut(number).filter(|node| node.killed) else {
            return Ok(());
        };
        same_clock(&self.clock)?;
        node.process = NodeProcess::start(&node.entry, &self.extras)?;
        node.entry.pid = node.process.pid().unwrap_or(0);
        node.killed = false;
        self.write_file()
    }

    /// The nodes that do not lie, killed ones included.
    pub fn honest(&self) -> impl Iterator<Item = &MeshNode> {
        self.nodes.iter().filter(|node| node.entry.malicious.is_none())
    }

    /// Waits until every honest node is linked and every liar answers. Calls `seen` with the number
    /// of nodes that do.
    ///
    /// # Errors
    /// If a node dies or is not ready in time, or if the wall clock was set meanwhile.
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
                        return Err(self.not_ready(&late, patience.as_secs()));
                    }
                }
            }
        }
        self.start_time = Some(self.started.elapsed());
        same_clock(&self.clock)
    }

    /// The error that names the nodes that are late.
    fn not_ready(&self, late: &[bool], seconds: u64) -> MeshError {
        let late = || self.nodes.iter().zip(late).filter(|(_, late)| **late).map(|(node, _)| node);
        let said = late().find_map(|node| Some((&node.entry, node.process.complaint()?)));
        let why = match said {
            Some((entry, line)) => {
                let log = entry.data.join("node.log");
                format!("the last warning of {}, in {}:\n  {line}", entry.name, log.display())
            }
            None => "their logs do not say why; LOYAL_LOG=loyal=debug makes them say more".into(),
        };
        let names = late().map(|node| node.entry.name.clone()).collect();
        MeshError::NotReady { names, seconds, why }
    }

    /// Checks that every node that was not killed on purpose is still running.
    ///
    /// # Errors
    /// If a node has died, with the end of its log.
    pub fn check_alive(&mut self) -> Result<(), MeshError> {
        for node in self.nodes.iter_mut().filter(|node| !node.killed) {
            if node.process.ended().is_some() {
                return Err(node.process.death(&node.entry.name));
            }
        }
        Ok(())
    }

    /// Stops all nodes and waits for them. Nodes that do not stop when asked are killed.
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
    dir: &Path,
    key: &super::network::CreatedKey,
    spec: Option<&Spec>,
    extras: &Extras,
    token: &str,
) -> Result<MeshNode, MeshError> {
    let addresses =
        key.addresses.ok_or_else(|| MeshError::Network("a member has no address".into()))?;
    let mut entry = NodeEntry {
        name: key.name.clone(),
        key: key.identity.public().to_string(),
        key_file: key.file.clone(),
        api: format!("http://{}", addresses.api),
        gossip: addresses.gossip.to_string(),
        data: dir.join(&key.name),
        pid: 0,
        malicious: spec.map(Spec::to_string),
    };
    let client = |token| {
        Client::new(&entry.api, token)
            .map_err(|error| MeshError::Node { name: key.name.clone(), why: error.to_string() })
    };
    let (client, lab) = (client(None)?, client(Some(token.to_owned()))?);
    let process = NodeProcess::start(&entry, extras)?;
    entry.pid = process.pid().unwrap_or(0);
    let kinds = spec.into_iter().flat_map(Spec::kinds).map(str::to_owned).collect();
    Ok(MeshNode { entry, kinds, client, lab, process, killed: false })
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

/// Creates one token for the lab routes of all nodes, in a file that only its owner may read.
fn write_token(dir: &Path) -> Result<(PathBuf, String), MeshError> {
    let mut bytes = [0; 32];
    let filled = rand::rngs::SysRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| MeshError::Key(error.to_string()))?;
    let (path, token) = (dir.join("lab.token"), hex(&bytes));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{token}"));
    written.map_err(MeshError::file("write", &path))?;
    Ok((path, token))
}

/// Writes the file of decoys, of all honest nodes.
fn write_decoys(
    dir: &Path,
    specs: &[Option<Spec>],
    made: &Created,
    now: Time,
) -> Result<PathBuf, MeshError> {
    let path = dir.join("decoys.hex");
    let honest = made.members.iter().zip(specs).filter(|(_, spec)| spec.is_none());
    let identities: Vec<_> = honest.map(|(key, _)| &key.identity).collect();
    let text = decoys(&identities, made.network.id(), now)?;
    fs::write(&path, text).map_err(MeshError::file("write", &path))?;
    Ok(path)
}

/// Fails if the wall clock was set. A node reads the wall clock once, when it starts, so nodes
/// started before and after a step would disagree about the time.
fn same_clock(clock: &ClockWatch) -> Result<(), MeshError> {
    match clock.set() {
        Some(by) => Err(MeshError::ClockSet { seconds: by.as_secs_f64() }),
        None => Ok(()),
    }
}
