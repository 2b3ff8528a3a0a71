//! Starting and stopping a node: its settings, and why it does not start or stops by itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng as _;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::checkers::Checkers;
use super::dialer::Dialer;
use super::disk::Disk;
use super::driver::{Driver, Turns};
use super::handle::{COMMANDS, Handle, Inner, Waiters};
use super::handshake_limiter::HandshakeLimiter;
use super::impairment::Impairments;
use super::listener::{HANDSHAKE, Listener, bind};
use super::log::PeerLog;
use super::queue::Queue;
use super::tls::Tls;
use super::traffic::Meter;
use crate::adversary::{Actor, Adversary, Spec};
use crate::clock::Clock;
use crate::crypto::{Identity, PublicKey};
use crate::diagnostics::panic_text;
use crate::protocol::{Config, Input, Network, Node, Time};
use crate::store::{self, Store};
use crate::wire::Batch;

/// Deadline of a graceful stop; after it the node is abandoned.
const STOP: Duration = Duration::from_secs(15);

/// A running node. Dropping it ends the node at once; [`Running::stop`] ends it gracefully.
pub struct Running {
    handle: Handle,
    mail: Arc<Queue>,
    driver: JoinHandle<()>,
    listener: JoinHandle<()>,
}

/// Binds the gossip address, opens the store and starts the node.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let Settings { identity, network, gossip, data, config, store: options, lab, malicious } =
        settings;
    let key = identity.public();
    if !network.is_member(&key) {
        return Err(StartError::NotMember { key });
    }
    let tls = Tls::new(&identity, network.clone());
    let tls = Arc::new(tls.map_err(|error| StartError::Tls(error.to_string()))?);
    let listener = bind(gossip).map_err(|error| StartError::Bind { address: gossip, error })?;
    let lab = lab.then(Impairments::new);
    let (mail, meter) = (Arc::new(Queue::default()), Arc::new(Meter::default()));
    let (store, restored) = {
        let (network, mail) = (network.clone(), mail.clone());
        let answer = Box::new(move |input: Input| mail.answer(input));
        spawn_blocking(move || Store::open(&data, &network, key, options, answer))
            .await
            .map_err(|error| StartError::System(io::Error::other(error)))??
    };
    let clock = Clock::start();
    let started_at = clock.now();
    let checkers = Checkers::new(mail.clone(), meter.clone()).map_err(StartError::System)?;
    let spec = malicious.as_ref().map(|malice| malice.spec.clone());
    let node = Node::new(identity.clone(), network.clone(), config, restored, seed()?, started_at);
    let actor = actor(node, identity, network.clone(), malicious, started_at)?;
    let (sender, commands) = mpsc::channel(COMMANDS);
    let handle = Handle::new(Inner {
        commands: sender,
        mail: mail.clone(),
        meter: meter.clone(),
        network: network.clone(),
        key,
        started_at,
        clock,
        malicious: spec,
        lab: lab.clone(),
        reader: store.reader(),
        health: store.health(),
        checkers: checkers.pulses(),
        commits: store.commits(),
    });
    let listener = Listener {
        listener,
        tls: tls.clone(),
        limiter: limiter(&network, &key),
        mail: mail.clone(),
        meter: meter.clone(),
        deadline: HANDSHAKE,
        lab: lab.clone(),
    };
    let driver = Driver {
        actor,
        clock,
        mail: mail.clone(),
        meter,
        commands,
        checkers,
        disk: Disk::new(store),
        dialer: Dialer::new(tls, network.clone(), gossip, mail.clone(), lab.clone()),
        lab,
        waiters: Waiters::default(),
        links: BTreeMap::new(),
        tasks: JoinSet::new(),
        log: PeerLog::new(network),
        turns: Turns::default(),
    };
    tracing::info!(%key, %gossip, "node started");
    let (driver, listener) = (tokio::spawn(driver.run()), tokio::spawn(listener.run()));
    Ok(Running { handle, mail, driver, listener })
}

/// The node, or the liar that a lab starts in its place.
fn actor(
    node: Node,
    identity: Identity,
    network: Arc<Network>,
    malicious: Option<Malice>,
    now: Time,
) -> Result<Actor, StartError> {
    let Some(Malice { spec, decoys }) = malicious else {
        return Ok(Actor::Honest(Box::new(node)));
    };
    let liar = Adversary::new(node, identity, network, spec, decoys, seed()?, now);
    Ok(Actor::Liar(Box::new(liar)))
}

