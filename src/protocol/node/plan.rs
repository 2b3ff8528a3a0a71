//! The plan for one turn of asking for slots missing below the tips.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::protocol::LinkId;

/// A link that can be asked, and what is planned for it in this turn.
pub(super) struct Source {
    pub link: LinkId,
    pub member: u32,
    /// Whether the peer is late with earlier answers.
    pub late: bool,
    /// Whether the peer grants credit for requests; and whether it would be asked if it did.
    pub credit: bool,
    pub awaited: bool,
    /// Whether the peer is known to lack the slot being planned, and whether it may be asked again.
    pub lacks: bool,
    pub again: bool,
    /// How many slots of the lane being planned it is asked for, and whether any of them is one
    /// that it had lacked.
    pub open: usize,
    pub asked_again: bool,
    /// Whether the slot being planned must wait until the peer has answered.
    pub waits: bool,
    pub room: usize,
    pub planned: Vec<(u32, u64)>,
}

impl Source {
    /// Whether the peer can be asked now for the slot being planned.
    pub(super) fn is_free(&self) -> bool {
        self.room > 0 && !self.waits
    }
}

/// One turn of asking: the links, and the budgets that remain.
pub(super) struct Plan {
    /// The links that can be asked; late ones come last.
    pub sources: Vec<Source>,
    /// Slots whose batch came and is being checked. They still count as missing, but asking again
    /// would fetch them twice.
    pub checking: BTreeSet<(u32, u64)>,
    /// Whether any slot is asked for in this turn.
    pub asked: bool,
    /// How many more slots that no link has may be looked at.
    pub looks: usize,
    /// The other members, and whether each is out of reach; computed on first use.
    pub others: Option<Vec<(u32, bool)>>,
    /// How long an answer may take before others are asked.
    pub patience: Duration,
    /// Slots asked for, now or earlier, that at most `f` members vouch for; and slots asked for in
    /// the lane being planned.
    pub unvouched: usize,
    pub of_author: usize,
}

impl Plan {
    /// The index of the first source that fits, searching from `from` on and wrapping around. A
    /// late source is returned only if no other fits.
    pub(super) fn find(&self, from: usize, fits: impl Fn(&Source) -> bool) -> Option<usize> {
        let count = self.sources.len();
        let fit = |late: bool| {
            let all = (0..count).map(move |i| (from + i) % count);
            all.into_iter().find(|at| self.sources[*at].late == late && fits(&self.sources[*at]))
        };
        fit(false).or_else(|| fit(true))
    }
}

/// Which slot to plan after this one.
pub(super) enum Next {
    /// The next missing one.
    Slot,
    /// The lowest offered one: the links that may have this slot have no room now.
    Busy,
    /// The lowest offered one: no link has this slot.
    Nobody,
}
