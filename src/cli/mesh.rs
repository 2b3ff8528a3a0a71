//! `loyal mesh up`: starts a mesh of real processes, to watch it or to judge a run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::error::{INTERRUPTED, Usage};
use super::signals::{self, Stop, stopped};
use super::{folder, live, notes, output, screen};
use crate::adversary::{Spec, parse_list};
use crate::clock;
use crate::crypto::Identity;
use crate::mesh::{Halt, Liar, Load, Mesh, MeshError, Plan, Progress, measure_run};
use crate::protocol::{Member, Network, Role};
use crate::report::{Recording, Report, terminal};
use crate::scenario::Verdict;

/// Default number of nodes: the fewest that tolerate a liar.
const DEFAULT_NODES: u16 = 4;
/// The report's name of a run that has no scenario file.
const NAME: &str = "mesh up";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("count"))]
pub(super) struct Args {
    /// How many nodes, malicious ones included [default: 4]
    #[arg(long, group = "count", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: Option<u16>,
    /// 3F+1 nodes
    #[arg(long, value_name = "F", group = "count",
          value_parser = clap::value_parser!(u16).range(0..=333))]
    pub f: Option<u16>,
    /// One SPEC for each malicious node, comma-separated; or how many, taking forge, drop, flood
    /// in turn
    #[arg(long, value_name = "LIST")]
    pub malicious: Option<String>,
    /// Links that each node chooses for itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub links: Option<u16>,
    /// Where to keep keys, data and logs; must be empty. Without it, a temporary folder
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub keep: bool,
    /// Publish so many messages, wait, judge and exit
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: Option<u64>,
    /// Messages a second, all nodes together
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    pub rate: f64,
    /// Bytes of each payload
    #[arg(
        long,
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(0..=1_048_576)
    )]
    pub size: u32,
    /// Print report.json and nothing else
    #[arg(long, requires = "messages")]
    pub json: bool,
    /// Write report.json, report.html and the rest into this folder
    #[arg(long, value_name = "DIR", requires = "messages")]
    pub report: Option<PathBuf>,
    /// Let nodes write their logs as JSON
    #[arg(long)]
    pub log_json: bool,
}

/// Minimum rate: one message per day.
const SLOWEST: f64 = 1.0 / 86_400.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (SLOWEST..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of messages a second, at least one a day (0.0000116) and at \
                  most a million"
            .into()),
    }
}

/// Starts a mesh, and with `--messages` judges it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (nodes, liars) = members(&args)?;
    apart(args.dir.as_deref(), args.report.as_deref())?;
    let _report = folder::prepare(args.report.as_deref())?;
    let folder = Folder::new(args.dir.as_deref(), args.keep)?;
    let plan = Plan {
        nodes,
        liars: last(nodes, liars),
        links: args.links.map(usize::from),
        dir: folder.path.clone(),
        log_json: args.log_json,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    let result = runtime.block_on(up(&args, &plan));
    folder.close(result.as_ref().err());
    result
}

/// Refuses a report folder inside the mesh's folder, which must be empty at the start.
pub(super) fn apart(dir: Option<&Path>, report: Option<&Path>) -> anyhow::Result<()> {
    let (Some(dir), Some(report)) = (dir, report) else { return Ok(()) };
    let is_free = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if is_free && std::path::absolute(report)?.starts_with(std::path::absolute(dir)?) {
        let (dir, report) = (dir.display(), report.display());
        let why = format!("the report's folder {report} is in {dir}, which a mesh has to itself");
        return Err(Usage(format!("{why}; give a folder beside it with --report")).into());
    }
    Ok(())
}

/// Tells the user that a judged run was stopped before its end, and returns the exit code.
pub(super) fn interrupted(begun: Instant) -> ExitCode {
    let seconds = begun.elapsed().as_secs_f64();
    let line = format!("interrupted after {seconds:.1} s: nothing is judged");
    notes::note(format_args!("\x1b[1;33m{line}\x1b[0m"));
    INTERRUPTED.into()
}

/// Turns the error of an interrupted run that could not be read into a note: it is not a failure.
pub(super) fn or_interrupted<T>(result: anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.downcast_ref(), Some(MeshError::Interrupted(_))) => {
            notes::note(error);
            Ok(None)
        }
        other => other,
    }
}

/// Makes the nodes with the highest numbers the liars.
fn last(nodes: usize, liars: Vec<Liar>) -> BTreeMap<usize, Liar> {
    (nodes.saturating_sub(liars.len())..).zip(liars).collect()
}

