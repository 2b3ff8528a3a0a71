//! Plays a scenario on real processes. The load is posted while the faults strike: nodes are
//! killed, started again, paused and resumed for real; links are impaired by the nodes at both
//! ends. Then every message must be everywhere within the bound that the scenario states.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::clock::now;
use super::collect::{PlayedOut, bytes_received, conclude};
use super::impairments::ImpairmentControl;
use super::load::{posts_at_once, publish};
use super::restarts::Restarts;
use super::targets::{PostTarget, PostTargets};
use super::{Mesh, MeshError, Progress, Stop, Terms};
use crate::protocol::micros;
use crate::report::{Recording, Report};
use crate::scenario::{FaultAction, FaultEvent, Scenario, Start};

/// Interval between two checks for nodes that died on their own.
const LOOK: Duration = Duration::from_millis(100);

/// A scenario on a mesh that was just started: [`Player::link`], then [`Player::play`]. Await both
/// on the thread that outlives all others, for the reason given at [`Mesh::start_again`].
pub struct Player<'a> {
    scenario: &'a Scenario,
    seed: Option<u64>,
    /// The seed that is used: the given one, or else the scenario's.
    chosen: u64,
    /// The mesh that the scenario is played on.
    pub mesh: &'a mut Mesh,
    stop: &'a Stop,
    progress: &'a mut dyn FnMut(Progress),
    targets: PostTargets,
    impairments: ImpairmentControl,
    restarts: Restarts,
    /// Waits for nodes that were started again to answer.
    starting: JoinSet<()>,
    fault_events: Vec<FaultEvent>,
}

impl<'a> Player<'a> {
    /// Prepares to play a scenario until `stop`. The seed chooses the nodes that faults strike and
    /// how far nodes are apart; without one it is the scenario's, and the report states none.
    pub fn new(
        mesh: &'a mut Mesh,
        scenario: &'a Scenario,
        seed: Option<u64>,
        stop: &'a Stop,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let at_once = posts_at_once(scenario);
        let targets = mesh
            .nodes
            .iter()
            .map(|node| PostTarget::new(node.entry.key.clone(), node.client.clone(), at_once));
        let chosen = seed.unwrap_or(scenario.seed);
        Self {
            targets: Arc::new(targets.collect()),
            impairments: ImpairmentControl::new(mesh, scenario, chosen),
            restarts: Restarts::new(mesh, largest(scenario)),
            starting: JoinSet::new(),
            fault_events: scenario.fault_events(chosen),
            scenario,
            seed,
            chosen,
            mesh,
            stop,
            progress,
        }
    }

    /// Waits until all nodes are linked, unless the scenario starts cold. Returns whether they are,
    /// rather than the run being stopped first.
    ///
    /// # Errors
    /// If a node dies, or is not linked in time.
    pub async fn link(&mut self) -> Result<bool, MeshError> {
        if self.scenario.mesh.start == Start::Cold {
            (0..self.mesh.nodes.len()).for_each(|number| self.watch_start(number));
            return Ok(true);
        }
        let progress = &mut *self.progress;
        tokio::select! {
            biased;
            () = self.stop.wait() => return Ok(false),
            ready = self.mesh.ready(|count| progress(Progress::Linked(count))) => ready?,
        }
        self.targets.iter().for_each(PostTarget::came_up);
        self.impairments.told().await?;
        Ok(true)
    }

    /// Plays the scenario to its verdict. A run that is stopped reports what was observed until
    /// then.
    ///
    /// # Errors
    /// If a node dies on its own, or an honest one does not answer.
    pub async fn play(mut self, reproduce: String) -> Result<(Recording, Report), MeshError> {
        let (scenario, stop) = (self.scenario, self.stop);
        let (zero, bytes_before) = match scenario.mesh.start {
            Start::Cold => (self.mesh.started, BTreeMap::new()),
            Start::Linked => {
                let bytes = bytes_received(self.mesh, stop).await;
                (Instant::now(), bytes)
            }
        };
        let (f, seed) = (self.mesh.network.f(), self.seed);
        let since_1970 = now().saturating_sub(micros(zero.elapsed()));
        let terms = Terms { scenario, seed, reproduce, f, zero: since_1970 };
        (self.progress)(Progress::Begun);
        let (posted, targets) = (Posted::default(), self.targets.clone());
        let load = async {
            let count = |count| posted.count.set(count);
            let sent = publish(scenario, &targets, zero.into(), stop, count).await;
            posted.all.set(true);
            posted.done.notify_one();
            Ok(sent)
        };
        let (sent, ()) = tokio::try_join!(load, self.run_faults(zero, &posted))?;
        let last = Instant::now();
        let (size, deadline) = (largest(scenario), last + scenario.settle);
        let ending = PlayedOut { sent, size, bytes_before, last, deadline, stop };
        conclude(self.mesh, ending, &terms, &self.restarts, self.progress).await
    }

