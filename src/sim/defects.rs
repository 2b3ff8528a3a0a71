//! Defects that tests put into a run, to see that the oracle notices them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::Validity;
use crate::protocol::{CloseWhy, Output, StoredBatch, Time, Verified};
use crate::wire::{Batch, Blob, Kind};

/// Maps an output to what the oracle hears instead; the world still carries out the output itself.
pub(super) type Bend = Box<dyn FnMut(Time, usize, &Output) -> Vec<Output>>;

/// What is wrong with a run.
#[derive(Default)]
pub(super) struct Defects {
    pub bend: Option<Bend>,
    /// A verdict that nodes receive instead of the true one.
    pub verdict: Option<Validity>,
    /// Pairs of nodes, the lower number first, that cannot be linked.
    pub apart: BTreeSet<(usize, usize)>,
    /// Nodes that receive only hellos, credit and pings.
    pub deaf: BTreeSet<usize>,
    /// No link is closed because of an exchange.
    pub sticky: bool,
    /// The last bit of what is read from a disk is flipped, and nobody checks it.
    pub rotten: bool,
}

impl Defects {
    /// What the oracle hears in place of an output.
    pub(super) fn heard(&mut self, now: Time, node: usize, output: &Output) -> Vec<Output> {
        match &mut self.bend {
            Some(bend) => bend(now, node, output),
            None => vec![output.clone()],
        }
    }

    pub(super) fn apart(&self, a: usize, b: usize) -> bool {
        self.apart.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn hides(&self, node: usize, frame: &[u8]) -> bool {
        let passes = [Kind::Hello, Kind::Credit, Kind::Ping].map(|kind| kind as u8);
        self.deaf.contains(&node) && !passes.contains(&frame[1])
    }

    pub(super) fn ignores(&self, output: &Output) -> bool {
        self.sticky && matches!(output, Output::Close { why: CloseWhy::Rotated, .. })
    }

    pub(super) fn read(&self, mut stored: StoredBatch) -> StoredBatch {
        if self.rotten {
            let mut batch: Batch = (**stored.batch).clone();
            let mut body = batch.body.to_vec();
            *body.last_mut().expect("some") ^= 1;
            batch.body = Blob::new(body).expect("as long");
            stored.batch = Arc::new(Verified::trusted(batch));
        }
        stored
    }
}
