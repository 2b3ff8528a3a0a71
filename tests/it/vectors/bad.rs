//! What must be refused, and for which reason.

use curve25519_dalek::{constants::EIGHT_TORSION, edwards::CompressedEdwardsY};
use loyal::crypto::{Digest, PublicKey, check, hex};
use loyal::protocol::{Network, Reason};
use loyal::wire::limits::{
    MAX_ABOVE, MAX_ANNOUNCED, MAX_FRAME, MAX_PAYLOAD, MAX_RANGES, MAX_SLOT, MAX_TIPS, MAX_WANTS,
    VERSION,
};
use loyal::wire::{Batch, Blob, Frame, Kind, Push, WireError};
use serde_json::{Value, json};

use super::{File, bytes, pin, read, text};
use crate::support::{batch, entry, flipped, frames, identity, network, push};
use crate::zip215;

fn reason(error: WireError) -> Reason {
    match error {
        WireError::Malformed(_) => Reason::Malformed,
        WireError::NonCanonical(_) => Reason::NonCanonical,
        WireError::Oversize(_) => Reason::Oversize,
        WireError::WrongVersion(_) => Reason::WrongVersion,
    }
}

/// The bytes of the good frame of that name.
fn good(name: &str) -> Vec<u8> {
    let found = frames().into_iter().find(|(found, _)| *found == name);
    found.expect("a frame of that name").1.encode()
}

/// The frame of that name with the bytes at `at` replaced by `put`.
fn with(name: &str, at: usize, put: &[u8]) -> Vec<u8> {
    let mut bytes = good(name);
    bytes[at..at + put.len()].copy_from_slice(put);
    bytes
}

fn longer(name: &str) -> Vec<u8> {
    [good(name), vec![0]].concat()
}

fn shorter(name: &str) -> Vec<u8> {
    let mut bytes = good(name);
    bytes.pop();
    bytes
}

/// A list of `count` zero elements of `size` bytes, after `head`.
fn list_of(head: &[u8], count: usize, size: usize) -> Vec<u8> {
    let count_bytes = u16::try_from(count).expect("fits").to_be_bytes();
    [head, &count_bytes, &vec![0; count * size]].concat()
}

fn swapped(name: &str, first: usize, size: usize) -> Vec<u8> {
    let mut bytes = good(name);
    let (left, right) = bytes[first..first + 2 * size].split_at_mut(size);
    left.swap_with_slice(right);
    bytes
}

const PUSH: &str = "push of two messages";
const REQUEST: &str = "request by slot and by id";
const DIFFER: &str = "differ with ranges and tips";
/// The slot above [`MAX_SLOT`], which is invalid.
const BEYOND: [u8; 8] = (MAX_SLOT + 1).to_be_bytes();
/// Offset of the third list in [`DIFFER`].
const ABOVE: usize = 50 + 2 * 184 + 2;
// Offsets in a push: version, kind and hops come before the header.
const HEADER: usize = 3;
const SEQ: usize = HEADER + 64;
const BASE: usize = SEQ + 8;
const PREV: usize = BASE + 8;
const COUNT: usize = PREV + 40;
const LENGTH: usize = COUNT + 4;
const BODY_LENGTH: usize = HEADER + 160 + 64;
const BODY: usize = BODY_LENGTH + 4;

fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let mut bad = vec![
        ("nothing", vec![]),
        ("a version alone", vec![VERSION]),
        ("no such kind", vec![VERSION, 10]),
        ("a kind that is reserved", vec![VERSION, 11]),
        ("the last kind byte", vec![VERSION, 255]),
        ("hello: cut", shorter("hello")),
        ("credit: no grant", vec![VERSION, 1, 0, 0]),
        ("credit: a class without a window", with("credit of one class", 4, &[6])),
        ("credit: the link's own class", with("credit of one class", 4, &[0])),
        ("credit: a grant cut", shorter("credit of one class")),
        ("credit: more announced than there", with("credit of one class", 2, &[0, 2])),
        ("push: nothing in it", vec![VERSION, 3]),
        ("push: body cut", shorter(PUSH)),
        ("push: slot 0", with(PUSH, SEQ, &[0; 8])),
        ("push: a slot above the last", with(PUSH, SEQ, &BEYOND)),
        ("push: slot 1 with a predecessor", with(PUSH, PREV, &[1])),
        ("push: a base that is its own slot", with(PUSH, BASE, &1u64.to_be_bytes())),
        ("push: the highest base", with(PUSH, BASE, &[255; 8])),
        ("push: no message", with(PUSH, COUNT, &[0; 4])),
        ("push: one message fewer than in the body", with(PUSH, COUNT, &[0, 0, 0, 1])),
        ("push: one message more than in the body", with(PUSH, COUNT, &[0, 0, 0, 3])),
        ("push: header's length is not the body's", with(PUSH, LENGTH, &[0, 0, 0, 9])),
        ("push: body longer than the frame", with(PUSH, BODY_LENGTH, &[0, 0x10, 0, 0])),
        ("push: a topic that is not UTF-8", with(PUSH, BODY + 2, &[0xff])),
        ("push: a payload beyond the body", with(PUSH, BODY + 6, &[0, 0, 1, 0])),
        ("announce: no item", vec![VERSION, 4, 0, 0]),
        ("announce: slot 0", with("announce of one", 4 + 32, &[0; 8])),
        ("announce: a slot above the last", with("announce of one", 4 + 32, &BEYOND)),
        ("announce: cut", shorter("announce of one")),
        ("request: no want", vec![VERSION, 5, 0, 0]),
        ("request: slot 0", with(REQUEST, 4 + 4 + 32, &[0; 8])),
        ("request: a slot above the last", with(REQUEST, 4 + 4 + 32, &BEYOND)),
        ("request: neither with nor without an id", with(REQUEST, 4 + 4 + 32 + 8, &[2])),
        ("missing: no such answer", with("missing, busy", 6, &[0, 0, 0, 3])),
        ("missing: cut", shorter("missing, busy")),
        ("compare: no range", vec![VERSION, 8, 0, 0, 0, 9, 0, 0]),
        ("compare: an empty range", with("compare", 8, &[0, 0, 0, 3])),
        ("compare: a range backwards", with("compare", 8, &[0, 0, 0, 4])),
        ("differ: cut", shorter("differ with nothing")),
        ("differ: a tip for slot 0", with(DIFFER, 50 + 32, &[0; 8])),
        ("differ: a tip for a slot above the last", with(DIFFER, 50 + 32, &BEYOND)),
        ("differ: solid above its tip", with(DIFFER, 50 + 136, &[255; 8])),
        ("differ: a floor above its tip", with(DIFFER, 50 + 144, &[255; 8])),
        ("differ: slot 0 above a tip", with(DIFFER, ABOVE + 32, &[0; 8])),
        ("differ: a slot above the last above a tip", with(DIFFER, ABOVE + 32, &BEYOND)),
    ];
    bad.sort_by_key(|(_, bytes)| bytes.first().copied());
    bad
}

fn non_canonical() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("hello: a byte left over is over its length", vec![]),
        ("credit: a byte left over", longer("credit of one class")),
        ("credit: a class twice", with("credit of all", 4 + 17, &[1])),
        ("credit: out of order", swapped("credit of all", 4, 17)),
        ("push: a byte left over", longer(PUSH)),
        ("announce: a byte left over", longer("announce of one")),
        ("request: a byte left over", longer(REQUEST)),
        ("reply: a byte left over", longer("reply")),
        ("missing: slots lacked above none", with("missing, busy", 18, &[0; 8])),
        ("compare: a byte left over", longer("compare")),
        ("compare: out of order", swapped("compare", 8, 40)),
        ("compare: overlapping", with("compare", 8 + 40, &[0, 0, 0, 2])),
        ("differ: a byte left over", longer("differ with nothing")),
        ("differ: tips out of order", swapped(DIFFER, 50, 184)),
        ("differ: slots out of order", swapped(DIFFER, ABOVE, 72)),
    ]
    .into_iter()
    .filter(|(_, bytes)| !bytes.is_empty())
    .collect()
}

