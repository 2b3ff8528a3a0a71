//! Standing: bans with terms that double, and folding of equal rejections.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::doubled;
use super::{Ban, CountsAs, Note, Reason, Rejection, Time};
use crate::crypto::PublicKey;

/// Equal rejections of one link within this time are folded into one row.
const FOLD: Duration = Duration::from_secs(1);

/// This node's record of its peers. Bounded by the number of members.
#[derive(Debug, Default)]
pub(super) struct Standing {
    bans: BTreeMap<PublicKey, Ban>,
    rejected: BTreeMap<(PublicKey, Reason), u64>,
    folds: BTreeMap<(Option<PublicKey>, Reason, CountsAs), Fold>,
}

#[derive(Debug)]
struct Fold {
    since: Time,
    /// The first rejection without a row of its own; its count covers the later ones too.
    row: Option<Rejection>,
}

impl Standing {
    /// Restores the bans found at start. A ban lasts at most its own term, and at most `max`, from
    /// now: the clock may have been wrong when it was given, or be wrong now. A ban cut short
    /// begins now; those are returned and must be written, or they would begin anew at every start.
    pub(super) fn restore(bans: &[Ban], now: Time, max: Duration) -> (Self, Vec<Ban>) {
        let mut changed = Vec::new();
        let mut sound = |ban: &Ban| {
            let latest = now.after(ban.until.since(ban.at).min(max));
            if ban.until <= latest {
                return (ban.peer, *ban);
            }
            let ban = Ban { at: now, until: latest, ..*ban };
            changed.push(ban);
            (ban.peer, ban)
        };
        let bans = bans.iter().map(&mut sound).collect();
        (Self { bans, ..Self::default() }, changed)
    }

    pub(super) fn is_banned(&self, peer: &PublicKey, now: Time) -> bool {
        self.bans.get(peer).is_some_and(|ban| ban.until > now)
    }

    /// The last ban of a peer.
    pub(super) fn ban_of(&self, peer: &PublicKey) -> Option<Ban> {
        self.bans.get(peer).copied()
    }

    /// Bans a peer for `min` at first, then twice as long each time, up to `max`. `None` if the
    /// peer is banned already: frames in flight earn no second ban.
    pub(super) fn ban(
        &mut self,
        peer: PublicKey,
        reason: Reason,
        now: Time,
        (min, max): (Duration, Duration),
    ) -> Option<Ban> {
        if self.is_banned(&peer, now) {
            return None;
        }
        let strikes = self.bans.get(&peer).map_or(1, |ban| ban.strikes.saturating_add(1));
        let until = now.after(doubled(min, strikes - 1, max));
        let ban = Ban { peer, reason, at: now, until, strikes };
        self.bans.insert(peer, ban);
        Some(ban)
    }

    /// Counts a rejection of a peer's frame or link.
    pub(super) fn count(&mut self, peer: &PublicKey, reason: Reason) {
        *self.rejected.entry((*peer, reason)).or_default() += 1;
    }

    pub(super) fn rejected(&self, peer: &PublicKey) -> BTreeMap<Reason, u64> {
        Reason::ALL
            .into_iter()
            .filter_map(|reason| Some((reason, *self.rejected.get(&(*peer, reason))?)))
            .collect()
    }

    /// Logs a rejection. For the first of its kind within a second, returns the row that `make`
    /// builds. Later ones are folded into one row, which [`Standing::unfold`] returns.
    pub(super) fn log(
        &mut self,
        link: Option<PublicKey>,
        (reason, counts_as): (Reason, CountsAs),
        now: Time,
        make: impl FnOnce() -> Rejection,
    ) -> Option<Rejection> {
        let kind = (link, reason, counts_as);
        match self.folds.get_mut(&kind) {
            None => {
                self.folds.insert(kind, Fold { since: now, row: None });
                Some(make())
            }
            Some(Fold { row: Some(row), .. }) => {
                row.count = row.count.saturating_add(1);
                None
            }
            Some(fold) => {
                fold.row = Some(make());
                None
            }
        }
    }

    /// Takes the folded rows whose second is over.
    pub(super) fn unfold(&mut self, now: Time) -> Vec<Rejection> {
        let mut rows = Vec::new();
        self.folds.retain(|_, fold| {
            let over = now >= fold.since.after(FOLD);
            if over {
                rows.extend(fold.row.take());
            }
            !over
        });
        rows
    }

