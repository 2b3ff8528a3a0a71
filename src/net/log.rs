//! What goes to the log. Whatever a peer may have written is escaped and cut first.

use crate::protocol::{Blame, Rejection};

/// Longest text of a peer in the log, in characters after escaping.
const MAX_TEXT: usize = 200;

/// A text that cannot break out of its line nor fill the disk.
fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(MAX_TEXT).collect()
}

/// One rejection, as one event.
pub(super) fn rejection(rejection: &Rejection) {
    let reason = rejection.reason.name();
    let link = rejection.link.map(tracing::field::display);
    let author = rejection.author.map(tracing::field::display);
    let id = rejection.id.map(tracing::field::display);
    let (seq, count) = (rejection.seq, rejection.count);
    let detail = escape(&rejection.detail);
    // A level must be a constant.
    match rejection.reason.blame() {
        Blame::Link | Blame::Author => tracing::warn!(
            target: "loyal::rejection", reason, link, author, seq, id, detail, count, "rejected"
        ),
        Blame::Nobody => tracing::info!(
            target: "loyal::rejection", reason, link, author, seq, id, detail, count, "rejected"
        ),
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
