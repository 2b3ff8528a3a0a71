//! Examines a refused frame again: the checks of `docs/PROTOCOL.md`, section 9, in their order, as
//! far as the frame alone can tell. A check that depends on the node's state at the time, such as
//! the link's credit or the slots held, is listed but not decided.

use std::collections::BTreeSet;

use super::tree::level_of;
use super::{Reason, Rejection};
use crate::crypto::{Digest, PublicKey, Signature, check};
use crate::wire::limits::{MAX_FRAME, MIN_FRAME, VERSION};
use crate::wire::{Class, Frame, Header, Kind, WireError, batch_start};

/// What is known about the network without access to the node.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Id of the network that the node belongs to.
    pub network: Option<Digest>,
    /// All keys in the network file.
    pub keys: Option<BTreeSet<PublicKey>>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame passes the check.
    Passed,
    /// The frame fails the check.
    Failed,
    /// The frame alone is not enough to decide.
    Unknown,
}

/// One check that was repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is checked, in a few words.
    pub name: &'static str,
    /// The reasons of rejection that this check can give.
    pub reasons: &'static [Reason],
    /// Whether the frame passes; `Unknown` if the frame alone cannot tell.
    pub outcome: Outcome,
    /// Details of the result, in words.
    pub words: String,
}

/// All checks of a frame, and the one that refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// In the order in which a node performs them.
    pub checks: Vec<Check>,
    /// Index of the check that gave the row's reason; `None` if none of them can have.
    pub refused: Option<usize>,
    /// Whether the frame's hash matches the row's; `None` if the frame is cut off.
    pub hash_fits: Option<bool>,
}

impl Examination {
    /// Whether the repeated checks agree with the row: no check before the refusing one fails, the
    /// refusing one does not pass, and the hash matches if it can be checked.
    pub fn agrees(&self) -> bool {
        let before = |refused: usize| {
            let failed = |check: &Check| check.outcome == Outcome::Failed;
            !self.checks.iter().take(refused).any(failed)
        };
        self.hash_fits != Some(false)
            && self.refused.is_some_and(|at| {
                before(at)
                    && self.checks.get(at).is_some_and(|check| check.outcome != Outcome::Passed)
            })
    }
}

/// Examines the frame of a rejection, given the bytes that are kept of it.
pub fn examine(row: &Rejection, bytes: &[u8], known: &Known) -> Examination {
    let mut work = Work { bytes, size: row.size, known, checks: vec![] };
    work.all();
    let checks = work.checks;
    let whole = bytes.len() as u64 == row.size;
    let hash_fits = whole.then(|| Digest::of(&[bytes]) == row.frame);
    Examination { refused: refused(&checks, row), checks, hash_fits }
}

/// The check that gave the row's reason: the first such check that fails, else one that the frame
/// alone cannot decide. If two are undecided, the later one follows the signature check.
fn refused(checks: &[Check], row: &Rejection) -> Option<usize> {
    let of = |outcome| {
        let gives =
            move |check: &Check| check.outcome == outcome && check.reasons.contains(&row.reason);
        (0..checks.len()).filter(move |at| gives(&checks[*at]))
    };
    let malformed = row.reason == Reason::Malformed && !row.detail.contains("hello");
    let mut unknown = of(Outcome::Unknown);
    let unknown = if row.proven || malformed { unknown.next_back() } else { unknown.next() };
    of(Outcome::Failed).next().or(unknown)
}

struct Work<'a> {
    bytes: &'a [u8],
    size: u64,
    known: &'a Known,
    checks: Vec<Check>,
}

