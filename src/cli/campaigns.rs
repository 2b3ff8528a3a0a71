//! `loyal sim` with many seeds: progress bar, summary, failures and their shrunk scenarios.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;

use super::error::INTERRUPTED;
use super::output::quoted;
use super::screen::bar;
use super::sim_args::{Args, reproduce};
use super::{output, report_folder, stderr};
use crate::campaign::{
    self, Bounds, Campaign, Failure, FailureKind, Job, Range, ScenarioSource, SeedResult, Summary,
};
use crate::mesh::Stop;
use crate::scenario::Scenario;

/// Default number of failing seeds that are shrunk.
const SHRINK: u16 = 3;
/// Limits on the shrinking of one failure.
const BOUNDS: Bounds = Bounds { attempts: 400, time: Duration::from_secs(60) };
/// Maximum number of failures printed; all that are kept are in [`SUMMARY`].
const SHOWN: usize = 20;
/// The file with the summary of a campaign, written at its end.
const SUMMARY: &str = "campaign.json";

/// Runs every seed and prints what was found.
pub(super) fn run(
    args: &Args,
    source: &ScenarioSource,
    seeds: RangeInclusive<u64>,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let cores = available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from);
    let plan = Campaign { name: source.name().to_owned(), seeds, jobs };
    let mut rows = args.report.as_deref().map(Rows::create).transpose()?;
    let bar = bar(plan.count(), "{msg:>32} {bar:30.green} {pos}/{len} {elapsed} of {eta} left");
    let mut summary = campaign::run(
        &plan,
        &|seed| reproduce(args, seed),
        &|seed| one(args, source, seed, stop),
        &mut |result, summary| {
            bar.set_position(summary.ran);
            let rate = summary.seeds_per_min.unwrap_or(0.0);
            bar.set_message(format!("{rate:.0} seeds/min, {} failed", summary.failed));
            if let Some(failure) = result.failure.as_ref().filter(|_| !bar.is_hidden()) {
                bar.suspend(|| stderr::note(failed(failure)));
            }
            if let Some(rows) = &mut rows {
                rows.write(result);
            }
        },
    );
    bar.finish_and_clear();
    let mut copies = vec![rows.map_or(Ok(()), Rows::close)];
    if !summary.interrupted {
        copies.push(shrink_all(args, source, &mut summary.failures, stop));
    }
    if let Some(dir) = &args.report {
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        copies.push(write(&dir.join(SUMMARY), &text));
    }
    let text = match args.json {
        true => serde_json::to_string(&summary)? + "\n",
        false => in_words(&summary),
    };
    copies.push(output::result(text, stop));
    let code = if summary.interrupted { INTERRUPTED } else { summary.exit_code };
    Ok(output::outcome(code, copies))
}

/// Runs one seed, from its scenario to its result; `None` once the campaign is to stop.
fn one(args: &Args, source: &ScenarioSource, seed: u64, stop: &Stop) -> Option<SeedResult> {
    if stop.asked() {
        return None;
    }
    let scenario = match source.of(seed) {
        Ok(scenario) => scenario,
        Err(error) => {
            let (what, reproduce) = (error.to_string(), reproduce(args, seed));
            let failure =
                Failure { seed, kind: FailureKind::Unusable, what, reproduce, shrunk: None };
            return Some(SeedResult::failed(failure));
        }
    };
    order(args, source, &scenario, seed).try_out(|_| !stop.asked())
}

fn order<'a>(args: &Args, source: &ScenarioSource, scenario: &'a Scenario, seed: u64) -> Job<'a> {
    let (verify, lenient) = (args.verify, source.lenient());
    Job { scenario, seed, verify, lenient, reproduce: reproduce(args, seed) }
}

/// `seeds.ndjson`, to which rows are appended during the campaign.
struct Rows {
    path: PathBuf,
    file: BufWriter<File>,
    error: Option<std::io::Error>,
}

