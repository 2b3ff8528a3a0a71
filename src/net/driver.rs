//! The driver: the only task that owns the state machine. It carries out the machine's outputs,
//! feeds it inputs, and never waits for a peer, the disk or a signature check.
//!
//! Order of a turn, with each part bounded: frames, answers, commands, link events, timer; the
//! machine's outputs are carried out after every input. Between turns the driver yields. After a
//! turn that found nothing to do it sleeps until the machine's deadline or until the queue wakes
//! it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsStream;

use super::checkers::Checkers;
use super::dialer::Dialer;
use super::disk::Disk;
use super::handle::{Command, Waiters};
use super::impairment::{Conditions, Impairments};
use super::inbox::Incoming;
use super::link::{Deadlines, Link};
use super::log::PeerLog;
use super::queue::{LinkEvent, Queue};
use super::records::Paced;
use super::traffic::Meter;
use crate::adversary::Actor;
use crate::clock::{Clock, Steps};
use crate::crypto::PublicKey;
use crate::protocol::{Down, Input, LinkId, RoundRobin, Time};
use crate::wire::limits::{TURN_ANSWERS, TURN_FRAMES, WAITING_CHECKS};

/// Bounds of one turn beside frames and answers: bytes of frames, commands, link events.
const FRAME_BYTES: usize = 1 << 20;
const COMMANDS: usize = 64;
const ARRIVALS: usize = 32;
/// Most links with one peer, including those being closed; the state machine wants one.
const LINKS_PER_PEER: usize = 4;
/// Shortest time between two wake-ups of the machine by its deadline.
const WAKE_GAP: Duration = Duration::from_micros(200);
/// Interval at which the wall clock is checked for steps.
const CLOCK_PAUSE: Duration = Duration::from_secs(10);
/// Time to finish and acknowledge accepted work once the node is asked to stop.
const STOPPING: Duration = Duration::from_secs(3);
/// Time for all links to close, longer than the deadline that each link has itself.
const CLOSING: Duration = Duration::from_secs(2);

/// A link as the driver knows it.
pub(super) struct LinkEntry {
    pub link: Arc<Link>,
    pub peer: PublicKey,
    pub closing: bool,
}

/// The task that owns the node: it feeds inputs and carries out outputs.
pub(super) struct Driver {
    pub actor: Actor,
    pub clock: Clock,
    pub mail: Arc<Queue>,
    pub meter: Arc<Meter>,
    pub commands: mpsc::Receiver<Command>,
    pub checkers: Checkers,
    pub disk: Disk,
    pub dialer: Dialer,
    pub lab: Option<Impairments>,
    pub waiters: Waiters,
    pub links: BTreeMap<LinkId, LinkEntry>,
    pub tasks: JoinSet<()>,
    pub log: PeerLog,
    pub turns: Turns,
}

/// What the driver keeps from turn to turn.
#[derive(Default)]
pub(super) struct Turns {
    steps: Steps,
    next_look: Option<Instant>,
    round_robin: RoundRobin,
    last_link: u64,
    answers: VecDeque<Input>,
    arrivals: VecDeque<LinkEvent>,
    drained: Vec<LinkId>,
    woken: Time,
    stop_by: Option<Instant>,
}

impl Driver {
    /// Runs until the node is asked to stop and has finished what it accepted.
    pub(super) async fn run(mut self) {
        self.drain();
        loop {
            let busy = self.turn();
            if self.mail.is_stopping() && self.may_stop() {
                break;
            }
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            let alarm = self.alarm();
            let ring = sleep_until(alarm.unwrap_or_else(Instant::now).into());
            tokio::select! {
                () = self.mail.woken() => {}
                () = ring, if alarm.is_some() => {}
            }
        }
        self.finish().await;
    }

    /// Runs one turn; returns whether there may be more to do at once.
    fn turn(&mut self) -> bool {
        self.collect();
        self.disk.retry(Instant::now());
        let busy = [
            self.serve_frames(),
            self.serve_answers(),
            self.serve_commands(),
            self.serve_arrivals(),
            self.serve_timer(),
        ];
        busy.contains(&true)
    }

