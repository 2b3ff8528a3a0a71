//! Events of a simulated run, for the run digest and in words.

use super::link::{Chunk, Links, other};
use crate::crypto::Digest;
use crate::protocol::{Input, LinkId, Time, Token};
use crate::wire::Kind;

/// Start of virtual time, in microseconds since 1970: a date in 2001, so that no clock is near 0.
pub(super) const START: Time = Time(1_000_000_000_000_000);

/// An event of the simulation.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A node receives an input, unless it was restarted meanwhile.
    Input { node: u32, start: u32, input: Input },
    /// A synced write is safe.
    Synced { node: u32, start: u32, token: Token },
    /// Records that could not be written are retried.
    Again { node: u32, start: u32 },
    /// A node that was busy takes the next waiting input.
    Turn { node: u32, start: u32 },
    /// A node's timer.
    Wake { node: u32, at: Time },
    /// A chunk arrives at an end of a link.
    Chunk { to: LinkId, chunk: Chunk },
    /// Chunks held back at an end of a link may be taken in.
    Released { to: LinkId },
    /// A write is done: of a flooding liar, or of an honest node whose frames queued up.
    Written { end: LinkId },
    /// A dial is answered or not; `trial` counts the attempts from 0.
    Dialled { from: u32, start: u32, to: u32, trial: u32 },
    /// The node is started for the first time.
    Begin { node: u32 },
    /// A fault event of the scenario, by index.
    Fault { event: u32 },
    /// Message number `k` of a load is due; `since` is set if it was put off.
    Post { load: u32, k: u64, since: Option<Time> },
    /// The oracle looks at all nodes.
    Checkpoint,
    /// The current phase of the run may end.
    Phase,
}

/// Adds an event to the run digest: time, kind, receiver and content.
pub(super) fn describe(digest: &mut RunDigest, at: Time, event: &Event) {
    digest.word(at.0);
    let mut words = |tag: u64, one: u64, two: u64| {
        digest.word(tag << 56 ^ one);
        digest.word(two);
    };
    match event {
        Event::Input { node, start, input } => {
            words(1, u64::from(*node), u64::from(*start));
            inside(digest, input);
        }
        Event::Synced { node, token, .. } => words(2, u64::from(*node), token.0),
        Event::Wake { node, at } => words(3, u64::from(*node), at.0),
        Event::Chunk { to, chunk } => {
            words(4, to.0, 0);
            match chunk {
                Chunk::Frame(bytes) | Chunk::Bytes(bytes) => digest.bytes(bytes),
                Chunk::Fin => {}
            }
        }
        Event::Written { end } => words(5, end.0, 0),
        Event::Dialled { from, to, trial, .. } => {
            words(6, u64::from(*from) << 24 ^ u64::from(*to), u64::from(*trial));
        }
        Event::Begin { node } => words(7, u64::from(*node), 0),
        Event::Fault { event } => words(8, u64::from(*event), 0),
        Event::Post { load, k, .. } => words(9, u64::from(*load), *k),
        Event::Checkpoint => words(10, 0, 0),
        Event::Phase => words(11, 0, 0),
        Event::Released { to } => words(12, to.0, 0),
        Event::Turn { node, start } => words(14, u64::from(*node), u64::from(*start)),
        Event::Again { node, start } => words(13, u64::from(*node), u64::from(*start)),
    }
}

fn inside(digest: &mut RunDigest, input: &Input) {
    match input {
        Input::LinkUp { link, dialled, .. } => digest.word(link.0 << 1 ^ u64::from(*dialled)),
        Input::LinkDown { link, .. } => digest.word(link.0),
        Input::Checked { token, verdict } => {
            digest.word(token.0 << 1 ^ u64::from(verdict.is_good()));
        }
        Input::Read { token, batch } => {
            digest.word(token.0 << 1 ^ u64::from(batch.is_some()));
        }
        Input::Written { token } | Input::WriteFailed { token } => digest.word(token.0),
        Input::Frame { link, bytes } => {
            digest.word(link.0);
            digest.bytes(bytes);
        }
        Input::Oversize { link, length } => digest.word(link.0 ^ u64::from(*length) << 32),
        Input::Damaged { seq, .. } | Input::Pruned { floor: seq, .. } => digest.word(*seq),
        Input::DialFailed { .. } | Input::Wake => {}
    }
}

/// What is needed to describe an event in words. Kept small, as one is made of every event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Glimpse {
    /// A node, what it receives, and a length if there is one.
    Input(u32, &'static str, u32),
    Synced(u32),
    Wake(u32),
    /// Receiving end, kind byte and length of a frame.
    Frame(LinkId, Option<u8>, u32),
    Bytes(LinkId, u32),
    Fin(LinkId),
    Released(LinkId),
    Written(LinkId),
    Dialled(u32, u32, u32),
    Begin(u32),
    Fault(u32),
    Again(u32),
    Turn(u32),
    Post(u32, u64),
    Checkpoint,
    Phase,
}

