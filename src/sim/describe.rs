//! Events as words: for the digest, and for people.

use super::ends::{Piece, other};
use super::trace::Trace;
use super::world::{Event, START, World};
use crate::protocol::{Input, LinkId, Time};
use crate::wire::Kind;

/// Takes an event into the digest: when, what, to whom, and what was in it.
pub(super) fn describe(trace: &mut Trace, at: Time, event: &Event) {
    trace.word(at.0);
    let mut words = |tag: u64, one: u64, two: u64| {
        trace.word(tag << 56 ^ one);
        trace.word(two);
    };
    match event {
        Event::Input { node, start, input } => {
            words(1, u64::from(*node), u64::from(*start));
            inside(trace, input);
        }
        Event::Synced { node, token, .. } => words(2, u64::from(*node), token.0),
        Event::Wake { node, at } => words(3, u64::from(*node), at.0),
        Event::Piece { to, piece } => {
            words(4, to.0, 0);
            match piece {
                Piece::Frame(bytes) | Piece::Bytes(bytes) => trace.bytes(bytes),
                Piece::Fin => {}
            }
        }
        Event::Written { end } => words(5, end.0, 0),
        Event::Dialled { from, to, trial, .. } => {
            words(6, u64::from(*from) << 24 ^ u64::from(*to), u64::from(*trial));
        }
        Event::Begin { node } => words(7, u64::from(*node), 0),
        Event::Strike { strike } => words(8, u64::from(*strike), 0),
        Event::Post { load, k, .. } => words(9, u64::from(*load), *k),
        Event::Checkpoint => words(10, 0, 0),
        Event::Phase => words(11, 0, 0),
        Event::Released { to } => words(12, to.0, 0),
        Event::Turn { node, start } => words(14, u64::from(*node), u64::from(*start)),
        Event::Again { node, start } => words(13, u64::from(*node), u64::from(*start)),
    }
}

fn inside(trace: &mut Trace, input: &Input) {
    match input {
        Input::LinkUp { link, dialled, .. } => trace.word(link.0 << 1 ^ u64::from(*dialled)),
        Input::LinkDown { link, .. } => trace.word(link.0),
        Input::Checked { token, verdict } => {
            trace.word(token.0 << 1 ^ u64::from(verdict.is_good()));
        }
        Input::Read { token, batch } => {
            trace.word(token.0 << 1 ^ u64::from(batch.is_some()));
        }
        Input::Written { token } | Input::WriteFailed { token } => trace.word(token.0),
        Input::Frame { link, bytes } => {
            trace.word(link.0);
            trace.bytes(bytes);
        }
        Input::Oversize { link, length } => trace.word(link.0 ^ u64::from(*length) << 32),
        Input::Damaged { seq, .. } | Input::Pruned { floor: seq, .. } => trace.word(*seq),
        Input::DialFailed { .. } | Input::Wake => {}
    }
}

/// As much of an event as its words need: small, as one is taken of every event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Glimpse {
    /// What a node hears of; with a length where there is one.
    Input(u32, &'static str, u32),
    Synced(u32),
    Wake(u32),
    /// What comes to an end of a link: its kind byte and its length.
    Frame(LinkId, Option<u8>, u32),
    Bytes(LinkId, u32),
    Fin(LinkId),
    Released(LinkId),
    Written(LinkId),
    Dialled(u32, u32, u32),
    Begin(u32),
    Strike(u32),
    Again(u32),
    Turn(u32),
    Post(u32, u64),
    Checkpoint,
    Phase,
}

