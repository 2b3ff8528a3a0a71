//! Events as words: for the digest, and for people.

use super::dice::Trace;
use super::ends::{Piece, other};
use super::world::{Event, START, World};
use crate::protocol::{Input, Time};
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
        Input::DialFailed { .. } | Input::Pruned { .. } | Input::Wake => {}
    }
}

impl World {
    /// The last event in words.
    pub(super) fn in_words(&self) -> String {
        let Some(event) = &self.last else { return "nothing yet".into() };
        let micros = self.now.since(START).as_micros();
        let at = format!("{}.{:03} ms", micros / 1000, micros % 1000);
        let what = match event {
            Event::Input { node, input, .. } => format!("n{node} {}", input_in_words(input)),
            Event::Synced { node, .. } => format!("n{node} a write is synced"),
            Event::Wake { node, .. } => format!("n{node} wakes"),
            Event::Piece { to, piece } => self.piece_in_words(*to, piece),
            Event::Written { end } => format!("a write on end {} is done", end.0),
            Event::Dialled { from, to, trial, .. } => {
                format!("n{from} dials n{to}, try {}", trial + 1)
            }
            Event::Begin { node } => format!("n{node} starts"),
            Event::Strike { strike } => format!("strike {strike} of the scenario"),
            Event::Post { load, k, .. } => format!("message {k} of load {load} is due"),
            Event::Checkpoint => "the oracle looks at everybody".into(),
            Event::Phase => "a phase may end".into(),
            Event::Released { to } => format!("end {} goes on with what was held back", to.0),
        };
        format!("{at} {what}")
    }

    fn piece_in_words(&self, to: crate::protocol::LinkId, piece: &Piece) -> String {
        let owner = |end| self.ends.get(end).map_or(0, |end| end.owner);
        let (here, there) = (owner(to), owner(other(to)));
        let what = match piece {
            Piece::Frame(bytes) => {
                let kind = bytes.get(1).and_then(|kind| Kind::from_byte(*kind));
                let kind = kind.map_or("frame", Kind::name);
                format!("{kind} of {} bytes", bytes.len())
            }
            Piece::Bytes(bytes) => format!("{} raw bytes", bytes.len()),
            Piece::Fin => "the end of the link".into(),
        };
        format!("n{here} ← n{there} {what}")
    }
}

fn input_in_words(input: &Input) -> String {
    match input {
        Input::LinkUp { dialled: true, .. } => "a link is up that it dialled".into(),
        Input::LinkUp { .. } => "a link is up that it accepted".into(),
        Input::LinkDown { .. } => "a link is down".into(),
        Input::DialFailed { .. } => "a dial failed".into(),
        Input::Frame { bytes, .. } => format!("a frame of {} bytes", bytes.len()),
        Input::Oversize { length, .. } => format!("a frame of {length} bytes is announced"),
        Input::Checked { verdict, .. } if verdict.is_good() => "a signature is good".into(),
        Input::Checked { .. } => "a signature is bad".into(),
        Input::Written { .. } => "a write is safe".into(),
        Input::WriteFailed { .. } => "a write failed".into(),
        Input::Read { .. } => "a batch was read".into(),
        Input::Pruned { .. } => "payloads were pruned".into(),
        Input::Wake => "wakes".into(),
    }
}
