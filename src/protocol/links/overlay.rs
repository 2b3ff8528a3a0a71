//! The overlay: a few links that the node chooses itself, uniformly at random, so that nobody else
//! decides whom it hears; visits to random members; and back-off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt as _, rngs::ChaCha8Rng, seq::IteratorRandom as _};

use crate::crypto::PublicKey;
use crate::protocol::time::doubled;
use crate::protocol::{Network, Note, Time};

/// Most dials in flight.
const MAX_DIALS: usize = 8;
/// Random draws before all members are scanned. In a large network nearly every member fits, and
/// scanning them for each pick would be the most expensive step.
const BLIND_DRAWS: usize = 32;

/// The purpose of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Purpose {
    /// To become one of the chosen links.
    Chosen,
    /// To compare lanes once with a member that has no link.
    Visit,
}

#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    until: Time,
}

/// Decides which members to dial, and when.
#[derive(Debug)]
pub(in crate::protocol) struct Overlay {
    /// Shared by all nodes of a process or simulation, so that no per-member state is copied.
    network: Arc<Network>,
    own: PublicKey,
    dialling: BTreeMap<PublicKey, Purpose>,
    backoff: BTreeMap<PublicKey, Backoff>,
    limits: (Duration, Duration),
}

impl Overlay {
    /// The overlay of member `own`, with the shortest and longest wait after a failed dial.
    pub(crate) fn new(network: Arc<Network>, own: PublicKey, redial: (Duration, Duration)) -> Self {
        let (dialling, backoff) = (BTreeMap::new(), BTreeMap::new());
        Self { network, own, dialling, backoff, limits: redial }
    }

    /// The other members, ascending by key.
    pub(crate) fn others(&self) -> impl Iterator<Item = PublicKey> {
        let members = (0..self.network.n()).filter_map(|i| self.network.member(i));
        members.map(|member| member.key).filter(|key| *key != self.own)
    }

    pub(crate) fn count(&self) -> usize {
        self.network.n().saturating_sub(1)
    }

    pub(crate) fn occupy(&self, note: Note) {
        note("overlay.dialling", self.dialling.len(), MAX_DIALS);
        note("overlay.backoff", self.backoff.len(), self.count());
    }

    /// How many dials in flight are to become chosen links.
    pub(crate) fn choosing(&self) -> usize {
        self.dialling.values().filter(|purpose| **purpose == Purpose::Chosen).count()
    }

    /// Picks uniformly at random among the members that `allowed` accepts, that are not being
    /// dialled and whose back-off is over.
    pub(crate) fn pick(
        &self,
        rng: &mut ChaCha8Rng,
        now: Time,
        allowed: impl Fn(&PublicKey) -> bool,
    ) -> Option<PublicKey> {
        let fits = |peer: &PublicKey| {
            *peer != self.own
                && !self.dialling.contains_key(peer)
                && self.backoff.get(peer).is_none_or(|backoff| backoff.until <= now)
                && allowed(peer)
        };
        let members = self.network.n();
        if members > BLIND_DRAWS {
            // The first fitting one of independent uniform draws is uniform among the fitting ones.
            for _ in 0..BLIND_DRAWS {
                let member = self.network.member(rng.random_range(0..members));
                if let Some(peer) = member.map(|member| member.key).filter(&fits) {
                    return Some(peer);
                }
            }
        }
        self.others().filter(fits).choose(rng)
    }

    /// Notes a new dial. Returns `false` if none may begin to this peer now.
    pub(crate) fn dial(&mut self, peer: PublicKey, purpose: Purpose) -> bool {
        if self.dialling.len() >= MAX_DIALS || self.dialling.contains_key(&peer) {
            return false;
        }
        self.dialling.insert(peer, purpose);
        true
    }

    /// Ends a dial that led to a link. Returns its purpose, if there was such a dial.
    pub(crate) fn dialled(&mut self, peer: &PublicKey) -> Option<Purpose> {
        self.dialling.remove(peer)
    }

    /// Clears the back-off of a peer whose link has lasted. Returns whether there was one.
    pub(crate) fn succeeded(&mut self, peer: &PublicKey) -> bool {
        self.backoff.remove(peer).is_some()
    }

    /// Notes that a dialled member answered. Whatever becomes of the link, the member is reachable:
    /// at most one failure stays counted.
    pub(crate) fn reached(&mut self, peer: &PublicKey) {
        if let Some(backoff) = self.backoff.get_mut(peer) {
            backoff.failures = backoff.failures.min(1);
        }
    }

