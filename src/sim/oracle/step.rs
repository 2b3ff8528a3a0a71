//! One step of a node: an input and its outputs. Checks I3, O2, R1 and R2.

use std::collections::BTreeMap;

use super::facts::{Fact, Facts};
use super::links::Links;
use super::nodes::Keys;
use crate::protocol::{Blame, CloseWhy, LinkId, Node, Output, Reason, Record, Rejection, Time};

/// Collections that a rejected frame may grow: counters, bans, the dials that follow a closed link,
/// shares of searches that pass to other peers, unanswered requests, and the hash tree, which is
/// built on demand.
const EXEMPT: [&str; 7] = [
    "standing.",
    "overlay.",
    "links.spent",
    "relay.shares",
    "relay.fullest_share",
    "recovery.unanswered",
    "tree",
];

/// The kind of input that was handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cause {
    /// Not from the network: a timer, a write, a command.
    #[default]
    Other,
    LinkUp(LinkId),
    /// A frame arrived, or a length prefix that no frame may have.
    Frame(LinkId),
    /// A signature check was answered.
    Checked,
}

impl Cause {
    /// Whether a peer caused the input.
    pub(super) fn is_network(self) -> bool {
        matches!(self, Self::Frame(_) | Self::Checked)
    }
}

/// What has followed from the input being handled.
#[derive(Debug, Default)]
pub(super) struct Step {
    cause: Cause,
    /// A rejection that blames its link.
    fatal: Option<Reason>,
    /// A rejection that blames nobody.
    soft: Option<Reason>,
    /// The first action taken that a fatal rejection forbids.
    acted: Option<&'static str>,
    /// Whether a batch was delivered or written, other than the node's own.
    took: bool,
    /// Whether the node signed a batch.
    signed: bool,
    /// Number of entries in each collection by node, in small networks, after the last input
    /// handled; kept only while that input came from the network.
    counted: BTreeMap<usize, Vec<usize>>,
    /// The same for the node that handles the current input, before the input.
    before: Vec<usize>,
}

impl Step {
    /// Call before an input is handed in. With `count`, collections are counted.
    pub(super) fn begin(&mut self, cause: Cause, node: usize, of: &Node, count: bool) {
        let counted = std::mem::take(&mut self.counted);
        *self = Self { cause, counted, ..Self::default() };
        if !count {
            return;
        }
        let mut before = self.counted.remove(&node).unwrap_or_default();
        if !cause.is_network() {
            return;
        }
        if before.is_empty() {
            of.occupy(&mut |_, entries, _| before.push(entries));
        }
        self.before = before;
    }

    pub(super) fn restarted(&mut self, node: usize) {
        self.counted.remove(&node);
    }

    /// The node emitted an output; `own` if it writes a batch that the node signed.
    pub(super) fn output(&mut self, output: &Output, own: bool) {
        let act = match output {
            Output::Write { record: Record::Batch(_), .. } if own => {
                self.signed = true;
                return;
            }
            Output::Write { record: Record::Rejection(row), .. } => return self.rejected(row),
            Output::Close { why: CloseWhy::Blamed(reason), .. } => {
                if self.cause.is_network() {
                    self.fatal = Some(*reason);
                }
                return;
            }
            Output::Write { record: Record::Ban(_) | Record::Holes { .. }, .. }
            | Output::Close { .. }
            | Output::Dial { .. } => return,
            Output::Write { record: Record::Batch(_), .. } => "writes a batch",
            Output::Deliver(_) => "delivers",
            Output::Send { .. } => "sends",
            Output::Check { .. } => "asks for a check",
            Output::Read { .. } | Output::Doubt { .. } => "reads",
            Output::Published { .. } | Output::PublishFailed { .. } | Output::Submitted { .. } => {
                "answers a client"
            }
        };
        self.took |= matches!(output, Output::Write { .. } | Output::Deliver(_));
        self.acted = self.acted.or(Some(act));
    }

