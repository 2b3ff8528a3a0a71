//! Starting and stopping a node.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng as _;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::checkers::Checkers;
use super::dialer::Dialer;
use super::disk::Disk;
use super::driver::{Driver, Turns};
use super::handle::{COMMANDS, Handle, Inner};
use super::handshake_limiter::HandshakeLimiter;
use super::impairment::Impairments;
use super::listener::{HANDSHAKE, Listener, bind};
use super::log::Log;
use super::queue::Queue;
use super::settings::{Malice, Settings, StartError, StopCause};
use super::tls::Tls;
use super::traffic::Meter;
use super::waiters::Waiters;
use crate::adversary::{Actor, Adversary};
use crate::clock::Clock;
use crate::crypto::PublicKey;
use crate::diagnostics::panic_text;
use crate::protocol::{Input, Network, Node};
use crate::store::Store;

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
    let answered = mail.clone();
    let answer = Box::new(move |input: Input| answered.answer(input));
    let opened = {
        let network = network.clone();
        spawn_blocking(move || Store::open(&data, &network, key, options, answer))
    };
    let broken = |error| StartError::System(io::Error::other(error));
    let (store, restored) = opened.await.map_err(broken)??;

    let clock = Clock::start();
    let started_at = clock.now();
    let checkers = Checkers::new(mail.clone(), meter.clone()).map_err(StartError::System)?;
    let spec = malicious.as_ref().map(|malice| malice.spec.clone());
    let node = Node::new(identity.clone(), network.clone(), config, restored, seed()?, started_at);
    let actor = match malicious {
        None => Actor::Honest(Box::new(node)),
        Some(Malice { spec, decoys }) => {
            let (network, seed) = (network.clone(), seed()?);
            let liar = Adversary::new(node, identity, network, spec, decoys, seed, started_at);
            Actor::Liar(Box::new(liar))
        }
    };

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
    let log = Log::new(network.clone());
    let dialer = Dialer::new(tls, network, gossip, mail.clone(), lab.clone());
    let driver = Driver {
        actor,
        clock,
        mail: mail.clone(),
        meter,
        commands,
        checkers,
        disk: Disk::new(store),
        dialer,
        lab,
        waiters: Waiters::default(),
        links: BTreeMap::new(),
        tasks: JoinSet::new(),
        log,
        turns: Turns::default(),
    };
    let driver = tokio::spawn(driver.run());
    let listener = tokio::spawn(listener.run());
    tracing::info!(%key, %gossip, "node started");
    Ok(Running { handle, mail, driver, listener })
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
            Ok(Err(error)) => tracing::error!(%error, "the node broke down while stopping"),
            Err(_) => tracing::error!("the node did not stop in time, and is abandoned"),
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
