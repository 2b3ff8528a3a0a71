//! Attributes each rejection to a behaviour of a liar: by the SHA-256 of the frame, which both the
//! liar's record and the row carry, or else by the reason.

use std::collections::BTreeMap;

use super::{Arrival, Attack, NodeRecord, Recording, Refused};
use crate::crypto::Digest;
use crate::wire::BatchId;

/// Behaviours that send nothing that could be refused: what they affected counts as reached.
const SILENT: [&str; 7] =
    ["drop", "censor", "delay", "stall", "promise", "false-floor", "false-differ"];
/// Behaviours of which some lies are refused; for the others, what they affected counts as reached.
const BOTH: [&str; 1] = ["false-credit"];
/// Behaviours that send valid batches: accepted batches count as reached, as do refusals.
const TAKEN: [&str; 2] = ["gap", "restart"];

/// Reasons that are typical of a behaviour, for rows whose frame is not among the newest attempts.
const SHOWS: [(&str, &[&str]); 8] = [
    ("forge", &["bad_signature", "wrong_network", "unknown_author"]),
    (
        "tamper",
        &["content_mismatch", "bad_signature", "malformed", "non_canonical", "equivocation"],
    ),
    ("malformed", &["malformed", "non_canonical", "oversize", "wrong_version", "bad_signature"]),
    ("replay", &["replayed", "pruned", "credit_overrun"]),
    ("gap", &["author_rate", "too_far_ahead"]),
    ("restart", &["equivocation", "too_far_ahead", "pruned"]),
    ("false-credit", &["credit_overrun"]),
    ("flood", &["credit_overrun", "author_rate", "replayed", "oversize", "malformed"]),
];

/// Attempts, what reached honest nodes and what they accepted, by liar and behaviour.
pub(super) struct Attribution<'a> {
    run: &'a Recording,
    /// By node; `None` for honest ones.
    liars: Vec<Option<BTreeMap<String, Attack>>>,
    /// Node, frame and behaviour of the attempts that liars recorded, ascending.
    frames: Vec<(u32, Digest, &'a str)>,
    /// Rejections by behaviour, without plain copies and knocks. `honest` counts frames of honest
    /// neighbours and posts to the node's own API; `other` counts those that match no behaviour of
    /// the liar that sent them.
    pub behaviours: BTreeMap<String, u64>,
}

impl<'a> Attribution<'a> {
    /// Counts attempts and what reached honest nodes.
    pub(super) fn of(run: &'a Recording) -> Self {
        let liars = run.nodes.iter().map(|node| (!node.honest()).then(|| tried(node))).collect();
        let mut all = Self { run, liars, frames: frames(run), behaviours: BTreeMap::new() };
        all.take();
        for row in run.nodes.iter().filter(|n| n.honest()).flat_map(|node| &node.rejections) {
            let kind = all.kind(row).unwrap_or("honest".into());
            all.arrive(row, &kind);
        }
        all
    }

    /// Returns the behaviour that a row is attributed to: `other` if none of the liar's fits,
    /// `None` if no liar sent the frame.
    pub(super) fn kind(&self, row: &Refused) -> Option<String> {
        let link = row.link?;
        let kinds = self.liars.get(link as usize)?.as_ref()?;
        let frame =
            |(node, frame, _): &(u32, Digest, &str)| (*node, *frame).cmp(&(link, row.frame));
        let known = self.frames.binary_search_by(frame).ok().map(|place| self.frames[place].2);
        let kind = known
            .filter(|kind| kinds.contains_key(*kind))
            .map(str::to_owned)
            .or_else(|| by_reason(kinds, &row.reason));
        Some(kind.unwrap_or("other".into()))
    }

    fn arrive(&mut self, row: &Refused, kind: &str) {
        let kinds = row.link.and_then(|link| self.liars.get_mut(link as usize)?.as_mut());
        let attack = kinds.and_then(|kinds| kinds.get_mut(kind));
        if let Some(attack) = attack.filter(|_| !SILENT.contains(&kind)) {
            attack.reached_honest = attack.reached_honest.saturating_add(row.count);
        }
        if row.counts_as.is_apart() {
            return;
        }
        match self.behaviours.get_mut(kind) {
            Some(count) => *count = count.saturating_add(row.count),
            None => {
                self.behaviours.insert(kind.to_owned(), row.count);
            }
        }
    }

    /// Counts the batches of liars that an honest node delivered, for behaviours whose batches are
    /// valid and whose lie lies in what they omit or contradict.
    fn take(&mut self) {
        let mut tried: BTreeMap<BatchId, (usize, &str)> = BTreeMap::new();
        for (number, node) in self.run.nodes.iter().enumerate() {
            let newest = node.attempts.iter().flat_map(|attempts| &attempts.newest);
            let sound = newest.filter(|one| TAKEN.contains(&&*one.kind));
            tried.extend(sound.filter_map(|one| Some((one.id?, (number, &*one.kind)))));
        }
        if tried.is_empty() {
            return;
        }
        for arrival in self.run.arrivals.iter().filter(|one| self.run.is_honest(one.node)) {
            let batch = self.run.batches.get(arrival.batch as usize);
            // Each batch counts once, however many nodes delivered it.
            let found = batch.and_then(|batch| tried.remove(&batch.id));
            let Some((liar, kind)) = found else { continue };
            let kinds = self.liars.get_mut(liar).and_then(Option::as_mut);
            if let Some(attack) = kinds.and_then(|kinds| kinds.get_mut(kind)) {
                attack.reached_honest = attack.reached_honest.saturating_add(1);
            }
        }
    }

