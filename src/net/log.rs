//! What goes to the log. Whatever a peer may have written is escaped and cut first.

use std::time::Instant;

use crate::crypto::PublicKey;
use crate::diagnostics::Folds;
use crate::protocol::{Ban, Blame, Reason, Rejection};

/// Longest text of a peer in the log, in characters after escaping.
const MAX_TEXT: usize = 200;

/// A text that cannot break out of its line nor fill the disk.
fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(MAX_TEXT).collect()
}

/// What was logged of peers. Equal lines, of one peer and reason, come once a minute.
#[derive(Default)]
pub(super) struct Log {
    rejections: Folds<(Option<PublicKey>, Reason)>,
    closed: Folds<(PublicKey, Reason)>,
}

impl Log {
    /// Rejections, with how many came since the last line about their like.
    pub fn rejection(&mut self, rejection: &Rejection) {
        let key = (rejection.link, rejection.reason);
        let Some(count) = self.rejections.add(key, rejection.count, Instant::now()) else { return };
        let reason = rejection.reason.name();
        let from = rejection.link.map(tracing::field::display);
        let author = rejection.author.map(tracing::field::display);
        let id = rejection.id.map(tracing::field::display);
        let slot = rejection.seq;
        let detail = escape(&rejection.detail);
        // A level must be a constant.
        match rejection.reason.blame() {
            Blame::Link | Blame::Author => tracing::warn!(
                target: "loyal::rejection", reason, from, author, slot, id, detail, count, "rejected"
            ),
            Blame::Nobody => tracing::info!(
                target: "loyal::rejection", reason, from, author, slot, id, detail, count, "rejected"
            ),
        }
    }

    /// A link was closed as its peer is to blame, or is banned.
    pub fn closed(&mut self, link: u64, peer: PublicKey, reason: Reason) {
        if let Some(count) = self.closed.add((peer, reason), 1, Instant::now()) {
            tracing::info!(link, %peer, reason = reason.name(), count, "link closed");
        }
    }
}

/// A peer is banned: terms double, so that these lines are few.
pub(super) fn ban(ban: &Ban) {
    let (peer, reason, strikes) = (ban.peer, ban.reason.name(), ban.strikes);
    let seconds = ban.until.since(ban.at).as_secs();
    tracing::warn!(%peer, reason, strikes, seconds, "member banned");
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
