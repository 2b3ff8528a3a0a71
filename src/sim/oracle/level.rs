//! Nodes that come back: each must catch up soon, once more than `f` honest members can vouch for
//! what it missed. Checks L7.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, Facts};
use super::nodes::{Keys, NodeSet};
use super::slots::{Holds, Slots};
use crate::protocol::Time;

/// A node must be level within a fifth of the time that it was away, plus this.
const CONSTANT: Duration = Duration::from_secs(5);
const SHARE: u32 = 5;

#[derive(Debug)]
struct Return {
    node: usize,
    /// Start of the bound: the time when it was back and enough other nodes were level.
    from: Time,
    /// When it came back.
    back: Time,
    /// Slots first delivered elsewhere before this are not checked: an earlier check covered them.
    after: Time,
    /// Slots first delivered elsewhere after this are not checked either.
    until: Time,
    bound: Duration,
    away: Duration,
    /// Whether this is the second check, for slots delivered while the node caught up.
    news: bool,
}

/// The nodes that came back and are yet to be checked.
#[derive(Debug, Default)]
pub(super) struct Level {
    slack: Duration,
    /// Number of honest members that must be level and still hold a slot that a node missed. With
    /// fewer, the slot may arrive at the pace of its author's quota only. 0 in networks that are
    /// too large to check this.
    vouching: usize,
    died: BTreeMap<usize, Time>,
    returns: Vec<Return>,
}

impl Level {
    /// Bounds apply while this many honest members, besides the node that came back, are level.
    pub(super) fn vouched_by(vouching: usize) -> Self {
        Self { vouching, ..Self::default() }
    }

    /// Sets the extra time that is allowed in slow networks.
    pub(super) fn allow(&mut self, slack: Duration) {
        self.slack = slack;
    }

    pub(super) fn died(&mut self, now: Time, node: usize) {
        self.died.insert(node, now);
        self.returns.retain(|one| one.node != node);
    }

    /// A node runs again after it died.
    pub(super) fn restarted(&mut self, now: Time, node: usize) {
        if let Some(died) = self.died.remove(&node) {
            self.back(now, node, now.since(died));
        }
    }

    /// A node can be reached again after the time `away`.
    pub(super) fn back(&mut self, now: Time, node: usize, away: Duration) {
        let bound = away / SHARE + CONSTANT + self.slack;
        self.returns.retain(|one| one.node != node);
        let (after, until) = (Time::default(), now);
        let one = Return { node, from: now, back: now, after, until, bound, away, news: false };
        self.returns.push(one);
    }

    /// A fault begins or ends: all pending checks are dropped.
    pub(super) fn unsettled(&mut self) {
        self.returns.clear();
    }

    /// Checks the nodes whose bound has passed: first for slots that they missed, then once more
    /// for slots delivered while they caught up.
    pub(super) fn checkpoint(
        &mut self,
        now: Time,
        up: &NodeSet,
        (slots, keys, holds): (&Slots, &Keys, Holds<'_>),
        facts: &mut Facts,
    ) {
        let is_level = |node: usize, of: Time| {
            slots.lacks(node, (Time::default(), of), up, (keys, holds, 1)).is_none()
        };
        for one in &mut self.returns {
            let nobody = NodeSet::default();
            let others = up.without(&nobody).filter(|node| *node != one.node);
            let level = others.filter(|node| is_level(*node, one.back)).take(self.vouching);
            if level.count() < self.vouching {
                one.from = now;
                facts.count(Fact::CheckpointsUnvouched);
            }
        }
        let due = |one: &mut Return| one.from.after(one.bound) <= now;
        let due: Vec<Return> = self.returns.extract_if(.., due).collect();
        for one in due.into_iter().filter(|one| up.contains(one.node)) {
            // A slot that all but a few nodes have pruned arrives only once one of those few is a
            // peer.
            let of = (keys, holds, self.vouching);
            let lacks = slots.lacks(one.node, (one.after, one.until), up, of);
            if let Some((author, seq, others)) = lacks {
                let (away, bound) = (one.away.as_millis(), one.bound.as_millis());
                facts.broken("L7", now, Some(one.node), || {
                    let when = if one.news { "while it caught up" } else { "while it was away" };
                    format!(
                        "after {bound} ms still lacks slot {seq} of node {author} and {others} \
                         other slots delivered {when}; it was away for {away} ms"
                    )
                });
            } else if !one.news {
                let (after, until) = (one.until, one.from.after(one.bound));
                self.returns.push(Return { from: until, after, until, news: true, ..one });
            }
        }
    }
}
