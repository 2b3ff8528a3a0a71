//! Which behaviour of which liar a rejection is put down to: by the SHA-256 of the frame, which
//! both the liar's record and the row carry, else by its reason.

use std::collections::BTreeMap;

use super::{Held, Seen};
use crate::report::Attack;

/// Behaviours that send nothing that could be refused: what counts is what they affected.
const SILENT: [&str; 4] = ["drop", "censor", "delay", "stall"];

/// Reasons by which a behaviour shows, for rows whose frame is not in its newest attempts.
const SHOWS: [(&str, &[&str]); 5] = [
    ("forge", &["bad_signature", "wrong_network", "unknown_author"]),
    (
        "tamper",
        &["content_mismatch", "bad_signature", "malformed", "non_canonical", "equivocation"],
    ),
    ("malformed", &["malformed", "non_canonical", "oversize", "wrong_version", "bad_signature"]),
    ("replay", &["replayed", "pruned", "credit_overrun"]),
    ("flood", &["credit_overrun", "author_rate", "replayed", "oversize", "malformed"]),
];

/// Attempts, arrivals and acceptances, by liar and behaviour.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    liars: BTreeMap<String, BTreeMap<String, Attack>>,
    /// Rejections by behaviour; `honest` where an honest neighbour or the own API was refused,
    /// `other` where nothing that the liar was told to do shows so, as when it dials under a ban.
    pub behaviours: BTreeMap<String, u64>,
}

impl Attribution {
    /// Attempts and arrivals.
    pub fn of(nodes: &[Seen]) -> Self {
        let mut all = Self::default();
        let mut frames: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for liar in nodes.iter().filter(|node| !node.honest()) {
            let kinds = liar.kinds.iter().map(|kind| (kind.clone(), tried(liar, kind)));
            all.liars.insert(liar.key.clone(), kinds.collect());
            for attempt in liar.attempts.iter().flat_map(|attempts| &attempts.attempts) {
                if let Some(frame) = &attempt.frame {
                    frames.insert((&liar.key, frame), &attempt.kind);
                }
            }
        }
        for node in nodes.iter().filter(|node| node.honest()) {
            for row in &node.rejections {
                let link = row.link.as_deref().unwrap_or_default();
                let known = frames.get(&(link, &*row.frame)).copied();
                all.arrive(link, known, &row.reason, row.count);
            }
        }
        all
    }

    fn arrive(&mut self, link: &str, known: Option<&str>, reason: &str, count: u64) {
        let Some(kinds) = self.liars.get_mut(link) else {
            *self.behaviours.entry("honest".into()).or_default() += count;
            return;
        };
        let kind = known
            .filter(|kind| kinds.contains_key(*kind))
            .map(str::to_owned)
            .or_else(|| by_reason(kinds, reason));
        let Some(kind) = kind else {
            *self.behaviours.entry("other".into()).or_default() += count;
            return;
        };
        if let Some(attack) = kinds.get_mut(&kind).filter(|_| !SILENT.contains(&&*kind)) {
            attack.reached_honest = attack.reached_honest.saturating_add(count);
        }
        *self.behaviours.entry(kind).or_default() += count;
    }

    /// Puts an accepted forgery down to the liar that first passed it on, else to one that tried
    /// it, else to the first of all, so that it never goes uncounted while there is a liar.
    pub fn accept(&mut self, nodes: &[Seen], held: &Held) {
        let first = nodes
            .iter()
            .flat_map(|node| &node.held)
            .filter(|other| other.id == held.id)
            .min_by_key(|other| other.delivered_at);
        let from = first.and_then(|first| first.from.clone());
        let tried = |liar: &&Seen| kind_of_batch(liar, held.batch()).is_some();
        let liars = || nodes.iter().filter(|node| !node.honest());
        let liar = liars()
            .find(|liar| from.as_ref() == Some(&liar.key))
            .or_else(|| liars().find(tried))
            .or_else(|| liars().next());
        let Some(liar) = liar else { return };
        let kind = kind_of_batch(liar, held.batch()).or(liar.kinds.first().map(String::as_str));
        let Some(kinds) = self.liars.get_mut(&liar.key) else { return };
        if let Some(attack) = kind.and_then(|kind| kinds.get_mut(kind)) {
            attack.accepted += 1;
        }
    }

    /// One liar's.
    pub fn of_liar(&self, key: &str) -> BTreeMap<String, Attack> {
        self.liars.get(key).cloned().unwrap_or_default()
    }

    /// Summed over liars.
    pub fn by_kind(&self) -> BTreeMap<String, Attack> {
        let mut sums: BTreeMap<String, Attack> = BTreeMap::new();
        for (kind, attack) in self.liars.values().flatten() {
            *sums.entry(kind.clone()).or_default() += *attack;
        }
        sums
    }
}

fn tried(liar: &Seen, kind: &str) -> Attack {
    let totals = liar.attempts.as_ref().and_then(|attempts| attempts.totals.get(kind));
    let Some(totals) = totals else { return Attack::default() };
    let reached_honest = if SILENT.contains(&kind) { totals.affected } else { 0 };
    Attack { attempted: totals.attempted, reached_honest, accepted: 0 }
}

fn by_reason(kinds: &BTreeMap<String, Attack>, reason: &str) -> Option<String> {
    let shows =
        |kind: &str| SHOWS.iter().any(|(name, reasons)| *name == kind && reasons.contains(&reason));
    let mut sending = kinds.iter().filter(|(kind, _)| !SILENT.contains(&kind.as_str()));
    // A dial of a banned peer: a consequence of an attack, and none by itself.
    if reason == "banned" {
        return None;
    }
    // The only behaviour that sends anything is the one that sent this.
    if let (Some((kind, _)), None) = (sending.clone().next(), sending.clone().nth(1)) {
        return Some(kind.clone());
    }
    // Among several, one that has tried something comes first.
    let fitting = sending.clone().filter(|(kind, _)| shows(kind));
    fitting
        .max_by_key(|(_, attack)| u8::from(attack.attempted > 0))
        .or_else(|| sending.find(|(kind, _)| kind.as_str() == "flood"))
        .map(|(kind, _)| kind.clone())
}

fn kind_of_batch<'a>(liar: &'a Seen, batch: &str) -> Option<&'a str> {
    let attempts = &liar.attempts.as_ref()?.attempts;
    let one = attempts.iter().find(|attempt| attempt.id.as_deref() == Some(batch))?;
    Some(&one.kind)
}
