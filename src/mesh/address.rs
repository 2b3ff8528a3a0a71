//! Addresses for a mesh on one machine: one address in 127.0.0.0/8 per node, with the same two
//! ports on all of them. The ports are outside the ephemeral range, so that no outgoing connection
//! can take one first.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use rand::TryRng as _;

use super::MeshError;

/// The preferred ports, if they are outside the ephemeral range.
const GOSSIP: u16 = 7600;
const API: u16 = 7700;
/// Blocks of addresses that are tried before giving up.
const TRIES: usize = 64;
/// Nodes per value of an address's third byte: the last byte counts from 1 to this.
const PER_BLOCK: usize = 250;

/// Where one node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address for links.
    pub gossip: SocketAddr,
    /// Address for the HTTP interface.
    pub api: SocketAddr,
}

/// Returns a free place for each node, each with its own address. Starts at a random block, so that
/// two meshes on one machine keep apart, and tries another block if something listens there.
///
/// # Errors
/// If none of 64 blocks is free, which does not happen on a system with 127.0.0.0/8; or if there is
/// no randomness.
pub fn places(nodes: usize) -> Result<Vec<Place>, MeshError> {
    let (gossip, api) = ports(&ephemeral());
    for _ in 0..TRIES {
        let mut block = [0; 2];
        rand::rngs::SysRng
            .try_fill_bytes(&mut block)
            .map_err(|error| MeshError::Key(error.to_string()))?;
        let block = (block[0].clamp(1, 254), block[1].min(200));
        let found: Vec<Place> = (0..nodes).map(|node| place(block, node, gossip, api)).collect();
        if found.iter().all(|place| is_free(place.gossip) && is_free(place.api)) {
            return Ok(found);
        }
    }
    Err(MeshError::NoAddress { gossip, api })
}

fn place((second, third): (u8, u8), node: usize, gossip: u16, api: u16) -> Place {
    let up = u8::try_from(node / PER_BLOCK).unwrap_or(u8::MAX);
    let last = u8::try_from(node % PER_BLOCK + 1).unwrap_or(u8::MAX);
    let ip = IpAddr::V4(Ipv4Addr::new(127, second, third.saturating_add(up), last));
    Place { gossip: SocketAddr::new(ip, gossip), api: SocketAddr::new(ip, api) }
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
        let found = places(300).expect("free addresses");
        let distinct: std::collections::BTreeSet<_> = found.iter().map(|p| p.gossip.ip()).collect();
        assert_eq!(distinct.len(), 300);
        assert!(found.iter().all(|p| p.gossip.ip().is_loopback()));
        assert!(found.iter().all(|p| p.gossip.ip() == p.api.ip()));
    }

    #[test]
    fn a_taken_place_is_seen() {
        let held = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = held.local_addr().expect("has one");
        assert!(!is_free(address));
        drop(held);
        assert!(is_free(address));
    }
}
