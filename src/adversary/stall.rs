//! `stall`: stops reading on half of its links, and writes a byte a second on the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::act::Act;
use super::beat::Beat;
use super::spec::Chance;
use super::stage::Stage;
use crate::protocol::{LinkId, Time};

/// How long a link is left alone, so that the greeting gets out and the peer counts on it.
const AFTER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
enum Held {
    Soon(Time),
    Paused,
    Paced,
    Spared,
}

pub(super) struct Stall {
    beat: Beat,
    links: BTreeMap<LinkId, Held>,
    turn: bool,
}

impl Stall {
    pub fn new() -> Self {
        Self { beat: Beat::new(AFTER), links: BTreeMap::new(), turn: false }
    }

    pub fn tick(&mut self, stage: &mut Stage, active: bool, chance: Chance) {
        if !active {
            return self.lift(stage);
        }
        for (link, _) in self.beat.due(stage) {
            let soon = stage.now.after(AFTER);
            match self.links.entry(link).or_insert(Held::Soon(soon)) {
                Held::Soon(at) if *at <= stage.now => self.stall(stage, link, chance),
                _ => {}
            }
        }
    }

    fn stall(&mut self, stage: &mut Stage, link: LinkId, chance: Chance) {
        if !stage.takes(chance) {
            self.links.insert(link, Held::Spared);
            return;
        }
        self.turn = !self.turn;
        let (held, act, detail) = if self.turn {
            (Held::Paused, Act::Pause { link, reading: false }, "pause")
        } else {
            (Held::Paced, Act::Pace { link, bytes_per_s: Some(1) }, "pace")
        };
        self.links.insert(link, held);
        stage.acts.push_back(act);
        stage.record(("stall", detail), link, None, None, 1);
    }

    fn lift(&mut self, stage: &mut Stage) {
        for (link, held) in std::mem::take(&mut self.links) {
            match held {
                Held::Paused => stage.acts.push_back(Act::Pause { link, reading: true }),
                Held::Paced => stage.acts.push_back(Act::Pace { link, bytes_per_s: None }),
                Held::Soon(_) | Held::Spared => {}
            }
        }
    }

    pub fn down(&mut self, link: LinkId) {
        self.beat.down(link);
        self.links.remove(&link);
    }

    pub fn deadline(&self, stage: &Stage) -> Option<Time> {
        self.beat.deadline(stage)
    }
}
