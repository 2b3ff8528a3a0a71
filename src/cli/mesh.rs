//! A mesh of real processes from its start to its end, for `loyal mesh up` and `loyal mesh run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::error::{INTERRUPTED, Usage};
use super::mesh_folder::MeshFolder;
use super::output::Showing;
use super::{live, output, report_folder, screen, signals, stderr};
use crate::clock;
use crate::mesh::{Mesh, MeshError, Player, Progress, Stop, messages};
use crate::report::{Recording, Report, terminal};
use crate::scenario::{Scenario, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// Folder for keys, data and logs, which must be empty [default: a temporary folder]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub keep: bool,
    /// Write the nodes' logs as JSON
    #[arg(long)]
    pub log_json: bool,
}

/// A mesh that is to be started, and what is to be done with it.
pub(super) struct MeshJob<'a> {
    /// The nodes, and what they go through.
    pub scenario: &'a Scenario,
    /// Decides which nodes faults strike and how far nodes are apart; `None` takes the scenario's
    /// seed, and the report states none.
    pub seed: Option<u64>,
    pub files: &'a Files,
    /// Whether to show the mesh until the process is told to stop, and judge nothing.
    pub watch: bool,
    /// Whether to list the nodes.
    pub introduce: bool,
    /// A command line that repeats the run.
    pub reproduce: String,
    /// Where to write the report.
    pub report: Option<&'a Path>,
    /// `scenario.toml` in the report's folder; none if empty.
    pub scenario_toml: String,
    /// Whether to print `report.json`.
    pub json: bool,
}

/// How a mesh ended.
enum MeshEnd {
    /// The process was told to stop before the nodes were linked.
    Unlinked,
    /// It was watched until the process was told to stop.
    Watched,
    /// The scenario was played.
    Played(Showing, Box<(Recording, Report)>),
}

/// Starts the mesh, watches it or plays the scenario to its verdict, and stops it.
pub(super) fn run(job: &MeshJob<'_>) -> anyhow::Result<ExitCode> {
    let dir = job.files.dir.as_deref();
    refuse_nested_report(dir, job.report)?;
    let _report = report_folder::prepare(job.report)?;
    let folder = MeshFolder::new(dir, job.files.keep)?;
    let (runtime, stop) = signals::runtime(2)?;
    let begun = Instant::now();
    // Awaited on this thread, which ends last.
    let result = runtime.block_on(async {
        let log_json = job.files.log_json;
        let mut mesh = Mesh::start(job.scenario, &folder.path, log_json, clock::wall())?;
        let result = on_mesh(job, &mut mesh, &stop).await;
        mesh.stop().await;
        result
    });
    let result = result.or_else(|error| match error.downcast_ref() {
        // The run was told to stop: no failure.
        Some(MeshError::Interrupted(_)) => {
            stderr::note(error);
            Ok(MeshEnd::Unlinked)
        }
        _ => Err(error),
    });
    folder.close(result.as_ref().err());
    match result? {
        MeshEnd::Watched => Ok(ExitCode::SUCCESS),
        MeshEnd::Unlinked if job.watch => Ok(ExitCode::SUCCESS),
        MeshEnd::Unlinked => Ok(interrupted(begun)),
        MeshEnd::Played(introduced, judged) => {
            if judged.1.verdict == Verdict::Interrupted {
                interrupted(begun);
            }
            show(job, introduced, &judged, &stop)
        }
    }
}

async fn on_mesh(job: &MeshJob<'_>, mesh: &mut Mesh, stop: &Stop) -> anyhow::Result<MeshEnd> {
    let (scenario, seed) = (job.scenario, job.seed);
    let mut bar = Bar::new(scenario, seed.unwrap_or(scenario.seed));
    let mut show = |progress| bar.show(progress);
    let mut player = Player::new(mesh, scenario, seed, stop, &mut show);
    if !player.link().await? {
        return Ok(MeshEnd::Unlinked);
    }
    let introduction = if job.introduce { live::introduction(player.mesh) } else { String::new() };
    let introduced = output::start(introduction)?;
    if job.watch {
        introduced.wait(stop)?;
        live::watch(player.mesh, stop).await?;
        return Ok(MeshEnd::Watched);
    }
    let judged = player.play(job.reproduce.clone()).await?;
    Ok(MeshEnd::Played(introduced, Box::new(judged)))
}