    /// Marks a started node as up once it answers.
    fn watch_start(&mut self, number: usize) {
        let targets = self.targets.clone();
        self.starting.spawn(async move {
            if let Some(target) = targets.get(number) {
                target.await_up().await;
            }
        });
    }

    /// Applies every fault event when it is due, and returns once the scenario's duration is over
    /// and the load is posted. If the run is to stop, resumes all paused nodes, so that they can
    /// report what they saw.
    async fn run_faults(&mut self, zero: Instant, posted: &Posted) -> Result<(), MeshError> {
        let mut next = 0;
        loop {
            let event = self.fault_events.get(next).copied();
            let at = event.map_or(self.scenario.duration, |event| event.at);
            while zero.elapsed() < at || (event.is_none() && !posted.all.get()) {
                let left = Some(at.saturating_sub(zero.elapsed())).filter(|left| !left.is_zero());
                tokio::select! {
                    () = self.stop.sleep(left.unwrap_or(LOOK).min(LOOK)) => {}
                    () = posted.done.notified(), if left.is_none() => {}
                }
                if self.stop.asked() {
                    (0..self.mesh.nodes.len()).for_each(|number| self.pause(number, false));
                    return Ok(());
                }
                self.mesh.check_alive()?;
                (self.progress)(Progress::At(zero.elapsed(), posted.count.get()));
            }
            let Some(event) = event else { return Ok(()) };
            next += 1;
            self.apply_fault(event, next).await?;
            let words = self.words(event);
            (self.progress)(Progress::Struck(words));
        }
    }

    /// Applies one fault event; `later` is the index of the next one.
    async fn apply_fault(&mut self, event: FaultEvent, later: usize) -> Result<(), MeshError> {
        match event.act {
            FaultAction::Impair => self.impairments.impair(self.scenario, event.fault),
            FaultAction::Mend => self.impairments.mend(self.scenario, event.fault),
            FaultAction::Kill(number) | FaultAction::Wipe(number) => {
                let comes_back = self.fault_events[later..]
                    .iter()
                    .any(|event| event.act == FaultAction::Start(number));
                if let Some(node) = self.mesh.nodes.get(number).filter(|node| !node.killed) {
                    self.restarts.ask(node, number, !comes_back).await;
                }
                if let Some(target) = self.targets.get(number) {
                    target.dies();
                }
                self.mesh.kill(number).await;
                if matches!(event.act, FaultAction::Wipe(_)) {
                    self.mesh.wipe(number)?;
                }
            }
            FaultAction::Start(number) => {
                let dead = self.mesh.nodes.get(number).is_some_and(|node| node.killed);
                if dead {
                    self.mesh.start_again(number)?;
                    self.watch_start(number);
                    self.impairments.tell_again(number);
                }
            }
            FaultAction::Pause(number) => self.pause(number, true),
            FaultAction::Resume(number) => self.pause(number, false),
            FaultAction::Fill(_) | FaultAction::Free(_) | FaultAction::Rot(_) => {} // not modelled
        }
        while self.starting.try_join_next().is_some() {}
        Ok(())
    }

    fn pause(&mut self, number: usize, paused: bool) {
        let Some(node) = self.mesh.nodes.get_mut(number).filter(|node| !node.killed) else {
            return;
        };
        if let Some(target) = self.targets.get(number) {
            target.pause(paused);
        }
        if paused {
            node.process.pause();
        } else {
            node.process.resume();
        }
    }

    fn words(&self, event: FaultEvent) -> String {
        let name = |number: usize| self.mesh.nodes.get(number).map_or("?", |n| &*n.entry.name);
        let fault = self.scenario.faults.get(event.fault).map(|fault| {
            let struck = self.scenario.struck(event.fault, self.chosen);
            let names: Vec<&str> = struck.iter().map(|number| name(*number)).collect();
            format!("{}: {}", fault.words(struck.len()), names.join(", "))
        });
        match event.act {
            FaultAction::Impair => fault.unwrap_or_default(),
            FaultAction::Mend => format!("end of {}", fault.unwrap_or_default()),
            FaultAction::Kill(number) => format!("kill {}", name(number)),
            FaultAction::Start(number) => format!("start {}", name(number)),
            FaultAction::Pause(number) => format!("pause {}", name(number)),
            FaultAction::Resume(number) => format!("resume {}", name(number)),
            FaultAction::Wipe(number) => format!("wipe the disk of {}", name(number)),
            FaultAction::Fill(number) | FaultAction::Free(number) | FaultAction::Rot(number) => {
                format!("nothing: the disk of {} is real", name(number))
            }
        }
    }
}

/// How much of the load is posted.
#[derive(Default)]
struct Posted {
    count: Cell<u64>,
    all: Cell<bool>,
    done: Notify,
}

/// Bytes of the largest payload.
fn largest(scenario: &Scenario) -> usize {
    scenario.loads.iter().map(|load| load.size).max().unwrap_or(0)
}
