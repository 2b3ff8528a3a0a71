//! `false-credit`: lies about what it has consumed. It withholds credit, grants it in crumbs, or
//! grants more than it was sent, which proves the lie; each link gets one of these.

use std::collections::BTreeMap;

use super::context::{Context, Disposition, Effect, Sending};
use super::lie::Lie;
use super::value::Chance;
use crate::protocol::{LinkId, Output};
use crate::wire::{Credit, Frame, Grant, Kind, List};

/// More frames, or bytes, than any link ever carries.
const TOO_MANY: u64 = 1 << 40;

/// The lies about credit: none is granted; it is granted for one frame at a time, in as many frames
/// as that takes; or for more than the peer ever sent, which proves the lie.
pub const TALES: [&str; 3] = ["withhold", "crumbs", "excess"];

struct Told {
    tale: &'static str,
    /// The last grant by class, as frames and bytes.
    last: BTreeMap<u8, (u64, u64)>,
}

pub(super) struct FalseCredit {
    what: Option<&'static str>,
    links: BTreeMap<LinkId, Told>,
    turn: usize,
}

impl FalseCredit {
    pub(super) fn new(what: Option<&'static str>) -> Self {
        Self { what, links: BTreeMap::new(), turn: 0 }
    }
}

impl Lie for FalseCredit {
    fn filters(&self, kind: Kind) -> bool {
        kind == Kind::Credit
    }

    fn outgoing(&mut self, ctx: &mut Context, mut sending: Sending, chance: Chance) -> Disposition {
        let Frame::Credit(credit) = &sending.frame else { return Disposition::Sent(sending) };
        let (link, credit) = (sending.link, credit.clone());
        if !self.links.contains_key(&link) {
            let tale = self.what.unwrap_or(TALES[self.turn % TALES.len()]);
            self.turn = self.turn.wrapping_add(1);
            self.links.insert(link, Told { tale, last: BTreeMap::new() });
        }
        let Some(told) = self.links.get_mut(&link) else { return Disposition::Sent(sending) };
        let lies = ctx.takes(chance);
        match told.tale {
            "withhold" if lies => {
                ctx.record(("false-credit", "withhold"), link, None, None, 1);
                Disposition::Swallowed
            }
            "crumbs" if lies => {
                for frame in told.crumbs(&credit) {
                    ctx.record(("false-credit", "crumbs"), link, Some(&frame), None, 1);
                    let (kind, frame) = (Kind::Credit, frame.into());
                    let sent = Output::Send { link, kind, class: kind.class(), frame };
                    ctx.acts.push_back(Effect::Node(sent));
                }
                Disposition::Swallowed
            }
            "excess" if lies => {
                let more = |grant: &Grant| Grant {
                    frames: grant.frames.saturating_add(TOO_MANY),
                    bytes: grant.bytes.saturating_add(TOO_MANY),
                    ..*grant
                };
                let Some(grants) = List::new(credit.grants.iter().map(more).collect()) else {
                    return Disposition::Sent(sending);
                };
                sending.rewrite(Frame::Credit(Credit { grants }));
                ctx.record(("false-credit", "excess"), link, Some(&sending.bytes), None, 0);
                Disposition::Sent(sending)
            }
            _ => {
                told.note(&credit);
                Disposition::Sent(sending)
            }
        }
    }

    fn passed(&mut self, sending: &Sending) {
        if let Frame::Credit(credit) = &sending.frame
            && let Some(told) = self.links.get_mut(&sending.link)
        {
            told.note(credit);
        }
    }

    fn down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }
}

impl Told {
    fn note(&mut self, credit: &Credit) {
        for grant in credit.grants.iter() {
            self.last.insert(grant.class, (grant.frames, grant.bytes));
        }
    }

    /// Splits credit into frames that each grant one more frame of one class. There are at most a
    /// window of them per class, as no more can have been consumed.
    fn crumbs(&mut self, credit: &Credit) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for grant in credit.grants.iter() {
            let (before, bytes) = self.last.get(&grant.class).copied().unwrap_or((0, 0));
            let steps = grant.frames.saturating_sub(before);
            let whole = grant.bytes.saturating_sub(bytes);
            for step in 1..=steps {
                let bytes = bytes + whole / steps * step;
                let bytes = if step == steps { grant.bytes } else { bytes };
                let crumb = Grant { class: grant.class, frames: before + step, bytes };
                let grants = List::new(vec![crumb]);
                frames.extend(grants.map(|grants| Frame::Credit(Credit { grants }).encode()));
            }
        }
        self.note(credit);
        frames
    }
}