fn oversize() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("hello: a byte too long", longer("hello")),
        ("ping: with a body", vec![VERSION, 2, 0]),
        ("missing: a byte too long", longer("missing, busy")),
        ("credit: six grants", list_of(&[VERSION, 1], 6, 17)),
        ("credit: six announced", vec![VERSION, 1, 0, 6]),
        ("push: a body over its limit", with(PUSH, BODY_LENGTH, &[0, 0x20, 0, 0])),
        ("push: the longest length", with(PUSH, BODY_LENGTH, &[0xff; 4])),
        ("push: 257 messages", with(PUSH, COUNT, &[0, 0, 1, 1])),
        ("push: the largest count", with(PUSH, COUNT, &[0xff; 4])),
        ("push: a topic over 64 bytes", with(PUSH, BODY, &[0, 65])),
        ("push: a payload over 1 MiB", with(PUSH, BODY + 6, &[0, 0x10, 0, 1])),
        ("announce: one id too many", list_of(&[VERSION, 4], MAX_ANNOUNCED + 1, 72)),
        ("announce: 65535 announced", vec![VERSION, 4, 255, 255]),
        ("request: one want too many", list_of(&[VERSION, 5], MAX_WANTS + 1, 45)),
        ("compare: one range too many", list_of(&[VERSION, 8, 0, 0, 0, 9], MAX_RANGES + 1, 40)),
        ("differ: one range too many", list_of(&[VERSION, 9, 0, 0, 0, 9], MAX_RANGES + 1, 40)),
        (
            "differ: one slot above too many",
            list_of(&[VERSION, 9, 0, 0, 0, 9, 0, 0, 0, 0], MAX_ABOVE + 1, 72),
        ),
        ("differ: one tip too many", list_of(&[VERSION, 9, 0, 0, 0, 9, 0, 0], MAX_TIPS + 1, 184)),
    ]
}

fn wrong_version() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("version 0", with("ping", 0, &[0])),
        ("version 1", with("ping", 0, &[1])),
        ("version 255, a push", with(PUSH, 0, &[255])),
        ("version 1 of a kind that is unknown", vec![1, 77, 1, 2, 3]),
    ]
}

fn bad_frames() -> File {
    let mut vectors = Vec::new();
    for (reason, bad) in [
        (Reason::Malformed, malformed()),
        (Reason::NonCanonical, non_canonical()),
        (Reason::Oversize, oversize()),
        (Reason::WrongVersion, wrong_version()),
    ] {
        for (name, bytes) in bad {
            vectors.push(json!({"name": name, "reason": reason.name(), "hex": hex(&bytes)}));
        }
    }
    File {
        name: "bad_frames.json",
        about: "frames, without length prefix, that must be refused, and the reason for each",
        vectors,
    }
}

#[test]
fn bad_frames_are_refused_for_their_reason() {
    pin(&bad_frames());
    for vector in read("bad_frames.json") {
        let found = Frame::decode(&bytes(&vector, "hex")).map_err(reason);
        let expected = Reason::from_name(text(&vector, "reason")).expect("a reason");
        assert_eq!(found, Err(expected), "{}", text(&vector, "name"));
    }
}

/// A stream's length prefix may be from 2 to `MAX_FRAME`.
#[test]
fn the_longest_frame_is_accepted_and_a_longer_one_is_not() {
    let one = identity(1);
    let entries = [entry(&"t".repeat(64), &vec![0; MAX_PAYLOAD])];
    let id = network(4).id();
    let batch = Batch::sign(&one, id, 1, Digest::ZERO, 0, &entries).expect("the longest fits");
    let bytes = push(batch).encode();
    assert!(Frame::decode(&bytes).is_ok());
    assert!(bytes.len() <= MAX_FRAME);
    let mut long = bytes;
    long.resize(MAX_FRAME + 1, 0);
    assert_eq!(Frame::decode(&long).map_err(reason), Err(Reason::Oversize));
    assert_eq!(Kind::Push.max_len(), MAX_FRAME);
}

