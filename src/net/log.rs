//! Log lines about peers. Any text that a peer may have written is escaped and cut first.

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::PublicKey;
use crate::diagnostics::Folds;
use crate::protocol::{Ban, Blame, Network, Reason, Rejection};

/// Longest text of a peer in a log line, in characters after escaping.
const MAX_TEXT: usize = 200;

/// Escapes and cuts a text so that it can neither break out of its line nor fill the disk.
fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(MAX_TEXT).collect()
}

/// Logs events of peers. Equal lines, for one peer and reason, are written at most once a minute.
pub(super) struct PeerLog {
    network: Arc<Network>,
    rejections: Folds<(Option<PublicKey>, Reason)>,
    closed: Folds<(PublicKey, Reason)>,
}

impl PeerLog {
    pub(super) fn new(network: Arc<Network>) -> Self {
        Self { network, rejections: Folds::default(), closed: Folds::default() }
    }

    /// Name of a key in the network file.
    fn name(&self, key: &PublicKey) -> Option<&str> {
        self.network.get(key).map(|member| member.name.as_str())
    }

    /// Logs a rejection, with the number of rejections of this peer for this reason since the last
    /// line.
    pub(super) fn rejection(&mut self, rejection: &Rejection) {
        let key = (rejection.link, rejection.reason);
        let Some(count) = self.rejections.add(key, rejection.count, Instant::now()) else { return };
        let reason = rejection.reason.name();
        let name = |key: Option<&PublicKey>| key.and_then(|key| self.name(key));
        let from_name = name(rejection.link.as_ref());
        let author_name = name(rejection.author.as_ref());
        let from = rejection.link.map(tracing::field::display);
        let author = rejection.author.map(tracing::field::display);
        let id = rejection.id.map(tracing::field::display);
        let slot = rejection.seq;
        let detail = escape(&rejection.detail);
        // The level of a tracing macro must be a constant.
        match rejection.reason.blame() {
            Blame::Link | Blame::Author => tracing::warn!(
                target: "loyal::rejection",
                reason, from_name, from, author_name, author, slot, id, detail, count, "rejected"
            ),
            Blame::Nobody => tracing::info!(
                target: "loyal::rejection",
                reason, from_name, from, author_name, author, slot, id, detail, count, "rejected"
            ),
        }
    }

    /// Logs that a link was closed because its peer is to blame or banned.
    pub(super) fn closed(&mut self, link: u64, peer: PublicKey, reason: Reason) {
        if let Some(count) = self.closed.add((peer, reason), 1, Instant::now()) {
            let (name, reason) = (self.name(&peer), reason.name());
            tracing::info!(link, name, %peer, reason, count, "link closed");
        }
    }

    /// Logs a ban. These lines are few without folding, because the terms of bans double.
    pub(super) fn ban(&self, ban: &Ban) {
        let (peer, reason, strikes) = (ban.peer, ban.reason.name(), ban.strikes);
        let (name, seconds) = (self.name(&peer), ban.until.since(ban.at).as_secs());
        tracing::warn!(name, %peer, reason, strikes, seconds, "member banned");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_wrote_stays_on_its_line() {
        assert_eq!(escape("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(escape(&"é".repeat(10_000)).len(), MAX_TEXT);
    }
}
