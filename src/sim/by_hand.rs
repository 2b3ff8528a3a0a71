//! A run that is driven by hand: whoever holds a [`Sim`] lets time pass, plays members, says frames
//! or raw bytes in their name, kills and starts nodes, publishes, and looks at what came of it.
//!
//! The oracle watches such a run too. A scenario for it has a long `duration`, as its phases go on
//! all the same.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::link::{Chunk, Endpoint};
use super::run::Sim;
use super::world::World;
use crate::adversary::Actor;
use crate::crypto::Identity;
use crate::protocol::{
    Ban, Config, LinkId, Network, PublishError, Record, Refusal, Rejection, StoredBatch, Ticket,
    Verified,
};
use crate::report::BatchRecord;
use crate::scenario::Scenario;
use crate::wire::{Batch, BatchId, Entry, Frame, MessageId};

impl Sim {
    /// A run of the members of `network` with these identities, by node number. Other keys of the
    /// network have no node. See [`Sim::new`] for the rest.
    pub fn of_network(
        scenario: &Scenario,
        seed: u64,
        network: Network,
        identities: Vec<Identity>,
    ) -> Self {
        Self::of(World::of(scenario, seed, network, identities))
    }

    /// Lets simulated time pass, up to the end of the run.
    ///
    /// # Panics
    /// If a million events in a row happen at one instant: time stands still.
    pub fn run(&mut self, by: Duration) {
        let end = self.world.now.after(by);
        // A global event, so that everything due before it is processed first.
        self.world.queue.put_global(end, Event::Phase);
        let (mut instant, mut still) = (self.world.now, 0);
        while self.world.now < end && self.step() {
            still = if self.world.now > instant { 0 } else { still + 1 };
            assert!(still < 1_000_000, "time stands still at {instant:?}");
            instant = self.world.now;
        }
    }

    /// The network that all members share.
    pub fn network(&self) -> &Arc<Network> {
        &self.world.network
    }

    /// The configuration of nodes that start from now on.
    pub fn config(&mut self) -> &mut Config {
        &mut self.world.config
    }

    /// Sets how long signature checks and synced writes take from now on.
    pub fn set_times(&mut self, check: Duration, sync: Duration) {
        (self.world.check_takes, self.world.sync_takes) = (check, sync);
    }

    /// Takes the place of a liar: its node goes, and the caller plays the member. Nobody can link
    /// to it: the caller does that by [`Sim::connect`].
    ///
    /// # Panics
    /// If the scenario says that the node is honest: the oracle would blame it for what is done.
    pub fn play(&mut self, node: usize) {
        assert!(!self.world.hosts[node].honest, "only the place of a liar can be taken");
        self.world.kill(node);
        (self.world.hosts[node].left, self.world.hosts[node].heard) = (true, Some(Vec::new()));
    }

    /// Links a member that is played to a node. Returns the member's end of the link; `None` if the
    /// node is down.
    pub fn connect(&mut self, played: usize, to: usize) -> Option<LinkId> {
        self.world.hosts[to].lives().then(|| self.world.link(played, to))
    }

    /// Sends a frame, given without its length prefix, from a member that is played.
    pub fn say(&mut self, link: LinkId, frame: &[u8]) {
        self.world.transmit(link, Chunk::Frame(frame.into()));
    }

    /// Sends raw bytes from a member that is played.
    pub fn write(&mut self, link: LinkId, bytes: &[u8]) {
        self.world.transmit(link, Chunk::Bytes(bytes.into()));
    }

