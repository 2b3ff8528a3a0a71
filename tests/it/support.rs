//! What the modules share: fixed identities, a fixed network, and a frame of every kind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use loyal::crypto::{Digest, Identity, PublicKey, Signature};
use loyal::protocol::{Member, Network, Role};
use loyal::wire::limits::VERSION;
use loyal::wire::{
    Announce, Batch, Compare, Credit, Differ, Entry, Frame, Grant, Hello, Instance, Lacked, List,
    Missing, Push, RangeHash, Reply, Request, SlotId, Tip, Want, WhyMissing,
};

/// Identity `n` of the tests. All 32 bytes of its seed are `n`.
pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

/// Further identities, for tests that need more than 255.
pub(crate) fn wide_identity(n: u16) -> Identity {
    let mut seed = [250; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

/// Identity `n` as a member called after it.
pub(crate) fn member(n: u8, gossip: SocketAddr) -> Member {
    let (key, name) = (identity(n).public(), format!("n{n}"));
    Member { key, name, role: Role::Member, gossip: Some(gossip) }
}

/// A network of members 1 to `n` and author 200, with a fixed nonce.
pub(crate) fn network(n: u8) -> Network {
    let member = |i: u8| member(i, ([127, 0, 0, 1], 7600 + u16::from(i)).into());
    let key = identity(200).public();
    let author = Member { key, name: "pen".into(), role: Role::Author, gossip: None };
    Network::new([5; 32], (1..=n).map(member).chain([author]).collect()).expect("a sound network")
}

/// Writes a network file for identities 1, 2, … at these addresses, and their key files. The names
/// are n0, n1, ….
pub(crate) fn lay_out(dir: &Path, gossip: &[SocketAddr]) {
    let name = |n: u8| format!("n{}", n - 1);
    let all = (1..).zip(gossip);
    let members = all.clone().map(|(n, at)| Member { name: name(n), ..member(n, *at) });
    let network = Network::new([5; 32], members.collect()).expect("sound");
    std::fs::write(dir.join("network.toml"), network.to_toml()).expect("written");
    for (n, _) in all {
        let key = dir.join(format!("{}.pem", name(n)));
        loyal::store::keys::write(&key, &identity(n), None).expect("written");
    }
}

/// A message with a topic and a payload.
pub(crate) fn entry(topic: &str, payload: &[u8]) -> Entry {
    Entry { topic: topic.into(), payload: payload.into() }
}

/// Signs a batch for a slot of a network.
pub(crate) fn batch(
    signer: &Identity,
    network: Digest,
    seq: u64,
    prev: Digest,
    text: &str,
) -> Batch {
    let created_at = 1_700_000_000_000_000u64.wrapping_add(seq);
    let entries = [entry("t", text.as_bytes())];
    Batch::sign(signer, network, seq, prev, created_at, &entries).expect("it fits")
}

/// A chain of `count` batches from slot 1 on.
pub(crate) fn chain(signer: &Identity, network: Digest, count: u64) -> Vec<Batch> {
    let mut prev = Digest::ZERO;
    (1..=count)
        .map(|seq| {
            let made = batch(signer, network, seq, prev, &format!("message {seq}"));
            prev = made.id();
            made
        })
        .collect()
}

/// A list whose length is within its bounds.
pub(crate) fn list<T, const MIN: usize, const MAX: usize>(items: Vec<T>) -> List<T, MIN, MAX> {
    List::new(items).expect("within bounds")
}

/// A push of a batch, with 1 hop.
pub(crate) fn push(batch: Batch) -> Frame {
    Frame::Push(Box::new(Push { hops: 1, batch }))
}

/// A hello for this network.
pub(crate) fn hello(network: &Network, instance: u8) -> Frame {
    let network = network.id();
    Frame::Hello(Hello { version: VERSION.into(), network, instance: Instance([instance; 16]) })
}

/// At least one frame of every kind, each with a name. No two fields of a frame have the same
/// value.
pub(crate) fn frames() -> Vec<(&'static str, Frame)> {
    let network = network(4);
    let one = Batch::sign(
        &identity(1),
        network.id(),
        1,
        Digest::ZERO,
        1_700_000_000_000_001,
        &[entry("news", b"hello"), entry("", b"")],
    )
    .expect("it fits");
    let two = batch(&identity(2), network.id(), 7, Digest([9; 32]), "seven");
    let item =
        |n: u8| SlotId { author: PublicKey([n; 32]), seq: u64::from(n), id: Digest([n; 32]) };
    let want = |n: u8, id| Want {
        ticket: u32::from(n),
        author: PublicKey([n; 32]),
        seq: u64::from(n),
        id,
    };
    let grant = |class| Grant { class, frames: 3 + u64::from(class), bytes: 1000 };
    let range = |start, end, n: u8| RangeHash { start, end, hash: Digest([n; 32]) };
    let mut tips = vec![tip(&one, 0), tip(&two, 1)];
    tips.sort_by_key(|tip| tip.slot.author);
    let missing = |why| {
        Frame::Missing(Missing {
            ticket: 0x0102_0304,
            why,
            floor: 12,
            next: 40,
            lacked: Lacked(std::array::from_fn(|i| [0b101, 0x80][i / 31] * u8::from(i % 31 == 0))),
        })
    };
    vec![
        ("hello", hello(&network, 0xaa)),
        ("credit of one class", Frame::Credit(Credit { grants: list(vec![grant(5)]) })),
        ("credit of all", Frame::Credit(Credit { grants: list((1..=5).map(grant).collect()) })),
        ("ping", Frame::Ping),
        ("push of two messages", Frame::Push(Box::new(Push { hops: 1, batch: one }))),
        ("push after many hops", Frame::Push(Box::new(Push { hops: 255, batch: two.clone() }))),
        ("announce of one", Frame::Announce(Announce { items: list(vec![item(3)]) })),
        ("announce of two", Frame::Announce(Announce { items: list(vec![item(3), item(4)]) })),
        (
            "request by slot and by id",
            Frame::Request(Request {
                wants: list(vec![want(3, None), want(4, Some(Digest([6; 32])))]),
            }),
        ),
        ("reply", Frame::Reply(Box::new(Reply { ticket: 0x0a0b_0c0d, hops: 2, batch: two }))),
        ("missing, unknown", missing(WhyMissing::Unknown)),
        ("missing, pruned", missing(WhyMissing::Pruned)),
        ("missing, busy", missing(WhyMissing::Busy)),
        (
            "compare",
            Frame::Compare(Compare {
                ticket: 9,
                ranges: list(vec![range(0, 3, 1), range(3, 5, 0)]),
            }),
        ),
        (
            "differ with ranges and tips",
            differ(9, vec![range(1, 2, 7)], tips, vec![item(3), item(4)]),
        ),
        ("differ with nothing", differ(10, vec![], vec![], vec![])),
    ]
}

fn tip(batch: &Batch, floor: u8) -> Tip {
    let (slot, solid) = (batch.signed_slot(), batch.header.seq);
    Tip { slot, solid, floor: u64::from(floor), holes: Digest([floor; 32]) }
}

fn differ(ticket: u32, ranges: Vec<RangeHash>, tips: Vec<Tip>, above: Vec<SlotId>) -> Frame {
    let (ranges, tips, above) = (list(ranges), list(tips), list(above));
    Frame::Differ(Differ { ticket, ranges, tips, above })
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether pinned files are to be rewritten.
pub(crate) fn blessing() -> bool {
    std::env::var_os("LOYAL_BLESS").is_some_and(|value| value == "1")
}

/// A signature with some bits flipped.
pub(crate) fn flipped(signature: Signature) -> Signature {
    let mut bytes = signature.0;
    bytes[0] ^= 1;
    Signature(bytes)
}
