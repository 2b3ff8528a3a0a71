//! Splits a frame into its fields for people to read, as far as its bytes go and whatever is wrong
//! with it.
//!
//! Refused bytes are often not a valid frame, so this module decides nothing; [`super::Frame`]
//! does. It only says which bytes stand where the layout of their kind has which field.

use super::codec::decode_start;
use super::frame::{Class, Kind};
use super::limits::VERSION;
use super::statement::Header;
use crate::crypto::Signature;

/// How to display the bytes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A big-endian number.
    Number,
    /// A number that stands for this word.
    Word(&'static str),
    /// A key, an id or a hash, in hex.
    Hex,
    /// Text that a person may have written; escape before printing.
    Text,
    /// Bytes beyond the layout, or too few bytes for the field.
    Rest,
}

/// A range of a frame's bytes and its place in the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset of the first byte.
    pub at: usize,
    /// Length in bytes; less than the layout says if the frame is cut off.
    pub length: usize,
    /// The field's name in `docs/PROTOCOL.md`; fields in lists are numbered.
    pub name: String,
    /// How to display the bytes.
    pub shown: Shown,
}

/// Splits a frame without its length prefix, or the beginning of one, into fields.
pub fn fields(bytes: &[u8]) -> Vec<Field> {
    let mut walk = Walk { bytes, at: 0, fields: vec![] };
    if walk.frame().is_some() && walk.at < bytes.len() {
        walk.rest("(left over)");
    }
    walk.fields
}

/// Decodes the header and signature of the batch in a push or a reply, which may be cut off after
/// them.
pub fn batch_start(bytes: &[u8]) -> Option<(Header, Signature)> {
    let before = match Kind::from_byte(*bytes.get(1)?)? {
        Kind::Push => 3,
        Kind::Reply => 7,
        _ => return None,
    };
    (bytes[0] == VERSION).then(|| decode_start(bytes.get(before..)?)).flatten()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

/// Each step returns `None` where the bytes end.
impl Walk<'_> {
    fn add(&mut self, name: &str, length: usize, shown: Shown) {
        self.fields.push(Field { at: self.at, length, name: name.to_owned(), shown });
        self.at += length;
    }

    fn rest(&mut self, name: &str) {
        self.add(name, self.bytes.len() - self.at, Shown::Rest);
    }

    fn field(&mut self, name: &str, length: usize, shown: Shown) -> Option<()> {
        if self.bytes.len() - self.at < length {
            self.rest(&format!("{name} (cut off)"));
            return None;
        }
        self.add(name, length, shown);
        Some(())
    }

    fn number(&mut self, name: &str, length: usize) -> Option<u64> {
        let start = self.at;
        self.field(name, length, Shown::Number)?;
        let bytes = self.bytes.get(start..self.at)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn hex(&mut self, name: &str, length: usize) -> Option<()> {
        self.field(name, length, Shown::Hex)
    }

    /// Adds a number, with the word that it stands for if there is one.
    fn word(
        &mut self,
        name: &str,
        length: usize,
        word: impl Fn(u64) -> Option<&'static str>,
    ) -> Option<u64> {
        let number = self.number(name, length)?;
        if let (Some(word), Some(field)) = (word(number), self.fields.last_mut()) {
            field.shown = Shown::Word(word);
        }
        Some(number)
    }

    fn frame(&mut self) -> Option<()> {
        self.number("version", 1)?;
        let kind = |number| Kind::from_byte(u8::try_from(number).ok()?);
        let number = self.word("kind", 1, |number| kind(number).map(Kind::name))?;
        let Some(kind) = kind(number) else {
            self.rest("(no such kind)");
            return None;
        };
        match kind {
            Kind::Hello => {
                self.number("hello version", 2)?;
                self.hex("network", 32)?;
                self.hex("instance", 16)
            }
            Kind::Ping => Some(()),
            Kind::Credit => self.list("grants", |walk, n| {
                walk.word(&format!("grant {n} class"), 1, class)?;
                walk.number(&format!("grant {n} frames"), 8)?;
                walk.number(&format!("grant {n} bytes"), 8).map(drop)
            }),
            Kind::Push => {
                self.number("hops (claimed)", 1)?;
                self.batch()
            }
            Kind::Reply => {
                self.number("ticket", 4)?;
                self.number("hops (claimed)", 1)?;
                self.batch()
            }
            Kind::Announce => self.list("items", |walk, n| walk.slot(&format!("item {n}"))),
            Kind::Request => self.list("wants", Self::want),
            Kind::Missing => {
                self.number("ticket", 4)?;
                self.word("why", 4, why)?;
                self.number("floor", 8)?;
                self.number("next", 8)?;
                self.hex("lacked above next", 32)
            }
            Kind::Compare => {
                self.number("ticket", 4)?;
                self.list("ranges", Self::range)
            }
            Kind::Differ => {
                self.number("ticket", 4)?;
                self.list("ranges", Self::range)?;
                self.list("tips", Self::tip)?;
                self.list("above", |walk, n| walk.slot(&format!("above {n}")))
            }
        }
    }

    fn list(
        &mut self,
        name: &str,
        mut item: impl FnMut(&mut Self, u64) -> Option<()>,
    ) -> Option<()> {
        let count = self.number(name, 2)?;
        (0..count).try_for_each(|number| item(self, number))
    }

    fn slot(&mut self, name: &str) -> Option<()> {
        self.hex(&format!("{name} author"), 32)?;
        self.number(&format!("{name} seq"), 8)?;
        self.hex(&format!("{name} id"), 32)
    }

    fn want(&mut self, n: u64) -> Option<()> {
        self.number(&format!("want {n} ticket"), 4)?;
        self.hex(&format!("want {n} author"), 32)?;
        self.number(&format!("want {n} seq"), 8)?;
        match self.number(&format!("want {n} option"), 1)? {
            1 => self.hex(&format!("want {n} id"), 32),
            _ => Some(()),
        }
    }

    fn range(&mut self, n: u64) -> Option<()> {
        self.number(&format!("range {n} start"), 4)?;
        self.number(&format!("range {n} end"), 4)?;
        self.hex(&format!("range {n} hash"), 32)
    }

    fn tip(&mut self, n: u64) -> Option<()> {
        self.hex(&format!("tip {n} author"), 32)?;
        self.number(&format!("tip {n} seq"), 8)?;
        self.hex(&format!("tip {n} rest"), 32)?;
        self.hex(&format!("tip {n} signature"), 64)?;
        self.number(&format!("tip {n} solid"), 8)?;
        self.number(&format!("tip {n} floor"), 8).map(drop)
    }

    fn batch(&mut self) -> Option<()> {
        self.hex("network", 32)?;
        self.hex("author", 32)?;
        self.number("seq", 8)?;
        self.number("base", 8)?;
        self.hex("prev", 32)?;
        self.number("created_at (claimed)", 8)?;
        let count = self.number("count", 4)?;
        self.number("length", 4)?;
        self.hex("content", 32)?;
        self.hex("signature", 64)?;
        self.number("body length", 4)?;
        (0..count).try_for_each(|n| {
            let topic = self.number(&format!("message {n} topic length"), 2)?;
            self.field(&format!("message {n} topic"), topic as usize, Shown::Text)?;
            let payload = self.number(&format!("message {n} payload length"), 4)?;
            self.field(&format!("message {n} payload"), payload as usize, Shown::Text)
        })
    }
}

fn class(number: u64) -> Option<&'static str> {
    Class::credited(u8::try_from(number).ok()?).map(Class::name)
}

