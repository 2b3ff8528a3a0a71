//! `tamper`: relays with payload, header or signature altered, in turn.

use rand::RngExt as _;

use super::spec::Chance;
use super::stage::{Fate, Sending, Stage};
use crate::wire::{Batch, Blob, Frame, encode_body};

const VARIANTS: [&str; 3] = ["payload", "header", "signature"];

#[derive(Default)]
pub(super) struct Tamper {
    next: usize,
}

impl Tamper {
    pub fn outgoing(&mut self, stage: &mut Stage, mut sending: Sending, chance: Chance) -> Fate {
        let own = stage.identity.public();
        let mut frame = sending.frame.clone();
        let batch = match &mut frame {
            Frame::Push(push) => &mut push.batch,
            Frame::Reply(reply) => &mut reply.batch,
            _ => return Fate::Sent(sending),
        };
        if batch.header.author == own || !stage.takes(chance) {
            return Fate::Sent(sending);
        }
        let detail = self.alter(stage, batch);
        let id = batch.id();
        sending.rewrite(frame);
        stage.record(("tamper", detail), sending.link, Some(&sending.bytes), Some(id), 1);
        Fate::Sent(sending)
    }

    /// Alters a batch without changing its length.
    fn alter(&mut self, stage: &mut Stage, batch: &mut Batch) -> &'static str {
        let variant = self.next;
        self.next = (self.next + 1) % VARIANTS.len();
        match variant {
            0 if alter_payload(stage, batch) => VARIANTS[0],
            2 => {
                let bit = stage.rng.random_range(0..512);
                batch.signature.0[bit / 8] ^= 1 << (bit % 8);
                VARIANTS[2]
            }
            _ => {
                if batch.header.seq > 1 && stage.rng.random() {
                    batch.header.prev.0[stage.rng.random_range(0..32)] ^= 1;
                } else {
                    batch.header.created_at ^= 1 << stage.rng.random_range(0..20);
                }
                VARIANTS[1]
            }
        }
    }
}

/// Flips a bit of some payload; `false` if all are empty.
fn alter_payload(stage: &mut Stage, batch: &mut Batch) -> bool {
    let Ok(mut entries) = batch.entries() else { return false };
    let Some(entry) = entries.iter_mut().find(|entry| !entry.payload.is_empty()) else {
        return false;
    };
    let at = stage.rng.random_range(0..entry.payload.len());
    entry.payload[at] ^= 1 << stage.rng.random_range(0..8);
    let Some(body) = encode_body(&entries).ok().and_then(Blob::new) else { return false };
    batch.body = body;
    true
}
