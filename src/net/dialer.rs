//! Dials: a connection, then TLS with the member that was dialled, all within a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use super::impairment::{Conditions, Impairments};
use super::queue::{LinkEvent, Queue, lock};
use super::records::Paced;
use super::tls::{Tls, peer_of, server_name};
use crate::crypto::PublicKey;
use crate::protocol::Network;

/// Most dials in progress.
const AT_ONCE: usize = 16;
/// Most dials that wait for their turn; one more fails at once.
const WAITING: usize = 1024;
/// Deadline of a dial: connection and handshake together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Consecutive failures before a member is logged as unreachable: at start the others may not be up
/// yet.
const UNREACHED: u32 = 3;

/// Dials members. Owned by the driver; dropping it ends the dials in progress.
pub(super) struct Dialer {
    tls: Arc<Tls>,
    network: Arc<Network>,
    /// The node's own address if it is a loopback address, as peers limit handshakes by address.
    source: Option<IpAddr>,
    mail: Arc<Queue>,
    lab: Option<Impairments>,
    waiting: VecDeque<PublicKey>,
    failures: Failures,
    tasks: JoinSet<()>,
}

/// Reports the outcome of a dial on drop: exactly one link event, however the dial ends.
struct Owed {
    arrival: Option<LinkEvent>,
    mail: Arc<Queue>,
}

impl Owed {
    /// A method, so that the task that calls it holds all of this and not one field of it.
    fn become_link(&mut self, stream: Box<TlsStream<Paced<TcpStream>>>, peer: PublicKey) {
        self.arrival = Some(LinkEvent::Linked { stream, peer, dialled: true });
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(arrival) = self.arrival.take() {
            self.mail.arrival(arrival);
        }
    }
}

/// Counts consecutive failures by member, so that an unreachable member is logged once.
#[derive(Clone, Default)]
struct Failures {
    of: Arc<Mutex<BTreeMap<PublicKey, u32>>>,
}

impl Failures {
    fn failed(&self, peer: PublicKey, why: &str) {
        let mut all = lock(&self.of);
        let times = all.entry(peer).or_default();
        *times = times.saturating_add(1);
        if *times == UNREACHED {
            tracing::warn!(%peer, times, why, "member unreachable");
        }
    }

    fn worked(&self, peer: PublicKey) {
        let times = lock(&self.of).remove(&peer);
        if let Some(times) = times.filter(|times| *times >= UNREACHED) {
            tracing::info!(%peer, times, "member reachable again");
        }
    }
}

impl Dialer {
    pub(super) fn new(
        tls: Arc<Tls>,
        network: Arc<Network>,
        gossip: SocketAddr,
        mail: Arc<Queue>,
        lab: Option<Impairments>,
    ) -> Self {
        let source = Some(gossip.ip()).filter(IpAddr::is_loopback);
        Self {
            tls,
            network,
            source,
            mail,
            lab,
            waiting: VecDeque::new(),
            failures: Failures::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Dials a member, at once or when it is its turn. Exactly one link event reports the outcome.
    pub(super) fn dial(&mut self, peer: PublicKey) {
        if self.waiting.len() >= WAITING {
            return self.mail.arrival(LinkEvent::DialFailed { peer });
        }
        self.waiting.push_back(peer);
        self.advance();
    }

    /// Starts dials that wait while fewer than [`AT_ONCE`] are in progress. Must be called when a
    /// dial has ended.
    pub(super) fn advance(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() < AT_ONCE
            && let Some(peer) = self.waiting.pop_front()
        {
            let arrival = Some(LinkEvent::DialFailed { peer });
            let mut owed = Owed { arrival, mail: self.mail.clone() };
            let address = self.network.get(&peer).and_then(|member| member.gossip);
            let (tls, source) = (self.tls.clone(), self.source);
            let failures = self.failures.clone();
            let conditions = Conditions::new(self.lab.as_ref(), peer);
            self.tasks.spawn(async move {
                let Some(address) = address else { return };
                let linked = async {
                    travel(conditions).await;
                    connect(&tls, source, address, peer).await
                };
                match timeout(DEADLINE, linked).await {
                    Ok(Ok(stream)) => {
                        failures.worked(peer);
                        let stream = Box::new(stream);
                        owed.become_link(stream, peer);
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %address, %error, "dial failed");
                        failures.failed(peer, &error.to_string());
                    }
                    Err(_) => {
                        tracing::debug!(%peer, %address, "dial timed out");
                        failures.failed(peer, "no answer in time");
                    }
                }
            });
        }
    }
}

/// Delays a dial by the link's impairment: until no cut is in force, and by two round trips, one
/// for TCP and one for TLS.
async fn travel(mut conditions: Conditions) {
    conditions.mended().await;
    let delay = conditions.now().delay;
    if !delay.is_zero() {
        sleep(delay.saturating_mul(4)).await;
        conditions.mended().await;
    }
}

async fn connect(
    tls: &Tls,
    source: Option<IpAddr>,
    address: SocketAddr,
    peer: PublicKey,
) -> io::Result<TlsStream<Paced<TcpStream>>> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|s| s.is_ipv4() == address.is_ipv4()) {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let connector = tls.connector(peer).map_err(io::Error::other)?;
    let stream = connector.connect(server_name(), Paced::new(stream)).await?;
    match peer_of(stream.get_ref().1) {
        Some(found) if found == peer => Ok(stream.into()),
        _ => Err(io::Error::other("the peer does not speak loyal's protocol")),
    }
}
