//! Plays a scenario on real processes. The load is posted while the faults strike: nodes are
//! killed, started again, paused and resumed for real; links are impaired by the nodes at both
//! ends. Then every message must be everywhere within the bound that the scenario states.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::collect::{Ending, Progress, bytes_received, conclude};
use super::impairments::{Impairments, not_modelled};
use super::loads::{places, publish};
use super::restarts::Restarts;
use super::roster::{Roster, roster};
use super::steps::now;
use super::{Halt, Liar, Mesh, MeshError, Plan, Terms};
use crate::protocol::micros;
use crate::report::{FaultRecord, Recording, Report};
use crate::scenario::{FaultAction, FaultEvent, Scenario, Start};

/// Interval between two checks for nodes that died on their own.
const LOOK: Duration = Duration::from_millis(100);

/// The progress of a scenario, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playing {
    /// This many nodes are linked.
    Linked(usize),
    /// The run's zero has come.
    Begun,
    /// Time since the run's zero, and the number of messages posted.
    At(Duration, u64),
    /// A step of a fault happened; described in words.
    Struck(String),
    /// The run is ending.
    Ending(Progress),
}

/// Returns the mesh that a scenario asks for.
pub fn plan(scenario: &Scenario, dir: PathBuf, log_json: bool) -> Plan {
    let liar = |spec: crate::adversary::Spec| Liar {
        spec: spec.to_string(),
        kinds: spec.kinds().map(str::to_owned).collect(),
    };
    let cast = scenario.specs().into_iter().enumerate();
    Plan {
        nodes: scenario.mesh.nodes,
        liars: cast.filter_map(|(number, spec)| Some((number, liar(spec?)))).collect(),
        links: scenario.mesh.links,
        dir,
        log_json,
    }
}

/// Plays a scenario to its verdict on a mesh that was just started. Await this on the thread that
/// outlives all others, for the reason given at [`Mesh::start_again`]. A run that is stopped
/// reports what was observed until then; `None` if it was stopped before its zero.
///
/// # Errors
/// If a node dies that was not killed, an honest node is not linked in time or does not answer.
pub async fn play(
    mesh: &mut Mesh,
    scenario: &Scenario,
    seed: u64,
    reproduce: String,
    halt: &Halt,
    mut progress: impl FnMut(Playing),
) -> Result<Option<(Recording, Report)>, MeshError> {
    let roster = roster(mesh, places(scenario));
    let mut starting = JoinSet::new();
    (0..mesh.nodes.len()).for_each(|number| watch_start(&mut starting, &roster, number));
    let mut impairments = Impairments::new(mesh, scenario, seed);
    let mut bytes_before = BTreeMap::new();
    if scenario.mesh.start == Start::Linked {
        tokio::select! {
            biased;
            () = halt.wait() => return Ok(None),
            ready = mesh.ready(|count| progress(Playing::Linked(count))) => ready?,
        }
        impairments.told().await?;
        bytes_before = bytes_received(mesh, halt).await;
    }
    let zero = match scenario.mesh.start {
        Start::Linked => Instant::now(),
        Start::Cold => mesh.started,
    };
    let mut terms = terms(mesh, scenario, seed, reproduce);
    terms.zero = now().saturating_sub(micros(zero.elapsed()));
    progress(Playing::Begun);
    let size = scenario.loads.iter().map(|load| load.size).max().unwrap_or(0);
    let fault_events = scenario.fault_events(seed);
    let mut stage = Stage {
        scenario,
        restarts: Restarts::new(mesh, size),
        mesh,
        roster: roster.clone(),
        impairments,
        starting,
        fault_events,
    };
    let posted = Cell::new(0);
    let loads = async {
        Ok(publish(scenario, &roster, zero.into(), halt, |count| posted.set(count)).await)
    };
    let faults = stage.run_faults(zero, &posted, halt, &mut progress);
    let (sent, ()) = tokio::try_join!(loads, faults)?;
    let Stage { mesh, restarts, impairments, .. } = stage;
    let last = Instant::now();
    let deadline = last + scenario.settle;
    let ending = Ending { sent, size, bytes_before, last, deadline, halt };
    let told = |ending| progress(Playing::Ending(ending));
    let result = conclude(mesh, ending, &terms, &restarts, told).await;
    drop(impairments);
    result.map(Some)
}

