//! Inbound links: connections that the handshake limiter admits, then TLS within a deadline. A
//! refused connection is dropped before it causes any TLS work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, net::IpAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use super::handshake_limiter::{HandshakeLimiter, Permit};
use super::impairment::{Conditions, Impairments};
use super::queue::{LinkEvent, Queue};
use super::records::Paced;
use super::tls::{Tls, peer_of};
use super::traffic::{Inbound, Meter};
use crate::crypto::PublicKey;
use crate::diagnostics::Failing;
use crate::protocol::micros;

/// Deadline of a whole handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);
/// Pause after a failed `accept`, which usually means that file descriptors have run out.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Most connections that the kernel queues for `accept`.
const BACKLOG: u32 = 1024;

/// Binds the gossip address.
///
/// # Errors
/// When the operating system refuses the address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The listening side of a node.
pub(super) struct Listener {
    pub listener: TcpListener,
    pub tls: Arc<Tls>,
    pub limiter: HandshakeLimiter,
    pub mail: Arc<Queue>,
    pub meter: Arc<Meter>,
    pub deadline: Duration,
    pub lab: Option<Impairments>,
}

type Finished = (Permit, bool);

impl Listener {
    /// Accepts connections until aborted, which also ends handshakes in progress.
    pub(super) async fn run(mut self) {
        let (begun, mut failing) = (Instant::now(), Failing::default());
        let mut handshakes: JoinSet<Finished> = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        if let Some(failures) = failing.worked() {
                            tracing::info!(failures, "accepting connections works again");
                        }
                        let now = micros(begun.elapsed());
                        self.judge(now, stream, from.ip(), &mut handshakes);
                    }
                    Err(error) if is_callers(&error) => {}
                    Err(error) => {
                        if failing.failed() {
                            tracing::warn!(%error, "cannot accept connections");
                        }
                        sleep(BACK_OFF).await;
                    }
                },
                Some(finished) = handshakes.join_next() => {
                    // The permit of a handshake that panicked is not returned, so that it cannot be
                    // repeated without bound.
                    if let Ok((permit, linked)) = finished {
                        self.limiter.done(permit, linked);
                    }
                }
            }
        }
    }

    fn judge(
        &mut self,
        now: u64,
        stream: TcpStream,
        from: IpAddr,
        handshakes: &mut JoinSet<Finished>,
    ) {
        let permit = match self.limiter.admit(now, from) {
            Ok(permit) => permit,
            Err(why) => {
                self.meter.inbound(why);
                // A reset leaves no connection in TIME_WAIT.
                let _ = stream.set_zero_linger();
                return;
            }
        };
        let (tls, mail, meter) = (self.tls.clone(), self.mail.clone(), self.meter.clone());
        let (deadline, lab) = (self.deadline, self.lab.clone());
        handshakes.spawn(async move {
            let accepted = async {
                let (stream, peer) = accept(&tls, stream).await?;
                // During a cut the connection must end in silence, as if it had never arrived.
                Conditions::new(lab.as_ref(), peer).mended().await;
                io::Result::Ok((stream, peer))
            };
            let linked = match timeout(deadline, accepted).await {
                Ok(Ok((stream, peer))) => {
                    mail.arrival(LinkEvent::Linked {
                        stream: Box::new(stream),
                        peer,
                        dialled: false,
                    });
                    true
                }
                Ok(Err(error)) => {
                    tracing::debug!(%from, error = ?error.to_string(), "handshake refused");
                    false
                }
                Err(_) => {
                    tracing::debug!(%from, "handshake timed out");
                    false
                }
            };
            meter.inbound(if linked { Inbound::Linked } else { Inbound::Failed });
            (permit, linked)
        });
    }
}

