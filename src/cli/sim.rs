//! `loyal sim`: a scenario in the simulator; one seed, or a campaign over many.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;

use super::exit::Usage;
use super::signals::{self, Stop};
use super::{campaigns, folder, notes, output, pages, scenarios, screen};
use crate::campaign::{Ending, Judged, Order, Profile, Source, caught, quiet_panics};
use crate::report::{Report, terminal};
use crate::sim::{Progress, Sim};

/// The SCENARIO that stands for a scenario of its own for each seed.
pub const SWARM: &str = "swarm";
/// Most seeds of a campaign.
const MAX_SEEDS: u64 = 10_000_000;
/// The exit code of an interrupted run, as shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;
/// How often the progress bar is told.
const TELL_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A built-in scenario, a file, or `swarm`: with that, each seed draws nodes, liars, faults,
    /// network and load of its own, and an attack that reached nobody is no failure
    pub scenario: String,
    /// The seed of the run; the scenario's own if not given
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// A campaign: every seed from A to B, both included; at most 10 million
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<RangeInclusive<u64>>,
    /// What the seeds of `swarm` draw: `usual`, mostly a few seconds; or `long`, few nodes for
    /// minutes at an author's quota or for hours
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub profile: ProfileName,
    /// So many nodes; short for --set mesh.nodes=N
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// Set a value of the scenario, as in mesh.links=8 or load.0.rate=500; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Run each seed twice, side by side, and compare digests after every event
    #[arg(long)]
    pub verify: bool,
    /// Write the report into this folder. A campaign writes campaign.json, seeds.ndjson (one
    /// object a seed, in the order in which they end) and failures/
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print report.json and nothing else; of a campaign one object: counts, ranges, failures
    #[arg(long)]
    pub json: bool,
    /// Seeds that run at once [default: one a core]
    #[arg(long, value_name = "N", requires = "seeds",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Make the scenarios of so many failing seeds smaller [default: 3 in a campaign, 0 of a
    /// single seed]; the smaller ones go to DIR/failures, or to loyal-failures here
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub shrink: Option<u16>,
}

/// See [`Profile`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// Mostly a few seconds.
    #[default]
    Usual,
    /// Minutes or hours.
    Long,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Usual => Self::Usual,
            ProfileName::Long => Self::Long,
        }
    }
}

/// Both ends included, at most [`MAX_SEEDS`].
fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parsed = text.split_once("..").and_then(|(first, last)| {
        Some((first.parse::<u64>().ok()?, last.trim_start_matches('=').parse::<u64>().ok()?))
    });
    let Some((first, last)) = parsed else {
        return Err("write it like 1..100: the first seed and the last, both included".into());
    };
    if first > last {
        return Err(format!("it ends before it begins; did you mean `{last}..{first}`?"));
    }
    if last - first >= MAX_SEEDS {
        return Err(format!("at most {MAX_SEEDS} seeds can be"));
    }
    Ok(first..=last)
}

/// Simulates.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source = source(args)?;
    if let Source::Fixed(scenario) = &source {
        pages::prefer_large(scenario.mesh.nodes);
    }
    sound(args, &source)?;
    let _folder = folder::prepare(args.report.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start")?;
    let stop = {
        let _inside = runtime.enter();
        signals::listen(false).context("cannot listen for signals")?
    };
    quiet_panics();
    match &args.seeds {
        Some(seeds) => campaigns::run(args, &source, seeds.clone(), &stop),
        None => single(args, &source, &stop),
    }
}