impl Rows {
    /// Creates the file, and removes an earlier campaign's summary.
    fn create(dir: &Path) -> anyhow::Result<Self> {
        report_folder::remove(&dir.join(SUMMARY))?;
        let path = dir.join("seeds.ndjson");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file: BufWriter::new(file), error: None })
    }

    /// Writes a row. Keeps the first error until the end: the campaign is worth more than its rows.
    fn write(&mut self, result: &SeedResult) {
        if self.error.is_none() {
            let row = serde_json::to_string(result).unwrap_or_default();
            self.error = writeln!(self.file, "{row}").err();
        }
    }

    fn close(mut self) -> anyhow::Result<()> {
        let result = self.error.map_or_else(|| self.file.flush(), Err);
        result.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Shrinks the scenarios of the first failures and writes them to files.
pub(super) fn shrink_all(
    args: &Args,
    source: &ScenarioSource,
    failures: &mut [Failure],
    stop: &Stop,
) -> anyhow::Result<()> {
    let dir = match &args.report {
        Some(dir) => dir.join("failures"),
        None => PathBuf::from("loyal-failures"),
    };
    let wanted = usize::from(args.shrink.unwrap_or(SHRINK));
    let shrinkable = failures.iter_mut().filter(|failure| failure.kind != FailureKind::Unusable);
    for failure in shrinkable.take(wanted) {
        let Ok(scenario) = source.of(failure.seed) else { continue };
        let seed = failure.seed;
        let bar = bar(0, "{spinner} {msg}");
        bar.set_message(format!("shrinking seed {seed}"));
        let mut runs = 0_u64;
        let shrunk = campaign::shrink(&scenario, BOUNDS, |smaller| {
            runs += 1;
            bar.set_message(format!("shrinking seed {seed}: run {runs}"));
            let mut again = order(args, source, smaller, seed);
            again.verify = failure.kind == FailureKind::NotDeterministic;
            let result = again.try_out(|_| !stop.asked());
            result.and_then(|result| result.failure).is_some_and(|one| one.kind == failure.kind)
        });
        bar.finish_and_clear();
        if stop.asked() {
            stderr::note(format_args!(
                "interrupted: seed {seed} and those after it are not shrunk"
            ));
            return Ok(());
        }
        let mut small = shrunk.scenario;
        small.seed = seed;
        small.about = format!("shrunk from {}, seed {seed}", source.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("{}-{seed}.toml", source.name()));
        write(&path, &file(&small, failure, &path))?;
        let line = format!("{} --seed {seed}", quoted(&path.display().to_string()));
        stderr::note(format_args!("  shrunk: loyal sim {line}"));
        failure.shrunk = Some(path);
    }
    Ok(())
}

/// The file of a shrunk scenario; comments at the top say how it fails.
fn file(scenario: &Scenario, failure: &Failure, path: &Path) -> String {
    let mut text = format!("# Fails: {}.\n", failure.kind.name());
    for line in failure.what.lines() {
        let _ = writeln!(text, "# {}", line.escape_debug());
    }
    let verify = if failure.kind == FailureKind::NotDeterministic { " --verify" } else { "" };
    let path = quoted(&path.display().to_string()).escape_debug().to_string();
    let _ = writeln!(text, "# Reproduce: loyal sim {path} --seed {}{verify}", failure.seed);
    let _ = writeln!(text, "# Original: {}\n", failure.reproduce.escape_debug());
    text + &scenario.to_toml()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn failed(failure: &Failure) -> String {
    format!("seed {}: {}: {}", failure.seed, failure.kind.name(), failure.what)
}

/// Formats the summary for a terminal, with ANSI colours.
fn in_words(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_words(&mut out, summary);
    out
}

fn write_words(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let (colour, word) = match (summary.failed, summary.interrupted) {
        (0, false) => ("\x1b[32m", "PASS"),
        (0, true) => ("\x1b[33m", "STOPPED"),
        _ => ("\x1b[31m", "FAILED"),
    };
    let (ran, met, name) = (summary.ran, summary.met, &summary.name);
    let [first, last] = summary.seeds;
    writeln!(
        out,
        "\x1b[1m{colour}{word}\x1b[0m  \x1b[1m{met} of {ran} seeds of {name} ended as \
         expected\x1b[0m"
    )?;
    let stopped = if summary.interrupted { ", stopped before the end" } else { "" };
    writeln!(out, "  seeds      {first} to {last}{stopped}")?;
    let verdicts: Vec<String> =
        summary.verdicts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(out, "  verdicts   {}", verdicts.join(" · "))?;
    let ranges = [
        ("p50 ms", &summary.latency_p50_ms),
        ("p99 ms", &summary.latency_p99_ms),
        ("max ms", &summary.latency_max_ms),
        ("hops", &summary.hops_mean),
        ("most hops", &summary.hops_max),
        ("nodes", &summary.nodes),
    ];
    for (name, range) in ranges {
        if let Some(range) = range {
            range_line(out, name, range)?;
        }
    }
    if let Some(slowest) = &summary.slowest {
        writeln!(out, "  slowest    seed {}: {:.2} s", slowest.seed, slowest.value)?;
    }
    let per_min = summary.seeds_per_min.unwrap_or(0.0);
    writeln!(
        out,
        "  cost       {:.1} s, {} threads, {per_min:.0} seeds per minute, {:.0} events per second",
        summary.wall_s,
        summary.jobs,
        summary.events_per_s.unwrap_or(0.0)
    )?;
    for failure in summary.failures.iter().take(SHOWN) {
        writeln!(out, "  \x1b[31m{}\x1b[0m", failed(failure))?;
        writeln!(out, "    again    {}", failure.reproduce)?;
        if let Some(path) = &failure.shrunk {
            let path = quoted(&path.display().to_string());
            writeln!(out, "    shrunk   loyal sim {path} --seed {}", failure.seed)?;
        }
    }
    let more = summary.failed.saturating_sub(SHOWN as u64);
    if more > 0 { writeln!(out, "  and {more} more failures") } else { Ok(()) }
}

fn range_line(out: &mut String, name: &str, range: &Range) -> std::fmt::Result {
    let (min, max) = (range.min, range.max);
    writeln!(
        out,
        "  {name:<10} {:.1} to {:.1}, mean {:.1}  \x1b[2m(seeds {} and {})\x1b[0m",
        min.value, max.value, range.mean, min.seed, max.seed
    )
}
