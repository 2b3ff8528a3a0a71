//! Visits: links to random members for one comparison of lanes each, the way out when every other
//! link is a liar. A visit is a link that this node dialled but has not chosen. Every visit ends,
//! so that links stay few; the node that dialled a link ends it.

use std::time::Duration;

use super::fetching::LONGEST_ANSWER;
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::links::{Link, Purpose};
use crate::protocol::{CloseWhy, LinkId, Output};
use crate::wire::limits::VISITS_AT_ONCE;

/// A visit that no other visit follows ends after this.
const LONGEST: Duration = Duration::from_secs(10);
/// The same while visits are hurried: a liar that does not answer takes one of few places.
const HURRIED: Duration = Duration::from_secs(2);
/// The same for a peer that left requests unanswered before and would count as silent if it did so
/// again. No answer takes longer.
const LAST_WORD: Duration = LONGEST_ANSWER;
/// Shortest hurried visit: time to ask for what the comparison turned up.
const SHORTEST: Duration = Duration::from_millis(200);
/// Pause between two hurried visits: 20 handshakes per second are under 1 % of a core.
const BETWEEN: Duration = Duration::from_millis(50);

impl Node {
    /// Whether more members must be heard than regular visits reach in time.
    pub(super) fn hurries_visits(&self) -> bool {
        self.hurry_visits
    }

    /// Starts or stops hurrying visits, depending on whether more members must be heard.
    pub(super) fn pace_visits(&mut self) {
        let wanted = self.wants_voices();
        // While an asked member has not answered, `wanted` flips back and forth.
        if wanted && !self.hurry_visits && self.recovery.has_voice(self.now) {
            self.next_visit = self.now;
        }
        self.hurry_visits = wanted;
    }

    /// The links that this node dialled but has not chosen, oldest first.
    pub(super) fn visits(&self) -> Vec<LinkId> {
        let visits = self.links.iter().filter(|(_, link)| link.dialled && !link.chosen());
        visits.map(|(id, _)| id).collect()
    }

    /// Dials a random member without a link, to compare lanes. The link stays until the next visit,
    /// so that it may bring news as well. Hurried visits run several at a time, each until it is of
    /// no more use, and visit no member twice before every other was visited.
    pub(super) fn visit_someone(&mut self) {
        self.end_visits();
        let hurry = self.hurries_visits();
        let room = if hurry {
            self.next_visit = self.now.after(BETWEEN);
            VISITS_AT_ONCE.saturating_sub(self.visits().len())
        } else {
            self.next_visit = self.now.after(self.visit_pause);
            self.visit_pause = (self.visit_pause * 5 / 4).min(self.config.visit_every);
            self.visited.clear();
            let awaited = self.visits().into_iter().filter(|link| self.is_awaited(*link));
            usize::from(awaited.count() < VISITS_AT_ONCE)
        };
        if self.overlay.visiting() >= room {
            return;
        }
        if hurry && !self.recovery.has_voice(self.now) {
            // A liar could keep us hurrying forever, so hurried visits have a budget.
            self.next_visit = self.now.after(self.config.visit_every);
            return;
        }
        let (now, links, standing) = (self.now, &self.links, &self.standing);
        let allowed = |peer: &PublicKey| {
            !standing.is_banned(peer, now)
                && !self.visited.contains(peer)
                && links.iter().all(|(_, link)| link.peer != *peer)
        };
        let Some(peer) = self.overlay.pick(&mut self.rng, now, allowed) else {
            if hurry {
                self.visited.clear();
                self.next_visit = now.after(self.config.visit_every);
            }
            return;
        };
        if self.overlay.dial(peer, Purpose::Visit) {
            if hurry {
                self.recovery.charge_voice(now);
                self.visited.insert(peer);
            }
            self.emit(Output::Dial { peer });
        }
    }

    /// Ends the visits before a new one that is ready. Not while visits are hurried, and not those
    /// that were asked for missing slots: while such a request is open, visits do not count as
    /// hurried although others that were dialled come up.
    pub(super) fn end_visits_before(&mut self, link: LinkId) {
        if self.hurries_visits() {
            return;
        }
        for older in self.visits() {
            let ready = self.links.get(older).is_some_and(|held| held.ready());
            if older != link && ready && !self.is_awaited(older) {
                self.end_visit(older);
            }
        }
    }

    /// Whether a visit was asked for missing slots and may still answer.
    fn is_awaited(&self, visit: LinkId) -> bool {
        self.links.get(visit).is_some_and(|held| {
            !held.wants.is_empty() && self.now.since(held.since) < self.patience_of(held)
        })
    }

    /// How long a visit with an open request may last.
    fn patience_of(&self, visit: &Link) -> Duration {
        let awaited = visit.wants.values().map(|want| want.author);
        if self.recovery.left_open(visit.number, awaited) { LAST_WORD } else { HURRIED }
    }

    /// Ends visits beyond the limit: first those without an open request, then the oldest; never
    /// the newest, which has just begun.
    pub(super) fn limit_visits(&mut self) {
        let mut visits = self.visits();
        let beyond = visits.len().saturating_sub(VISITS_AT_ONCE);
        visits.pop();
        visits.sort_by_key(|link| self.is_awaited(*link));
        for link in visits.into_iter().take(beyond) {
            self.end_visit(link);
        }
    }

    pub(super) fn end_visits(&mut self) {
        let (now, hurry) = (self.now, self.hurries_visits());
        for id in self.visits() {
            let Some(link) = self.links.get(id) else { continue };
            let lasted = now.since(link.since);
            let served = link.ready()
                && link.comparing.is_none()
                && link.wants.is_empty()
                && !self.catching_up.contains_key(&id);
            let over = if hurry {
                lasted >= self.patience_of(link) || (served && lasted >= SHORTEST)
            } else {
                lasted >= LONGEST
            };
            if over {
                self.end_visit(id);
            }
        }
    }

    fn end_visit(&mut self, link: LinkId) {
        let Some(held) = self.links.get(link) else { return };
        if !held.ready() {
            let peer = held.peer;
            self.overlay.failed(peer, &mut self.rng, self.now);
        }
        self.close(link, CloseWhy::Rotated);
    }
}