/// Refuses overlays that no scenario can be read with, before anything is made. What one seed draws
/// may not go with them where what another draws does.
fn sound(args: &Args, source: &Source) -> Result<(), Usage> {
    let seeds = match (&args.seeds, args.seed) {
        (Some(seeds), _) => *seeds.start()..=(*seeds.end()).min(seeds.start().saturating_add(15)),
        (None, seed) => seed.unwrap_or(1)..=seed.unwrap_or(1),
    };
    let mut refused = None;
    for seed in seeds {
        match source.of(seed) {
            Ok(_) => return Ok(()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(Usage(error.to_string())))
}

fn source(args: &Args) -> anyhow::Result<Source> {
    let mut overlays = Vec::new();
    if let Some(nodes) = args.nodes {
        overlays.push(format!("mesh.nodes={nodes}"));
    }
    overlays.extend(args.sets.iter().cloned());
    if args.profile != ProfileName::Usual && args.scenario != SWARM {
        let why = "--profile is for `swarm`: a scenario draws nothing";
        return Err(Usage(why.into()).into());
    }
    if args.scenario == SWARM {
        return Ok(Source::Swarm(args.profile.into(), overlays));
    }
    Ok(Source::Fixed(Box::new(scenarios::load(&args.scenario, &overlays)?)))
}

/// The command line that runs a seed again.
pub fn reproduce(args: &Args, seed: u64) -> String {
    let mut line = format!("loyal sim {} --seed {seed}", quoted(&args.scenario));
    if args.profile == ProfileName::Long {
        line += " --profile long";
    }
    if let Some(nodes) = args.nodes {
        line += &format!(" --nodes {nodes}");
    }
    for set in &args.sets {
        line += &format!(" --set {}", quoted(set));
    }
    line
}

/// As a shell reads it back.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=+@%,^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn single(args: &Args, source: &Source, stop: &Stop) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or(match source {
        Source::Fixed(scenario) => scenario.seed,
        Source::Swarm(..) => 1,
    });
    let scenario = source.of(seed).map_err(|error| Usage(error.to_string()))?;
    let order = Order {
        scenario: &scenario,
        seed,
        verify: args.verify,
        lenient: source.lenient(),
        reproduce: reproduce(args, seed),
    };
    let bar = Bar::new();
    let ending = caught(|| {
        order.run(|sim| {
            bar.tell(sim);
            !*stop.borrow()
        })
    });
    let last = bar.finish();
    let mut copies = Vec::new();
    let failure = match ending {
        Ok(Ending::Judged(judged)) => {
            copies = show(args, &order, &judged, stop);
            order.judged(&judged.report)
        }
        Ok(Ending::Differs(difference)) => {
            let failure =
                order.failure(crate::campaign::Kind::NotDeterministic, difference.to_string());
            notes::note(format_args!("\x1b[1;31mNOT DETERMINISTIC\x1b[0m  {}", failure.what));
            notes::note(format_args!("  again  {}", failure.reproduce));
            Some(failure)
        }
        Ok(Ending::Stopped(judged)) => {
            notes::note(format_args!("interrupted{last}: nothing is judged"));
            return Ok(output::outcome(INTERRUPTED, show(args, &order, &judged, stop)));
        }
        Err(panic) => {
            return Err(anyhow!(
                "the simulator panicked{last}: {panic}; again: {}",
                order.reproduce
            ));
        }
    };
    let Some(failure) = failure else { return Ok(output::outcome(0, copies)) };
    if args.shrink.unwrap_or(0) > 0 {
        let failures = &mut [failure.clone()];
        copies.push(campaigns::shrink_all(args, source, failures, stop));
    }
    Ok(output::outcome(failure.kind.exit_code(), copies))
}

/// Writes the result into the report's folder and prints it; what became of each.
fn show(args: &Args, order: &Order<'_>, judged: &Judged, stop: &Stop) -> Vec<anyhow::Result<()>> {
    let Judged { recording, report } = judged;
    let mut copies = Vec::new();
    if let Some(dir) = &args.report {
        copies.push(folder::write(dir, &order.scenario.to_toml(), recording, report));
    }
    copies.push(in_words(args, order, report).and_then(|text| output::result(text, stop)));
    copies
}

fn in_words(args: &Args, order: &Order<'_>, report: &Report) -> anyhow::Result<String> {
    if args.json {
        return Ok(report.to_json()?);
    }
    let mut text = terminal(report);
    if report.verdict != order.scenario.verdict && order.judged(report).is_none() {
        text += "  swarm      as good as a pass: what is drawn may keep a liar from everybody\n";
    }
    if args.verify {
        let events = report.resources.events.unwrap_or(0);
        text += &format!("  twice      {events} events, the same in both runs\n");
    }
    Ok(text)
}

/// How far a run is, on standard error, and only if that is a terminal.
struct Bar {
    bar: ProgressBar,
    begun: Instant,
    told: std::cell::Cell<Option<(Instant, Progress)>>,
}