    fn collect(&mut self) {
        let mail = self.mail.take();
        self.turns.answers.extend(mail.answers);
        self.turns.arrivals.extend(mail.arrivals);
        mail.ready.into_iter().for_each(|link| self.turns.round_robin.activate(link));
        self.turns.drained.extend(mail.drained);
        while self.tasks.try_join_next().is_some() {}
        self.meter.store_queue.store(self.disk.waiting() as u64, Relaxed);
    }

    fn input(&mut self, input: Input) {
        self.actor.handle(self.clock.now(), input);
        self.drain();
    }

    /// Carries out all pending outputs of the machine.
    pub(super) fn drain(&mut self) {
        while let Some(act) = self.actor.poll() {
            self.carry_out(act);
        }
    }

    /// Whether signature checks or the disk are so far behind that links must be held back.
    fn is_congested(&self) -> bool {
        self.checkers.len() >= WAITING_CHECKS || self.disk.is_full()
    }

    fn serve_frames(&mut self) -> bool {
        let mut bytes_left = FRAME_BYTES;
        for _ in 0..TURN_FRAMES {
            if bytes_left == 0 {
                break;
            }
            if self.is_congested() {
                return false; // an answer will wake the driver
            }
            let links = &self.links;
            let Some(id) = self.turns.round_robin.turn(|id| links.get(&id)?.link.inbox.peek())
            else {
                return self.serve_drained();
            };
            let item = self.links.get(&id).and_then(|entry| entry.link.inbox.pop());
            match item {
                Some(Incoming::Frame(bytes)) => {
                    bytes_left = bytes_left.saturating_sub(bytes.len());
                    self.input(Input::Frame { link: id, bytes });
                }
                Some(Incoming::Oversize(length)) => {
                    self.input(Input::Oversize { link: id, length })
                }
                Some(Incoming::End(cause)) => self.down(id, cause),
                None => {}
            }
        }
        self.serve_drained();
        true
    }

    /// Tells a malicious node that everything it sent on a link is written.
    fn serve_drained(&mut self) -> bool {
        let drained = std::mem::take(&mut self.turns.drained);
        let mut any = false;
        for id in drained {
            let open = self.links.get(&id).is_some_and(|entry| !entry.closing);
            if open && self.links[&id].link.outbox.is_empty() {
                self.actor.drained(self.clock.now(), id);
                self.drain();
                any = true;
            }
        }
        any
    }

    fn serve_answers(&mut self) -> bool {
        for _ in 0..TURN_ANSWERS {
            let Some(answer) = self.turns.answers.pop_front() else { return false };
            if self.disk.answered(&answer) {
                self.input(answer);
            }
        }
        true
    }

