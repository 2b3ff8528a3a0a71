//! A turn of asking for what is missing below the tips: what is planned for each link.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::protocol::LinkId;

/// A link that can be asked, and what is planned for it in this turn.
pub(super) struct Source {
    pub link: LinkId,
    pub member: u32,
    /// Whether its peer is late with what it was asked for.
    pub late: bool,
    /// Whether it grants credit to be asked, and whether it would be.
    pub credit: bool,
    pub awaited: bool,
    /// Whether it is known to lack the slot that is planned, and whether it may be asked again.
    pub lacks: bool,
    pub again: bool,
    /// For how many slots of the lane in turn it is asked, and whether for one that it lacked.
    pub open: usize,
    pub asked_again: bool,
    /// Whether the slot that is planned has to wait for its answer.
    pub waits: bool,
    pub room: usize,
    pub planned: Vec<(u32, u64)>,
}

impl Source {
    /// Whether it can be asked now for the slot that is planned.
    pub fn is_free(&self) -> bool {
        self.room > 0 && !self.waits
    }
}

/// One turn of asking.
pub(super) struct Plan {
    /// Those that are late come last.
    pub sources: Vec<Source>,
    /// Slots that came and are missing until their signature is checked: asked for again
    /// meanwhile, they would come twice.
    pub checking: BTreeSet<(u32, u64)>,
    /// Whether anything is asked for.
    pub asked: bool,
    /// How many more slots that no link has may be looked at.
    pub looks: usize,
    /// The other members, and whether each is out of reach; known once somebody asks.
    pub others: Option<Vec<(u32, bool)>>,
    /// How long an answer may take before others are asked.
    pub patience: Duration,
    /// Slots asked for, in this turn and before, for which few vouch; and of the lane in turn.
    pub unvouched: usize,
    pub of_author: usize,
}

impl Plan {
    /// The first source that fits, from a place on; one that is late only if no other does.
    pub fn find(&self, from: usize, fits: impl Fn(&Source) -> bool) -> Option<usize> {
        let count = self.sources.len();
        let fit = |late: bool| {
            let all = (0..count).map(move |i| (from + i) % count);
            all.into_iter().find(|at| self.sources[*at].late == late && fits(&self.sources[*at]))
        };
        fit(false).or_else(|| fit(true))
    }
}

/// What follows a slot.
pub(super) enum Next {
    /// The next missing one.
    Slot,
    /// What somebody offers: those who may have this one have no room now.
    Busy,
    /// What somebody offers: no link has this one.
    Nobody,
}