impl Bar {
    fn new() -> Self {
        let bar = screen::bar(0, "{msg:>44} {bar:30.green} {elapsed}");
        Self { bar, begun: Instant::now(), told: std::cell::Cell::new(None) }
    }

    fn tell(&self, sim: &Sim) {
        let now = Instant::now();
        if self.told.get().is_some_and(|(then, _)| now < then + TELL_EVERY) {
            return;
        }
        let progress = sim.progress();
        self.told.set(Some((now, progress)));
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.bar.set_length(ms(progress.until));
        self.bar.set_position(ms(progress.now));
        let rate = progress.events as f64 / self.begun.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_message(format!(
            "{:?} · {:.1} s simulated · {:.0}k events/s",
            progress.phase,
            progress.now.as_secs_f64(),
            rate / 1000.0
        ));
    }

    /// Where it was when it was last asked, in words.
    fn finish(self) -> String {
        self.bar.finish_and_clear();
        self.told.get().map_or_else(String::new, |(_, progress)| {
            let (events, seconds) = (progress.events, progress.now.as_secs_f64());
            format!(" after {events} events, {seconds:.3} simulated seconds")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn parse(line: &str) -> Result<Args, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.verb {
            Verb::Sim(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_range_of_seeds_has_both_its_ends() {
        assert_eq!(seeds("1..100"), Ok(1..=100));
        assert_eq!(seeds("5..5"), Ok(5..=5));
        assert_eq!(seeds("1..=3"), Ok(1..=3));
        assert_eq!(seeds("1..10000000").map(|seeds| seeds.count()), Ok(10_000_000));
        let last = u64::MAX;
        assert_eq!(seeds(&format!("{}..{last}", last - 1)), Ok(last - 1..=last));
        for bad in ["", "7", "1..", "..2", "1...3", "a..b", "-1..2", "0..10000000", "9..1"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
        assert!(seeds("9..1").is_err_and(|why| why.contains("1..9")));
    }

    #[test]
    fn contradictions_are_bad_usage() {
        for bad in [
            "loyal sim",
            "loyal sim forge --seed 1 --seeds 1..2",
            "loyal sim forge --seeds 2..1",
            "loyal sim forge --jobs 2",
            "loyal sim forge --seeds 1..2 --jobs 0",
            "loyal sim forge --seed x",
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn the_reproduce_line_is_the_same_run() {
        let line =
            "loyal sim three-liars --seed 7 --nodes 13 --set mesh.links=4 --set net.loss=0.1";
        let args = parse(line).expect("reads");
        assert_eq!(reproduce(&args, 7), line);
        let campaign = parse("loyal sim forge --seeds 1..9 --jobs 2 --json").expect("reads");
        assert_eq!(reproduce(&campaign, 5), "loyal sim forge --seed 5");
    }

    #[test]
    fn nodes_take_the_place_of_f() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.toml");
        fs::write(
            &path,
            "name = 'x'\n[mesh]\nf = 3\n[[malicious]]\nfraction = 0.3\nbehave = 'drop'\n",
        )
        .expect("written");
        let path = path.to_str().expect("UTF-8");
        let nodes = |line: String| {
            let source = source(&parse(&line).expect(&line)).expect("sound");
            let scenario = source.of(1).expect("sound").into_owned();
            (scenario.mesh.nodes, scenario.cast().iter().flatten().count())
        };
        assert_eq!(nodes(format!("loyal sim {path}")), (10, 3));
        assert_eq!(nodes(format!("loyal sim {path} --nodes 20")), (20, 6));
        assert_eq!(
            nodes(format!("loyal sim {path} --set mesh.f=1 --set malicious.0.count=1")),
            (4, 1)
        );
        assert_eq!(nodes("loyal sim swarm --nodes 31".into()).0, 31);
    }

    #[test]
    fn a_shell_reads_back_what_is_quoted() {
        assert_eq!(quoted("net.loss=0.1"), "net.loss=0.1");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        let nasty = "load.0.publishers={count=1} # it's \"$HOME\" `x`";
        let script = format!("printf %s {}", quoted(nasty));
        let printed =
            std::process::Command::new("sh").args(["-c", &script]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&printed.stdout), nasty);
    }
}