impl Glimpse {
    pub(super) fn of(event: &Event) -> Self {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        match event {
            Event::Input { node, input, .. } => {
                let (what, length) = input_in_words(input);
                Self::Input(*node, what, length)
            }
            Event::Synced { node, .. } => Self::Synced(*node),
            Event::Wake { node, .. } => Self::Wake(*node),
            Event::Chunk { to, chunk } => match chunk {
                Chunk::Frame(bytes) => Self::Frame(*to, bytes.get(1).copied(), length(bytes)),
                Chunk::Bytes(bytes) => Self::Bytes(*to, length(bytes)),
                Chunk::Fin => Self::Fin(*to),
            },
            Event::Released { to } => Self::Released(*to),
            Event::Written { end } => Self::Written(*end),
            Event::Dialled { from, to, trial, .. } => Self::Dialled(*from, *to, *trial),
            Event::Begin { node } => Self::Begin(*node),
            Event::Fault { event } => Self::Fault(*event),
            Event::Again { node, .. } => Self::Again(*node),
            Event::Turn { node, .. } => Self::Turn(*node),
            Event::Post { load, k, .. } => Self::Post(*load, *k),
            Event::Checkpoint => Self::Checkpoint,
            Event::Phase => Self::Phase,
        }
    }
}

impl Glimpse {
    /// Describes the event, with its time since the start in milliseconds.
    pub(super) fn in_words(self, at: Time, links: &Links) -> String {
        let micros = at.since(START).as_micros();
        let owner = |end| links.get(end).map_or(0, |end| end.owner);
        let both = |to| format!("n{} ← n{}", owner(to), owner(other(to)));
        let what = match self {
            Self::Input(node, what, 0) => format!("n{node}: {what}"),
            Self::Input(node, what, length) => format!("n{node}: {what} of {length} bytes"),
            Self::Synced(node) => format!("n{node}: write synced"),
            Self::Wake(node) => format!("n{node}: timer"),
            Self::Frame(to, kind, length) => {
                let kind = kind.and_then(Kind::from_byte).map_or("frame", Kind::name);
                format!("{} {kind} of {length} bytes", both(to))
            }
            Self::Bytes(to, length) => format!("{} {length} raw bytes", both(to)),
            Self::Fin(to) => format!("{} end of the link", both(to)),
            Self::Released(to) => format!("{} held frames released", both(to)),
            Self::Written(end) => format!("{} write to the link done", both(other(end))),
            Self::Dialled(from, to, trial) => {
                format!("n{from} dials n{to}, attempt {}", trial + 1)
            }
            Self::Begin(node) => format!("n{node} starts"),
            Self::Fault(event) => format!("fault event {event} of the scenario"),
            Self::Turn(node) => format!("n{node}: takes its next waiting input"),
            Self::Again(node) => format!("n{node}: retries failed writes"),
            Self::Post(load, k) => format!("message {k} of load {load} is due"),
            Self::Checkpoint => "the oracle checks all nodes".into(),
            Self::Phase => "check whether the phase is over".into(),
        };
        format!("{}.{:03} ms {what}", micros / 1000, micros % 1000)
    }
}

/// An input in words, and its length in bytes if it has one.
fn input_in_words(input: &Input) -> (&'static str, u32) {
    let words = match input {
        Input::LinkUp { dialled: true, .. } => "link up, dialled",
        Input::LinkUp { .. } => "link up, accepted",
        Input::LinkDown { .. } => "link down",
        Input::DialFailed { .. } => "dial failed",
        Input::Frame { bytes, .. } => {
            return ("frame", u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Input::Oversize { length, .. } => return ("oversize frame", *length),
        Input::Checked { verdict, .. } if verdict.is_good() => "signature valid",
        Input::Checked { .. } => "signature invalid",
        Input::Written { .. } => "write committed",
        Input::WriteFailed { .. } => "write failed",
        Input::Read { .. } => "batch read",
        Input::Pruned { .. } => "payloads pruned",
        Input::Damaged { .. } => "damaged row",
        Input::Wake => "timer",
    };
    (words, 0)
}

/// A digest over all events of a run. It is not cryptographic: it distinguishes runs that differ by
/// accident, not on purpose. Multiplies and rotates, like FxHash and wyhash.
#[derive(Clone, Debug, Default)]
pub(super) struct RunDigest(u64, u64);

impl RunDigest {
    pub(super) fn word(&mut self, word: u64) {
        self.pair(u128::from(word) << 64 | u128::from(word));
    }

    fn pair(&mut self, pair: u128) {
        let (one, two) = (pair as u64, (pair >> 64) as u64);
        let mixed = u128::from(self.0 ^ one ^ 0xa076_1d64_78bd_642f)
            * u128::from(self.1 ^ two ^ 0xe703_7ed1_a0b4_28db);
        self.0 = (mixed as u64) ^ one.rotate_left(23);
        self.1 = self.1.rotate_left(29).wrapping_add(two) ^ (mixed >> 64) as u64;
    }

    /// Adds bytes and their number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            self.pair(u128::from_le_bytes(*pair));
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        self.pair(u128::from_le_bytes(last));
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&[b"loyal/sim/trace/v1", &self.0.to_be_bytes(), &self.1.to_be_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_their_order_tell() {
        let of = |parts: &[&[u8]]| {
            let mut digest = RunDigest::default();
            parts.iter().for_each(|part| digest.bytes(part));
            digest.digest()
        };
        let base = of(&[b"a frame of some length", b"another"]);
        assert_eq!(base, of(&[b"a frame of some length", b"another"]));
        assert_ne!(base, of(&[b"another", b"a frame of some length"]));
        assert_ne!(base, of(&[b"a frame of some lengti", b"another"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[&[0; 8]]), of(&[&[0; 9]]));
    }
}
