//! Networks and identities for the tests of this module.

use std::sync::Arc;

use crate::crypto::Identity;
use crate::protocol::{Member, Network, Role};

/// The identity with this seed.
pub(super) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// A network of the first `members` identities; member `i` listens on 127.0.0.1, port `port + i`.
pub(super) fn network(members: u8, port: u16) -> Arc<Network> {
    let member = |seed: u8| Member {
        key: identity(seed).public(),
        name: format!("n{seed}"),
        role: Role::Member,
        gossip: Some(([127, 0, 0, 1], port + u16::from(seed)).into()),
    };
    Arc::new(Network::new([1; 32], (0..members).map(member).collect()).expect("sound"))
}
