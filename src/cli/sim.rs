//! `loyal sim`: runs a scenario in the simulator, with one seed or as a campaign over many.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;

use super::error::{INTERRUPTED, Usage};
pub(super) use super::sim_args::Args;
use super::sim_args::{ProfileName, SWARM, reproduce};
use super::{campaigns, output, report_folder, scenarios, screen, signals, stderr};
use crate::campaign::{Ending, Job, Judged, ScenarioSource, catch_panic, quiet_panics};
use crate::mesh::Stop;
use crate::protocol::millis;
use crate::report::{Report, terminal};
use crate::sim::{Progress, Sim};

/// Minimum interval between two updates of the progress bar.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Settings of glibc's allocator: transparent huge pages, and more freed blocks kept per thread. A
/// run of ten thousand nodes accesses gigabytes at random; measured, it becomes a fourth to a third
/// faster. With mimalloc instead, `ten-thousand` took 0.91 of that time and 1.09 of the memory, and
/// `saturation` 1.04 and 1.17: no gain where memory is what limits a run.
const TUNABLES: &str = "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=127";
const TUNABLES_VARIABLE: &str = "GLIBC_TUNABLES";
/// Number of nodes from which the restart is worthwhile.
const LARGE: usize = 1000;

/// Runs one seed or a campaign.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source = source(args)?;
    if let ScenarioSource::Fixed(scenario) = &source {
        prefer_huge_pages(scenario.mesh.nodes);
    }
    sound(args, &source)?;
    let _folder = report_folder::prepare(args.report.as_deref())?;
    let (_runtime, stop) = signals::runtime(1)?;
    quiet_panics();
    match &args.seeds {
        Some(seeds) => campaigns::run(args, &source, seeds.clone(), &stop),
        None => single(args, &source, &stop),
    }
}

/// Asks for huge memory pages: replaces this process by the same program with allocator settings
/// for a run of this many nodes, because glibc reads them only at process start. Does nothing for a
/// small run, if the variable is set already, or if it fails; systems without glibc ignore it.
fn prefer_huge_pages(nodes: usize) {
    if nodes < LARGE || std::env::var_os(TUNABLES_VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Returns only on failure, and then the run is merely slower.
    let _ = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(TUNABLES_VARIABLE, TUNABLES)
        .exec();
}

/// Refuses overlays that fit no scenario, before any file is created. With `swarm`, an overlay may
/// fit one seed's scenario but not another's, so up to 16 seeds are tried.
fn sound(args: &Args, source: &ScenarioSource) -> Result<(), Usage> {
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

fn source(args: &Args) -> anyhow::Result<ScenarioSource> {
    let mut overlays = Vec::new();
    if let Some(nodes) = args.nodes {
        overlays.push(format!("mesh.nodes={nodes}"));
    }
    overlays.extend(args.sets.iter().cloned());
    if args.profile != ProfileName::Usual && args.scenario != SWARM {
        let why = "--profile works only with `swarm`";
        return Err(Usage(why.into()).into());
    }
    if args.scenario == SWARM {
        return Ok(ScenarioSource::Swarm(args.profile.into(), overlays));
    }
    Ok(ScenarioSource::Fixed(Box::new(scenarios::load(&args.scenario, &overlays)?)))
}

fn single(args: &Args, source: &ScenarioSource, stop: &Stop) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or(match source {
        ScenarioSource::Fixed(scenario) => scenario.seed,
        ScenarioSource::Swarm(..) => 1,
    });
    let scenario = source.of(seed).map_err(|error| Usage(error.to_string()))?;
    let job = Job {
        scenario: &scenario,
        seed,
        verify: args.verify,
        lenient: source.lenient(),
        reproduce: reproduce(args, seed),
    };
    let bar = Bar::new();
    let ending = catch_panic(|| {
        job.run(|sim| {
            bar.tell(sim);
            !stop.asked()
        })
    });
    let last = bar.finish();
    let mut copies = Vec::new();
    let failure = match ending {
        Ok(Ending::Judged(judged)) => {
            copies = show(args, &job, &judged, stop);
            job.judged(&judged.report)
        }
        Ok(Ending::Differs(difference)) => {
            let failure =
                job.failure(crate::campaign::FailureKind::NotDeterministic, difference.to_string());
            stderr::note(format_args!("\x1b[1;31mNOT DETERMINISTIC\x1b[0m  {}", failure.what));
            stderr::note(format_args!("  again  {}", failure.reproduce));
            Some(failure)
        }
        Ok(Ending::Stopped(judged)) => {
            stderr::note(format_args!("interrupted{last}: nothing is judged"));
            return Ok(output::outcome(INTERRUPTED, show(args, &job, &judged, stop)));
        }
        Err(panic) => {
            return Err(anyhow!("the simulator panicked{last}: {panic}; again: {}", job.reproduce));
        }
    };
    let Some(failure) = failure else { return Ok(output::outcome(0, copies)) };
    if args.shrink.unwrap_or(0) > 0 {
        let failures = &mut [failure.clone()];
        copies.push(campaigns::shrink_all(args, source, failures, stop));
    }
    Ok(output::outcome(failure.kind.exit_code(), copies))
}

/// Writes the result into the report's folder and prints it; returns the outcome of each.
fn show(args: &Args, job: &Job<'_>, judged: &Judged, stop: &Stop) -> Vec<anyhow::Result<()>> {
    let Judged { recording, report } = judged;
    let mut copies = Vec::new();
    if let Some(dir) = &args.report {
        copies.push(report_folder::write(dir, &job.scenario.to_toml(), recording, report));
    }
    copies.push(in_words(args, job, report).and_then(|text| output::result(text, stop)));
    copies
}

fn in_words(args: &Args, job: &Job<'_>, report: &Report) -> anyhow::Result<String> {
    if args.json {
        return Ok(report.to_json()?);
    }
    let mut text = terminal(report);
    if report.verdict != job.scenario.verdict && job.judged(report).is_none() {
        text += "  swarm      counts as a pass: in a drawn scenario a liar may reach nobody\n";
    }
    if args.verify {
        let events = report.resources.events.unwrap_or(0);
        text += &format!("  verified   {events} events, the same in both runs\n");
    }
    Ok(text)
}

/// The progress bar on standard error, drawn only if that is a terminal.
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
        self.bar.set_length(millis(progress.until));
        self.bar.set_position(millis(progress.now));
        let rate = progress.events as f64 / self.begun.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_message(format!(
            "{:?} · {:.1} s simulated · {:.0}k events/s",
            progress.phase,
            progress.now.as_secs_f64(),
            rate / 1000.0
        ));
    }

    /// Removes the bar, and describes the last known progress in words.
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

    fn parse(line: &str) -> Args {
        match Cli::try_parse_from(line.split(' ')).expect(line).verb {
            Verb::Sim(args) => args,
            other => panic!("{other:?}"),
        }
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
            let source = source(&parse(&line)).expect("sound");
            let scenario = source.of(1).expect("sound").into_owned();
            (scenario.mesh.nodes, scenario.specs().iter().flatten().count())
        };
        assert_eq!(nodes(format!("loyal sim {path}")), (10, 3));
        assert_eq!(nodes(format!("loyal sim {path} --nodes 20")), (20, 6));
        assert_eq!(
            nodes(format!("loyal sim {path} --set mesh.f=1 --set malicious.0.count=1")),
            (4, 1)
        );
        assert_eq!(nodes("loyal sim swarm --nodes 31".into()).0, 31);
    }
}
