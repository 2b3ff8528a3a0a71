//! Comparing lanes with a peer: finds missing slots even if every other peer withholds them.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::fetching::LONGEST_ANSWER;
use super::frames::cost;
use super::pending::{Checking, Received};
use super::rejecting::Claims;
use super::state::Node;
use crate::crypto::{Digest, PublicKey};
use crate::protocol::lanes::{Admission, Holes, Lane};
use crate::protocol::links::Link;
use crate::protocol::repair::{LIST_LANES, authors, differing, narrows};
use crate::protocol::time::Rate;
use crate::protocol::tree::{level_of, parts};
use crate::protocol::{LinkId, Output, Reason, Token};
use crate::wire::limits::{COMPARE_BURST, COMPARES_PER_S, MAX_ABOVE, MAX_RANGES, MAX_TIPS, WINDOW};
use crate::wire::{BatchId, Class, Compare, Differ, Frame, List, RangeHash, SlotId, Tip};

/// Most missing slots of one lane that are searched for after one comparison.
const SLOTS_PER_TIP: usize = 128;
/// With this many missing slots the node compares again as soon as they are answered, instead of at
/// the next timer.
const LONG_GAP: usize = 16;
/// Rate limit on comparisons on one link.
pub(super) const COMPARES: Rate = Rate { per_s: COMPARES_PER_S, burst: COMPARE_BURST };

impl Node {
    pub(super) fn compare_with_someone(&mut self) {
        let ready: Vec<LinkId> = self.links.ready().map(|(id, _)| id).collect();
        if !ready.is_empty() {
            let link = ready[self.rng.random_range(0..ready.len())];
            self.compare(link);
        }
    }

    /// Compares with every peer, when more than one member must be heard.
    pub(super) fn compare_with_all(&mut self) {
        let ready: Vec<LinkId> = self.links.ready().map(|(id, _)| id).collect();
        ready.into_iter().for_each(|link| self.compare(link));
    }

    /// Starts a comparison of all lanes with a peer, unless one is in flight.
    pub(super) fn compare(&mut self, link: LinkId) {
        let end = self.rehash_lanes();
        let whole = RangeHash { start: 0, end, hash: self.hash(0, end) };
        if self.links.get(link).is_some_and(|held| held.ready() && held.comparing.is_none()) {
            self.compare_ranges(link, vec![whole]);
        }
    }

    fn compare_ranges(&mut self, link: LinkId, ranges: Vec<RangeHash>) {
        let now = self.now;
        let Some(held) = self.links.get_mut(link) else { return };
        // Each answer may lead to another comparison, so the rate must not be left to the peer.
        if !held.compares.take(COMPARES, now, 1) {
            return;
        }
        let ticket = held.ticket();
        let Some(ranges) = List::new(ranges) else { return };
        let asked: Vec<RangeHash> = ranges.to_vec();
        if self.send(link, &Frame::Compare(Compare { ticket, ranges })).is_some()
            && let Some(held) = self.links.get_mut(link)
        {
            held.comparing = Some((ticket, now));
            held.compared = asked;
        }
    }

    fn key_of(&self, number: u32) -> PublicKey {
        self.network.keys()[number as usize].key
    }

    fn hash(&self, start: u32, end: u32) -> Digest {
        self.lanes.hash(start, end)
    }

    /// Updates the hashes over lanes. Returns the number of keys.
    fn rehash_lanes(&mut self) -> u32 {
        let network = &self.network;
        self.lanes.rehash(|number| network.keys()[number as usize].key);
        u32::try_from(network.keys().len()).unwrap_or(u32::MAX)
    }