    /// Attributes accepted forgeries (arrivals, by index): each to the liar that first passed it
    /// on, or else to a liar that tried it, or else to the first liar, so that none goes uncounted
    /// as long as there is a liar.
    pub(super) fn accept(&mut self, accepted: &[u32]) {
        if accepted.is_empty() {
            return;
        }
        let mut first: Vec<Option<&Arrival>> = vec![None; self.run.batches.len()];
        for arrival in self.run.arrivals.iter().filter(|one| self.run.is_honest(one.node)) {
            if let Some(first) = first.get_mut(arrival.batch as usize)
                && first.is_none_or(|first| arrival.at < first.at)
            {
                *first = Some(arrival);
            }
        }
        let mut culprits: BTreeMap<u32, Option<(usize, &str)>> = BTreeMap::new();
        for number in accepted {
            let batch = self.run.arrivals[*number as usize].batch;
            let first = first.get(batch as usize).copied().flatten();
            let culprit = *culprits.entry(batch).or_insert_with(|| self.culprit(batch, first));
            let Some((liar, kind)) = culprit else { continue };
            let kinds = self.liars.get_mut(liar).and_then(Option::as_mut);
            if let Some(attack) = kinds.and_then(|kinds| kinds.get_mut(kind)) {
                attack.accepted = attack.accepted.saturating_add(1);
            }
        }
    }

    fn culprit(&self, batch: u32, first: Option<&Arrival>) -> Option<(usize, &'a str)> {
        let run = self.run;
        let from = first.and_then(|first| first.from).map(|from| from as usize);
        let id = run.batches.get(batch as usize)?.id;
        let is_liar = |node: &usize| self.liars.get(*node).is_some_and(Option::is_some);
        let liars = || (0..run.nodes.len()).filter(is_liar);
        let liar = from
            .filter(is_liar)
            .or_else(|| liars().find(|liar| kind_of_batch(&run.nodes[*liar], id).is_some()))
            .or_else(|| liars().next())?;
        let node = &run.nodes[liar];
        let kind = kind_of_batch(node, id).or(node.kinds.first().map(String::as_str))?;
        Some((liar, kind))
    }

    /// Returns the attacks of one liar; empty for an honest node.
    pub(super) fn of_liar(&self, node: usize) -> BTreeMap<String, Attack> {
        self.liars.get(node).cloned().flatten().unwrap_or_default()
    }

    /// Returns the attacks summed over all liars.
    pub(super) fn by_kind(&self) -> BTreeMap<String, Attack> {
        let mut sums: BTreeMap<String, Attack> = BTreeMap::new();
        for (kind, attack) in self.liars.iter().flatten().flatten() {
            *sums.entry(kind.clone()).or_default() += *attack;
        }
        sums
    }
}

/// The frames that liars recorded, ascending. Of equal ones only the newest is kept.
fn frames(run: &Recording) -> Vec<(u32, Digest, &str)> {
    let mut frames = Vec::new();
    for (number, node) in (0u32..).zip(&run.nodes) {
        let newest = node.attempts.iter().flat_map(|attempts| attempts.newest.iter().rev());
        frames.extend(newest.filter_map(|one| Some((number, one.frame?, &*one.kind))));
    }
    // The sort is stable: the newest of equal ones stays in front.
    frames.sort_by_key(|(node, frame, _)| (*node, *frame));
    frames.dedup_by_key(|(node, frame, _)| (*node, *frame));
    frames
}

fn tried(liar: &NodeRecord) -> BTreeMap<String, Attack> {
    let one = |kind: &String| {
        let totals = liar.attempts.as_ref().and_then(|attempts| attempts.totals.get(kind));
        let (attempted, affected) = totals.copied().unwrap_or_default();
        let counts = SILENT.contains(&&**kind) || BOTH.contains(&&**kind);
        let reached_honest = if counts { affected } else { 0 };
        (kind.clone(), Attack { attempted, reached_honest, accepted: 0 })
    };
    liar.kinds.iter().map(one).collect()
}

fn by_reason(kinds: &BTreeMap<String, Attack>, reason: &str) -> Option<String> {
    let shows =
        |kind: &str| SHOWS.iter().any(|(name, reasons)| *name == kind && reasons.contains(&reason));
    let mut sending = kinds.iter().filter(|(kind, _)| !SILENT.contains(&kind.as_str()));
    // A banned peer dialled again: a consequence of an attack, but not an attack itself.
    if reason == "banned" {
        return None;
    }
    // If only one behaviour sends anything, it sent this frame.
    if let (Some((kind, _)), None) = (sending.clone().next(), sending.clone().nth(1)) {
        return Some(kind.clone());
    }
    // Among several that fit, prefer one that has attempted something.
    let fitting = sending.clone().filter(|(kind, _)| shows(kind));
    fitting
        .max_by_key(|(_, attack)| u8::from(attack.attempted > 0))
        .or_else(|| sending.find(|(kind, _)| kind.as_str() == "flood"))
        .map(|(kind, _)| kind.clone())
}

fn kind_of_batch(liar: &NodeRecord, id: BatchId) -> Option<&str> {
    let newest = &liar.attempts.as_ref()?.newest;
    Some(&newest.iter().find(|attempt| attempt.id == Some(id))?.kind)
}
