//! What must be accepted, and how it is encoded.

use loyal::crypto::{
    Digest, Identity, PublicKey, Signature, check, decode_pem, encode_pem, hex, parse_hex,
};
use loyal::protocol::Network;
use loyal::wire::limits::MAX_SLOT;
use loyal::wire::{Batch, Entry, Frame, RangeHash, SignedSlot, SlotId, Tip, decode_body};
use serde_json::{Value, json};

use super::{File, bytes, pin, read, text};
use crate::support::{chain, entry, frames, identity, network};
use crate::zip215;

fn keys() -> File {
    let key = |n: u8| {
        let identity = identity(n);
        json!({
            "seed": hex(identity.seed().as_ref()),
            "public": identity.public().to_string(),
            "pem": encode_pem(&identity, None).expect("encodes").as_str(),
            "signature_of_abc": identity.sign(b"abc").to_string(),
        })
    };
    File {
        name: "keys.json",
        about: "Ed25519 keys: secret seed, public key, PKCS#8 v1 PEM, and a signature over 'abc'",
        vectors: [0, 1, 2, 3, 200, 255].map(key).into(),
    }
}

#[test]
fn keys_are_pinned() {
    pin(&keys());
    for vector in read("keys.json") {
        let read = decode_pem(text(&vector, "pem"), None).expect("a key");
        assert_eq!(read.public().to_string(), text(&vector, "public"));
        assert_eq!(hex(read.seed().as_ref()), text(&vector, "seed"));
        let signature = Signature::from_hex(text(&vector, "signature_of_abc")).expect("hex");
        assert!(check(&read.public(), b"abc", &signature).is_good());
    }
}

fn networks() -> File {
    let vector = |network: Network| {
        json!({
            "file": network.to_toml(),
            "keys": network.keys().iter().map(|k| k.key.to_string()).collect::<Vec<_>>(),
            "n": network.n(), "f": network.f(), "quorum": network.quorum(),
            "id": network.id().to_string(),
        })
    };
    File {
        name: "networks.json",
        about: "network files, their keys in order, and their ids",
        vectors: [1, 4, 10].map(|n| vector(network(n))).into(),
    }
}

/// Computes the network id as docs/PROTOCOL.md describes it, without the library's own code.
fn id_by_hand(nonce: [u8; 32], keys: &[(PublicKey, u8)]) -> Digest {
    let mut bytes = b"loyal/network/v2".to_vec();
    bytes.extend(nonce);
    bytes.push(6);
    for limit in [100u64, 400, 4_194_304, 16_777_216] {
        bytes.extend(limit.to_be_bytes());
    }
    bytes.extend((keys.len() as u64).to_be_bytes());
    for (key, role) in keys {
        bytes.extend(key.0);
        bytes.push(*role);
        bytes.extend([0, 0, 0, 1]);
    }
    Digest::of(&[&bytes])
}

#[test]
fn network_ids_are_pinned() {
    pin(&networks());
    for vector in read("networks.json") {
        let network = Network::parse(text(&vector, "file")).expect("a sound file");
        assert_eq!(network.id().to_string(), text(&vector, "id"));
        let author = identity(200).public();
        let keys: Vec<_> =
            network.keys().iter().map(|k| (k.key, u8::from(k.key == author))).collect();
        assert_eq!(id_by_hand([5; 32], &keys), network.id());
    }
}

fn signed_batches() -> Vec<(Identity, Batch)> {
    let id = network(4).id();
    let one = identity(1);
    let many: Vec<_> = (0..256).map(|i| entry("", &[i as u8])).collect();
    let odd = [entry(&"ü".repeat(32), &[0, 255]), entry("", b""), entry("topic", &[7; 300])];
    let last = Batch::sign(&one, id, MAX_SLOT, Digest([1; 32]), u64::MAX, &odd).expect("fits");
    let full = Batch::sign(&identity(200), id, 1, Digest::ZERO, 0, &many).expect("fits");
    let mut made: Vec<_> =
        chain(&one, id, 3).into_iter().map(|batch| (one.clone(), batch)).collect();
    made.push((one, last));
    made.push((identity(200), full));
    made
}

fn batches() -> File {
    let vector = |(signer, batch): (Identity, Batch)| {
        let header = &batch.header;
        let entries = batch.entries().expect("of its own making");
        let entry = |entry: &Entry| json!([entry.topic, hex(&entry.payload)]);
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        json!({
            "seed": hex(signer.seed().as_ref()),
            "network": header.network.to_string(), "author": header.author.to_string(),
            "seq": header.seq, "prev": header.prev.to_string(),
            "created_at": header.created_at, "count": header.count, "length": header.length,
            "entries": entries,
            "body": hex(&batch.body), "content": header.content.to_string(),
            "header": hex(&header_bytes(&batch)),
            "rest": header.rest().to_string(),
            "statement": hex(&header.statement()),
            "id": batch.id().to_string(),
            "signature": batch.signature.to_string(),
        })
    };
    File {
        name: "batches.json",
        about: "signed batches: entries [topic, payload as hex], body, header, statement, id",
        vectors: signed_batches().into_iter().map(vector).collect(),
    }
}

/// The 160 bytes of a header, taken from a push after version, kind and hops.
fn header_bytes(batch: &Batch) -> Vec<u8> {
    crate::support::push(batch.clone()).encode()[3..3 + 160].to_vec()
}

