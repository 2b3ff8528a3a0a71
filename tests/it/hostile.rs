//! A running node against a raw TLS client: the node refuses, bans, logs the rejection, and works
//! on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loyal::crypto::{Digest, Identity};
use loyal::net::{self, Handle, Running, Settings};
use loyal::protocol::{Blame, Config, Network, Reason};
use loyal::store::{self, MessageQuery, RejectionQuery};
use loyal::wire::{
    Batch, Class, Compare, Credit, Differ, Frame, Grant, Request, Want, limits::MAX_FRAME,
};
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use crate::support::{batch, chain, entry, hello, identity, list, member, push};
use crate::tls::{PATIENCE, Raw, config};
use crate::vectors;

/// Members of the network: the node is member 1, and the client speaks for the others.
const MEMBERS: u8 = 40;

/// A running node, and everything that a test needs with it.
pub(crate) struct Rig {
    running: Running,
    pub handle: Handle,
    pub network: Arc<Network>,
    at: SocketAddr,
    pub dir: tempfile::TempDir,
    next: u8,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = free.local_addr().expect("bound");
        drop(free);
        // No process listens at port 1: the node's own dials fail, so the client's links are the
        // only ones.
        let nowhere = ([127, 0, 0, 1], 1).into();
        let member = |i: u8| member(i, if i == 1 { at } else { nowhere });
        let keys = (1..=MEMBERS).map(member).collect();
        let network = Arc::new(Network::new([5; 32], keys).expect("sound"));
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            identity: identity(1),
            network: network.clone(),
            gossip: at,
            data: dir.path().to_owned(),
            config: Config::default(),
            store: store::Options::default(),
            lab: false,
            malicious: None,
        };
        let running = net::start(settings).await.expect("it starts");
        let handle = running.handle();
        Self { running, handle, network, at, dir, next: 2 }
    }

    /// Returns a member that has not been used yet.
    fn member(&mut self) -> Identity {
        self.next += 1;
        assert!(self.next <= MEMBERS);
        identity(self.next)
    }

    async fn dial(&self, member: &Identity) -> Raw {
        Raw::dial(self.at, config(member, b"loyal/6")).await.expect("a member gets in")
    }

    /// Opens a link on which both sides have said hello.
    async fn link(&self, member: &Identity) -> Raw {
        let mut raw = self.dial(member).await;
        let hello = hello(&self.network, self.next);
        raw.say(&hello.encode()).await;
        assert!(matches!(raw.hear().await, Some(Frame::Hello(_))), "the node says hello");
        raw
    }

    /// Waits for a row in the rejection log with this member and reason.
    async fn expect_row(&self, member: &Identity, reason: Reason) {
        let query = || RejectionQuery {
            reason: Some(reason),
            peer: Some(member.public()),
            limit: 10,
            ..RejectionQuery::default()
        };
        let found = async {
            let reader = self.handle.reader();
            while reader.rejections(&query()).expect("readable").rows.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = timeout(PATIENCE, found).await;
        assert!(waited.is_ok(), "no row says {}", reason.name());
    }

    async fn banned(&self, member: &Identity) -> bool {
        let snapshot = self.handle.snapshot().await.expect("it runs");
        let peer = snapshot.peers.iter().find(|peer| peer.peer == member.public());
        peer.expect("a member").ban.is_some_and(|ban| ban.until > snapshot.now)
    }

    /// Sends a frame on a new link of a new member. The node must refuse it for `reason`, ban the
    /// member and close the link.
    pub(crate) async fn expect_refused(&mut self, frame: &[u8], reason: Reason) {
        let member = self.member();
        let mut raw = self.link(&member).await;
        raw.say(frame).await;
        raw.end().await;
        self.expect_row(&member, reason).await;
        assert_eq!(reason.blame(), Blame::Link);
        assert!(self.banned(&member).await, "{}", reason.name());
    }

    /// Waits until a batch is delivered.
    async fn expect_message(&self, batch: Digest) {
        let delivered = async {
            let id = loyal::wire::MessageId { batch, index: 0 };
            while self.handle.reader().message(id).expect("readable").is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, delivered).await.is_ok(), "the node takes nothing any more");
    }

    /// Asserts that an honest member's batch is still delivered.
    async fn expect_alive(&mut self) {
        let member = self.member();
        let mut raw = self.link(&member).await;
        let batch = batch(&member, self.network.id(), 1, Digest::ZERO, "still there?");
        raw.say(&push(batch.clone()).encode()).await;
        self.expect_message(batch.id()).await;
        assert!(!self.banned(&member).await);
        let posted = self.handle.publish(entry("t", b"own")).await;
        assert!(posted.is_ok(), "{posted:?}");
    }

    pub(crate) async fn stop(self) {
        let stopped = timeout(PATIENCE, self.running.stop()).await;
        assert!(stopped.is_ok(), "it stops in time");
    }
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn bad_frames_are_refused_banned_and_logged() {
    run(async {
        let mut rig = Rig::start().await;
        let mut tried = Vec::new();
        for vector in vectors::read("bad_frames.json") {
            let reason = Reason::from_name(vectors::text(&vector, "reason")).expect("a reason");
            let bytes = vectors::bytes(&vector, "hex");
            // Two of each reason are enough. Vectors that are too short for a length prefix are
            // left out.
            let enough = tried.iter().filter(|other| **other == reason).count() >= 2;
            if bytes.len() >= 2 && !enough {
                tried.push(reason);
                rig.expect_refused(&bytes, reason).await;
            }
        }
        assert_eq!(tried.len(), 8);
        rig.expect_alive().await;
        rig.stop().await;
    });
}