/// A handshake limiter for the addresses of the other members.
fn limiter(network: &Network, own: &PublicKey) -> HandshakeLimiter {
    let others = network.members().filter(|member| member.key != *own);
    HandshakeLimiter::new(others.filter_map(|member| Some(member.gossip?.ip())))
}

fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    let filled = rand::rngs::SysRng.try_fill_bytes(&mut seed);
    filled.map_err(|error| StartError::System(io::Error::other(error.to_string())))?;
    Ok(seed)
}

impl Running {
    /// A handle of the node, as the API needs it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops gracefully: no new commands are accepted, accepted ones are answered, links are
    /// closed, the store is written and closed. Takes at most about 15 s, and usually far less than
    /// 1 s.
    pub async fn stop(mut self) {
        self.listener.abort();
        self.mail.stop();
        if self.driver.is_finished() {
            return; // `failed` has reported it
        }
        match timeout(STOP, &mut self.driver).await {
            Ok(Ok(())) => tracing::info!("node stopped"),
            Ok(Err(error)) => tracing::error!(%error, "the node crashed while stopping"),
            Err(_) => tracing::error!("the node did not stop in time; giving up on it"),
        }
    }

    /// Waits until the node ends by itself, which is always a bug.
    pub async fn failed(&mut self) -> StopCause {
        let ended = tokio::select! {
            ended = &mut self.driver => ended,
            ended = &mut self.listener => ended,
        };
        match ended.map_err(tokio::task::JoinError::try_into_panic) {
            Err(Ok(panic)) => StopCause::Crashed(panic_text(panic.as_ref())),
            Ok(()) | Err(Err(_)) => StopCause::Ended,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listener.abort();
        self.driver.abort();
    }
}

/// Everything that a node needs to start.
pub struct Settings {
    /// The node's key, which must be a member of the network.
    pub identity: Identity,
    /// The network that it is a member of.
    pub network: Arc<Network>,
    /// Address at which the node listens for links. A loopback address is also the source of its
    /// dials, so that peers on the same host can tell nodes apart by address.
    pub gossip: SocketAddr,
    /// The node's data folder; created if it does not exist.
    pub data: PathBuf,
    /// Configuration of the state machine.
    pub config: Config,
    /// Limits of the node's store.
    pub store: store::Options,
    /// Whether the node's links can be impaired through its [`Handle`](super::Handle), for a lab.
    pub lab: bool,
    /// What the node does as a liar; `None` for an honest node.
    pub malicious: Option<Malice>,
}

/// Settings of a malicious node.
pub struct Malice {
    /// The behaviours of the liar.
    pub spec: Spec,
    /// Batches that honest members signed for *another* network, for the liar to replay.
    pub decoys: Vec<Batch>,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The key is not in the network file, or has only the role of an author.
    #[error(
        "key {key} is not a member of the network; add it to the network file with its gossip \
         address, or use a member's key"
    )]
    NotMember {
        /// The key that is not a member's.
        key: PublicKey,
    },
    /// The gossip address cannot be bound.
    #[error("cannot listen for links on {address}: {}", explain_bind(error))]
    Bind {
        /// The address that was to be bound.
        address: SocketAddr,
        /// Why it cannot be bound.
        error: io::Error,
    },
    /// The data folder cannot be used: it is locked, damaged, or of another node, network or
    /// version.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// TLS cannot be set up with the key.
    #[error("TLS cannot be set up with this key: {0}")]
    Tls(String),
    /// The operating system provides no randomness or no thread.
    #[error("the operating system provides no randomness or no thread: {0}")]
    System(#[source] io::Error),
}

/// Explains why an address cannot be bound, and what would help.
pub fn explain_bind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is already in use; stop the other program or give another port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; give one of its own".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; give a port of 1024 or above, or run with more rights".into()
        }
        _ => error.to_string(),
    }
}

/// Why a running node ended by itself. A node that was asked to stop gives no cause.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StopCause {
    /// A task of the node panicked: a bug.
    #[error("the node crashed: {0}")]
    Crashed(String),
    /// The node ended without being asked: a bug.
    #[error("the node stopped without being asked")]
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_errors_name_the_address_and_a_way_out() {
        let address = ([127, 0, 0, 1], 7600).into();
        let error = StartError::Bind { address, error: io::ErrorKind::AddrInUse.into() };
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:7600") && text.contains("in use"), "{text}");
    }
}