#[test]
fn batches_are_pinned() {
    pin(&batches());
    for vector in read("batches.json") {
        let digest = |field| Digest::from_hex(text(&vector, field)).expect("hex");
        let body = bytes(&vector, "body");
        assert_eq!(digest("content"), Digest::of(&[b"loyal/content/v1", &body]));
        let count = vector["count"].as_u64().and_then(|count| u32::try_from(count).ok());
        let entries = decode_body(&body, count.expect("small")).expect("a body");
        let listed = vector["entries"].as_array().expect("a list");
        assert_eq!(entries.len(), listed.len());
        let header = bytes(&vector, "header");
        assert_eq!(digest("rest"), Digest::of(&[b"loyal/header/v2\0", &header[72..]]));
        let statement = bytes(&vector, "statement");
        let by_hand = [b"loyal/batch/v2\0\0", &header[..72], &digest("rest").0].concat();
        assert_eq!(statement, by_hand);
        assert_eq!(digest("id"), Digest::of(&[&statement]));
        let slot = SignedSlot {
            author: PublicKey::from_hex(text(&vector, "author")).expect("hex"),
            seq: vector["seq"].as_u64().expect("a number"),
            rest: digest("rest"),
            signature: Signature::from_hex(text(&vector, "signature")).expect("hex"),
        };
        assert_eq!(slot.statement(&digest("network")).to_vec(), statement);
        assert!(check(&slot.author, &statement, &slot.signature).is_good());
        let seed = parse_hex(text(&vector, "seed")).expect("hex");
        assert_eq!(Identity::from_seed(&seed).sign(&statement), slot.signature);
    }
}

fn range(range: &RangeHash) -> Value {
    json!({"start": range.start, "end": range.end, "hash": range.hash.to_string()})
}

fn slot_id(item: &SlotId) -> Value {
    json!({"author": item.author.to_string(), "seq": item.seq, "id": item.id.to_string()})
}

fn batch(batch: &Batch) -> Value {
    json!({
        "header": hex(&header_bytes(batch)), "signature": batch.signature.to_string(),
        "body": hex(&batch.body), "id": batch.id().to_string(),
    })
}

fn fields(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => json!({
            "version": hello.version, "network": hello.network.to_string(),
            "instance": hex(&hello.instance.0),
        }),
        Frame::Credit(credit) => {
            let grant = |g: &loyal::wire::Grant| json!([g.class, g.frames, g.bytes]);
            json!({"grants": credit.grants.iter().map(grant).collect::<Vec<_>>()})
        }
        Frame::Ping => json!({}),
        Frame::Push(push) => json!({"hops": push.hops, "batch": batch(&push.batch)}),
        Frame::Reply(reply) => {
            json!({"ticket": reply.ticket, "hops": reply.hops, "batch": batch(&reply.batch)})
        }
        Frame::Announce(announce) => {
            json!({"items": announce.items.iter().map(slot_id).collect::<Vec<_>>()})
        }
        Frame::Request(request) => {
            let want = |w: &loyal::wire::Want| {
                let id = w.id.map(|id| id.to_string());
                json!({"ticket": w.ticket, "author": w.author.to_string(), "seq": w.seq, "id": id})
            };
            json!({"wants": request.wants.iter().map(want).collect::<Vec<_>>()})
        }
        Frame::Missing(missing) => json!({
            "ticket": missing.ticket, "why": missing.why as u32, "floor": missing.floor,
            "next": missing.next,
        }),
        Frame::Compare(compare) => json!({
            "ticket": compare.ticket,
            "ranges": compare.ranges.iter().map(range).collect::<Vec<_>>(),
        }),
        Frame::Differ(differ) => {
            let tip = |tip: &Tip| {
                let t = tip.slot;
                json!({
                    "author": t.author.to_string(), "seq": t.seq, "rest": t.rest.to_string(),
                    "signature": t.signature.to_string(), "solid": tip.solid, "floor": tip.floor,
                })
            };
            json!({
                "ticket": differ.ticket,
                "ranges": differ.ranges.iter().map(range).collect::<Vec<_>>(),
                "tips": differ.tips.iter().map(tip).collect::<Vec<_>>(),
                "above": differ.above.iter().map(slot_id).collect::<Vec<_>>(),
            })
        }
    }
}

fn good_frames() -> File {
    let vector = |(name, frame): (&str, Frame)| {
        let hex = hex(&frame.encode());
        json!({"name": name, "kind": frame.kind().name(), "fields": fields(&frame), "hex": hex})
    };
    File {
        name: "frames.json",
        about: "a frame of every kind, without its length prefix, and the fields in it",
        vectors: frames().into_iter().map(vector).collect(),
    }
}

#[test]
fn frames_are_pinned() {
    pin(&good_frames());
    for vector in read("frames.json") {
        let bytes = bytes(&vector, "hex");
        let frame = Frame::decode(&bytes).expect("a good frame");
        assert_eq!(frame.encode(), bytes);
        assert_eq!(frame.kind().name(), text(&vector, "kind"));
        assert_eq!(fields(&frame), vector["fields"]);
    }
}

fn signatures() -> File {
    let vector = |case: zip215::Case| {
        json!({
            "name": case.name, "key": hex(&case.key), "message": hex(zip215::MESSAGE),
            "signature": hex(&case.signature), "valid": case.valid,
        })
    };
    File {
        name: "signatures.json",
        about: "the signature rule, ZIP-215, at its edges; such keys never get into a network",
        vectors: zip215::cases().into_iter().map(vector).collect(),
    }
}

#[test]
fn the_signature_rule_is_pinned() {
    pin(&signatures());
    for vector in read("signatures.json") {
        let key = PublicKey::from_hex(text(&vector, "key")).expect("hex");
        let signature = Signature::from_hex(text(&vector, "signature")).expect("hex");
        let good = check(&key, &bytes(&vector, "message"), &signature).is_good();
        assert_eq!(Some(good), vector["valid"].as_bool(), "{}", text(&vector, "name"));
    }
}
