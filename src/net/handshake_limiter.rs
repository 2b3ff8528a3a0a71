//! Limits inbound handshakes. A handshake costs the node far more than its caller (about 0.35 ms of
//! a core). All handshakes together therefore have a budget, each address has a bucket, and
//! addresses in the network file and of recently linked peers have a share that others cannot use
//! up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::traffic::Inbound;
use crate::protocol::{Bucket, Rate, Time};

/// Most addresses whose buckets are remembered.
const REMEMBERED: usize = 4096;
/// Most addresses of recently linked peers that count as known.
const RECENT: usize = 256;
/// Most handshakes in progress from addresses that the network file does not list, and from
/// strangers among them. A listed address has a limit of its own, which no other address can use
/// up.
const HALF_OPEN_UNLISTED: usize = 64;
const HALF_OPEN_STRANGERS: usize = 24;
/// Most handshakes in progress from one address, for each member that the file lists there.
const HALF_OPEN_EACH: usize = 4;
/// Handshakes per second of known addresses and of strangers: 285 × 0.35 ms is 10 % of a core.
const KNOWN: Rate = Rate { per_s: 200, burst: 128 };
const STRANGERS: Rate = Rate { per_s: 85, burst: 64 };
/// Handshakes per second from one address, for each member that the file lists there. The rate is
/// lower in a large network, so that a third of its members at full rate use at most half of
/// [`KNOWN`].
const EACH: Rate = Rate { per_s: 10, burst: 24 };

/// The rate for several members behind one address.
fn times_over(Rate { per_s, burst }: Rate, times: u64) -> Rate {
    Rate { per_s: per_s.saturating_mul(times), burst: burst.saturating_mul(times) }
}

#[derive(Default)]
struct Address {
    bucket: Bucket,
    touched: u64,
    half_open: usize,
}

/// The limiter. Owned by the listener; does no I/O.
pub(super) struct HandshakeLimiter {
    /// Number of members that the network file lists at each address.
    listed: BTreeMap<IpAddr, u64>,
    /// Rate of each listed member.
    each: Rate,
    /// Addresses of recently linked peers that the file does not list, oldest first.
    recent: Vec<IpAddr>,
    addresses: BTreeMap<IpAddr, Address>,
    /// The same addresses, ordered by when they were last seen.
    by_age: BTreeSet<(u64, IpAddr)>,
    seen: u64,
    known: Bucket,
    strangers: Bucket,
    half_open_unlisted: usize,
    half_open_strangers: usize,
}

/// A handshake in progress; must be passed to [`HandshakeLimiter::done`] when it is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Permit {
    address: IpAddr,
    listed: bool,
    known: bool,
}