/// Whether `accept` failed because the caller was already gone, which is no reason to pause.
fn is_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn accept(
    tls: &Tls,
    stream: TcpStream,
) -> io::Result<(TlsStream<Paced<TcpStream>>, PublicKey)> {
    stream.set_nodelay(true)?;
    let stream = tls.acceptor().accept(Paced::new(stream)).await?;
    let peer = peer_of(stream.get_ref().1)
        .ok_or_else(|| io::Error::other("the peer does not speak loyal's protocol"))?;
    Ok((stream.into(), peer))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::net::tls::server_name;
    use crate::protocol::testing::{identity, network};

    struct Bench {
        mail: Arc<Queue>,
        meter: Arc<Meter>,
        address: SocketAddr,
        task: JoinHandle<()>,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    /// Node 0 of a network of three listens, with this deadline for handshakes.
    fn bench(deadline: Duration) -> Bench {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (mail, meter) = (Arc::new(Queue::default()), Arc::new(Meter::default()));
        let tls = Arc::new(Tls::new(&identity(0), network(3, 0)).expect("a good key"));
        let limiter = HandshakeLimiter::new([[127, 0, 0, 2].into()]);
        let (mail2, meter2) = (mail.clone(), meter.clone());
        let listener =
            Listener { listener, tls, limiter, mail: mail2, meter: meter2, deadline, lab: None };
        Bench { mail, meter, address, task: tokio::spawn(listener.run()) }
    }

    async fn connect(to: SocketAddr, from: u8) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, from], 0).into())?;
        socket.connect(to).await
    }

    /// Links as that identity and reads one byte, which never comes: whether the link lives.
    async fn lives(to: SocketAddr, from: u8, seed: u8) -> bool {
        let tls = Tls::new(&identity(seed), network(9, 0)).expect("a good key");
        let connector = tls.connector(identity(0).public()).expect("fixed versions");
        let Ok(stream) = connect(to, from).await else { return false };
        let Ok(mut stream) = connector.connect(server_name(), stream).await else { return false };
        timeout(Duration::from_millis(300), stream.read(&mut [0])).await.is_err()
    }

    async fn linked(bench: &Bench) -> Vec<PublicKey> {
        sleep(Duration::from_millis(50)).await;
        let arrivals = bench.mail.take().arrivals;
        let peers = arrivals.iter().filter_map(|arrival| match arrival {
            LinkEvent::Linked { peer, dialled: false, .. } => Some(*peer),
            _ => None,
        });
        peers.collect()
    }

    #[tokio::test]
    async fn members_get_in_and_strangers_do_not() {
        let bench = bench(HANDSHAKE);
        let dial = tokio::spawn(lives(bench.address, 2, 1));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(linked(&bench).await, [identity(1).public()]);
        let _ = dial.await;
        assert!(!lives(bench.address, 2, 7).await);
        assert!(linked(&bench).await.is_empty());
        assert_eq!(bench.meter.read().handshakes["failed"], 1);
    }

    #[tokio::test]
    async fn who_says_nothing_is_dropped_at_the_deadline() {
        let bench = bench(Duration::from_millis(100));
        let mut silent = connect(bench.address, 2).await.expect("listens");
        let read = timeout(Duration::from_secs(5), silent.read(&mut [0])).await;
        assert!(matches!(read.expect("dropped"), Ok(0) | Err(_)));
        // Half a record is no better.
        let mut slow = connect(bench.address, 2).await.expect("listens");
        tokio::io::AsyncWriteExt::write_all(&mut slow, &[0x16, 3, 1, 0x40]).await.expect("sent");
        let read = timeout(Duration::from_secs(5), slow.read(&mut [0])).await;
        assert!(matches!(read.expect("dropped"), Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_flood_from_one_address_leaves_room_for_the_others() {
        let bench = bench(HANDSHAKE);
        let mut held = vec![];
        for _ in 0..200 {
            held.extend(connect(bench.address, 9).await);
        }
        let dial = tokio::spawn(lives(bench.address, 2, 1));
        sleep(Duration::from_millis(200)).await;
        assert_eq!(linked(&bench).await, [identity(1).public()]);
        let _ = dial.await;
        assert!(bench.meter.read().handshakes["half_open"] > 150);
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let error = bind(first.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
