//! The node's state, the calls on it, its timers, and how full its collections are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;

use super::asking::{Asking, Promises};
use super::pending::{Cache, Checking, MAX_SUBMITTED, Serving, Writing};
use crate::crypto::{Digest, Identity, PublicKey, Signature};
use crate::protocol::lanes::{Lane, Lanes};
use crate::protocol::links::{Granted, LINKS_PER_MEMBER, Links, Overlay};
use crate::protocol::publisher::Publisher;
use crate::protocol::quotas::{Quota, Quotas};
use crate::protocol::recovery::Recovery;
use crate::protocol::relay::Relay;
use crate::protocol::standing::Standing;
use crate::protocol::time::Rate;
use crate::protocol::{
    Config, Counters, Input, LaneView, LinkId, Network, Output, PeerView, Restored, Snapshot, Time,
    Timer, Token,
};
use crate::wire::limits::{
    IDLE_WORK_BURST, IDLE_WORK_PER_S, MAX_OPEN_WANTS, MAX_TIPS, MAX_UNACKNOWLEDGED, PUSH_FRAMES,
    VISITS_AT_ONCE,
};
use crate::wire::{BatchId, Class, Instance};

/// Limit on the work that a link may cause without bringing anything new.
pub(super) const IDLE_WORK: Rate = Rate { per_s: IDLE_WORK_PER_S, burst: IDLE_WORK_BURST };
/// How often idle links and overdue answers are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// After this long without news, lanes are compared half as often.
const QUIET: Duration = Duration::from_secs(2);
/// Longest delay before sending credit that nobody waits for; it often travels with other credit.
const LAZY_CREDIT: Duration = Duration::from_millis(500);

/// A node: a state machine. Order of calls: after `handle`, `publish`, `submit` or `conclude`, call
/// `poll` until it returns `None` (debug builds assert it); then ask `deadline`, and pass in `Wake`
/// at that time.
pub struct Node {
    pub(super) identity: Identity,
    pub(super) own: u32,
    pub(super) network: Arc<Network>,
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) rng: ChaCha8Rng,
    pub(super) instance: Instance,
    out: VecDeque<Output>,
    names: u64,
    // Components.
    pub(super) links: Links,
    pub(super) overlay: Overlay,
    pub(super) lanes: Lanes,
    pub(super) relay: Relay,
    pub(super) promises: Promises,
    pub(super) standing: Standing,
    pub(super) quotas: Quotas,
    pub(super) own_quota: Quota,
    pub(super) publisher: Publisher,
    /// Since when messages wait to be signed because slots of this node's own lane are missing.
    pub(super) awaits_own: Option<Time>,
    pub(super) cache: Cache,
    // Requests that are not answered yet.
    pub(super) checks: BTreeMap<Token, Checking>,
    pub(super) under_check: BTreeMap<(BatchId, Signature), Token>,
    pub(super) writes: BTreeMap<Token, Writing>,
    pub(super) asking: Asking,
    pub(super) serving: Serving,
    pub(super) recovery: Recovery,
    /// Authors whose lane here lies far behind what they are known to have signed.
    pub(super) behind: BTreeSet<u32>,
    // Timers.
    pub(super) next_compare: Time,
    /// When the last batch came that was news.
    pub(super) last_news: Time,
    pub(super) next_visit: Time,
    pub(super) visit_pause: Duration,
    /// Members already visited in the current round of hurried visits.
    pub(super) visited: BTreeSet<PublicKey>,
    /// Whether visits are hurried because more members must be heard soon.
    pub(super) hurry_visits: bool,
    /// A chosen link that is closed as soon as its replacement is ready.
    pub(super) retiring: Option<LinkId>,
    /// Links to compare again once their wants are answered, with their `Link::given` at the start.
    pub(super) catching_up: BTreeMap<LinkId, u64>,
    pub(super) next_rotation: Time,
    next_sweep: Time,
    pub(super) counters: Counters,
}

