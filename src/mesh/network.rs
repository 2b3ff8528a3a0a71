//! Creates addresses, keys and a network file for a new mesh.
//!
//! Each node has an address of its own in 127.0.0.0/8, with the same two ports on all of them. The
//! ports are outside the ephemeral range, so that no outgoing connection can take one first.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rand::TryRng as _;

use super::MeshError;
use crate::crypto::Identity;
use crate::protocol::{Member, Network, Role};
use crate::store::{Made, keys};

/// The preferred ports, if they are outside the ephemeral range.
const GOSSIP: u16 = 7600;
const API: u16 = 7700;
/// Blocks of addresses that are tried before giving up.
const TRIES: usize = 64;
/// Nodes per value of an address's third byte: the last byte counts from 1 to this.
const PER_BLOCK: usize = 250;

/// A new network and its keys.
pub struct Created {
    /// The network with the members and authors made.
    pub network: Network,
    /// The network's file, `DIR/network.toml`.
    pub file: PathBuf,
    /// The members' keys, n0 first.
    pub members: Vec<CreatedKey>,
    /// The authors' keys, a0 first.
    pub authors: Vec<CreatedKey>,
}

/// A key of a new network.
pub struct CreatedKey {
    /// The name: n0, n1, … for members, a0, a1, … for authors.
    pub name: String,
    /// Its key pair, as in the key file.
    pub identity: Identity,
    /// The key file, `DIR/NAME.pem`.
    pub file: PathBuf,
    /// Where the member's node listens; `None` for authors.
    pub addresses: Option<Addresses>,
}

/// Creates `DIR/network.toml` and a key file for each member and author. Never overwrites a file.
///
/// # Errors
/// If there is a network file already, or a file cannot be written.
pub fn create(dir: &Path, nodes: usize, authors: usize) -> Result<Created, MeshError> {
    let free = free_addresses(nodes)?;
    let _made = Made::folder(dir).map_err(MeshError::file("create", dir))?;
    let file = dir.join("network.toml");
    // Created first, so that nothing is written beside an existing network.
    let mut out =
        OpenOptions::new().write(true).create_new(true).open(&file).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::AlreadyExists => MeshError::Exists(file.clone()),
            _ => MeshError::file("create", &file)(error),
        })?;
    let mut keys = Vec::new();
    let result = fill(dir, &free, authors, &mut keys).and_then(|network| {
        let written = out.write_all(network.to_toml().as_bytes());
        written.map(|()| network).map_err(MeshError::file("write", &file))
    });
    let network = result.inspect_err(|_| {
        // What cannot be removed stays.
        keys.iter()
            .map(|key| &key.file)
            .chain([&file])
            .for_each(|path| drop(fs::remove_file(path)));
    })?;
    let authors = keys.split_off(nodes);
    Ok(Created { network, file, members: keys, authors })
}

/// Creates the keys, members first, and their network. Keys created before an error are in `keys`
/// too.
fn fill(
    dir: &Path,
    free: &[Addresses],
    authors: usize,
    keys: &mut Vec<CreatedKey>,
) -> Result<Network, MeshError> {
    for (number, addresses) in free.iter().enumerate() {
        keys.push(key(dir, format!("n{number}"), Some(*addresses))?);
    }
    for number in 0..authors {
        keys.push(key(dir, format!("a{number}"), None)?);
    }
    let listed = keys.iter().map(|key| Member {
        key: key.identity.public(),
        name: key.name.clone(),
        role: if key.addresses.is_some() { Role::Member } else { Role::Author },
        gossip: key.addresses.map(|addresses| addresses.gossip),
    });
    let mut nonce = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut nonce)
        .map_err(|error| MeshError::Key(error.to_string()))?;
    Network::new(nonce, listed.collect()).map_err(|error| MeshError::Network(error.to_string()))
}

fn key(dir: &Path, name: String, addresses: Option<Addresses>) -> Result<CreatedKey, MeshError> {
    let identity = Identity::generate().map_err(|error| MeshError::Key(error.to_string()))?;
    let file = dir.join(format!("{name}.pem"));
    keys::write(&file, &identity, None).map_err(|error| MeshError::Key(error.to_string()))?;
    Ok(CreatedKey { name, identity, file, addresses })
}

/// Where one node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Address for links.
    pub gossip: SocketAddr,
    /// Address for the HTTP interface.
    pub api: SocketAddr,
}

