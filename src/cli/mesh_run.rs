//! `loyal mesh run`: plays a scenario on real processes, to its verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::error::Usage;
use super::escape::quoted;
use super::mesh::{Folder, apart, bar, interrupted, or_interrupted};
use super::{folder, notes, output, scenarios, signals};
use crate::clock;
use crate::mesh::{Halt, Mesh, Playing, Progress, messages, plan, play};
use crate::report::{Recording, Report, terminal};
use crate::scenario::{Scenario, Verdict};

/// Maximum number of processes on one machine.
const MOST_NODES: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A built-in scenario's name (`loyal scenarios` lists them), or a file
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// Chooses whom faults strike and how far nodes are apart [default: the scenario's]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Lay a value over the scenario, as in mesh.nodes=20; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the report into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print report.json
    #[arg(long)]
    pub json: bool,
    /// Where to keep keys, data and logs; must be empty. Without it, a temporary folder
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub keep: bool,
    /// Let nodes write logs as JSON
    #[arg(long)]
    pub log_json: bool,
}

/// Runs a scenario on real processes.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scenario = scenarios::load(&args.scenario, &args.set)?;
    let nodes = scenario.mesh.nodes;
    if nodes > MOST_NODES {
        return Err(Usage(format!(
            "{nodes} nodes are too many processes for one machine (at most {MOST_NODES}): \
             `loyal sim {}` simulates them, and --set mesh.nodes={MOST_NODES} asks for fewer",
            quoted(&args.scenario)
        ))
        .into());
    }
    apart(args.dir.as_deref(), args.report.as_deref())?;
    let _report = folder::prepare(args.report.as_deref())?;
    let seed = args.seed.unwrap_or(scenario.seed);
    let folder = Folder::new(args.dir.as_deref(), args.keep)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    let plan = plan(&scenario, folder.path.clone(), args.log_json);
    // Awaited on this thread, which ends last.
    let begun = Instant::now();
    let stop = {
        let _inside = runtime.enter();
        signals::listen(false).context("cannot listen for signals")?
    };
    let halt = Halt::new(stop.clone());
    let result = runtime.block_on(async {
        let mut mesh = Mesh::start(&plan, clock::wall())?;
        let result = watched(args, &scenario, seed, &mut mesh, &halt).await;
        mesh.stop().await;
        result
    });
    let result = or_interrupted(result);
    folder.close(result.as_ref().err());
    let Some((recording, report)) = result? else { return Ok(interrupted(begun)) };
    if report.verdict == Verdict::Interrupted {
        interrupted(begun);
    }
    let mut copies = Vec::new();
    if let Some(dir) = &args.report {
        copies.push(folder::write(dir, &scenario.to_toml(), &recording, &report));
    }
    let text = if args.json { report.to_json()? } else { terminal(&report) };
    copies.push(output::result(text, &stop));
    let code = report.verdict.exit_code_against(report.expected_verdict);
    Ok(output::outcome(code, copies))
}

/// Plays the scenario and shows its progress.
async fn watched(
    args: &Args,
    scenario: &Scenario,
    seed: u64,
    mesh: &mut Mesh,
    halt: &Halt,
) -> anyhow::Result<Option<(Recording, Report)>> {
    let mut screen = Screen::new(scenario, seed);
    let again = reproduce(args, seed);
    let result = play(mesh, scenario, seed, again, halt, |playing| screen.show(playing)).await;
    screen.bar.finish_and_clear();
    Ok(result?)
}

/// A progress bar on standard error, with fault events as lines above it.
struct Screen {
    bar: ProgressBar,
    at: Duration,
    ends: Duration,
    messages: u64,
    /// Number of honest nodes, the length of the bar while the run settles.
    honest: usize,
}

impl Screen {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let honest = scenario.specs().iter().filter(|spec| spec.is_none()).count();
        let bar = bar(scenario.mesh.nodes as u64, "linking");
        let (ends, messages) = (scenario.ends(seed), messages(scenario));
        Self { bar, at: Duration::ZERO, ends, messages, honest }
    }

    fn show(&mut self, playing: Playing) {
        match playing {
            Playing::Linked(count) => self.bar.set_position(count as u64),
            Playing::Begun => self.again(tenths(self.ends), "running".into()),
            Playing::At(at, posted) => {
                self.at = at;
                self.bar.set_position(tenths(at));
                self.bar.set_message(format!("{posted}/{} posted", self.messages));
            }
            Playing::Struck(what) => {
                let line = format!("{:7.1} s  {what}", self.at.as_secs_f64());
                self.bar.suspend(|| notes::note(line));
            }
            Playing::Ending(Progress::Posted(count)) => self.bar.set_position(count),
            Playing::Ending(Progress::Complete(nodes)) => {
                self.again(self.honest as u64, "settling".into());
                self.bar.set_position(nodes as u64);
            }
            Playing::Ending(Progress::Watching) => self.bar.set_message("watching attacks"),
        }
    }

    fn again(&mut self, length: u64, what: String) {
        self.bar.set_length(length);
        self.bar.set_message(what);
    }
}

fn tenths(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX)
}

/// Returns the command line that repeats the run.
fn reproduce(args: &Args, seed: u64) -> String {
    let mut line = format!("loyal mesh run {} --seed {seed}", quoted(&args.scenario));
    for overlay in &args.set {
        line += &format!(" --set {}", quoted(overlay));
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, MeshVerb, Verb};

    fn parse(line: &[&str]) -> Args {
        match Cli::try_parse_from(line).expect("parses").verb {
            Verb::Mesh(MeshVerb::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line = ["loyal", "mesh", "run", "my mesh.toml", "--set", "name='x'", "--set", "a.b=1"];
        let args = parse(&line);
        let expected = r"loyal mesh run 'my mesh.toml' --seed 9 --set 'name='\''x'\''' --set a.b=1";
        assert_eq!(reproduce(&args, 9), expected);
    }

    #[test]
    fn too_many_processes_are_refused_with_a_way_out() {
        let line = ["loyal", "mesh", "run", "three-liars", "--set", "mesh.nodes=201"];
        let error = run(&parse(&line)).expect_err("too many");
        assert!(error.is::<Usage>() && error.to_string().contains("loyal sim"), "{error}");
    }
}