/// Statements that an honest member of the vectors' network refuses, each with the reason; `None`
/// marks a good one.
pub(super) fn statements() -> Vec<(&'static str, Option<Reason>, Batch)> {
    let id = network(4).id();
    let (one, stranger) = (identity(1), identity(99));
    let good = batch(&one, id, 1, Digest::ZERO, "genuine");
    let other = batch(&one, id, 2, good.id(), "another");
    let edit = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    let resigned = |signer: u8| {
        let mut batch = good.clone();
        batch.signature = identity(signer).sign(&batch.header.statement());
        batch
    };
    let foreign = batch(&one, Digest([7; 32]), 1, Digest::ZERO, "genuine");
    let wrong = Some(Reason::BadSignature);
    let mismatch = Some(Reason::ContentMismatch);
    vec![
        ("the genuine one", None, good.clone()),
        ("another network's", Some(Reason::WrongNetwork), foreign),
        (
            "a stranger's",
            Some(Reason::UnknownAuthor),
            batch(&stranger, id, 1, Digest::ZERO, "genuine"),
        ),
        ("signed by another member", wrong, resigned(2)),
        ("signed by a stranger", wrong, resigned(99)),
        (
            "a bit of the signature",
            wrong,
            Batch { signature: flipped(good.signature), ..good.clone() },
        ),
        (
            "another message's signature",
            wrong,
            Batch { signature: other.signature, ..good.clone() },
        ),
        ("S + L", wrong, edit(|batch| batch.signature.0 = add_l(batch.signature.0))),
        ("another clock", wrong, edit(|batch| batch.header.created_at += 1)),
        ("another slot", wrong, edit(|batch| batch.header.seq = 2)),
        ("another author", wrong, edit(|batch| batch.header.author = identity(2).public())),
        ("another payload", mismatch, edit(|batch| batch.body = tampered(&batch.body))),
        ("another content digest", mismatch, edit(|batch| batch.header.content.0[0] ^= 1)),
    ]
}

fn add_l(signature: [u8; 64]) -> [u8; 64] {
    let (r, s) = signature.split_at(32);
    let s = zip215::plus_l(s.try_into().expect("32 bytes"), 1);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(r);
    bytes[32..].copy_from_slice(&s);
    bytes
}

fn tampered(body: &[u8]) -> Blob<{ loyal::wire::limits::MAX_BODY }> {
    let mut body = body.to_vec();
    let last = body.len() - 1;
    body[last] ^= 1;
    Blob::new(body).expect("as long as before")
}

fn bad_statements() -> File {
    let vector = |(name, reason, batch): (&str, Option<Reason>, Batch)| {
        let frame = Frame::Push(Box::new(Push { hops: 1, batch }));
        json!({"name": name, "reason": reason.map(Reason::name), "push": hex(&frame.encode())})
    };
    File {
        name: "bad_statements.json",
        about: "whole pushes in the second network of networks.json, and why each is refused",
        vectors: statements().into_iter().map(vector).collect(),
    }
}

/// Applies the order of checks in docs/PROTOCOL.md, as far as a batch alone can show.
fn judge(network: &Network, batch: &Batch) -> Option<Reason> {
    if batch.header.network != network.id() {
        Some(Reason::WrongNetwork)
    } else if network.index_of(&batch.header.author).is_none() {
        Some(Reason::UnknownAuthor)
    } else if !batch.content_matches() {
        Some(Reason::ContentMismatch)
    } else {
        let good = check(&batch.header.author, &batch.header.statement(), &batch.signature);
        (!good.is_good()).then_some(Reason::BadSignature)
    }
}

#[test]
fn bad_statements_are_refused_for_their_reason() {
    pin(&bad_statements());
    let network = network(4);
    for vector in read("bad_statements.json") {
        let frame = Frame::decode(&bytes(&vector, "push")).expect("its shape is good");
        let Frame::Push(push) = frame else { panic!("a push") };
        let expected = vector["reason"].as_str().and_then(Reason::from_name);
        assert_eq!(judge(&network, &push.batch), expected, "{}", text(&vector, "name"));
    }
}

fn weak_keys() -> File {
    let good = CompressedEdwardsY(identity(1).public().0).decompress().expect("a point");
    let key = |bytes: [u8; 32]| -> Value {
        let refused = PublicKey(bytes).validate().err();
        json!({"key": hex(&bytes), "refused": refused.map(|why| format!("{why:?}"))})
    };
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let torsioned = EIGHT_TORSION[1..].iter().map(|torsion| (good + torsion).compress().0);
    let mut keys = vec![identity(1).public().0, no_point];
    keys.extend(torsioned.chain(zip215::small_order()).chain(zip215::non_canonical()));
    File {
        name: "weak_keys.json",
        about: "public keys that a network file must not list, and why; null is a good one",
        vectors: keys.into_iter().map(key).collect(),
    }
}

#[test]
fn weak_keys_are_refused() {
    pin(&weak_keys());
    let vectors = read("weak_keys.json");
    assert!(vectors[0]["refused"].is_null(), "the first is good");
    assert!(vectors[1..].iter().all(|vector| vector["refused"].is_string()));
}