    /// Takes all folded rows, when the node stops.
    pub(super) fn unfold_all(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.folds).into_values().filter_map(|fold| fold.row).collect()
    }

    pub(super) fn occupy(&self, note: Note, members: usize) {
        note("standing.bans", self.bans.len(), members);
        note("standing.rejected", self.rejected.len(), members * Reason::ALL.len());
        // Two more kinds: equivocations may be proven or not, replayed batches plain copies or not.
        note("standing.folds", self.folds.len(), (members + 1) * (Reason::ALL.len() + 2));
    }

    pub(super) fn next_unfold(&self) -> Option<Time> {
        self.folds.values().map(|fold| fold.since.after(FOLD)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TERMS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

    #[test]
    fn terms_double_and_survive_a_restart() {
        let peer = PublicKey([1; 32]);
        let mut standing = Standing::default();
        let mut now = Time(0);
        let mut terms = Vec::new();
        for _ in 0..40 {
            let ban = standing.ban(peer, Reason::BadSignature, now, TERMS).expect("not banned");
            assert!(standing.ban(peer, Reason::Malformed, now, TERMS).is_none(), "one at a time");
            terms.push(ban.until.since(now).as_secs());
            let (restored, changed) = Standing::restore(&[ban], now, TERMS.1);
            assert!(changed.is_empty());
            standing = restored;
            assert!(standing.is_banned(&peer, now));
            now = ban.until;
            assert!(!standing.is_banned(&peer, now));
        }
        assert_eq!(&terms[..4], [10, 20, 40, 80]);
        assert_eq!(terms[39], 3600);
    }

    #[test]
    fn a_ban_given_by_a_wrong_clock_lasts_its_term_and_no_longer() {
        let peer = PublicKey([1; 32]);
        let (year, now) = (Duration::from_secs(31_536_000), Time(0).after(Duration::from_secs(77)));
        let given = |at: Time, until: Time| {
            let ban = Ban { peer, reason: Reason::Malformed, at, until, strikes: 1 };
            Standing::restore(&[ban], now, TERMS.1).0
        };
        let ahead = now.after(year);
        let standing = given(ahead, ahead.after(TERMS.0));
        assert!(standing.is_banned(&peer, now));
        assert!(!standing.is_banned(&peer, now.after(TERMS.0)), "ten seconds from now at most");
        let standing = given(Time(0), Time(u64::MAX));
        assert!(!standing.is_banned(&peer, now.after(TERMS.1)), "a row that says forever");
        assert!(!given(ahead, Time(0)).is_banned(&peer, now));
        let was = now.after(Duration::from_secs(3));
        assert!(!given(Time(0), was).is_banned(&peer, was), "it is over when it was to be");
    }

    #[test]
    fn a_ban_that_was_cut_short_does_not_begin_anew_with_each_start() {
        let (peer, now) = (PublicKey([1; 32]), Time(77));
        let ahead = now.after(Duration::from_secs(31_536_000));
        let until = ahead.after(TERMS.0);
        let ban = Ban { peer, reason: Reason::Malformed, at: ahead, until, strikes: 1 };
        let (_, changed) = Standing::restore(&[ban], now, TERMS.1);
        let later = now.after(Duration::from_secs(4));
        let (standing, again) = Standing::restore(&changed, later, TERMS.1);
        assert_eq!((changed.len(), again.len()), (1, 0));
        assert!(standing.is_banned(&peer, later));
        assert!(!standing.is_banned(&peer, now.after(TERMS.0)), "its term goes on");
    }

    #[test]
    fn equal_rejections_fold_and_none_is_lost() {
        let mut standing = Standing::default();
        let link = Some(PublicKey([1; 32]));
        let row = |at: Time| Rejection {
            bytes: Some(Arc::from(at.0.to_be_bytes())),
            ..Rejection::bare(at, Reason::Replayed, link, CountsAs::Copy)
        };
        let mut total = 0;
        let mut rows = 0;
        for ms in 0..5000u64 {
            let now = Time(ms * 1000);
            for row in standing.unfold(now) {
                assert_eq!(
                    row.bytes.as_deref(),
                    Some(&row.at.0.to_be_bytes()[..]),
                    "the first one's"
                );
                (rows, total) = (rows + 1, total + row.count);
            }
            if let Some(row) =
                standing.log(link, (Reason::Replayed, CountsAs::Copy), now, || row(now))
            {
                (rows, total) = (rows + 1, total + row.count);
            }
        }
        total += standing.unfold_all().iter().map(|row| row.count).sum::<u64>();
        assert!(standing.unfold(Time(9_000_000)).is_empty(), "each row once");
        assert_eq!(total, 5000);
        assert!(rows <= 10, "{rows}");
    }
}