/// Writes the report into its folder and prints it.
fn show(
    job: &MeshJob<'_>,
    introduced: Showing,
    (recording, report): &(Recording, Report),
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let mut copies = Vec::new();
    if let Some(dir) = job.report {
        copies.push(report_folder::write(dir, &job.scenario_toml, recording, report));
    }
    let text = if job.json { report.to_json()? } else { terminal(report) };
    copies.extend([introduced.wait(stop), output::result(text, stop)]);
    let code = report.verdict.exit_code_against(report.expected_verdict);
    Ok(output::outcome(code, copies))
}

/// Refuses a report folder inside the mesh's folder, which must be empty at the start.
fn refuse_nested_report(dir: Option<&Path>, report: Option<&Path>) -> anyhow::Result<()> {
    let (Some(dir), Some(report)) = (dir, report) else { return Ok(()) };
    let is_free = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if is_free && std::path::absolute(report)?.starts_with(std::path::absolute(dir)?) {
        let (dir, report) = (dir.display(), report.display());
        let why = format!("the report folder {report} is inside the mesh's folder {dir}");
        return Err(Usage(format!("{why}; give another folder with --report")).into());
    }
    Ok(())
}

/// Tells the user that a run was stopped before its end, and returns the exit code.
fn interrupted(begun: Instant) -> ExitCode {
    let seconds = begun.elapsed().as_secs_f64();
    let line = format!("interrupted after {seconds:.1} s: nothing is judged");
    stderr::note(format_args!("\x1b[1;33m{line}\x1b[0m"));
    INTERRUPTED.into()
}

/// A progress bar on standard error, drawn only if that is a terminal, with fault events as lines
/// above it.
struct Bar {
    bar: ProgressBar,
    at: Duration,
    nodes: usize,
    /// Number of honest nodes, the length of the bar while the run settles.
    honest: usize,
    messages: u64,
    /// When the load and the faults end; `None` if the load is all there is, and is counted.
    ends: Option<Duration>,
}

impl Bar {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let nodes = scenario.mesh.nodes;
        let only_load = scenario.duration.is_zero() && scenario.faults.is_empty();
        Self {
            bar: bar(nodes as u64, "linking"),
            at: Duration::ZERO,
            nodes,
            honest: scenario.specs().iter().filter(|spec| spec.is_none()).count(),
            messages: messages(scenario),
            ends: (!only_load).then(|| scenario.ends(seed)),
        }
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Linked(count) if count == self.nodes => self.bar.finish_and_clear(),
            Progress::Linked(count) => self.bar.set_position(count as u64),
            Progress::Begun => {
                self.bar.finish_and_clear();
                self.bar = bar(self.ends.map_or(self.messages, tenths), "posting");
            }
            Progress::At(at, posted) => {
                self.at = at;
                self.bar.set_position(if self.ends.is_some() { tenths(at) } else { posted });
                if self.ends.is_some() {
                    self.bar.set_message(format!("{posted}/{} posted", self.messages));
                }
            }
            Progress::Struck(what) => {
                let line = format!("{:7.1} s  {what}", self.at.as_secs_f64());
                self.bar.suspend(|| stderr::note(line));
            }
            Progress::Complete(nodes) => {
                self.bar.set_length(self.honest as u64);
                self.bar.set_message("settling");
                self.bar.set_position(nodes as u64);
            }
            Progress::Watching => self.bar.set_message("watching attacks"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = screen::bar(length, "{msg:>16} {bar:30.green} {pos}/{len} {elapsed}");
    bar.set_message(what);
    bar
}

fn tenths(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX)
}