    fn rejected(&mut self, row: &Rejection) {
        if !self.cause.is_network() || row.link.is_none() {
            return; // a folded row from the second before, or a client's fault
        }
        match row.reason.blame() {
            Blame::Link => self.fatal = Some(row.reason),
            Blame::Nobody => self.soft = Some(row.reason),
            Blame::Author => {}
        }
    }

    /// Whether closing that link breaks O2: an inbound link made the node close its link to another
    /// peer.
    pub(super) fn displaces(&self, closed: LinkId, links: &Links) -> bool {
        let (Cause::LinkUp(by) | Cause::Frame(by)) = self.cause else { return false };
        match (links.end(by), links.end(closed)) {
            (Some(by), Some(closed)) => !by.dialled && by.peer != closed.peer,
            _ => false,
        }
    }

    /// Call once the input is handled and all outputs are drained.
    pub(super) fn end(&mut self, now: Time, node: usize, of: &Node, facts: &mut Facts) {
        if let (Some(reason), Some(act)) = (self.fatal, self.acted) {
            let name = reason.name();
            let what = || format!("{act} because of a frame that it rejects as {name}");
            facts.broken("I3", now, Some(node), what);
        }
        if let Some(reason) = self.soft.filter(|_| self.took) {
            let what = || format!("takes a batch that it rejects as {}", reason.name());
            facts.broken("I3", now, Some(node), what);
        }
        if self.before.is_empty() {
            self.cause = Cause::Other;
            self.counted.remove(&node); // a client may have changed it too
            return;
        }
        let (mut places, mut worst, mut grown) = (self.before.iter_mut(), None, None);
        of.occupy(&mut |name, entries, limit| {
            if entries > limit {
                worst = Some((name, entries, limit));
            }
            let Some(before) = places.next() else { return };
            if entries > *before && !EXEMPT.iter().any(|exempt| name.starts_with(exempt)) {
                grown = Some(name);
            }
            *before = entries;
        });
        over(now, node, worst, facts);
        if let (Some(reason), Some(name), false) = (self.fatal, grown, self.signed) {
            let reason = reason.name();
            let what = || format!("{name} grew because of a frame rejected as {reason}");
            facts.broken("R2", now, Some(node), what);
        }
        self.cause = Cause::Other;
        self.counted.insert(node, std::mem::take(&mut self.before));
    }
}

/// Checks R1 for one node.
pub(super) fn within_limits(now: Time, node: usize, of: &Node, facts: &mut Facts) {
    let mut worst = None;
    of.occupy(&mut |name, entries, limit| {
        if entries > limit {
            worst = Some((name, entries, limit));
        }
    });
    over(now, node, worst, facts);
}

fn over(now: Time, node: usize, worst: Option<(&'static str, usize, usize)>, facts: &mut Facts) {
    if let Some((name, entries, limit)) = worst {
        let what = || format!("{name} has {entries} entries; its limit is {limit}");
        facts.broken("R1", now, Some(node), what);
    }
}

/// Counts a row of a rejection log, including the rejections folded into it. A5 is checked
/// elsewhere.
pub(super) fn count_row(row: &Rejection, facts: &mut Facts) {
    let fact = match row.reason.blame() {
        Blame::Link => Fact::RejectedFatal,
        Blame::Author => Fact::EquivocationsSeen,
        Blame::Nobody => Fact::RejectedSoft,
    };
    facts.add(fact, row.count);
}

/// A5: the honest node that an output blames, if any.
pub(super) fn blames_honest(output: &Output, keys: &Keys, links: &Links) -> Option<u32> {
    let peer = match output {
        Output::Write { record: Record::Ban(ban), .. } => keys.number(&ban.peer),
        Output::Close { link, why: CloseWhy::Blamed(_) } => links.end(*link).map(|end| end.peer),
        _ => None,
    };
    peer.filter(|peer| keys.is_honest(*peer))
}