fn terms(mesh: &Mesh, scenario: &Scenario, seed: u64, reproduce: String) -> Terms {
    let mut terms = Terms::plain(scenario.name.clone(), reproduce, mesh.network.f());
    let faults = scenario.faults.iter().enumerate().map(|(number, fault)| {
        let struck = scenario.struck(number, seed);
        FaultRecord {
            what: fault.words(struck.len()),
            at: micros(fault.at),
            until: fault.until.map(micros),
            nodes: struck.iter().filter_map(|node| u32::try_from(*node).ok()).collect(),
        }
    });
    terms.seed = Some(seed);
    terms.settle_us = Some(micros(scenario.settle));
    terms.faults = faults.collect();
    terms.not_modelled = not_modelled(scenario);
    terms.expects.clone_from(&scenario.expects);
    terms.expected = scenario.verdict;
    terms
}

/// Marks a started node as up once it answers.
fn watch_start(starting: &mut JoinSet<()>, roster: &Roster, number: usize) {
    let roster = roster.clone();
    starting.spawn(async move {
        if let Some(endpoint) = roster.get(number) {
            endpoint.await_up().await;
        }
    });
}

/// What is needed to apply faults.
struct Stage<'a> {
    scenario: &'a Scenario,
    mesh: &'a mut Mesh,
    roster: Roster,
    impairments: Impairments,
    restarts: Restarts,
    starting: JoinSet<()>,
    fault_events: Vec<FaultEvent>,
}

impl Stage<'_> {
    /// Applies every fault event when it is due, and returns once the scenario's duration is over
    /// as well. If the run is to stop, resumes all paused nodes, so that they can report what they
    /// saw.
    async fn run_faults(
        &mut self,
        zero: Instant,
        posted: &Cell<u64>,
        halt: &Halt,
        progress: &mut impl FnMut(Playing),
    ) -> Result<(), MeshError> {
        let mut next = 0;
        loop {
            let event = self.fault_events.get(next).copied();
            let at = event.map_or(self.scenario.duration, |event| event.at);
            while zero.elapsed() < at {
                let left = at.saturating_sub(zero.elapsed());
                halt.sleep(left.min(LOOK)).await;
                if halt.asked() {
                    (0..self.mesh.nodes.len()).for_each(|number| self.pause(number, false));
                    return Ok(());
                }
                self.mesh.check_alive()?;
                progress(Playing::At(zero.elapsed(), posted.get()));
            }
            let Some(event) = event else { return Ok(()) };
            next += 1;
            self.apply_fault(event, next).await?;
            progress(Playing::Struck(self.words(event)));
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
                if let Some(endpoint) = self.roster.get(number) {
                    endpoint.dies();
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
                    watch_start(&mut self.starting, &self.roster, number);
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
        if let Some(endpoint) = self.roster.get(number) {
            endpoint.pause(paused);
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
            let seed = self.impairments.seed();
            let struck = self.scenario.struck(event.fault, seed);
            let names: Vec<&str> = struck.iter().map(|number| name(*number)).collect();
            format!("{}: {}", fault.words(struck.len()), names.join(", "))
        });
        match event.act {
            FaultAction::Impair => fault.unwrap_or_default(),
            FaultAction::Mend => format!("over: {}", fault.unwrap_or_default()),
            FaultAction::Kill(number) => format!("kill {}", name(number)),
            FaultAction::Start(number) => format!("start {}", name(number)),
            FaultAction::Pause(number) => format!("pause {}", name(number)),
            FaultAction::Resume(number) => format!("resume {}", name(number)),
            FaultAction::Wipe(number) => format!("lose the disk of {}", name(number)),
            FaultAction::Fill(number) | FaultAction::Free(number) | FaultAction::Rot(number) => {
                format!("nothing: the disk of {} is real", name(number))
            }
        }
    }
}
