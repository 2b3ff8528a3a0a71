//! How full the node is: every collection of the node and its components, with its limit.

use super::publishing::MAX_SUBMITTED;
use super::state::Node;
use crate::protocol::links::LINKS_PER_MEMBER;
use crate::wire::limits::{
    MAX_OPEN_WANTS, MAX_TIPS, MAX_UNACKNOWLEDGED, PUSH_FRAMES, VISITS_AT_ONCE,
};

impl Node {
    /// Every collection of the node, always in the same order: name, number of entries, limit.
    pub fn occupancy(&self) -> Vec<(&'static str, usize, usize)> {
        let mut all = Vec::with_capacity(40);
        self.occupy(&mut |name, entries, limit| all.push((name, entries, limit)));
        all
    }

    /// As [`Node::occupancy`] without building a list: `note` is called with each.
    pub fn occupy(&self, note: &mut dyn FnMut(&'static str, usize, usize)) {
        let (keys, members) = (self.network.keys().len(), self.network.n());
        let links = LINKS_PER_MEMBER * members;
        let statements = PUSH_FRAMES as usize + MAX_OPEN_WANTS + MAX_TIPS;
        let checks = links * statements + MAX_SUBMITTED + keys;
        self.links.occupy(note, members);
        self.overlay.occupy(note);
        self.lanes.occupy(note, keys, members);
        self.relay.occupy(note, links);
        self.standing.occupy(note, members);
        self.quotas.occupy(note, keys);
        self.publisher.occupy(note);
        self.cache.occupy(note);
        note("checks", self.checks.len(), checks);
        note("under_check", self.under_check.len(), checks);
        note("writes", self.writes.len(), MAX_SUBMITTED + MAX_UNACKNOWLEDGED);
        self.promises.occupy(note, members);
        self.asking.occupy(note, links);
        self.serving.occupy(note, links);
        self.recovery.occupy(note, (keys, members, links));
        note("behind", self.behind.len(), keys);
        note("catching_up", self.catching_up.len(), links);
        note("visits", self.visits().len(), VISITS_AT_ONCE);
        note("visited", self.visited.len(), members);
    }
}
