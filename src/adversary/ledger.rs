//! Keeps the honest node's credit right although frames of its vanish and others appear on its
//! link.
//!
//! A peer grants by what it has consumed in all (`docs/PROTOCOL.md`, credit). Frames that a liar
//! adds are consumed too, and the node never sent them; frames that a liar swallows are not, and
//! the node waits for them. So grants are rewritten on their way in, and what was swallowed is
//! granted here.

use crate::wire::{Class, Credit, Grant, List};

/// Classes of frames, with credit or without.
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

/// One class of one link, in totals since the link began.
#[derive(Clone, Copy, Default)]
struct Account {
    /// What the node believes to have sent.
    sent: Sums,
    /// What of that never left.
    swallowed: Sums,
    /// What left beside it.
    raw: Sums,
    /// What the peer said last.
    consumed: Sums,
    /// What the node was told last.
    told: Sums,
}

impl Account {
    fn is_plain(&self) -> bool {
        self.swallowed.frames == 0 && self.swallowed.bytes == 0 && self.raw.frames == 0
    }

    /// What the node should hear; raw frames count as consumed last, so that the node never
    /// believes in more room than there is.
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

/// The accounts of one link.
#[derive(Default)]
pub(super) struct Ledger {
    /// By class number.
    accounts: [Account; CLASSES],
    owing: bool,
}

impl Ledger {
    fn account(&mut self, class: Class) -> Option<&mut Account> {
        class.window()?;
        self.accounts.get_mut(class as usize)
    }

    /// The node sent a frame.
    pub fn sent(&mut self, class: Class, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.sent.add(1, bytes);
        }
    }

    /// Frames or bytes of the node's will never leave.
    pub fn swallowed(&mut self, class: Class, frames: u64, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.swallowed.add(frames, bytes);
            self.owing = true;
        }
    }

    /// A frame left that the node knows nothing of.
    pub fn raw(&mut self, class: Class, bytes: usize) {
        if let Some(account) = self.account(class) {
            account.raw.add(1, bytes);
        }
    }

    /// Frames of the class that left and that the peer has not said to have consumed.
    pub fn under_way(&self, class: Class) -> u64 {
        self.accounts.get(class as usize).map_or(0, |account| {
            let left = account.sent.frames.saturating_add(account.raw.frames);
            left.saturating_sub(account.swallowed.frames).saturating_sub(account.consumed.frames)
        })
    }

    /// Whether a frame of that many bytes is within what the peer has granted, the node's own and
    /// added ones together.
    pub fn fits(&self, class: Class, bytes: usize) -> bool {
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

    /// A peer's credit as the node should hear it; `None` if there is nothing in it for the node.
    pub fn translate(&mut self, credit: &Credit) -> Option<Credit> {
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

    /// Credit for what was swallowed since the last call.
    pub fn owed(&mut self) -> Option<Credit> {
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