    fn serve_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Ok(command) = self.commands.try_recv() else { return false };
            let now = self.clock.now();
            match command {
                Command::Publish(entry, answer) => {
                    let taken = self.actor.publish(now, entry);
                    self.waiters.publish(taken, answer);
                }
                Command::Submit(batch, answer) => {
                    let taken = self.actor.submit(now, *batch);
                    self.waiters.submit(taken, answer);
                }
                // A caller that has stopped listening needs no answer.
                Command::Snapshot(answer) => drop(answer.send(self.actor.snapshot())),
                Command::Attempts(answer) => drop(answer.send(self.actor.attempts().cloned())),
            }
            self.drain();
        }
        true
    }

    fn serve_arrivals(&mut self) -> bool {
        for _ in 0..ARRIVALS {
            let Some(arrival) = self.turns.arrivals.pop_front() else { return false };
            match arrival {
                LinkEvent::Linked { stream, peer, dialled } => self.up(*stream, peer, dialled),
                LinkEvent::DialFailed { peer } => self.input(Input::DialFailed { peer }),
            }
            self.dialer.advance();
        }
        true
    }

    fn serve_timer(&mut self) -> bool {
        let now = self.clock.now();
        let due = self.actor.deadline().is_some_and(|at| at <= now);
        if !due || now < self.turns.woken.after(WAKE_GAP) {
            return false;
        }
        self.turns.woken = now;
        self.look_at_the_clock();
        self.input(Input::Wake);
        true
    }

    fn look_at_the_clock(&mut self) {
        if self.turns.next_look.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.turns.next_look = Some(Instant::now() + CLOCK_PAUSE);
        if let Some(step) = self.turns.steps.look(&self.clock) {
            let (seconds, slept) = (step.by / 1_000_000, step.slept / 1_000_000);
            tracing::warn!(
                seconds,
                slept,
                "the wall clock was set, or the machine slept; this node's clock does not jump"
            );
            self.disk.clock_stepped(self.turns.steps.ahead());
        }
    }

    /// When the driver must run next even if nothing wakes it.
    fn alarm(&self) -> Option<Instant> {
        let deadline = self.actor.deadline().map(|at| at.max(self.turns.woken.after(WAKE_GAP)));
        let deadline = deadline.and_then(|at| self.clock.instant(at));
        [deadline, self.turns.stop_by, self.disk.retry_at()].into_iter().flatten().min()
    }

    fn up(&mut self, stream: TlsStream<Paced<TcpStream>>, peer: PublicKey, dialled: bool) {
        let of_peer = self.links.values().filter(|entry| entry.peer == peer).count();
        if of_peer >= LINKS_PER_PEER {
            if dialled {
                self.input(Input::DialFailed { peer });
            }
            return;
        }
        self.turns.last_link += 1;
        let id = LinkId(self.turns.last_link);
        let (mail, meter) = (self.mail.clone(), self.meter.clone());
        let conditions = Conditions::new(self.lab.as_ref(), peer);
        let frames = stream.get_ref().0.frames();
        let link = Link::new(id, conditions, self.actor.is_liar(), (mail, meter, frames));
        self.tasks.spawn(link.clone().run(stream, Deadlines::default()));
        self.links.insert(id, LinkEntry { link, peer, closing: false });
        tracing::debug!(link = id.0, %peer, dialled, "link up");
        self.input(Input::LinkUp { link: id, peer, dialled });
    }

    fn down(&mut self, id: LinkId, cause: Down) {
        if let Some(entry) = self.links.remove(&id) {
            tracing::debug!(link = id.0, peer = %entry.peer, ?cause, "link down");
            self.input(Input::LinkDown { link: id, cause });
        }
    }

    /// The link with this id, unless it is closed or being closed.
    pub(super) fn open(&self, id: LinkId) -> Option<&Arc<Link>> {
        self.links.get(&id).filter(|entry| !entry.closing).map(|entry| &entry.link)
    }

    pub(super) fn close(&mut self, id: LinkId) {
        if let Some(entry) = self.links.get_mut(&id) {
            entry.closing = true;
            entry.link.close();
        }
    }

    fn may_stop(&mut self) -> bool {
        self.commands.close();
        let stop_by = *self.turns.stop_by.get_or_insert_with(|| Instant::now() + STOPPING);
        let finished = self.waiters.is_empty() && self.commands.is_empty();
        (finished && self.disk.is_idle()) || Instant::now() >= stop_by
    }

    async fn finish(mut self) {
        // Dropping the senders tells callers that still wait that the node stops.
        self.commands.close();
        self.actor.conclude();
        self.drain();
        drop(self.waiters);
        drop(self.dialer);
        for entry in self.links.values() {
            entry.link.close();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSING, all).await.is_err() {
            self.tasks.shutdown().await;
        }
        let (checkers, disk) = (self.checkers, self.disk);
        let closed = tokio::task::spawn_blocking(move || {
            drop(checkers);
            disk.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the store was not closed: a thread panicked");
        }
    }
}