impl Node {
    /// Creates a node from what was found on disk. The same arguments and inputs produce the same
    /// outputs. Outside of simulations `seed` must be unpredictable. `identity` must be a member of
    /// `network`.
    pub fn new(
        identity: Identity,
        network: Arc<Network>,
        config: Config,
        restored: Restored,
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let key = identity.public();
        let mut lanes = Lanes::restore(&restored.lanes, |author| network.index_of(author));
        let (standing, bans) = Standing::restore(&restored.bans, now, config.ban_max);
        lanes.set_keys(u32::try_from(network.keys().len()).unwrap_or(u32::MAX));
        let mut node = Self {
            own: network.index_of(&key).unwrap_or(u32::MAX),
            instance: Instance(rand::RngExt::random(&mut rng)),
            overlay: Overlay::new(network.clone(), key, (config.redial_min, config.redial_max)),
            standing,
            next_compare: now.after(config.compare_every),
            last_news: now,
            next_visit: now.after(config.visit_every / 2),
            visit_pause: config.visit_every / 2,
            next_rotation: now.after(config.rotate_every),
            next_sweep: now.after(SWEEP),
            identity,
            network,
            config,
            now,
            rng,
            lanes,
            out: VecDeque::new(),
            names: 0,
            links: Links::default(),
            relay: Relay::default(),
            promises: Promises::default(),
            quotas: Quotas::default(),
            own_quota: Quota::own(),
            publisher: Publisher::default(),
            awaits_own: None,
            cache: Cache::default(),
            checks: BTreeMap::new(),
            under_check: BTreeMap::new(),
            writes: BTreeMap::new(),
            asking: Asking::default(),
            serving: Serving::default(),
            recovery: Recovery::default(),
            behind: BTreeSet::new(),
            visited: BTreeSet::new(),
            hurry_visits: false,
            retiring: None,
            catching_up: BTreeMap::new(),
            counters: Counters::default(),
        };
        bans.into_iter().for_each(|ban| node.write_ban(ban));
        node.check_restored_tips();
        // A crash may have come between a restart header of ours and the record of the slots it
        // voids.
        if let Some(highest) = node.lanes.get(node.own).map(Lane::highest) {
            node.lanes.jump_own(node.own, highest);
        }
        if node.lanes.holed().next().is_some() {
            node.recover_soon();
        }
        node.choose_links();
        node
    }

    /// Handles one input. Never fails: nothing that a peer does is the caller's fault.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.begin(now);
        match input {
            Input::LinkUp { link, peer, dialled } => self.on_link_up(link, peer, dialled),
            Input::LinkDown { link, .. } => self.on_link_down(link),
            Input::DialFailed { peer } => self.on_dial_failed(peer),
            Input::Frame { link, bytes } => self.on_frame(link, bytes),
            Input::Oversize { link, length } => self.on_oversize(link, length),
            Input::Checked { token, verdict } => self.on_checked(token, verdict),
            Input::Written { token } => self.on_written(token),
            Input::WriteFailed { token } => self.on_write_failed(token),
            Input::Read { token, batch } => self.on_read(token, batch.map(|batch| *batch)),
            Input::Pruned { author, floor } => self.on_pruned(&author, floor),
            Input::Damaged { author, seq, id } => {
                if let Some(author) = self.network.index_of(&author) {
                    self.on_damaged(author, seq, id);
                }
            }
            Input::Wake => self.on_wake(),
        }
        self.settle();
    }

    /// Takes the next output; `None` once there are no more.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to pass in `Wake`, and for which timer. Changes with every input.
    pub fn deadline(&self) -> Option<(Time, Timer)> {
        let fixed = [
            (Some(self.next_compare), Timer::Compare),
            (Some(self.next_visit), Timer::Visit),
            (Some(self.next_rotation), Timer::Rotate),
            (Some(self.next_sweep), Timer::Ping),
            (self.relay.next_due(), Timer::Ask),
            (self.standing.next_unfold(), Timer::Fold),
            (self.next_publish(), Timer::Publish),
            (self.next_redial(), Timer::Dial),
            (self.links.next_credit(), Timer::Credit),
            (self.recovery.due, Timer::Recover),
            (self.serving.due, Timer::Serve),
        ];
        fixed.into_iter().filter_map(|(time, why)| Some((time?, why))).min()
    }

    pub(super) fn begin(&mut self, now: Time) {
        debug_assert!(self.out.is_empty(), "poll until None before the next input");
        self.now = self.now.max(now);
    }

    /// Steps that may become possible after any input.
    pub(super) fn settle(&mut self) {
        self.flush_announcements();
        self.sign_what_waits();
    }

    fn on_wake(&mut self) {
        let now = self.now;
        self.recover();
        if now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP);
            self.sweep_links();
        }
        if now >= self.next_compare {
            let quiet = now.since(self.last_news) > QUIET;
            let pause = self.config.compare_every;
            self.next_compare = now.after(if quiet { pause * 2 } else { pause });
            match self.wants_voices() {
                true => self.compare_with_all(),
                false => self.compare_with_someone(),
            }
        }
        if now >= self.next_visit {
            self.visit_someone();
        }
        if now >= self.next_rotation {
            self.next_rotation = now.after(self.config.rotate_every);
            self.rotate();
        }
        if self.next_redial().is_some_and(|due| due <= now) {
            self.choose_links();
        }
        self.ask_what_is_due();
        if self.serving.due.is_some_and(|due| due <= now) {
            self.serve();
        }
        for row in self.standing.unfold(now) {
            self.write_rejection(row);
        }
        self.publisher.expire(now);
        for link in self.links.credit_due(now) {
            self.release_owed(link);
            self.send_credit(link);
        }
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// A number not used before, for tokens and tickets.
    pub(super) fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Finishes a handled frame. A frame that brings nothing new (a copy, over quota, too far
    /// ahead) is charged to its link's idle work, and earns new credit at a limited rate only: a
    /// flood slows itself down, and nobody is blamed.
    pub(super) fn finish(&mut self, link: LinkId, class: Class, bytes: usize, cost: u64) {
        let now = self.now;
        let Some(held) = self.links.get_mut(link) else { return };
        held.settle(IDLE_WORK, now, class, (bytes, cost));
        let delay = match (held.credit_state(), held.withheld(IDLE_WORK, now)) {
            (Granted::Now, _) => return self.send_credit(link),
            // An author waits for the credit of its pushes before it signs the batch after the
            // next.
            (Granted::Later, _) if class == Class::Push => self.config.credit_delay,
            (Granted::Later, _) => LAZY_CREDIT,
            (Granted::Nothing, None) => return,
            (Granted::Nothing, Some(wait)) => wait,
        };
        self.links.credit_by(link, now.after(delay));
    }

    /// Totals since the node started; they never decrease.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The peers of the chosen links that are ready.
    pub fn chosen(&self) -> impl Iterator<Item = PublicKey> {
        self.links.ready().filter(|(_, link)| link.chosen()).map(|(_, link)| link.peer)
    }

    /// An author's tip and its id: see [`LaneView::tip`]. 0 and zeros if there is no lane; the id
    /// is zeros if the tip's own slot is missing.
    pub fn tip(&self, author: &PublicKey) -> (u64, BatchId) {
        let lane = self.network.index_of(author).and_then(|author| self.lanes.get(author));
        let tip = lane.map(|lane| (lane.tip(), lane.tip_id().unwrap_or(Digest::ZERO)));
        tip.unwrap_or((0, Digest::ZERO))
    }

    /// The lanes that are not empty, in the order of keys.
    pub fn lanes(&self) -> Vec<LaneView> {
        let view = |(author, lane): (u32, &Lane)| LaneView {
            author: self.network.keys()[author as usize].key,
            tip: lane.tip(),
            tip_id: lane.tip_id().unwrap_or(Digest::ZERO),
            above: lane.above() as u64,
            floor: lane.floor(),
            conflicted: lane.conflicted(),
        };
        self.lanes.iter().map(view).collect()
    }

    /// The state of the node at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let peer = |peer: PublicKey| PeerView {
            peer,
            link: self.links.of_peer(&peer).and_then(|id| Some(self.links.get(id)?.view(id))),
            ban: self.standing.ban_of(&peer),
            failed_dials: self.overlay.failures(&peer),
            rejected: self.standing.rejected(&peer),
        };
        Snapshot {
            key: self.identity.public(),
            now: self.now,
            peers: self.overlay.others().map(peer).collect(),
            lanes: self.lanes(),
            waiting: self.publisher.waiting() as u64,
            counters: self.counters.clone(),
        }
    }
}

