//! Nodes that come back: each is level with the others soon, once more than `f` honest members can
//! vouch for what it missed. L7.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, Facts};
use super::keys::Keys;
use super::set::NodeSet;
use super::slots::{Holds, Slots};
use crate::protocol::Time;

/// A node is level within a fifth of the time that it was away, and this.
const CONSTANT: Duration = Duration::from_secs(5);
const SHARE: u32 = 5;

#[derive(Debug)]
struct Return {
    node: usize,
    /// When its time began: it came back, and enough others were level.
    from: Time,
    /// When it came back.
    back: Time,
    /// Slots that were delivered elsewhere after this are not asked about: they were before.
    after: Time,
    /// Nor are those after this.
    until: Time,
    bound: Duration,
    away: Duration,
    /// Whether it was looked at once.
    news: bool,
}

/// Who came back, and is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Level {
    slack: Duration,
    /// So many honest members must be level to vouch for what another missed, and hold it still, or
    /// it comes at the pace of its author's quota; 0 where that is not looked at.
    vouching: usize,
    died: BTreeMap<usize, Time>,
    returns: Vec<Return>,
}

impl Level {
    /// Bounds hold while so many honest members beside the one that came back are level.
    pub fn vouched_by(vouching: usize) -> Self {
        Self { vouching, ..Self::default() }
    }

    /// In networks that are slow it may take so much longer.
    pub fn allow(&mut self, slack: Duration) {
        self.slack = slack;
    }

    /// A node died.
    pub fn died(&mut self, now: Time, node: usize) {
        self.died.insert(node, now);
        self.returns.retain(|one| one.node != node);
    }

    /// It runs again.
    pub fn restarted(&mut self, now: Time, node: usize) {
        if let Some(died) = self.died.remove(&node) {
            self.back(now, node, now.since(died));
        }
    }

    /// A node can be reached again, after so long.
    pub fn back(&mut self, now: Time, node: usize, away: Duration) {
        let bound = away / SHARE + CONSTANT + self.slack;
        self.returns.retain(|one| one.node != node);
        let (after, until) = (Time::default(), now);
        let one = Return { node, from: now, back: now, after, until, bound, away, news: false };
        self.returns.push(one);
    }

    /// A fault strikes: nobody is in time for anything.
    pub fn unsettled(&mut self) {
        self.returns.clear();
    }

    /// Looks at those whose time has come: at what they missed, and once more at what was news
    /// while they caught up.
    pub fn checkpoint(
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
            // Where all but a few have pruned a slot, it comes once one of those few is met.
            let of = (keys, holds, self.vouching);
            let lacks = slots.lacks(one.node, (one.after, one.until), up, of);
            if let Some((author, seq, others)) = lacks {
                let (away, bound) = (one.away.as_millis(), one.bound.as_millis());
                facts.broken("L7", now, Some(one.node), || {
                    let when = if one.news { "while it caught up" } else { "while it was away" };
                    format!(
                        "lacks slot {seq} of node {author} and {others} others that were delivered \
                         {when}, {bound} ms later; it was away for {away} ms"
                    )
                });
            } else if !one.news {
                let (after, until) = (one.until, one.from.after(one.bound));
                self.returns.push(Return { from: until, after, until, news: true, ..one });
            }
        }
    }
}
