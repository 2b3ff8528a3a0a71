//! Inbound links: connections that the gate lets in, then TLS within a deadline. Whoever is refused is
//! dropped before TLS costs anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, net::IpAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use super::gate::{Gate, Permit};
use super::mailbox::{Arrival, Mailbox};
use super::tls::{Tls, peer_of};
use super::traffic::{Inbound, Meter};
use crate::crypto::PublicKey;

/// For a whole handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);
/// After `accept` failed: most often there are no file descriptors left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps for us.
const BACKLOG: u32 = 1024;

/// Binds the gossip address.
///
/// # Errors
/// When the operating system refuses.
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
    pub gate: Gate,
    pub mail: Arc<Mailbox>,
    pub meter: Arc<Meter>,
    pub deadline: Duration,
}

type Finished = (Permit, bool);

impl Listener {
    /// Accepts until it is aborted; handshakes under way end with it.
    pub async fn run(mut self) {
        let begun = Instant::now();
        let mut handshakes: JoinSet<Finished> = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        let now = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                        self.judge(now, stream, from.ip(), &mut handshakes);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted");
                        sleep(BACK_OFF).await;
                    }
                },
                Some(finished) = handshakes.join_next() => {
                    // A handshake that panicked keeps its permit: it must not be able to repeat that.
                    if let Ok((permit, linked)) = finished {
                        self.gate.done(permit, linked);
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
        let permit = match self.gate.admit(now, from) {
            Ok(permit) => permit,
            Err(why) => {
                self.meter.inbound(why);
                // A reset leaves no connection in TIME_WAIT behind.
                let _ = stream.set_zero_linger();
                return;
            }
        };
        let (tls, mail, meter) = (self.tls.clone(), self.mail.clone(), self.meter.clone());
        let deadline = self.deadline;
        handshakes.spawn(async move {
            let linked = match timeout(deadline, accept(&tls, stream)).await {
                Ok(Ok((stream, peer))) => {
                    mail.arrival(Arrival::Linked {
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
                    tracing::debug!(%from, "handshake took too long");
                    false
                }
            };
            meter.inbound(if linked { Inbound::Linked } else { Inbound::Failed });
            (permit, linked)
        });
    }
}

async fn accept(tls: &Tls, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, PublicKey)> {
    stream.set_nodelay(true)?;
    let stream = tls.acceptor().accept(stream).await?;
    let peer = peer_of(stream.get_ref().1)
        .ok_or_else(|| io::Error::other("another protocol is spoken there"))?;
    Ok((stream.into(), peer))
}