/// Returns the number of nodes, and the liars among the last of them.
fn members(args: &Args) -> anyhow::Result<(usize, Vec<Liar>)> {
    let nodes = match (args.nodes, args.f) {
        (_, Some(f)) => 3 * usize::from(f) + 1,
        (nodes, None) => usize::from(nodes.unwrap_or(DEFAULT_NODES)),
    };
    let usage = |error| Usage(format!("--malicious: {error}"));
    let specs = parse_list(args.malicious.as_deref().unwrap_or("0")).map_err(usage)?;
    if specs.len() >= nodes {
        let count = specs.len();
        let why = format!("--malicious: {count} of {nodes} nodes lie; at least one must be honest");
        return Err(Usage(why).into());
    }
    let names = stand_in(nodes)?;
    specs.iter().try_for_each(|spec| spec.check(&names)).map_err(usage)?;
    let liar = |spec: &Spec| Liar {
        spec: spec.to_string(),
        kinds: spec.kinds().map(str::to_owned).collect(),
    };
    Ok((nodes, specs.iter().map(liar).collect()))
}

/// A network with the names of the real one, so that SPECs are checked before anything starts.
fn stand_in(nodes: usize) -> anyhow::Result<Network> {
    let member = |number: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Member {
            key: Identity::from_seed(&seed).public(),
            name: format!("n{number}"),
            role: Role::Member,
            gossip: Some(([127, 0, 0, 1], 1).into()),
        }
    };
    Ok(Network::new([0; 32], (0..nodes).map(member).collect())?)
}

/// The mesh's folder, and whether it is removed at the end.
pub(super) struct Folder {
    pub path: PathBuf,
    temporary: bool,
    keep: bool,
}

impl Folder {
    /// Uses `dir` if it is given, else creates a temporary folder, which is removed at the end
    /// unless `keep` is set.
    pub(super) fn new(dir: Option<&Path>, keep: bool) -> anyhow::Result<Self> {
        if let Some(dir) = dir {
            let path = std::path::absolute(dir)?;
            named(&path).map_err(|why| Usage(format!("--dir: {why}")))?;
            return Ok(Self { path, temporary: false, keep: true });
        }
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("loyal-mesh-{}-{:06}", std::process::id(), elapsed.subsec_micros());
        let path = std::env::temp_dir().join(name);
        named(&path).map_err(|why| Usage(format!("the folder for temporary files: {why}")))?;
        // Private, because it will hold keys. Fails if another user created the folder first.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        if !keep {
            signals::temporary(&path);
        }
        Ok(Self { path, temporary: true, keep })
    }

    /// Removes a temporary folder, unless it is to be kept or the run failed and its logs are
    /// useful: then only the secrets are removed.
    pub(super) fn close(self, failure: Option<&anyhow::Error>) {
        if !self.temporary {
            return;
        }
        let of_use = |error: &anyhow::Error| {
            error.downcast_ref::<MeshError>().is_some_and(MeshError::has_logs)
        };
        let failed = failure.is_some_and(of_use);
        let shown = self.path.display();
        if failed && !self.keep {
            self.remove_secrets();
        }
        if failed || self.keep {
            notes::note(format_args!("\x1b[2mkept {shown}\x1b[0m"));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            notes::note(format_args!("cannot remove {shown}: {error}"));
        }
    }

    /// Removes the keys and tokens of nodes that no longer run.
    fn remove_secrets(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let secret = |extension| extension == "pem" || extension == "token";
            if path.extension().is_some_and(secret)
                && let Err(error) = fs::remove_file(&path)
            {
                notes::note(format_args!("cannot remove {}: {error}", path.display()));
            }
        }
    }
}

/// Refuses a path that is not UTF-8: `mesh.json` names the files in it, and JSON is text.
fn named(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let why = || format!("{shown} is not UTF-8, and mesh.json could not name it; give another");
    path.to_str().map(|_| ()).ok_or_else(why)
}

async fn up(args: &Args, plan: &Plan) -> anyhow::Result<ExitCode> {
    let stop = signals::listen(false).context("cannot listen for signals")?;
    let begun = Instant::now();
    let mut mesh = Mesh::start(plan, clock::wall())?;
    let result = work(args, plan, &mut mesh, stop).await;
    mesh.stop().await;
    Ok(or_interrupted(result)?.unwrap_or_else(|| interrupted(begun)))
}