#[test]
fn impossible_lengths_are_refused_unread() {
    run(async {
        let mut rig = Rig::start().await;
        for length in [MAX_FRAME as u32 + 1, u32::MAX, 1 << 31] {
            let member = rig.member();
            let mut raw = rig.link(&member).await;
            raw.write(&length.to_be_bytes()).await;
            raw.end().await;
            rig.expect_row(&member, Reason::Oversize).await;
            assert!(rig.banned(&member).await);
        }
        rig.expect_alive().await;
        rig.stop().await;
    });
}

#[test]
fn forged_statements_are_refused_banned_and_logged() {
    run(async {
        let mut rig = Rig::start().await;
        let id = rig.network.id();
        let victim = identity(2);
        let good = batch(&victim, id, 1, Digest::ZERO, "genuine");
        let mut forged = good.clone();
        forged.signature = identity(9).sign(&forged.header.statement());
        let mut tampered = good.clone();
        tampered.header.content.0[0] ^= 1;
        let foreign = batch(&victim, Digest([1; 32]), 1, Digest::ZERO, "genuine");
        let strange = batch(&identity(99), id, 1, Digest::ZERO, "genuine");
        for (bad, reason) in [
            (forged, Reason::BadSignature),
            (tampered, Reason::ContentMismatch),
            (foreign, Reason::WrongNetwork),
            (strange, Reason::UnknownAuthor),
        ] {
            rig.expect_refused(&push(bad).encode(), reason).await;
        }
        // The genuine batch comes last, and is accepted.
        let member = rig.member();
        let mut raw = rig.link(&member).await;
        raw.say(&push(good.clone()).encode()).await;
        rig.expect_messages(&good).await;
        rig.expect_alive().await;
        rig.stop().await;
    });
}

impl Rig {
    async fn expect_messages(&self, batch: &Batch) {
        let query = || MessageQuery {
            topic: None,
            author: Some(batch.header.author),
            after: None,
            limit: 10,
        };
        let found = async {
            while self.handle.reader().messages(&query()).expect("readable").rows.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, found).await.is_ok(), "the genuine one is not taken");
    }
}

#[test]
fn overrunning_credit_is_refused_and_using_it_up_is_not() {
    run(async {
        let mut rig = Rig::start().await;
        // An honest sender fills the window exactly.
        let honest = rig.member();
        let mut raw = rig.link(&honest).await;
        for batch in chain(&honest, rig.network.id(), 32) {
            raw.say(&push(batch).encode()).await;
        }
        // A grant for more than was sent.
        let grant = Grant { class: Class::Push as u8, frames: 1 << 40, bytes: 1 << 40 };
        let credit = Frame::Credit(Credit { grants: list(vec![grant]) });
        rig.expect_refused(&credit.encode(), Reason::CreditOverrun).await;
        // One batch again and again, faster than credit for copies comes back.
        let liar = rig.member();
        let mut flood = rig.link(&liar).await;
        let copy = push(batch(&liar, rig.network.id(), 1, Digest::ZERO, "again")).encode();
        let copy = [&(copy.len() as u32).to_be_bytes()[..], &copy].concat();
        flood.write(&copy.repeat(20_000)).await;
        flood.end().await;
        rig.expect_row(&liar, Reason::CreditOverrun).await;
        assert!(rig.banned(&liar).await);
        assert!(!rig.banned(&honest).await, "a full window is no fault");
        rig.expect_alive().await;
        rig.stop().await;
    });
}