    pub(super) fn on_compare(&mut self, from: &Received, compare: &Compare) {
        let keys = self.rehash_lanes();
        if compare.ranges.iter().any(|range| level_of(keys, range.start, range.end).is_none()) {
            let detail = "a range that is not a block of the network's keys";
            return self.reject(from, Reason::Malformed, Claims::default, detail);
        }
        let (mut ranges, mut named) = (Vec::new(), Vec::new());
        // Not everything may fit. Start with a random range, so that lanes that always differ (a
        // liar's, say) do not hide those of higher keys forever.
        let first = self.rng.random_range(0..compare.ranges.len().max(1));
        let (last, rest) = compare.ranges.split_at_checked(first).unwrap_or_default();
        for range in rest.iter().chain(last) {
            if self.hash(range.start, range.end) == range.hash {
                continue;
            }
            let spoken = self.lanes.spoken(range.start, range.end).take(LIST_LANES + 1).count();
            if spoken <= LIST_LANES && named.len() + spoken <= MAX_TIPS {
                let lanes = self.lanes.spoken(range.start, range.end);
                named.extend(lanes.map(|(author, _)| author));
            } else if range.end - range.start > 1 {
                // A range of one key cannot be split: it is left for the next comparison.
                for (start, end) in parts(keys, range.start, range.end) {
                    if ranges.len() < MAX_RANGES {
                        ranges.push(RangeHash { start, end, hash: self.hash(start, end) });
                    }
                }
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        let (mut tips, mut above) = self.describe_lanes(&named, from.link);
        tips.sort_unstable_by_key(|tip: &Tip| tip.slot.author);
        above.sort_unstable();
        if let (Some(ranges), Some(tips), Some(above)) =
            (List::new(ranges), List::new(tips), List::new(above))
        {
            let ticket = compare.ticket;
            self.send(from.link, &Frame::Differ(Differ { ticket, ranges, tips, above }));
        }
        let cost = cost::compare(compare.ranges.len());
        self.finish(from.link, Class::Repair, from.bytes.len(), cost);
    }

    /// Describes lanes for an answer: their tips, and as many slots above as fit. The slots
    /// continue where the last answer on this link ended; with random ones, the last of many would
    /// take long to come. Room that short lanes do not need goes to longer ones, so a long lane
    /// hides no short one.
    fn describe_lanes(&mut self, named: &[u32], link: LinkId) -> (Vec<Tip>, Vec<SlotId>) {
        let Some(described) = self.links.get_mut(link).map(|held| &mut held.described) else {
            return (Vec::new(), Vec::new());
        };
        *described = described.wrapping_add(1);
        let turn = described.wrapping_add(link.0) as usize; // each link begins elsewhere
        let (mut tips, mut above, mut lanes) = (Vec::new(), Vec::new(), Vec::new());
        for author in named {
            let key = self.key_of(*author);
            self.check_restored_tip(*author);
            tips.extend(self.lanes.signed_tip(*author, key));
            lanes.push(self.lanes.above(*author, key, self.now).collect::<Vec<SlotId>>());
        }
        lanes.sort_by_key(Vec::len);
        for (at, held) in lanes.iter().enumerate() {
            let room = (MAX_ABOVE - above.len()) / (lanes.len() - at);
            let first = turn.wrapping_mul(room) % held.len().max(1);
            above.extend(held.iter().cycle().skip(first).take(held.len().min(room)));
        }
        (tips, above)
    }

    /// Requests checks of the tips found at start. A tip may be corrupt, so none is sent unchecked.
    pub(super) fn check_restored_tips(&mut self) {
        let authors: Vec<u32> = self.lanes.iter().map(|(author, _)| author).collect();
        authors.into_iter().for_each(|author| self.check_restored_tip(author));
    }

    /// Requests the check of one such tip. Needed later as well, as a lane may advance over slots
    /// found at start.
    fn check_restored_tip(&mut self, author: u32) {
        let Some(slot) = self.lanes.unchecked_tip(author, self.key_of(author)) else { return };
        let network = self.network.id();
        let (seq, id) = (slot.seq, slot.id(&network));
        let slot_of = |checking: &Checking| match checking {
            Checking::Restored { author, seq, .. } => Some((*author, *seq)),
            _ => None,
        };
        if self.checks.values().any(|checking| slot_of(checking) == Some((author, seq))) {
            return;
        }
        let checking = Checking::Restored { author, seq, id };
        self.check(slot.author, slot.statement(&network), slot.signature, checking);
    }

    pub(super) fn on_restored_checked(&mut self, author: u32, seq: u64, id: BatchId, good: bool) {
        let pruned = self.lanes.get(author).is_some_and(|lane| seq <= lane.floor());
        match good {
            true => self.lanes.checked(author, seq),
            // Nothing is kept of a pruned slot that could be fetched again.
            false if pruned => self.on_damaged(author, seq, id),
            // The slot counts as held until its row is set aside: a sound copy would find it taken.
            false => {
                self.lanes.doubt(author, seq);
                let (token, author) = (Token(self.name()), self.key_of(author));
                self.emit(Output::Doubt { token, author, seq, id });
            }
        }
    }

    pub(super) fn on_differ(&mut self, from: &Received, differ: Differ) {
        let Some(held) = self.links.get_mut(from.link) else { return };
        if held.comparing.is_none_or(|(ticket, _)| ticket != differ.ticket) {
            let detail = "an answer to no open comparison";
            return self.reject(from, Reason::CreditOverrun, Claims::default, detail);
        }
        if let Some((_, since)) = held.comparing.take() {
            held.answered(self.now.since(since).min(LONGEST_ANSWER));
        }
        let asked = std::mem::take(&mut held.compared);
        if let Some(author) = authors(&differ).find(|key| self.network.index_of(key).is_none()) {
            let claims = || Claims { author: Some(*author), ..Claims::default() };
            let detail = "a slot of an author that is not in the network file";
            return self.reject(from, Reason::UnknownAuthor, claims, detail);
        }
        let keys = self.rehash_lanes();
        if !narrows(keys, &asked, &differ, |author| self.network.index_of(author)) {
            let detail = "an answer about ranges that were not asked about";
            return self.reject(from, Reason::Malformed, Claims::default, detail);
        }
        for tip in differ.tips.iter() {
            self.consider_tip(from, *tip);
        }
        self.on_announce(from, &differ.above);
        let named = self.note_holes(from.number, &differ.tips);
        self.probe_holes(from.link, &named);
        let finer = differing(&differ.ranges, |start, end| self.hash(start, end));
        if !finer.is_empty() {
            return self.compare_ranges(from.link, finer);
        }
        self.compare_lanes(from.link, &asked, &differ.above);
    }

    /// Notes the holes that a member shows. Returns the lanes in which they differ from ours.
    fn note_holes(&mut self, member: u32, tips: &[Tip]) -> BTreeSet<u32> {
        let mut named = BTreeSet::new();
        for tip in tips {
            let author = self.network.index_of(&tip.slot.author);
            let lane = author.and_then(|author| Some((author, self.lanes.get(author)?)));
            let differs = |holes: &Holes| !holes.is_empty() && holes.digest() != tip.holes;
            let Some((author, _)) = lane.filter(|(_, lane)| differs(lane.holes())) else {
                continue;
            };
            self.recovery.lack_of(author, member).shows(tip.holes, self.now);
            named.insert(author);
        }
        named
    }

    /// If an answer had no room for all slots above the tips, compares its lanes one by one, until
    /// everything that a lane may hold was named.
    fn compare_lanes(&mut self, link: LinkId, asked: &[RangeHash], above: &[SlotId]) {
        let one = |range: &RangeHash| range.end - range.start == 1;
        if above.len() == MAX_ABOVE && !asked.iter().all(one) {
            let authors: BTreeSet<u32> =
                above.iter().filter_map(|slot| self.network.index_of(&slot.author)).collect();
            let turns =
                authors.into_iter().flat_map(|author| [author; WINDOW as usize / MAX_ABOVE]);
            if let Some(held) = self.links.get_mut(link) {
                held.to_compare = turns.collect();
            }
        }
        let next = |held: &mut Link| held.to_compare.pop_front();
        while let Some(author) = self.links.get_mut(link).and_then(next) {
            if above.len() < MAX_ABOVE
                && asked.iter().any(|range| one(range) && range.start == author)
            {
                continue; // the last answer named every slot of this lane
            }
            let hash = self.hash(author, author + 1);
            return self
                .compare_ranges(link, vec![RangeHash { start: author, end: author + 1, hash }]);
        }
    }

    /// Handles a tip. One that says something new counts only after its author's signature was
    /// checked.
    fn consider_tip(&mut self, from: &Received, tip: Tip) {
        let slot = tip.slot;
        let Some(author) = self.network.index_of(&slot.author) else { return };
        let network = self.network.id();
        let admission = self.lanes.admission(author, slot.seq, &slot.id(&network));
        if admission == Admission::Known
            || (admission != Admission::Second && self.lanes.proves(author, &slot))
        {
            // It was verified when it came, but there may still be a gap below it.
            self.hear_tip(author, from.number, &tip);
            return self.seek(author, &tip, from);
        }
        if slot.seq <= self.lanes.tip(author)
            && !matches!(admission, Admission::Empty | Admission::Second)
        {
            // The author is known to have signed more, so the member's claim counts without a
            // check.
            let f = self.network.f();
            self.lanes.claim(author, from.number, tip.solid, tip.floor, f);
            return self.write_holes();
        }
        let checking = Checking::Tip { tip, author, from: from.clone() };
        self.check(slot.author, slot.statement(&network), slot.signature, checking);
    }

    pub(super) fn on_tip_checked(&mut self, tip: &Tip, author: u32, from: &Received, good: bool) {
        let slot = &tip.slot;
        let id = slot.id(&self.network.id());
        if !good {
            let claims = || Claims {
                author: Some(slot.author),
                seq: Some(slot.seq),
                id: Some(id),
                ..Claims::default()
            };
            let detail = "a tip with an invalid signature";
            return self.reject(from, Reason::BadSignature, claims, detail);
        }
        self.lanes.prove(author, slot);
        self.hear_tip(author, from.number, tip);
        if self.links.get(from.link).is_none() {
            return; // the link is gone: nobody to ask, and nothing would end the search
        }
        if self.lanes.admission(author, slot.seq, &id) == Admission::Second {
            let due = self.now.after(self.config.ask_after);
            self.relay.want((author, slot.seq, Some(id)), from.link, due);
        }
        self.seek(author, tip, from);
    }

    /// Searches for the slots that are missing up to a member's tip.
    fn seek(&mut self, author: u32, tip: &Tip, from: &Received) {
        let link = from.link;
        let mut missing = self.lanes.missing(author, tip.slot.seq, SLOTS_PER_TIP);
        let heard = self.lanes.get(author).map_or(0, Lane::heard);
        if let Some(seq) = missing.first().copied().filter(|seq| *seq <= tip.floor)
            && tip.floor < heard
            && self.is_stuck(author, seq, tip.floor)
        {
            // Ask all members for what this one has pruned or given up, as for slots below a tip.
            self.lanes.pass(author, tip.floor);
            self.write_holes();
            return self.recover_soon();
        }
        missing.retain(|seq| *seq > tip.floor);
        let long = missing.len() >= LONG_GAP;
        self.keep_likely(author, tip, from.number, &mut missing);
        if missing.is_empty() {
            return;
        }
        // A few slots may be on their way already: no reason to compare again at once.
        if long {
            let given = self.links.get(link).map_or(0, |held| held.given);
            self.catching_up.insert(link, given);
            self.visit_pause = self.config.visit_every / 4;
        }
        let (soon, later) =
            (self.now.after(self.config.ask_after), self.now.after(self.config.ask_again_after));
        for seq in missing {
            // An announced batch is asked for by its id; asking for the slot too would fetch it
            // twice.
            let due = if self.relay.seeks(author, seq) { later } else { soon };
            self.relay.want((author, seq, None), link, due);
        }
    }

    /// Drops slots that the member may not hold. Of slots that no member claims to hold, few are
    /// asked for until more is known, and none that the member lacked a moment ago. The first slot
    /// always stays: if the member lacks it, its answer may let the tip move.
    fn keep_likely(&mut self, author: u32, tip: &Tip, member: u32, missing: &mut Vec<u64>) {
        let first = missing.first().copied();
        let certain =
            |seq| Some(seq) == first || seq <= tip.solid || self.lanes.vouches(author, seq);
        if missing.iter().all(|seq| certain(*seq)) {
            return;
        }
        let (lack, mut open) = (self.recovery.lack_of(author, member), 0);
        missing.retain(|seq| {
            let likely = !lack.said_lately(*seq, self.now) && lack.allows(*seq, open);
            open += usize::from(likely && !certain(*seq));
            likely || certain(*seq)
        });
    }
}