    /// Notes a dial that failed, or whose link ended at once. The next dial waits twice as long
    /// each time, with a random part so that peers do not retry in step.
    pub(crate) fn failed(&mut self, peer: PublicKey, rng: &mut ChaCha8Rng, now: Time) {
        self.dialling.remove(&peer);
        let (min, max) = self.limits;
        let backoff = self.backoff.entry(peer).or_default();
        let wait = doubled(min, backoff.failures, max);
        backoff.failures = backoff.failures.saturating_add(1);
        // Integers, so that floating-point differences between platforms cannot change a simulated
        // run.
        backoff.until = now.after(wait * rng.random_range(75..=100) / 100);
    }

    /// Shortens every back-off to end by `until`, when no link is left.
    pub(crate) fn hurry(&mut self, until: Time) {
        for backoff in self.backoff.values_mut() {
            backoff.until = backoff.until.min(until);
        }
    }

    /// Failed dials in a row.
    pub(crate) fn failures(&self, peer: &PublicKey) -> u32 {
        self.backoff.get(peer).map_or(0, |backoff| backoff.failures)
    }

    /// When the next back-off of a peer accepted by `of_interest` ends.
    pub(crate) fn next_retry(
        &self,
        now: Time,
        of_interest: impl Fn(&PublicKey) -> bool,
    ) -> Option<Time> {
        let waiting = self.backoff.iter().filter(|(peer, b)| b.until > now && of_interest(peer));
        waiting.map(|(_, backoff)| backoff.until).min()
    }

    /// How many dials in flight are for visits.
    pub(crate) fn visiting(&self) -> usize {
        self.dialling.values().filter(|purpose| **purpose == Purpose::Visit).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{identity, network};
    use rand::SeedableRng as _;

    /// The overlay of one member among `n` others.
    fn overlay(n: u16) -> Overlay {
        let redial = (Duration::from_millis(100), Duration::from_secs(15));
        Overlay::new(network(n + 1, 0), identity(n).public(), redial)
    }

    #[test]
    fn choice_is_uniform_in_small_networks_and_in_large_ones() {
        for others in [10, 100] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let overlay = overlay(others);
            let banned = overlay.others().next().expect("one");
            let mut counts = BTreeMap::new();
            for _ in 0..usize::from(others) * 1000 {
                let peer = overlay.pick(&mut rng, Time(0), |peer| *peer != banned).expect("some");
                *counts.entry(peer).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), usize::from(others) - 1, "all but the one that may not be");
            assert!(counts.values().all(|count| (850..1250).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn the_last_fit_member_of_many_is_found() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let overlay = overlay(200);
        let last = overlay.others().last().expect("one");
        for _ in 0..100 {
            assert_eq!(overlay.pick(&mut rng, Time(0), |peer| *peer == last), Some(last));
        }
        assert_eq!(overlay.pick(&mut rng, Time(0), |_| false), None);
    }

    #[test]
    fn back_off_doubles_and_ends() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut overlay = overlay(1);
        let peer = overlay.others().next().expect("one");
        let mut now = Time(0);
        for failure in 0..100 {
            overlay.failed(peer, &mut rng, now);
            assert!(overlay.pick(&mut rng, now, |_| true).is_none(), "{failure}");
            let until = overlay.next_retry(now, |_| true).expect("waiting");
            assert!(until.since(now) <= Duration::from_secs(15));
            now = until;
            assert_eq!(overlay.pick(&mut rng, now, |_| true), Some(peer));
        }
        assert!(overlay.succeeded(&peer) && !overlay.succeeded(&peer));
        assert_eq!(overlay.failures(&peer), 0);
    }

    #[test]
    fn dials_are_few_and_never_two_to_one_peer() {
        let mut overlay = overlay(20);
        let begun = (0..20u8).filter(|i| overlay.dial(PublicKey([*i; 32]), Purpose::Visit)).count();
        assert_eq!(begun, MAX_DIALS);
        assert_eq!(overlay.dialled(&PublicKey([0; 32])), Some(Purpose::Visit));
        assert!(overlay.dial(PublicKey([0; 32]), Purpose::Chosen));
        assert!(!overlay.dial(PublicKey([0; 32]), Purpose::Chosen));
    }
}