#[test]
fn hello_comes_first_and_once() {
    run(async {
        let mut rig = Rig::start().await;
        let second = hello(&rig.network, 1).encode();
        rig.expect_refused(&second, Reason::Malformed).await;
        let early = rig.member();
        let mut raw = rig.dial(&early).await;
        raw.say(&Frame::Ping.encode()).await;
        raw.end().await;
        rig.expect_row(&early, Reason::Malformed).await;
        assert!(rig.banned(&early).await);
        rig.expect_alive().await;
        rig.stop().await;
    });
}

/// A hello with another network or version is an operator's mistake, not an attack.
#[test]
fn a_mismatched_hello_closes_the_link_without_blame() {
    run(async {
        let mut rig = Rig::start().await;
        let Frame::Hello(good) = hello(&rig.network, 1) else { panic!("a hello") };
        let mut elsewhere = good.clone();
        elsewhere.network = Digest([1; 32]);
        let mut later = good;
        later.version += 1;
        for hello in [elsewhere, later] {
            let member = rig.member();
            let mut raw = rig.dial(&member).await;
            raw.say(&Frame::Hello(hello).encode()).await;
            raw.end().await;
            assert!(!rig.banned(&member).await);
        }
        rig.expect_alive().await;
        rig.stop().await;
    });
}

/// A stream that breaks off counts as a loss, which may happen to any honest peer.
#[test]
fn half_a_frame_is_no_blame() {
    run(async {
        let mut rig = Rig::start().await;
        let member = rig.member();
        for cut in [1, 3, 5, 40] {
            let mut raw = rig.link(&member).await;
            let batch = batch(&member, rig.network.id(), 1, Digest::ZERO, "half");
            let frame = push(batch).encode();
            let whole = [&(frame.len() as u32).to_be_bytes()[..], &frame].concat();
            raw.write(&whole[..cut]).await;
            drop(raw);
        }
        rig.expect_alive().await;
        assert!(!rig.banned(&member).await);
        rig.stop().await;
    });
}

#[test]
fn strangers_and_other_protocols_do_not_get_in() {
    run(async {
        let mut rig = Rig::start().await;
        let member = rig.member();
        for config in [config(&identity(99), b"loyal/6"), config(&identity(1), b"loyal/5")] {
            // The client's handshake ends before the node has judged the client's key; only a read
            // shows the result.
            if let Ok(mut raw) = Raw::dial(rig.at, config).await {
                raw.say(&hello(&rig.network, 1).encode()).await;
                assert_eq!(raw.hear().await, None);
            }
        }
        if let Ok(mut raw) = Raw::dial(rig.at, config(&member, b"http/1.1")).await {
            assert_eq!(raw.hear().await, None);
        }
        rig.expect_alive().await;
        rig.stop().await;
    });
}

/// Connections that never finish their handshake are few at any time, and are closed.
#[test]
fn half_open_handshakes_do_not_keep_members_out() {
    run(async {
        let mut rig = Rig::start().await;
        let mut open = Vec::new();
        for i in 0..200u32 {
            if let Ok(mut stream) = tokio::net::TcpStream::connect(rig.at).await {
                let hello = [0x16, 3, 1, 2, 0, 1];
                let some = &hello[..i as usize % 7];
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, some).await;
                open.push(stream);
            }
        }
        // Each of them is closed sooner or later.
        for mut stream in open {
            let mut rest = Vec::new();
            let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "a half-open handshake is held forever");
        }
        rig.expect_alive().await;
        rig.stop().await;
    });
}