/// Returns free addresses for each node. Starts at a random block, so that
/// two meshes on one machine keep apart, and tries another block if something listens there.
///
/// # Errors
/// If none of 64 blocks is free, which does not happen on a system with 127.0.0.0/8; or if there is
/// no randomness.
fn free_addresses(nodes: usize) -> Result<Vec<Addresses>, MeshError> {
    let (gossip, api) = ports(&ephemeral());
    for _ in 0..TRIES {
        let mut block = [0; 2];
        rand::rngs::SysRng
            .try_fill_bytes(&mut block)
            .map_err(|error| MeshError::Key(error.to_string()))?;
        let block = (block[0].clamp(1, 254), block[1].min(200));
        let found: Vec<Addresses> =
            (0..nodes).map(|node| addresses(block, node, gossip, api)).collect();
        if found.iter().all(|one| is_free(one.gossip) && is_free(one.api)) {
            return Ok(found);
        }
    }
    Err(MeshError::NoAddress { gossip, api })
}

fn addresses((second, third): (u8, u8), node: usize, gossip: u16, api: u16) -> Addresses {
    let up = u8::try_from(node / PER_BLOCK).unwrap_or(u8::MAX);
    let last = u8::try_from(node % PER_BLOCK + 1).unwrap_or(u8::MAX);
    let ip = IpAddr::V4(Ipv4Addr::new(127, second, third.saturating_add(up), last));
    Addresses { gossip: SocketAddr::new(ip, gossip), api: SocketAddr::new(ip, api) }
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// The ports that the kernel uses for outgoing connections; Linux's default if it does not say.
fn ephemeral() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(low), Some(high)) => low..=high,
        _ => 32_768..=60_999,
    }
}

/// A gossip and an API port outside the range: the preferred ones, or else the highest two.
fn ports(ephemeral: &RangeInclusive<u16>) -> (u16, u16) {
    let outside = |port: &u16| !ephemeral.contains(port);
    if outside(&GOSSIP) && outside(&API) {
        return (GOSSIP, API);
    }
    let mut free = (1024..=u16::MAX).rev().filter(outside);
    match (free.next(), free.next()) {
        (Some(gossip), Some(api)) => (gossip, api),
        _ => (GOSSIP, API),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_network_reads_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = create(dir.path(), 4, 2).expect("makes");
        let text = fs::read_to_string(&made.file).expect("is there");
        let network = Network::parse(&text).expect("is sound");
        assert_eq!(network.id(), made.network.id());
        assert_eq!((network.n(), network.keys().len()), (4, 6));
        assert!(dir.path().join("a1.pem").exists());
        assert!(create(dir.path(), 4, 2).is_err());
        assert_eq!(fs::read_to_string(&made.file).expect("is there"), text);
        // A key that is in the way: what was made before it was met goes again, and it stays.
        let other = dir.path().join("other");
        fs::create_dir(&other).expect("makes");
        fs::write(other.join("n2.pem"), "mine").expect("writes");
        assert!(create(&other, 4, 2).is_err());
        let left: Vec<_> = fs::read_dir(&other).expect("lists").flatten().collect();
        assert_eq!((left.len(), left[0].file_name().to_str()), (1, Some("n2.pem")));
    }

    #[test]
    fn ports_keep_out_of_the_ephemeral_range() {
        assert_eq!(ports(&(32_768..=60_999)), (7600, 7700));
        for range in [1024..=60_999, 1024..=65_533, 7650..=8000, 5000..=65_000] {
            let (gossip, api) = ports(&range);
            assert!(!range.contains(&gossip) && !range.contains(&api), "{range:?}");
            assert_ne!(gossip, api);
        }
    }

    #[test]
    fn every_node_has_an_address_of_its_own() {
        let found = free_addresses(300).expect("free addresses");
        let distinct: std::collections::BTreeSet<_> = found.iter().map(|p| p.gossip.ip()).collect();
        assert_eq!(distinct.len(), 300);
        assert!(found.iter().all(|p| p.gossip.ip().is_loopback()));
        assert!(found.iter().all(|p| p.gossip.ip() == p.api.ip()));
    }

    #[test]
    fn a_taken_address_is_seen() {
        let held = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = held.local_addr().expect("has one");
        assert!(!is_free(address));
        drop(held);
        assert!(is_free(address));
    }
}
