//! With which bytes? What a rejection keeps of the frame that was refused.

use std::sync::Arc;
use std::time::Duration;

use loyal::crypto::Digest;
use loyal::protocol::{Reason, Rejection};
use loyal::wire::{Batch, limits::MAX_FRAME};

use crate::support::{entry, flipped, identity, push};
use crate::world::{Rules, World};

const RAW: usize = 3;

/// What node 0 writes down of what member 3 sends it after the hello.
fn refused(say: impl FnOnce(&mut World, loyal::protocol::LinkId)) -> Vec<Rejection> {
    let mut world = World::new(4, 1, Rules::default());
    world.start(0);
    world.start_raw(RAW);
    let link = world.join(RAW, 0);
    say(&mut world, link);
    world.run(Duration::from_millis(1500));
    world.rejections(0).to_vec()
}

/// A batch of member 1 with so long a payload, whose signature is not its own.
fn forged(world: &World, length: usize) -> Batch {
    let entries = [entry("t", &vec![7; length])];
    let network = world.network.id();
    let signed = Batch::sign(&identity(2), network, 1, Digest::ZERO, 1, &entries).expect("fits");
    Batch { signature: flipped(signed.signature), ..signed }
}

#[test]
fn a_rejection_keeps_the_frame_and_of_a_long_one_the_beginning() {
    for (length, kept) in [(0, None), (3000, None), (100_000, Some(Rejection::MOST_BYTES))] {
        let mut sent = vec![];
        let rows = refused(|world, link| {
            sent = push(forged(world, length)).encode();
            world.say(link, &sent);
        });
        let row = &rows[0];
        assert_eq!((row.reason, row.size), (Reason::BadSignature, sent.len() as u64));
        assert_eq!(row.frame, Digest::of(&[&sent]), "the hash is of all of it");
        let bytes = row.bytes.as_deref().expect("a frame");
        assert_eq!(bytes, &sent[..kept.unwrap_or(sent.len())]);
    }
}

#[test]
fn where_no_frame_came_none_is_kept() {
    let rows = refused(|world, link| world.raw(link, &(MAX_FRAME as u32 + 1).to_be_bytes()));
    assert_eq!((rows[0].reason, &rows[0].bytes), (Reason::Oversize, &None::<Arc<[u8]>>));
    let knocks = refused(|world, link| {
        world.say(link, &[9, 9, 9]);
        world.run(Duration::from_millis(50));
        world.join(RAW, 0);
    });
    let knock = knocks.iter().find(|row| row.reason == Reason::Banned).expect("it is banned");
    assert_eq!(knock.bytes, None);
    assert!(knocks.iter().any(|row| row.bytes.as_deref() == Some(&[9, 9, 9])));
}
