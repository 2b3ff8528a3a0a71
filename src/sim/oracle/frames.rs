//! Frames that honest nodes send: each must decode, keep within its limits, and carry only what
//! verifies. Checks I4.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checks::Checks;
use super::nodes::Keys;
use crate::wire::{Batch, Class, Frame, Kind};

/// Total size of frames cached as good, so that they are not decoded again, in bytes.
const RECOGNISED: usize = 16 << 20;
/// Offset of the batch in a push and in a reply.
const PUSH_BATCH: usize = 3;
const REPLY_BATCH: usize = 7;
/// Range of the signature within a batch.
const SIGNATURE: std::ops::Range<usize> = 152..216;

/// Frames that were judged and found good.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The last frame judged: a push is sent on several links in a row.
    last: Option<Arc<[u8]>>,
    /// Frames with a verified batch by signature, and the offset of the batch.
    batches: BTreeMap<[u8; 64], (Arc<[u8]>, usize)>,
    bytes: usize,
}

impl Frames {
    /// Returns what is wrong with a frame that a node sends, if anything.
    pub(super) fn judge(
        &mut self,
        (kind, class): (Kind, Class),
        frame: &Arc<[u8]>,
        keys: &Keys,
        checks: &Checks,
    ) -> Option<String> {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, frame)) {
            return None;
        }
        if frame.len() > kind.max_len() || class != kind.class() {
            return Some(format!("a {} frame of {} bytes as {class:?}", kind.name(), frame.len()));
        }
        if frame.get(1) != Some(&(kind as u8)) {
            return Some(format!("a frame called {} of another kind", kind.name()));
        }
        let wrong = match kind {
            Kind::Push => self.judge_batch(frame, PUSH_BATCH, keys, checks),
            Kind::Reply => self.judge_batch(frame, REPLY_BATCH, keys, checks),
            _ => judge_rest(frame, keys, checks),
        };
        if wrong.is_none() {
            self.last = Some(frame.clone());
        }
        wrong
    }

    fn judge_batch(
        &mut self,
        frame: &Arc<[u8]>,
        at: usize,
        keys: &Keys,
        checks: &Checks,
    ) -> Option<String> {
        let signature: Option<[u8; 64]> = frame
            .get(at + SIGNATURE.start..at + SIGNATURE.end)
            .and_then(|bytes| bytes.try_into().ok());
        let known = signature.as_ref().and_then(|signature| self.batches.get(signature));
        let same = |(other, begin): &(Arc<[u8]>, usize)| {
            other[0] == frame[0] && other[*begin..] == frame[at..]
        };
        if known.is_some_and(same) {
            return None;
        }
        let wrong = match Frame::decode(frame) {
            Err(error) => Some(error.to_string()),
            Ok(Frame::Push(push)) => judge(&push.batch, keys, checks),
            Ok(Frame::Reply(reply)) => judge(&reply.batch, keys, checks),
            Ok(_) => Some("a frame without a batch".to_owned()),
        };
        if let (None, Some(signature)) = (&wrong, signature) {
            self.bytes += frame.len();
            if self.bytes > RECOGNISED {
                self.batches.clear();
                self.bytes = frame.len();
            }
            self.batches.insert(signature, (frame.clone(), at));
        }
        wrong
    }
}

fn judge(batch: &Batch, keys: &Keys, checks: &Checks) -> Option<String> {
    let header = &batch.header;
    let Some(author) = keys.number(&header.author) else {
        return Some(format!("a batch of {}, which is not in the network file", header.author));
    };
    if header.network != keys.network {
        return Some("a batch for another network".to_owned());
    }
    if !batch.content_matches() {
        return Some(format!(
            "a batch of {} with a body that its header does not name",
            header.author
        ));
    }
    let good = checks.is_good(author, header.seq, header.rest(), &batch.signature);
    let what = || format!("slot {} of {} with an invalid signature", header.seq, header.author);
    (!good).then(what)
}

fn judge_rest(frame: &[u8], keys: &Keys, checks: &Checks) -> Option<String> {
    let differ = match Frame::decode(frame) {
        Ok(Frame::Differ(differ)) => differ,
        Ok(_) => return None,
        Err(error) => return Some(error.to_string()),
    };
    let bad = differ.tips.iter().map(|tip| tip.slot).find(|tip| {
        let author = keys.number(&tip.author);
        !author.is_some_and(|a| checks.is_good(a, tip.seq, tip.rest, &tip.signature))
    });
    bad.map(|tip| format!("tip {} of {} with an invalid signature", tip.seq, tip.author))
}