impl Work<'_> {
    fn put(
        &mut self,
        name: &'static str,
        reasons: &'static [Reason],
        outcome: Outcome,
        words: impl Into<String>,
    ) {
        self.checks.push(Check { name, reasons, outcome, words: words.into() });
    }

    fn decide(
        &mut self,
        name: &'static str,
        reasons: &'static [Reason],
        good: bool,
        words: impl Into<String>,
    ) {
        let outcome = if good { Outcome::Passed } else { Outcome::Failed };
        self.put(name, reasons, outcome, words);
    }

    fn state(&mut self, name: &'static str, reasons: &'static [Reason], words: &str) {
        self.put(name, reasons, Outcome::Unknown, words);
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }

    fn all(&mut self) {
        let (least, most) = (MIN_FRAME as u64, MAX_FRAME as u64);
        let words = format!("{} bytes; at most {most} are allowed", self.size);
        self.decide("size", &[Reason::Oversize], (least..=most).contains(&self.size), words);
        let kind = self.bytes.get(1).and_then(|kind| Kind::from_byte(*kind));
        if kind.is_some_and(|kind| kind.class().window().is_some()) {
            let words = "the credit of the link";
            self.state("link credit", &[Reason::CreditOverrun], words);
        }
        let [version, number, ..] = self.bytes else {
            return self.decide("version", &[Reason::Malformed], false, "shorter than two bytes");
        };
        let (is, words) = (*version == VERSION, format!("{version}; expected {VERSION}"));
        self.decide("version", &[Reason::WrongVersion], is, words);
        let words =
            kind.map_or_else(|| format!("{number} is not a kind"), |kind| kind.name().to_owned());
        self.decide("kind", &[Reason::Malformed], kind.is_some(), words);
        let Some(kind) = kind else { return };
        let words = format!("a {} has at most {} bytes", kind.name(), kind.max_len());
        let fits = self.size <= kind.max_len() as u64;
        self.decide("length of its kind", &[Reason::Oversize], fits, words);
        let Some(frame) = self.decode() else { return };
        let words = "whether the link had sent a hello";
        self.state("hello rule", &[Reason::Malformed], words);
        match frame {
            Some(frame) => self.inside(&frame),
            None => self.beginning(kind),
        }
    }

    /// Decodes the frame. `None` if it is not a valid frame; `Some(None)` if it is cut off.
    fn decode(&mut self) -> Option<Option<Frame>> {
        const GIVES: &[Reason] = &[Reason::Malformed, Reason::NonCanonical, Reason::Oversize];
        if !self.is_whole() {
            let words = format!("only the first {} bytes are kept", self.bytes.len());
            self.put("canonical form", GIVES, Outcome::Unknown, words);
            return Some(None);
        }
        let (reason, error) = match Frame::decode(self.bytes) {
            Ok(frame) => {
                self.decide("canonical form", GIVES, true, "the frame encodes to the same bytes");
                return Some(Some(frame));
            }
            Err(error @ WireError::Malformed(_)) => (&[Reason::Malformed][..], error),
            Err(error @ WireError::NonCanonical(_)) => (&[Reason::NonCanonical][..], error),
            Err(error @ WireError::Oversize(_)) => (&[Reason::Oversize][..], error),
            Err(error @ WireError::WrongVersion(_)) => (&[Reason::WrongVersion][..], error),
        };
        self.decide("canonical form", reason, false, error.to_string());
        None
    }

    fn inside(&mut self, frame: &Frame) {
        const ANSWERS: &str = "whether the node had asked for it";
        const QUESTION: &[Reason] = &[Reason::CreditOverrun];
        match frame {
            Frame::Hello(_) | Frame::Ping => {}
            Frame::Credit(_) => {
                let words = "what was sent and granted before";
                self.state("grants", QUESTION, words);
            }
            Frame::Push(push) => {
                let matches = push.batch.content_matches();
                self.batch(&push.batch.header, &push.batch.signature, Some(matches));
            }
            Frame::Reply(reply) => {
                self.state("question", QUESTION, ANSWERS);
                let matches = reply.batch.content_matches();
                self.batch(&reply.batch.header, &reply.batch.signature, Some(matches));
            }
            Frame::Announce(all) => self.authors(all.items.iter().map(|item| item.author)),
            Frame::Request(request) => {
                self.authors(request.wants.iter().map(|want| want.author));
                let tickets: BTreeSet<u32> = request.wants.iter().map(|want| want.ticket).collect();
                const GIVES: &[Reason] = &[Reason::Malformed];
                match tickets.len() == request.wants.len() {
                    true => self.state("tickets", GIVES, "the open wants of the link"),
                    false => self.decide("tickets", GIVES, false, "a ticket is used twice"),
                }
            }
            Frame::Missing(_) => self.state("question", QUESTION, ANSWERS),
            Frame::Compare(compare) => {
                let keys = self.known.keys.as_ref().map(|keys| keys.len() as u32);
                const GIVES: &[Reason] = &[Reason::Malformed];
                let Some(keys) = keys else {
                    return self.state("blocks", GIVES, "the number of keys in the network file");
                };
                let block = |start, end| level_of(keys, start, end).is_some();
                let all = compare.ranges.iter().all(|range| block(range.start, range.end));
                self.decide("blocks", GIVES, all, format!("ranges must be blocks of {keys} keys"));
            }
            Frame::Differ(differ) => {
                self.state("question", QUESTION, ANSWERS);
                let tips = differ.tips.iter().map(|tip| tip.slot.author);
                self.authors(tips.chain(differ.above.iter().map(|item| item.author)));
                let words = "the ranges that the node asked about";
                self.state("ranges", &[Reason::Malformed], words);
                let Some(network) = self.known.network else {
                    let words = "the network id, which is signed";
                    return self.state("signatures", &[Reason::BadSignature], words);
                };
                let forged = differ.tips.iter().map(|tip| tip.slot).find(|slot| {
                    !check(&slot.author, &slot.statement(&network), &slot.signature).is_good()
                });
                let words = match &forged {
                    None => format!("{} tips, each signed by its author", differ.tips.len()),
                    Some(slot) => format!("{} did not sign slot {}", slot.author, slot.seq),
                };
                self.decide("signatures", &[Reason::BadSignature], forged.is_none(), words);
            }
        }
    }

    /// Performs the checks that the beginning of a cut-off frame allows.
    fn beginning(&mut self, kind: Kind) {
        if kind == Kind::Reply {
            let words = "whether the node had asked for it";
            self.state("question", &[Reason::CreditOverrun], words);
        }
        if let Some((header, signature)) = batch_start(self.bytes) {
            return self.batch(&header, &signature, None);
        }
        if kind.class() == Class::Link {
            return;
        }
        const GIVES: &[Reason] = &[
            Reason::UnknownAuthor,
            Reason::Malformed,
            Reason::CreditOverrun,
            Reason::BadSignature,
        ];
        self.state("contents", GIVES, "the bytes that are not kept");
    }

    fn authors(&mut self, mut all: impl Iterator<Item = PublicKey>) {
        const GIVES: &[Reason] = &[Reason::UnknownAuthor];
        let Some(keys) = &self.known.keys else {
            return self.state("authors", GIVES, "the keys in the network file");
        };
        let stranger = all.find(|author| !keys.contains(author));
        let words = match &stranger {
            None => "all are in the network file".to_owned(),
            Some(key) => format!("{key} is not in the network file"),
        };
        self.decide("authors", GIVES, stranger.is_none(), words);
    }

    fn batch(&mut self, header: &Header, signature: &Signature, matches: Option<bool>) {
        match self.known.network {
            None => self.state("network", &[Reason::WrongNetwork], "the network id"),
            Some(id) => {
                let words = format!("the batch names {}; expected {id}", header.network);
                let is = header.network == id;
                self.decide("network", &[Reason::WrongNetwork], is, words);
            }
        }
        self.authors(std::iter::once(header.author));
        self.state("window", &[Reason::TooFarAhead], "the tip of the author's lane");
        let words = "the slots of the author that the node held";
        self.state("seen", &[Reason::Replayed, Reason::Pruned, Reason::Equivocation], words);
        self.state("quota", &[Reason::AuthorRate], "how much the author had published");
        const CONTENT: &[Reason] = &[Reason::ContentMismatch];
        match matches {
            None => self.state("content", CONTENT, "the bytes that are not kept"),
            Some(good) => {
                let words = if good { "matches" } else { "does not match" };
                let words = format!("the body {words} the hash in the header");
                self.decide("content", CONTENT, good, words);
            }
        }
        let good = check(&header.author, &header.statement(), signature).is_good();
        let words = if good { "signed" } else { "did not sign" };
        let words = format!("{} {words} slot {}", header.author, header.seq);
        self.decide("signature", &[Reason::BadSignature], good, words);
        const CHAIN: &[Reason] = &[Reason::Equivocation, Reason::TooFarAhead, Reason::AuthorRate];
        self.state("chain", CHAIN, "what else the author had signed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{batch, identity, rejection};
    use crate::wire::{Announce, Batch, Compare, List, RangeHash, SlotId};

    fn known() -> Known {
        let keys = (1..=4).map(|n| identity(n).public()).collect();
        Known { network: Some(Digest([2; 32])), keys: Some(keys) }
    }

    fn row(reason: Reason, frame: &[u8]) -> Rejection {
        Rejection { link: Some(identity(4).public()), ..rejection(reason, frame) }
    }

    fn signed(signer: u8, length: usize) -> Batch {
        batch(signer, Digest([2; 32]), 1, Digest::ZERO, vec![5; length])
    }

    /// The name of the check that refused it, and what came of it; the rest must agree.
    fn refused(reason: Reason, frame: &[u8]) -> (&'static str, Outcome) {
        let examined = examine(&row(reason, frame), frame, &known());
        assert!(examined.agrees(), "{examined:?}");
        let at = examined.refused.expect("a check");
        (examined.checks[at].name, examined.checks[at].outcome)
    }

    #[test]
    fn the_check_that_failed_fails_again() {
        let push = |batch: &Batch| Frame::push(1, batch);
        let good = signed(1, 10);
        let mut forged = good.clone();
        forged.signature.0[0] ^= 1;
        let mut altered = good.clone();
        altered.header.content.0[0] ^= 1;
        let foreign = batch(1, Digest([3; 32]), 1, Digest::ZERO, "");
        let failed = Outcome::Failed;
        for (reason, frame, name) in [
            (Reason::BadSignature, push(&forged), "signature"),
            (Reason::ContentMismatch, push(&altered), "content"),
            (Reason::WrongNetwork, push(&foreign), "network"),
            (Reason::UnknownAuthor, push(&signed(9, 10)), "authors"),
            (Reason::NonCanonical, [push(&good), vec![0]].concat(), "canonical form"),
            (Reason::WrongVersion, vec![9, 2], "version"),
            (Reason::Malformed, vec![VERSION, 77], "kind"),
            (Reason::Oversize, vec![VERSION, Kind::Ping as u8, 0], "length of its kind"),
            (Reason::Malformed, push(&good)[..100].to_vec(), "canonical form"),
        ] {
            assert_eq!(refused(reason, &frame), (name, failed), "{reason:?}");
        }
        let stranger = SlotId { author: identity(9).public(), seq: 1, id: Digest([1; 32]) };
        let announce = Announce { items: List::new(vec![stranger]).expect("one") };
        let announce = Frame::Announce(announce).encode();
        assert_eq!(refused(Reason::UnknownAuthor, &announce), ("authors", failed));
        let range = RangeHash { start: 1, end: 3, hash: Digest([1; 32]) };
        let compare = Compare { ticket: 1, ranges: List::new(vec![range]).expect("one") };
        assert_eq!(
            refused(Reason::Malformed, &Frame::Compare(compare).encode()),
            ("blocks", failed)
        );
    }

    #[test]
    fn what_the_frame_does_not_tell_is_said_to_be_so() {
        let frame = Frame::push(1, &signed(1, 10));
        let unknown = Outcome::Unknown;
        assert_eq!(refused(Reason::CreditOverrun, &frame), ("link credit", unknown));
        assert_eq!(refused(Reason::Replayed, &frame), ("seen", unknown));
        assert_eq!(refused(Reason::AuthorRate, &frame), ("quota", unknown));
        assert_eq!(refused(Reason::Equivocation, &frame), ("seen", unknown));
        let row = Rejection { proven: true, ..row(Reason::Equivocation, &frame) };
        let examined = examine(&row, &frame, &Known::default());
        assert_eq!(examined.refused.map(|at| examined.checks[at].name), Some("chain"));
        let named = |name| examined.checks.iter().find(|check| check.name == name);
        assert_eq!(named("network").map(|check| check.outcome), Some(unknown), "nobody knows it");
        assert_eq!(named("authors").map(|check| check.outcome), Some(unknown));
        assert_eq!(named("signature").map(|check| check.outcome), Some(Outcome::Passed));
        let ping = Frame::Ping.encode();
        assert_eq!(refused(Reason::Malformed, &ping), ("hello rule", unknown));
        assert_eq!(
            refused(Reason::CreditOverrun, &Frame::reply(1, 1, &signed(1, 1))),
            ("question", unknown)
        );
    }

    #[test]
    fn of_a_frame_that_is_cut_off_the_signature_is_still_checked() {
        let mut batch = signed(1, 10_000);
        batch.signature.0[9] ^= 1;
        let frame = Frame::push(1, &batch);
        let kept = &frame[..Rejection::MOST_BYTES];
        let examined = examine(&row(Reason::BadSignature, &frame), kept, &known());
        assert!(examined.agrees() && examined.hash_fits.is_none(), "{examined:?}");
        let at = examined.refused.expect("a check");
        assert_eq!(
            (examined.checks[at].name, examined.checks[at].outcome),
            ("signature", Outcome::Failed)
        );
        let content = examined.checks.iter().find(|check| check.name == "content").expect("there");
        assert_eq!(content.outcome, Outcome::Unknown);
    }

    #[test]
    fn a_row_that_its_frame_does_not_bear_out_is_found() {
        let good = Frame::push(1, &signed(1, 10));
        let claimed = row(Reason::BadSignature, &good);
        let examined = examine(&claimed, &good, &known());
        assert_eq!((examined.refused, examined.agrees()), (None, false), "it is signed well");
        let mut other = good;
        other[200] ^= 1;
        let examined = examine(&claimed, &other, &known());
        assert_eq!((examined.hash_fits, examined.agrees()), (Some(false), false), "another frame");
        // What fails first decides, whatever the row says.
        let stranger = Frame::push(1, &signed(9, 10));
        assert!(!examine(&row(Reason::AuthorRate, &stranger), &stranger, &known()).agrees());
    }

    #[test]
    fn no_bytes_are_too_odd_to_examine() {
        for kind in 0..=255u8 {
            for tail in [&[][..], &[0; 7], &[255; 4094]] {
                let frame = [&[VERSION, kind][..], tail].concat();
                for reason in Reason::ALL {
                    let mut row = row(reason, &frame);
                    let _ = examine(&row, &frame, &Known::default());
                    row.size = u64::MAX;
                    let _ = examine(&row, &frame, &known());
                    let _ = examine(&row, &[], &known());
                }
            }
        }
    }
}