fn why(number: u64) -> Option<&'static str> {
    Some(match number {
        0 => "unknown",
        1 => "pruned",
        2 => "busy",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{Digest, Identity};
    use crate::wire::{Batch, Entry, Frame};

    fn batch(payload: &[u8]) -> Batch {
        let entry = Entry { topic: "news".into(), payload: payload.to_vec() };
        let signed = Batch::sign(
            &Identity::from_seed(&[1; 32]),
            Digest([2; 32]),
            1,
            Digest::ZERO,
            9,
            &[entry],
        );
        signed.expect("fits")
    }

    #[test]
    fn a_push_is_told_from_its_first_byte_to_its_last() {
        let batch = batch(b"hello");
        let bytes = Frame::push(4, &batch);
        let all = fields(&bytes);
        let named = |name: &str| {
            let field = all.iter().find(|field| field.name == name).expect(name);
            &bytes[field.at..field.at + field.length]
        };
        assert_eq!(named("author"), batch.header.author.0);
        assert_eq!(named("signature"), batch.signature.0);
        assert_eq!(named("hops (claimed)"), [4]);
        assert_eq!(
            (named("message 0 topic"), named("message 0 payload")),
            (&b"news"[..], &b"hello"[..])
        );
        assert_eq!(all.iter().map(|field| field.length).sum::<usize>(), bytes.len());
        assert!(all.iter().all(|field| field.shown != Shown::Rest), "{all:?}");
        let (header, signature) = batch_start(&bytes[..230]).expect("all of it is there");
        assert_eq!((header, signature), (batch.header.clone(), batch.signature));
        assert_eq!(batch_start(&bytes[..226]), None);
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(fields(&long).last().map(|field| &*field.name), Some("(left over)"));
        let reply = Frame::reply(7, 4, &batch);
        assert_eq!(batch_start(&reply).map(|(header, _)| header), Some(batch.header));
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_once_each(
            kind in 0..12u8,
            tail in prop::collection::vec(any::<u8>(), 0..600),
            few in any::<bool>(),
        ) {
            let mut bytes = vec![VERSION, kind];
            bytes.extend(&tail);
            if few {
                bytes[2..].iter_mut().for_each(|byte| *byte &= 1); // lists that have an end
            }
            let mut at = 0;
            for field in fields(&bytes) {
                prop_assert_eq!(field.at, at);
                at += field.length;
            }
            prop_assert_eq!(at, bytes.len());
            let _ = batch_start(&bytes);
        }
    }

    #[test]
    fn no_bytes_at_all_are_nothing() {
        assert_eq!(fields(&[]).len(), 1, "a version that is cut off");
        assert_eq!(batch_start(&[]), None);
        assert_eq!(batch_start(&[VERSION, Kind::Ping as u8]), None);
    }
}
