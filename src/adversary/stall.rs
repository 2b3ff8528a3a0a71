//! `stall`: stops reading on half of its links, and writes one byte per second on the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{Context, Effect};
use super::lie::Lie;
use super::value::Chance;
use crate::protocol::{LinkId, Time};

/// How long a new link is left alone, so that the hello is sent and the peer relies on the link.
const AFTER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
enum Held {
    Soon(Time),
    Paused,
    Paced,
    Spared,
}

#[derive(Default)]
pub(super) struct Stall {
    links: BTreeMap<LinkId, Held>,
    turn: bool,
}

impl Stall {
    fn stall(&mut self, ctx: &mut Context, link: LinkId, chance: Chance) {
        if !ctx.takes(chance) {
            self.links.insert(link, Held::Spared);
            return;
        }
        self.turn = !self.turn;
        let (held, act, detail) = if self.turn {
            (Held::Paused, Effect::Pause { link, reading: false }, "pause")
        } else {
            (Held::Paced, Effect::Pace { link, bytes_per_s: Some(1) }, "pace")
        };
        self.links.insert(link, held);
        ctx.acts.push_back(act);
        ctx.record(("stall", detail), link, None, None, 1);
    }
}

impl Lie for Stall {
    fn every(&self) -> Option<Duration> {
        Some(AFTER)
    }

    fn act(&mut self, ctx: &mut Context, link: LinkId, _fresh: bool, chance: Chance) {
        let soon = ctx.now.after(AFTER);
        match self.links.entry(link).or_insert(Held::Soon(soon)) {
            Held::Soon(at) if *at <= ctx.now => self.stall(ctx, link, chance),
            _ => {}
        }
    }

    fn stop(&mut self, ctx: &mut Context) {
        for (link, held) in std::mem::take(&mut self.links) {
            match held {
                Held::Paused => ctx.acts.push_back(Effect::Pause { link, reading: true }),
                Held::Paced => ctx.acts.push_back(Effect::Pace { link, bytes_per_s: None }),
                Held::Soon(_) | Held::Spared => {}
            }
        }
    }

    fn down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }
}
