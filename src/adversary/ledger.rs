//! Keeps the honest node's credit correct although the liar swallows some of its frames and adds
//! others on the same link.
//!
//! A peer grants credit by the total it has consumed (`docs/PROTOCOL.md`, credit). That total
//! includes frames that a liar added, which the node never sent, and lacks frames that a liar
//! swallowed, for which the node waits. So grants are rewritten on their way in, and swallowed
//! frames are granted here.

use crate::wire::{Class, Credit, Grant, List};

/// Number of classes of frames, with credit or without.
const CLASSES: usize = Class::Reply as usize + 1;

#[derive(Clone, Copy, Default)]
struct Sums {
    frames: u64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, frames: u64, bytes: usize) {
        self.frames = self.frames.saturating_add(frames);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// One class of frames on one link, in totals since the link began.
#[derive(Clone, Copy, Default)]
struct Account {
    /// What the node has sent, as far as it knows.
    sent: Sums,
    /// The part of `sent` that was never sent.
    swallowed: Sums,
    /// What the liar sent in addition.
    raw: Sums,
    /// The peer's latest total.
    consumed: Sums,
    /// The latest total that the node was told.
    told: Sums,
}

impl Account {
    fn is_plain(&self) -> bool {
        self.swallowed.frames == 0 && self.swallowed.bytes == 0 && self.raw.frames == 0
    }

    /// The total to tell the node. Raw frames are taken to be consumed last, so that the node never
    /// assumes more room than there is.
    fn due(&self) -> Sums {
        let of = |consumed: u64, raw: u64, swallowed: u64, sent: u64, told: u64| {
            consumed.saturating_sub(raw).saturating_add(swallowed).min(sent).max(told)
        };
        let Self { sent, swallowed, raw, consumed, told } = self;
        Sums {
            frames: of(consumed.frames, raw.frames, swallowed.frames, sent.frames, told.frames),
            bytes: of(consumed.bytes, raw.bytes, swallowed.bytes, sent.bytes, told.bytes),
        }
    }

    fn tell(&mut self, class: u8) -> Option<Grant> {
        let due = self.due();
        if due.frames <= self.told.frames {
            return None;
        }
        self.told = due;
        Some(Grant { class, frames: due.frames, bytes: due.bytes })
    }
}

/// The credit accounts of one link.
#[derive(Default)]
pub(super) struct Ledger {
    /// Indexed by class number.
    accounts: [Account; CLASSES],
    owing: bool,
}

impl Ledger {
    fn account(&mut self, class: Class) -> Option<&mut Account> {
        class.window()?;
        self.accounts.get_mut(class as usize)
    }

    /// The node sent a frame.
    pub(super) fn sent(&mut self, class: Class, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.sent.add(1, bytes);
        }
    }

    /// Frames or bytes of the node will never be sent.
    pub(super) fn swallowed(&mut self, class: Class, frames: u64, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.swallowed.add(frames, bytes);
            self.owing = true;
        }
    }

    /// The liar sent a frame that the node does not know of.
    pub(super) fn raw(&mut self, class: Class, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.raw.add(1, bytes);
        }
    }

    /// Number of frames of the class in flight: sent, and not reported as consumed by the peer.
    pub(super) fn under_way(&self, class: Class) -> u64 {
        self.accounts.get(class as usize).map_or(0, |account| {
            let left = account.sent.frames.saturating_add(account.raw.frames);
            left.saturating_sub(account.swallowed.frames).saturating_sub(account.consumed.frames)
        })
    }

    /// Whether the peer's grants cover a frame of `bytes` bytes on top of everything in flight,
    /// added frames included. Always true for classes without credit.
    pub(super) fn fits(&self, class: Class, bytes: usize) -> bool {
        let (Some((frames, most)), Some(account)) =
            (class.window(), self.accounts.get(class as usize))
        else {
            return true;
        };
        let left = account.sent.bytes.saturating_add(account.raw.bytes);
        let pending = left
            .saturating_sub(account.swallowed.bytes)
            .saturating_sub(account.consumed.bytes)
            .saturating_add(bytes as u64);
        self.under_way(class) < frames && pending <= most
    }

    /// Rewrites a peer's credit for the node; `None` if it grants the node nothing.
    pub(super) fn translate(&mut self, credit: &Credit) -> Option<Credit> {
        let mut grants = Vec::new();
        for grant in credit.grants.iter() {
            let Some(account) = self.accounts.get_mut(usize::from(grant.class)) else { continue };
            account.consumed = Sums { frames: grant.frames, bytes: grant.bytes };
            if account.is_plain() {
                account.told = account.consumed;
                grants.push(*grant);
            } else {
                grants.extend(account.tell(grant.class));
            }
        }
        List::new(grants).map(|grants| Credit { grants })
    }

    /// Credit for what was swallowed since the last call, if any.
    pub(super) fn owed(&mut self) -> Option<Credit> {
        if !std::mem::take(&mut self.owing) {
            return None;
        }
        let accounts = (0u8..).zip(&mut self.accounts);
        let grants = accounts.filter_map(|(class, account)| account.tell(class));
        List::new(grants.collect()).map(|grants| Credit { grants })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(frames: u64, bytes: u64) -> Credit {
        let grant = Grant { class: Class::Push as u8, frames, bytes };
        Credit { grants: List::new(vec![grant]).expect("one grant") }
    }

    #[test]
    fn what_is_swallowed_is_granted_and_what_is_added_is_not() {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.sent(Class::Push, 100);
        }
        assert_eq!(ledger.translate(&credit(1, 100)), Some(credit(1, 100)), "untouched");
        ledger.swallowed(Class::Push, 1, 100);
        assert_eq!(ledger.owed(), Some(credit(2, 200)));
        assert_eq!(ledger.owed(), None);
        ledger.raw(Class::Push, 50);
        assert_eq!(ledger.under_way(Class::Push), 2);
        assert_eq!(ledger.translate(&credit(2, 150)), None, "the added one came first");
        assert_eq!(ledger.translate(&credit(3, 250)), Some(credit(3, 300)));
        assert_eq!(ledger.translate(&credit(900, 90_000)), None, "never more than was sent");
        assert_eq!(ledger.under_way(Class::Push), 0);
        ledger.swallowed(Class::Reply, 1, 100);
        assert_eq!(ledger.owed(), None, "replies need no credit");
    }
    #[test]
    fn what_fits_counts_the_nodes_own_and_added_frames_together() {
        let mut ledger = Ledger::default();
        assert!(ledger.fits(Class::Push, 1 << 20) && !ledger.fits(Class::Push, 3 << 20));
        for _ in 0..16 {
            assert!(ledger.fits(Class::Push, 100));
            ledger.raw(Class::Push, 100);
            ledger.sent(Class::Push, 100);
        }
        assert!(!ledger.fits(Class::Push, 100), "the window is full");
        ledger.swallowed(Class::Push, 1, 100);
        assert!(ledger.fits(Class::Push, 100), "what never left takes no room");
        ledger.raw(Class::Push, 100);
        ledger.translate(&credit(1, 100));
        assert!(ledger.fits(Class::Push, 100) && ledger.fits(Class::Reply, 1 << 30));
    }
}