    /// Takes the frames that came to a member that is played, in order, with the links they came
    /// on. Bytes that are no frame are left out.
    pub fn hear(&mut self, played: usize) -> Vec<(LinkId, Frame)> {
        self.world.hosts[played].heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether an end of a link is up.
    pub fn is_up(&self, link: LinkId) -> bool {
        self.world.links.get(link).is_some_and(|end| end.up)
    }

    /// Kills a node at once: writes that are not safe are lost, and its links break.
    pub fn kill(&mut self, node: usize) {
        self.world.kill(node);
    }

    /// Starts a node that is down, with what its disk holds.
    pub fn start(&mut self, node: usize) {
        if !self.world.hosts[node].lives() {
            self.world.begin(node);
        }
    }

    /// Puts a batch on the disk of a node that does not run, as if the node had delivered it.
    ///
    /// # Panics
    /// If the batch's signature or content is bad.
    pub fn preload(&mut self, node: usize, batch: Batch) {
        let (now, world) = (self.world.now, &mut self.world);
        let (header, signature) = (&batch.header, &batch.signature);
        let verdict = world.signatures.check(&header.author, &header.statement(), signature);
        let stored = StoredBatch {
            id: batch.id(),
            batch: Arc::new(Verified::new(batch, verdict).expect("a good batch")),
            hops: 1,
            from: None,
            delivered_at: now,
            first: true,
        };
        world.oracle.preloaded(now, node, &stored);
        world.hosts[node].disk.preload(Record::Batch(stored));
    }

    /// Hands a message to a node; `None` if the node is down.
    pub fn publish(&mut self, node: usize, entry: Entry) -> Option<Result<Ticket, PublishError>> {
        self.world.publish(node, entry, self.world.now)
    }

    /// Hands a batch that was signed elsewhere to a node; `None` if the node is down.
    pub fn submit(&mut self, node: usize, batch: Batch) -> Option<Result<Ticket, PublishError>> {
        let now = self.world.now;
        let answer = self.world.hosts[node].actor.as_mut()?.submit(now, batch);
        self.world.settle(node);
        self.world.schedule_wake(node, false);
        Some(answer)
    }

    /// The answers of a node to submitted batches, in order.
    pub fn submitted(&self, node: usize) -> &[(Ticket, Result<BatchId, Refusal>)] {
        &self.world.hosts[node].submitted
    }

    /// The messages of a node that it acknowledged, in order.
    pub fn published(&self, node: usize) -> impl Iterator<Item = MessageId> {
        let recorder = &self.world.recorder;
        let posts = recorder.posts.iter().filter(move |post| post.author as usize == node);
        posts.filter(|post| post.acknowledged).filter_map(|post| {
            let (batch, index) = post.position?;
            Some(MessageId { batch: recorder.batches[batch as usize].id, index })
        })
    }

    /// What a node delivered in all of its lives, in order, without what its disk lost.
    pub fn delivered(&self, node: usize) -> impl Iterator<Item = &BatchRecord> {
        let recorder = &self.world.recorder;
        let all = recorder.arrivals.iter().zip(0..);
        let of = all.filter(move |(arrival, at)| {
            arrival.node as usize == node && !recorder.undone.contains(at)
        });
        of.map(|(arrival, _)| &recorder.batches[arrival.batch as usize])
    }

    /// A node's rejection log; equal rows that came long after others are folded.
    pub fn rejections(&self, node: usize) -> impl Iterator<Item = &Rejection> {
        self.world.hosts[node].log.rows()
    }

    /// The bans that a node imposed, in order.
    pub fn bans(&self, node: usize) -> &[Ban] {
        &self.world.hosts[node].bans
    }

    /// Whether a node reads or writes one of its links more slowly than it could, as liars may.
    pub fn holds_up(&self, node: usize) -> bool {
        let ends = self.world.links.all_up().filter(|(_, end)| end.owner as usize == node);
        let is_paced = |end: &Endpoint| end.rare.as_ref().is_some_and(|rare| rare.pace.is_some());
        ends.into_iter().any(|(_, end)| !end.reading || is_paced(end))
    }

    /// What runs at a node; `None` if it is down or played.
    pub fn actor(&self, node: usize) -> Option<&Actor> {
        self.world.hosts[node].actor.as_ref()
    }
}