/// A peer sends one byte in each TLS record: each record costs a decryption, and could carry far
/// more. The node reads from it slowly but does not blame it, because a network may split data like
/// this. Other links must not notice.
#[test]
fn a_byte_a_record_is_read_slowly_and_others_are_served_in_time() {
    run(async {
        let mut rig = Rig::start().await;
        let id = rig.network.id();
        let mut slow = Vec::new();
        for _ in 0..4 {
            let member = rig.member();
            let raw = rig.link(&member).await;
            let long = batch(&member, id, 1, Digest::ZERO, &"x".repeat(9000));
            slow.push((member, raw, long));
        }
        let begun = Instant::now();
        let mut floods = Vec::new();
        let mut sent = Vec::new();
        for (member, mut raw, long) in slow {
            sent.push((member, long.clone()));
            floods.push(tokio::spawn(async move {
                let frame = push(long).encode();
                for byte in [&(frame.len() as u32).to_be_bytes()[..], &frame].concat() {
                    raw.write(&[byte]).await;
                }
                raw
            }));
        }
        let member = rig.member();
        let mut honest = rig.link(&member).await;
        let mut worst = Duration::ZERO;
        for batch in chain(&member, id, 15) {
            let told = Instant::now();
            honest.say(&push(batch.clone()).encode()).await;
            rig.expect_message(batch.id()).await;
            worst = worst.max(told.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        assert!(worst < Duration::from_secs(2), "another waits {worst:?}");
        for (member, long) in &sent {
            rig.expect_message(long.id()).await;
            let took = begun.elapsed();
            assert!(took > Duration::from_secs(3), "9000 records are read in {took:?}");
            assert!(!rig.banned(member).await, "a network may do that");
        }
        for flood in floods {
            drop(flood.await.expect("it is read in the end"));
        }
        rig.stop().await;
    });
}

fn agree(asked: &Compare) -> Vec<u8> {
    let (ticket, ranges, tips, above) = (asked.ticket, list(vec![]), list(vec![]), list(vec![]));
    Frame::Differ(Differ { ticket, ranges, tips, above }).encode()
}

/// Asks for an author's first batch twenty times. Returns the median wait in milliseconds.
async fn probe(rig: &Rig, asker: &Identity, author: &Identity) -> u128 {
    let mut raw = rig.link(asker).await;
    let mut waits = vec![];
    for ticket in 1..=20 {
        let want = Want { ticket, author: author.public(), seq: 1, id: None };
        let begun = std::time::Instant::now();
        raw.say(&Frame::Request(Request { wants: list(vec![want]) }).encode()).await;
        loop {
            match raw.hear().await.expect("the link lasts") {
                Frame::Reply(_) => break,
                Frame::Compare(asked) => raw.say(&agree(&asked)).await,
                Frame::Missing(missing) => panic!("{missing:?}"),
                _ => {}
            }
        }
        waits.push(begun.elapsed().as_millis());
        sleep(Duration::from_millis(30)).await;
    }
    waits.sort_unstable();
    waits[waits.len() / 2]
}

/// A liar asks for twelve batches of a megabyte without end, as fast as its credit allows: no want
/// is refused, and a short batch on another link must come at once.
#[test]
fn wants_without_end_wait_and_hold_up_nobody() {
    run(async {
        let mut rig = Rig::start().await;
        let (liar, honest, asker) = (rig.member(), rig.member(), rig.member());
        let mut raw = rig.link(&honest).await;
        let small = batch(&honest, rig.network.id(), 1, Digest::ZERO, "small");
        raw.say(&push(small).encode()).await;
        let mut flood = rig.link(&liar).await;
        let mut prev = Digest::ZERO;
        for seq in 1..=12u64 {
            let long = [entry("", &vec![seq as u8; 1 << 20])];
            let batch = Batch::sign(&liar, rig.network.id(), seq, prev, 1, &long).expect("fits");
            prev = batch.id();
            flood.say(&push(batch).encode()).await;
            sleep(Duration::from_millis(100)).await;
        }
        sleep(Duration::from_secs(1)).await;
        let (author, wants) = (liar.public(), 12);
        let attack = tokio::spawn(async move {
            let (mut sent, mut consumed, mut replies, mut ticket) = (0u64, 0u64, 0u64, 0u32);
            loop {
                while sent - consumed < 4 {
                    let want = |seq| Want { ticket: ticket + seq as u32, author, seq, id: None };
                    let wants = list((1..=wants).map(want).collect());
                    flood.say(&Frame::Request(Request { wants }).encode()).await;
                    (sent, ticket) = (sent + 1, ticket + 20);
                }
                match flood.hear().await.expect("the link lasts") {
                    Frame::Reply(_) => replies += 1,
                    Frame::Missing(missing) => panic!("after {replies}: {missing:?}"),
                    Frame::Compare(asked) => flood.say(&agree(&asked)).await,
                    Frame::Credit(credit) => {
                        let requests = |g: &&Grant| g.class == Class::Request as u8;
                        let grant = credit.grants.iter().find(requests);
                        consumed = grant.map_or(consumed, |grant| grant.frames);
                    }
                    _ => {}
                }
            }
        });
        let median = probe(&rig, &asker, &honest).await;
        assert!(!attack.is_finished(), "{:?}", attack.await);
        attack.abort();
        assert!(median < 100, "an honest want waits {median} ms");
        rig.stop().await;
    });
}
