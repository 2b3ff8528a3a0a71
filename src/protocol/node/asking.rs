//! Counts open wants per author. Requested batches are accepted even if they take the author's
//! quota into debt, so only a few may be requested at once.

use std::collections::BTreeMap;

use crate::protocol::{LinkId, Note};
use crate::wire::limits::{ASKED_OF_A_LINK, ASKED_OF_ALL, MAX_OPEN_WANTS};

#[derive(Debug, Default)]
struct OfLink {
    /// Whether the peer broke a promise lately; its wants then take no room from those of others.
    late: bool,
    /// By the author's key number.
    open: BTreeMap<u32, usize>,
}

/// The open wants that count towards a limit.
#[derive(Debug, Default)]
pub(super) struct Asking {
    links: BTreeMap<LinkId, OfLink>,
    /// By author, on links whose peers are not late.
    all: BTreeMap<u32, usize>,
}

impl Asking {
    /// Whether one more want may be opened on a link: always a few, so that every peer can be
    /// asked, and more while few are open in all, unless the peer is late.
    pub(super) fn may_ask(&self, author: u32, link: LinkId, late: bool) -> bool {
        let of_link = self.links.get(&link).and_then(|of| of.open.get(&author));
        let all = self.all.get(&author).copied().unwrap_or(0);
        of_link.is_none_or(|open| *open < ASKED_OF_A_LINK) || (!late && all < ASKED_OF_ALL)
    }

    /// Counts a new want.
    pub(super) fn opened(&mut self, author: u32, link: LinkId, late: bool) {
        self.set_late(link, late);
        *self.links.entry(link).or_default().open.entry(author).or_default() += 1;
        if !late {
            *self.all.entry(author).or_default() += 1;
        }
    }

    /// Counts a want as answered.
    pub(super) fn closed(&mut self, author: u32, link: LinkId) {
        let Some(of_link) = self.links.get_mut(&link) else { return };
        less(&mut of_link.open, author, 1);
        if !of_link.late {
            less(&mut self.all, author, 1);
        }
        if of_link.open.is_empty() {
            self.links.remove(&link);
        }
    }

    /// Marks a link's peer as late, or no longer late.
    pub(super) fn set_late(&mut self, link: LinkId, late: bool) {
        let Some(of_link) = self.links.get_mut(&link).filter(|of| of.late != late) else {
            if late {
                self.links.entry(link).or_default().late = true;
            }
            return;
        };
        of_link.late = late;
        for (author, count) in &of_link.open {
            match late {
                true => less(&mut self.all, *author, *count),
                false => *self.all.entry(*author).or_default() += count,
            }
        }
    }

    /// Forgets a link and its wants.
    pub(super) fn link_down(&mut self, link: LinkId) {
        self.set_late(link, true);
        self.links.remove(&link);
    }

    /// Reports how full the tables are, with limits for `links` links.
    pub(super) fn occupy(&self, note: Note, links: usize) {
        let fullest = self.links.values().map(|of| of.open.values().sum()).max().unwrap_or(0);
        note("asking.links", self.links.len(), links);
        note("asking.fullest", fullest, MAX_OPEN_WANTS);
        note("asking.authors", self.all.len(), links * MAX_OPEN_WANTS);
    }
}

fn less(counts: &mut BTreeMap<u32, usize>, author: u32, by: usize) {
    let Some(count) = counts.get_mut(&author) else { return };
    *count = count.saturating_sub(by);
    if *count == 0 {
        counts.remove(&author);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LinkId = LinkId(1);
    const TWO: LinkId = LinkId(2);

    #[test]
    fn one_that_leaves_wants_open_takes_no_room_from_another() {
        let mut asking = Asking::default();
        let ask = |asking: &mut Asking, link, late| {
            let mut count = 0;
            while asking.may_ask(7, link, late) {
                asking.opened(7, link, late);
                count += 1;
            }
            count
        };
        assert_eq!(ask(&mut asking, ONE, false), ASKED_OF_ALL);
        assert_eq!(ask(&mut asking, TWO, false), ASKED_OF_A_LINK, "a few of anybody");
        asking.set_late(ONE, true);
        assert_eq!(ask(&mut asking, TWO, false), ASKED_OF_ALL - ASKED_OF_A_LINK);
        assert_eq!(ask(&mut asking, ONE, true), 0);
        (0..ASKED_OF_ALL).for_each(|_| asking.closed(7, ONE));
        assert_eq!(ask(&mut asking, ONE, true), ASKED_OF_A_LINK);
        asking.link_down(TWO);
        asking.set_late(ONE, false);
        assert_eq!(asking.all, [(7, ASKED_OF_A_LINK)].into());
        asking.link_down(ONE);
        assert!(asking.all.is_empty() && asking.links.is_empty());
    }
}