/// What counts as one address: an IPv4 address, or an IPv6 /64, which one host can have to itself.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl HandshakeLimiter {
    /// Creates a limiter from the addresses in the network file, one for each member.
    pub(super) fn new(listed: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut counts = BTreeMap::new();
        for address in listed {
            *counts.entry(canonical(address)).or_insert(0) += 1;
        }
        let members = counts.values().sum::<u64>().max(1);
        let per_s = (KNOWN.per_s * 3 / 2 / members).clamp(1, EACH.per_s);
        Self {
            listed: counts,
            each: Rate { per_s, ..EACH },
            recent: vec![],
            addresses: BTreeMap::new(),
            by_age: BTreeSet::new(),
            seen: 0,
            known: Bucket::default(),
            strangers: Bucket::default(),
            half_open_unlisted: 0,
            half_open_strangers: 0,
        }
    }

    /// Admits a caller, or returns why not. `now` is in microseconds and never goes backwards.
    pub(super) fn admit(&mut self, now: u64, address: IpAddr) -> Result<Permit, Inbound> {
        let address = canonical(address);
        let listed = self.listed.get(&address).copied();
        let known = listed.is_some() || self.recent.contains(&address);
        let full = listed.is_none() && self.half_open_unlisted >= HALF_OPEN_UNLISTED
            || !known && self.half_open_strangers >= HALF_OPEN_STRANGERS;
        if full {
            return Err(Inbound::HalfOpen);
        }
        let (rate, times) = listed.map_or((EACH, 1), |times| (self.each, times));
        let entry = self.touch(address);
        if entry.half_open as u64 >= times.saturating_mul(HALF_OPEN_EACH as u64) {
            return Err(Inbound::HalfOpen);
        }
        if !entry.bucket.take(times_over(rate, times), Time(now), 1) {
            return Err(Inbound::AddressRate);
        }
        let (shared, rate) =
            if known { (&mut self.known, KNOWN) } else { (&mut self.strangers, STRANGERS) };
        if !shared.take(rate, Time(now), 1) {
            return Err(Inbound::Budget);
        }
        self.half_open_unlisted += usize::from(listed.is_none());
        self.half_open_strangers += usize::from(!known);
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.half_open += 1;
        }
        Ok(Permit { address, listed: listed.is_some(), known })
    }

    /// Ends a handshake; a peer that linked counts as known from now on.
    pub(super) fn done(&mut self, permit: Permit, linked: bool) {
        if !permit.listed {
            self.half_open_unlisted = self.half_open_unlisted.saturating_sub(1);
        }
        if !permit.known {
            self.half_open_strangers = self.half_open_strangers.saturating_sub(1);
        }
        if let Some(entry) = self.addresses.get_mut(&permit.address) {
            entry.half_open = entry.half_open.saturating_sub(1);
        }
        if linked && !self.listed.contains_key(&permit.address) {
            self.recent.retain(|address| *address != permit.address);
            if self.recent.len() >= RECENT {
                self.recent.remove(0);
            }
            self.recent.push(permit.address);
        }
    }

    /// The entry of an address, now the most recently seen. A new address evicts the oldest entry.
    /// In a network of thousands that entry may have handshakes in progress, which then no longer
    /// count against its address.
    fn touch(&mut self, address: IpAddr) -> &mut Address {
        self.seen += 1;
        if !self.addresses.contains_key(&address)
            && self.addresses.len() >= REMEMBERED
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.addresses.remove(&oldest);
        }
        let entry = self.addresses.entry(address).or_default();
        self.by_age.remove(&(entry.touched, address));
        entry.touched = self.seen;
        self.by_age.insert((self.seen, address));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// How many of `tries` calls from `address` at that moment get in and through.
    fn admitted(limiter: &mut HandshakeLimiter, now: u64, address: IpAddr, tries: usize) -> usize {
        let mut count = 0;
        for _ in 0..tries {
            if let Ok(permit) = limiter.admit(now, address) {
                limiter.done(permit, false);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn one_address_gets_its_share_and_then_its_rate() {
        let mut limiter = HandshakeLimiter::new([]);
        let burst = EACH.burst as usize;
        assert_eq!(admitted(&mut limiter, 0, ip(1), 1000), burst);
        assert_eq!(admitted(&mut limiter, 0, ip(2), 1000), burst);
        assert_eq!(limiter.admit(0, ip(1)).err(), Some(Inbound::AddressRate));
        assert_eq!(admitted(&mut limiter, 1_000_000, ip(1), 1000), EACH.per_s as usize);
        // Two members behind one address have twice as much.
        let mut shared = HandshakeLimiter::new([ip(1), ip(1)]);
        assert_eq!(admitted(&mut shared, 0, ip(1), 1000), 2 * burst);
    }

    #[test]
    fn strangers_from_everywhere_leave_the_known_their_share() {
        let mut limiter = HandshakeLimiter::new([ip(1)]);
        let mut got_in = 0;
        for number in 0..100_000 {
            got_in += admitted(&mut limiter, 0, ip(1000 + number), 1);
        }
        assert_eq!(got_in, STRANGERS.burst as usize);
        assert!(limiter.addresses.len() <= REMEMBERED && limiter.by_age.len() <= REMEMBERED);
        assert_eq!(limiter.admit(0, ip(7)).err(), Some(Inbound::Budget));
        assert!(limiter.admit(0, ip(1)).is_ok());
        // A whole second of everything stays within a tenth of a core.
        const { assert!((KNOWN.per_s + STRANGERS.per_s) * 350 <= 100_000) };
    }

    #[test]
    fn handshakes_under_way_are_limited_and_handed_back() {
        let mut limiter = HandshakeLimiter::new([ip(1)]);
        let mut permits = vec![];
        for number in 0..1000 {
            permits.extend(limiter.admit(number * 1_000_000, ip(100 + number as u32)));
        }
        assert_eq!(permits.len(), HALF_OPEN_STRANGERS);
        let own: Vec<_> = (0..20).filter_map(|_| limiter.admit(1 << 40, ip(1)).ok()).collect();
        assert_eq!(own.len(), HALF_OPEN_EACH);
        for permit in permits.into_iter().chain(own) {
            limiter.done(permit, false);
        }
        assert_eq!((limiter.half_open_unlisted, limiter.half_open_strangers), (0, 0));
        assert!(limiter.addresses.values().all(|address| address.half_open == 0));
    }

    #[test]
    fn a_third_of_the_members_at_full_rate_cannot_shut_out_the_rest() {
        for (members, holding) in [(4, false), (31, false), (100, false), (31, true), (100, true)] {
            let mut limiter = HandshakeLimiter::new((0..members).map(ip));
            let (liars, honest) = ((members - 1) / 3, ip(members - 1));
            let mut got_in = 0;
            for ms in 0..20_000 {
                for liar in 0..liars {
                    // Either they finish at once, or never.
                    if let (Ok(permit), false) = (limiter.admit(ms * 1000, ip(liar)), holding) {
                        limiter.done(permit, false);
                    }
                }
                if ms % 1000 == 999 {
                    got_in += admitted(&mut limiter, ms * 1000, honest, 1);
                }
            }
            assert_eq!(got_in, 20, "{members} {holding}");
        }
    }

    #[test]
    fn who_linked_lately_is_known_and_hosts_of_ipv6_are_one() {
        let mut limiter = HandshakeLimiter::new([]);
        for number in 0..1000 {
            let permit = limiter.admit(u64::from(number) * 1_000_000, ip(number)).expect("room");
            limiter.done(permit, true);
        }
        assert_eq!(limiter.recent.len(), RECENT);
        assert!(limiter.admit(1 << 40, ip(999)).is_ok_and(|permit| permit.known));
        assert!(limiter.admit(1 << 40, ip(0)).is_ok_and(|permit| !permit.known));
        let host = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, last].into());
        assert_eq!(canonical(host(1)), canonical(host(2)));
        assert_eq!(
            canonical(IpAddr::V6([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1].into())),
            ip(0x7f00_0001)
        );
    }
}
