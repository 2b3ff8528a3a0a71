//! Visits: a random member is linked to for one comparison of lanes, the way out when every link is
//! a liar. A visit is a link that we dialled and have not chosen, and each ends, so that links stay
//! few: who dialled a link ends it.

use std::time::Duration;

use super::fetching::LONGEST_ANSWER;
use super::state::Node;
use crate::crypto::PublicKey;
use crate::protocol::links::{Link, Purpose};
use crate::protocol::{CloseWhy, LinkId, Output};
use crate::wire::limits::VISITS_AT_ONCE;

/// A visit that no other follows ends after this.
const LONGEST: Duration = Duration::from_secs(10);
/// The same while visits are hurried: a liar that does not answer holds one of few places.
const HURRIED: Duration = Duration::from_secs(2);
/// The same where it leaves open what it is asked for and did so before, so that it would count as
/// silent: no answer takes longer.
const LAST_WORD: Duration = LONGEST_ANSWER;
/// Hurried visits last this long at the least: what an answer brought up is asked for meanwhile.
const SHORTEST: Duration = Duration::from_millis(200);
/// Between two hurried visits: twenty handshakes a second are under 1 % of a core.
const BETWEEN: Duration = Duration::from_millis(50);

impl Node {
    /// Whether more members must be heard than visits one by one reach in time.
    pub(super) fn hurries_visits(&self) -> bool {
        self.hurry_visits
    }

    /// Hurries visits, or no longer, as more voices are wanted or not.
    pub(super) fn pace_visits(&mut self) {
        let wanted = self.wants_voices();
        // It is wanted and not wanted in turns, while one that was asked has not answered.
        if wanted && !self.hurry_visits && self.recovery.has_voice(self.now) {
            self.next_visit = self.now;
        }
        self.hurry_visits = wanted;
    }

    /// The links that we dialled and have not chosen, oldest first.
    pub(super) fn visits(&self) -> Vec<LinkId> {
        let visits = self.links.iter().filter(|(_, link)| link.dialled && !link.chosen());
        visits.map(|(id, _)| id).collect()
    }

    /// Links to a random member that is not linked, to compare lanes. The link stays until the next
    /// visit, so that it may bring news as well. When in a hurry, several at once, each until it is
    /// of no more use, and nobody twice before everybody was visited.
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
            // What hurries us may be a liar's doing, for ever: hurried visits have a budget.
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

    /// A visit has begun: those before it are over, unless we hurry, or they were asked for what is
    /// missing: while one is asked there is no hurry, and others that were dialled come up.
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

    /// Whether a visit was asked for what is missing and may answer yet.
    fn is_awaited(&self, visit: LinkId) -> bool {
        self.links.get(visit).is_some_and(|held| {
            !held.wants.is_empty() && self.now.since(held.since) < self.patience_of(held)
        })
    }

    /// How long a visit may last in which something is left open.
    fn patience_of(&self, visit: &Link) -> Duration {
        let awaited = visit.wants.values().map(|want| want.author);
        if self.recovery.left_open(visit.number, awaited) { LAST_WORD } else { HURRIED }
    }

    /// Ends visits beyond those that may be: the oldest, and before them those that were asked for
    /// nothing, but never the newest, which has just begun.
    pub(super) fn limit_visits(&mut self) {
        let mut visits = self.visits();
        let beyond = visits.len().saturating_sub(VISITS_AT_ONCE);
        visits.pop();
        visits.sort_by_key(|link| self.is_awaited(*link));
        for link in visits.into_iter().take(beyond) {
            self.end_visit(link);
        }
    }

    /// Ends the visits that have lasted long enough.
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