impl Node {
    /// What [`Node::occupy`] calls `note` with, as a list.
    #[cfg(test)]
    pub(crate) fn occupancy(&self) -> Vec<(&'static str, usize, usize)> {
        let mut all = Vec::with_capacity(40);
        self.occupy(&mut |name, entries, limit| all.push((name, entries, limit)));
        all
    }

    /// Calls `note` for every collection of the node, always in the same order: name, number of
    /// entries, limit.
    pub fn occupy(&self, note: &mut dyn FnMut(&'static str, usize, usize)) {
        let (keys, members) = (self.network.keys().len(), self.network.n());
        let links = LINKS_PER_MEMBER * members;
        let statements = PUSH_FRAMES as usize + MAX_OPEN_WANTS + MAX_TIPS;
        let checks = links * statements + MAX_SUBMITTED + keys;
        self.links.occupy(note, members);
        self.overlay.occupy(note);
        self.lanes.occupy(note, keys, members);
        self.relay.occupy(note, links);
        self.standing.occupy(note, members);
        self.quotas.occupy(note, keys);
        self.publisher.occupy(note);
        self.cache.occupy(note);
        note("checks", self.checks.len(), checks);
        note("under_check", self.under_check.len(), checks);
        note("writes", self.writes.len(), MAX_SUBMITTED + MAX_UNACKNOWLEDGED);
        self.promises.occupy(note, members);
        self.asking.occupy(note, links);
        self.serving.occupy(note, links);
        self.recovery.occupy(note, (keys, members, links));
        note("behind", self.behind.len(), keys);
        note("catching_up", self.catching_up.len(), links);
        note("visits", self.visits().len(), VISITS_AT_ONCE);
        note("visited", self.visited.len(), members);
    }
}
