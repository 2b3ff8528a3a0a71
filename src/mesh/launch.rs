//! Starting and stopping a mesh.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::TryRng as _;
use tokio::task::JoinSet;

use super::child::{Extras, NodeProcess};
use super::steps::Watch;
use super::{Created, MeshError, MeshFile, NodeEntry, create, decoys};
use crate::client::Client;
use crate::crypto::hex;
use crate::protocol::{Network, Time};
use crate::store::Made;

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
    /// Those that lie, by number.
    pub liars: BTreeMap<usize, Liar>,
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
    /// A client of its lab's routes.
    pub lab: Client,
    /// Its process.
    pub process: NodeProcess,
    /// It was killed on purpose, and not started again.
    pub killed: bool,
}

/// A running mesh. Dropping it kills its nodes; [`Mesh::stop`] stops them in order.
pub struct Mesh {
    /// Its folder.
    pub dir: PathBuf,
    /// Its network.
    pub network: Network,
    /// n0, n1, ….
    pub nodes: Vec<MeshNode>,
    extras: Extras,
    /// When the first process was started.
    pub started: Instant,
    /// How long all honest nodes took to get linked.
    pub start_time: Option<Duration>,
    /// What is noticed of the wall clock, since before the first process was started.
    pub(super) clock: Watch,
}

impl Mesh {
    /// Starts all nodes at once and writes `DIR/mesh.json`. They are not linked yet.
    ///
    /// # Errors
    /// When the folder is not empty, an address is taken, or a process cannot be started.
    pub fn start(plan: &Plan, now: Time) -> Result<Self, MeshError> {
        refuse_if_not_empty(&plan.dir)?;
        let _made = Made::folder(&plan.dir).map_err(MeshError::file("create", &plan.dir))?;
        Self::start_in(plan, now).inspect_err(|_| {
            // It was empty: all that is in it is ours, keys too. What cannot go stays.
            for entry in fs::read_dir(&plan.dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        })
    }

    fn start_in(plan: &Plan, now: Time) -> Result<Self, MeshError> {
        let made = create(&plan.dir, plan.nodes, 0)?;
        let (lab_token, token) = write_token(&plan.dir)?;
        let extras = Extras {
            network: made.file.clone(),
            links: plan.links,
            decoys: write_decoys(plan, &made, now)?,
            lab_token,
            log_json: plan.log_json,
        };
        let (clock, started) = (Watch::start(), Instant::now());
        let mut nodes = Vec::with_capacity(plan.nodes);
        for (number, key) in made.members.iter().enumerate() {
            nodes.push(start_node(plan, key, plan.liars.get(&number), &extras, &token)?);
        }
        let (dir, network) = (plan.dir.clone(), made.network);
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

    /// Kills a node, which is then dead on purpose; nothing if it is dead already.
    pub async fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(number).filter(|node| !node.killed) {
            node.killed = true;
            node.process.kill().await;
        }
    }

    /// Removes the database of a node that was killed; nothing if it restarts. Its key stays.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
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

    /// Starts a node that was killed: the same key, folder and addresses, another process. Nothing
    /// if it restarts. To be called on the thread that outlives all others: the system tells a child
    /// of the end of the thread that started it, not of the process.
    ///
    /// # Errors
    /// When the process cannot be started, or the wall clock was set since the others were.
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

    /// The nodes that do not lie.
    pub fn honest(&self) -> impl Iterator<Item = &MeshNode> {
        self.nodes.iter().filter(|node| node.entry.malicious.is_none())
    }

    /// Waits until every honest node is linked and every liar answers; `seen` is told how many do.
    ///
    /// # Errors
    /// When a node dies or does not get there in time, or the wall clock was set meanwhile.
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

    /// The error that those who are late are.
    fn not_ready(&self, late: &[bool], seconds: u64) -> MeshError {
        let late = || self.nodes.iter().zip(late).filter(|(_, late)| **late).map(|(node, _)| node);
        let said = late().find_map(|node| Some((&node.entry, node.process.complaint()?)));
        let why = match said {
            Some((entry, line)) => {
                let log = entry.data.join("node.log");
                format!(
                    "the last that {} complained of, in {}:\n  {line}",
                    entry.name,
                    log.display()
                )
            }
            None => "their logs say nothing of why; LOYAL_LOG=loyal=debug says more".into(),
        };
        let names = late().map(|node| node.entry.name.clone()).collect();
        MeshError::NotReady { names, seconds, why }
    }

    /// # Errors
    /// With the end of its log, when a node has died that was not killed on purpose.
    pub fn check_alive(&mut self) -> Result<(), MeshError> {
        for node in self.nodes.iter_mut().filter(|node| !node.killed) {
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
    extras: &Extras,
    token: &str,
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
    let client = |token| {
        Client::new(&entry.api, token)
            .map_err(|error| MeshError::Node { name: key.name.clone(), why: error.to_string() })
    };
    let (client, lab) = (client(None)?, client(Some(token.to_owned()))?);
    let process = NodeProcess::start(&entry, extras)?;
    entry.pid = process.pid().unwrap_or(0);
    let kinds = liar.map(|liar| liar.kinds.clone()).unwrap_or_default();
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

/// Makes a token for the lab's routes of all nodes; only its owner may read the file.
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

fn write_decoys(plan: &Plan, made: &Created, now: Time) -> Result<PathBuf, MeshError> {
    let path = plan.dir.join("decoys.hex");
    let members = made.members.iter().enumerate();
    let honest = members.filter(|(number, _)| !plan.liars.contains_key(number));
    let identities: Vec<_> = honest.map(|(_, key)| &key.identity).collect();
    let text = decoys(&identities, made.network.id(), now)?;
    fs::write(&path, text).map_err(MeshError::file("write", &path))?;
    Ok(path)
}

/// A node tells time by the wall clock as it is at its start: set between two starts, they tell
/// different times.
fn same_clock(clock: &Watch) -> Result<(), MeshError> {
    match clock.set() {
        Some(by) => Err(MeshError::ClockSet { seconds: by.as_secs_f64() }),
        None => Ok(()),
    }
}
