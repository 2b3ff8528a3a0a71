//! Settings of a node, and why it does not start or stops by itself.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::adversary::Spec;
use crate::crypto::{Identity, PublicKey};
use crate::protocol::{Config, Network};
use crate::store;
use crate::wire::Batch;

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
        "key {key} is not a member of the network: add it to the network file with its gossip \
         address, or use the key of a member"
    )]
    NotMember {
        /// Key of the node.
        key: PublicKey,
    },
    /// The gossip address cannot be bound.
    #[error("cannot listen for links on {address}: {}", explain_bind(error))]
    Bind {
        /// The gossip address.
        address: SocketAddr,
        /// The operating system's error.
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
    #[error("the operating system refuses to help: {0}")]
    System(#[source] io::Error),
}

/// Explains why an address cannot be bound, and what would help.
pub fn explain_bind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use already; stop the other program or give another port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; give one that it has".into()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; give a port of 1024 or above, or more rights".into()
        }
        _ => error.to_string(),
    }
}

/// Why a running node ended by itself. A node that was asked to stop gives no cause.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StopCause {
    /// A task of the node panicked: a bug.
    #[error("the node broke down: {0}")]
    Crashed(String),
    /// The node ended without being asked: a bug.
    #[error("the node ended by itself")]
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
