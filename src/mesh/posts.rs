//! Matches what was posted with what the nodes delivered.

use std::collections::BTreeMap;

use super::{HeldMessage, NodeView, Sent};
use crate::crypto::Digest;
use crate::report::{Arrival, BatchRecord, Post};
use crate::wire::MessageId;

/// Author, slot and id of a batch, and whether everything in it was published.
type BatchKey = (Option<u32>, u64, Digest, bool);

/// The messages that a node holds, by author, slot and id of the batch.
type Groups<'a> = BTreeMap<(&'a str, u64, Digest), Vec<(MessageId, &'a HeldMessage)>>;

/// Node numbers by key.
pub(super) struct Names<'a>(BTreeMap<&'a str, u32>);

impl<'a> Names<'a> {
    pub(super) fn of(nodes: &'a [NodeView]) -> Self {
        Self((0u32..).zip(nodes).map(|(number, seen)| (&*seen.key, number)).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<u32> {
        self.0.get(key).copied()
    }
}

/// What was posted, to be matched with what was delivered.
pub(super) struct Posts<'a> {
    sent: &'a [Sent],
    pub posts: Vec<Post>,
    pub batches: Vec<BatchRecord>,
    by_id: BTreeMap<MessageId, u32>,
    unanswered: BTreeMap<(&'a str, Digest), u32>,
    by_key: BTreeMap<BatchKey, u32>,
}

impl<'a> Posts<'a> {
    pub(super) fn of(sent: &'a [Sent], names: &Names<'_>, zero: u64) -> Self {
        let mut all = Self {
            sent,
            posts: vec![],
            batches: vec![],
            by_id: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            by_key: BTreeMap::new(),
        };
        for (number, one) in (0u32..).zip(sent) {
            let author = names.get(&one.author);
            let id = one.id.as_ref().ok().and_then(|id| id.parse::<MessageId>().ok());
            let taken = id.map(|id| {
                all.by_id.insert(id, number);
                let batch = all.batch((author, one.seq, id.batch, true));
                all.add(batch, number);
                (batch, id.index)
            });
            if taken.is_none() {
                all.unanswered.insert((&one.author, one.payload), number);
            }
            all.posts.push(Post {
                author: author.unwrap_or(u32::MAX),
                at: one.at.saturating_sub(zero),
                size: u32::try_from(one.size).unwrap_or(u32::MAX),
                taken,
                excused: one.excused,
            });
        }
        all
    }

    fn batch(&mut self, key: BatchKey) -> u32 {
        let next = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        let number = *self.by_key.entry(key).or_insert(next);
        if number == next {
            let (author, seq, id, _) = key;
            self.batches.push(BatchRecord { id, author, seq, posts: vec![] });
        }
        number
    }

    fn add(&mut self, batch: u32, post: u32) {
        if let Some(batch) = self.batches.get_mut(batch as usize)
            && !batch.posts.contains(&post)
        {
            batch.posts.push(post);
        }
    }

    /// Finds the post that was delivered: same id, author, slot and (if still kept) payload.
    fn find(&self, id: MessageId, held: &HeldMessage) -> Option<u32> {
        if let Some(number) = self.by_id.get(&id) {
            let sent = self.sent.get(*number as usize)?;
            let same = held.payload.is_none_or(|payload| payload == sent.payload);
            return (same && sent.author == held.author && sent.seq == held.seq).then_some(*number);
        }
        self.unanswered.get(&(&*held.author, held.payload?)).copied()
    }

    /// Adds the batches that a node delivered. A batch with any message that was not published is
    /// recorded as a different batch. A published batch counts only if all acknowledged messages
    /// are there.
    pub(super) fn arrive(
        &mut self,
        node: u32,
        seen: &NodeView,
        names: &Names<'_>,
        zero: u64,
        arrivals: &mut Vec<Arrival>,
    ) {
        let mut groups: Groups<'_> = BTreeMap::new();
        for held in &seen.held {
            if let Ok(id) = held.id.parse::<MessageId>() {
                let group = groups.entry((&held.author, held.seq, id.batch)).or_default();
                group.push((id, held));
            }
        }
        for ((author, seq, id), group) in groups {
            let found: Vec<Option<u32>> =
                group.iter().map(|(id, held)| self.find(*id, held)).collect();
            let genuine = found.iter().all(Option::is_some);
            let batch = self.batch((names.get(author), seq, id, genuine));
            let mut ids: Vec<MessageId> = group.iter().map(|(id, _)| *id).collect();
            ids.sort_unstable();
            // A message that occurs in two rows was delivered twice.
            let times = ids.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(1);
            ids.dedup();
            let posted = self.batches.get(batch as usize).map_or(0, |batch| {
                let posts = batch.posts.iter().filter_map(|post| self.posts.get(*post as usize));
                posts.filter(|post| post.taken.is_some()).count()
            });
            if genuine && ids.len() < posted {
                continue;
            }
            if genuine {
                found.iter().flatten().for_each(|post| self.add(batch, *post));
            }
            let Some((_, first)) = group.iter().min_by_key(|(_, held)| held.delivered_at) else {
                continue;
            };
            let arrival = Arrival {
                node,
                batch,
                at: first.delivered_at.saturating_sub(zero),
                hops: u8::try_from(first.hops).unwrap_or(u8::MAX),
                from: first.from.as_deref().and_then(|key| names.get(key)),
            };
            arrivals.extend(std::iter::repeat_n(arrival, times));
        }
    }
}