impl Glimpse {
    pub fn of(event: &Event) -> Self {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        match event {
            Event::Input { node, input, .. } => {
                let (what, length) = input_in_words(input);
                Self::Input(*node, what, length)
            }
            Event::Synced { node, .. } => Self::Synced(*node),
            Event::Wake { node, .. } => Self::Wake(*node),
            Event::Piece { to, piece } => match piece {
                Piece::Frame(bytes) => Self::Frame(*to, bytes.get(1).copied(), length(bytes)),
                Piece::Bytes(bytes) => Self::Bytes(*to, length(bytes)),
                Piece::Fin => Self::Fin(*to),
            },
            Event::Released { to } => Self::Released(*to),
            Event::Written { end } => Self::Written(*end),
            Event::Dialled { from, to, trial, .. } => Self::Dialled(*from, *to, *trial),
            Event::Begin { node } => Self::Begin(*node),
            Event::Strike { strike } => Self::Strike(*strike),
            Event::Again { node, .. } => Self::Again(*node),
            Event::Turn { node, .. } => Self::Turn(*node),
            Event::Post { load, k, .. } => Self::Post(*load, *k),
            Event::Checkpoint => Self::Checkpoint,
            Event::Phase => Self::Phase,
        }
    }
}

impl World {
    /// The last event in words.
    pub(super) fn in_words(&self) -> String {
        let Some(last) = self.last else { return "nothing yet".into() };
        let micros = self.now.since(START).as_micros();
        let owner = |end| self.ends.get(end).map_or(0, |end| end.owner);
        let ends = |to| format!("n{} ← n{}", owner(to), owner(other(to)));
        let what = match last {
            Glimpse::Input(node, what, 0) => format!("n{node} {what}"),
            Glimpse::Input(node, what, length) => format!("n{node} {what} of {length} bytes"),
            Glimpse::Synced(node) => format!("n{node} a write is synced"),
            Glimpse::Wake(node) => format!("n{node} wakes"),
            Glimpse::Frame(to, kind, length) => {
                let kind = kind.and_then(Kind::from_byte).map_or("frame", Kind::name);
                format!("{} {kind} of {length} bytes", ends(to))
            }
            Glimpse::Bytes(to, length) => format!("{} {length} raw bytes", ends(to)),
            Glimpse::Fin(to) => format!("{} the end of the link", ends(to)),
            Glimpse::Released(to) => format!("{} what was held goes on", ends(to)),
            Glimpse::Written(end) => format!("{} a write is done", ends(other(end))),
            Glimpse::Dialled(from, to, trial) => {
                format!("n{from} dials n{to}, try {}", trial + 1)
            }
            Glimpse::Begin(node) => format!("n{node} starts"),
            Glimpse::Strike(strike) => format!("strike {strike} of the scenario"),
            Glimpse::Turn(node) => format!("n{node} takes what waits"),
            Glimpse::Again(node) => format!("n{node} writes again what found no room"),
            Glimpse::Post(load, k) => format!("message {k} of load {load} is due"),
            Glimpse::Checkpoint => "the oracle looks at everybody".into(),
            Glimpse::Phase => "a phase may end".into(),
        };
        format!("{}.{:03} ms {what}", micros / 1000, micros % 1000)
    }
}

/// What a node hears of, and how long it is.
fn input_in_words(input: &Input) -> (&'static str, u32) {
    let words = match input {
        Input::LinkUp { dialled: true, .. } => "a link is up that it dialled",
        Input::LinkUp { .. } => "a link is up that it accepted",
        Input::LinkDown { .. } => "a link is down",
        Input::DialFailed { .. } => "a dial failed",
        Input::Frame { bytes, .. } => {
            return ("a frame", u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Input::Oversize { length, .. } => return ("an oversize frame", *length),
        Input::Checked { verdict, .. } if verdict.is_good() => "a signature is good",
        Input::Checked { .. } => "a signature is bad",
        Input::Written { .. } => "a write is safe",
        Input::WriteFailed { .. } => "a write failed",
        Input::Read { .. } => "a batch was read",
        Input::Pruned { .. } => "payloads were pruned",
        Input::Damaged { .. } => "a row is damaged",
        Input::Wake => "wakes",
    };
    (words, 0)
}