async fn work(
    args: &Args,
    plan: &Plan,
    mesh: &mut Mesh,
    stop: Stop,
) -> anyhow::Result<Option<ExitCode>> {
    let begun = Instant::now();
    let bar = bar(plan.nodes as u64, "starting");
    tokio::select! {
        ready = mesh.ready(|count| bar.set_position(count as u64)) => ready?,
        () = stopped(stop.clone()) => {
            bar.finish_and_clear();
            return Ok(args.messages.is_none().then_some(ExitCode::SUCCESS));
        }
    }
    bar.finish_and_clear();
    let introduction = if args.json { String::new() } else { live::introduction(mesh) };
    let introduced = output::start(introduction)?;
    let Some(messages) = args.messages else {
        introduced.wait(&stop)?;
        live::watch(mesh, stop).await?;
        return Ok(Some(ExitCode::SUCCESS));
    };
    let shown = stop.clone();
    let load = Load { messages, rate: args.rate, size: usize::try_from(args.size)? };
    let (recording, report) =
        measured(mesh, &load, reproduce(args, plan), &Halt::new(stop)).await?;
    if report.verdict == Verdict::Interrupted {
        interrupted(begun);
    }
    let mut copies = vec![];
    if let Some(dir) = &args.report {
        copies.push(folder::write(dir, "", &recording, &report));
    }
    let text = if args.json { report.to_json()? } else { terminal(&report) };
    copies.extend([introduced.wait(&shown), output::result(text, &shown)]);
    Ok(Some(output::outcome(report.verdict.exit_code(), copies)))
}

async fn measured(
    mesh: &mut Mesh,
    load: &Load,
    again: String,
    halt: &Halt,
) -> anyhow::Result<(Recording, Report)> {
    let bar = bar(load.messages, "posting");
    let result = measure_run(mesh, load, (NAME.into(), again), halt, |progress| match progress {
        Progress::Posted(count) => bar.set_position(count),
        Progress::Complete(nodes) => bar.set_message(format!("{nodes} nodes complete")),
        Progress::Watching => bar.set_message("watching"),
    })
    .await;
    bar.finish_and_clear();
    Ok(result?)
}

/// A progress bar on standard error, drawn only if that is a terminal.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = screen::bar(length, "{msg:>16} {bar:30.green} {pos}/{len} {elapsed}");
    bar.set_message(what);
    bar
}

/// Returns the command line that repeats the run.
fn reproduce(args: &Args, plan: &Plan) -> String {
    let mut line = format!("loyal mesh up --nodes {}", plan.nodes);
    if !plan.liars.is_empty() {
        let specs: Vec<&str> = plan.liars.values().map(|liar| &*liar.spec).collect();
        line += &format!(" --malicious {}", specs.join(","));
    }
    if let Some(links) = plan.links {
        line += &format!(" --links {links}");
    }
    if let Some(messages) = args.messages {
        line += &format!(" --messages {messages} --rate {} --size {}", args.rate, args.size);
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, MeshVerb, Verb};

    fn parse(line: &str) -> Args {
        match Cli::try_parse_from(line.split(' ')).expect(line).verb {
            Verb::Mesh(MeshVerb::Up(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn liars_come_last_and_one_node_stays_honest() {
        let (nodes, liars) =
            members(&parse("loyal mesh up --f 2 --malicious forge,drop")).expect("reads");
        assert_eq!((nodes, liars.len()), (7, 2));
        assert_eq!(liars[0].kinds, ["forge"]);
        let (nodes, liars) = members(&parse("loyal mesh up")).expect("reads");
        assert_eq!((nodes, liars.len()), (4, 0));
        for bad in ["--nodes 3 --malicious 3", "--malicious frge", "--malicious censor:author=n99"]
        {
            let error = members(&parse(&format!("loyal mesh up {bad}"))).expect_err(bad);
            assert!(error.is::<Usage>(), "{bad}: {error}");
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line = "loyal mesh up --nodes 7 --malicious forge,drop --links 4 --messages 9 --rate 5 --size 10";
        let args = parse(line);
        let (nodes, liars) = members(&args).expect("reads");
        let liars = last(nodes, liars);
        let plan = Plan { nodes, liars, links: Some(4), dir: PathBuf::new(), log_json: false };
        let again = parse(&reproduce(&args, &plan));
        assert_eq!(format!("{again:?}"), format!("{:?}", parse(&reproduce(&again, &plan))));
        assert_eq!((again.nodes, again.messages, again.size), (Some(7), Some(9), 10));
    }
}
