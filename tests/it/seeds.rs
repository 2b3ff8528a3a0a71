//! The simulator on seeds that once failed, and on seeds whose run digest is pinned.
//!
//! `tests/seeds.txt` lists the seeds to run again; `tests/vectors/digests.txt` pins run digests,
//! which must be the same in debug and release builds and on any machine.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use loyal::campaign::{Campaign, Job, Profile, ScenarioSource, SeedResult, catch_panic, run};
use loyal::scenario::{Scenario, builtin};

use crate::support::{blessing, root};

/// A line of a list: the scenario, the seed, and the rest of the line.
struct Line {
    scenario: String,
    seed: u64,
    rest: String,
}

fn lines(name: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(root().join(name)).expect("it is there");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (scenario, seed, rest) = (word(), word(), word());
        let seed = seed.parse().unwrap_or_else(|_| panic!("{name}: no seed in `{line}`"));
        Line { scenario, seed, rest }
    };
    lines.map(line).collect()
}

fn source(scenario: &str) -> ScenarioSource {
    if scenario == "swarm" {
        return ScenarioSource::Swarm(Profile::Usual, Vec::new());
    }
    let text = builtin(scenario).map_or_else(
        || std::fs::read_to_string(root().join("tests").join(scenario)).expect("a file"),
        str::to_owned,
    );
    ScenarioSource::Fixed(Box::new(Scenario::parse(&text, &[]).expect("a sound scenario")))
}

fn result(scenario: &str, seed: u64, verify: bool) -> SeedResult {
    let source = source(scenario);
    let scenario = source.of(seed).expect("a sound scenario");
    let reproduce = format!("loyal sim {} --seed {seed}", source.name());
    let lenient = source.lenient();
    let order = Job { scenario: &scenario, seed, verify, lenient, reproduce };
    order.try_out(|_| true).expect("nobody stops it")
}

/// Runs each of the lines, on all cores. Returns what is wrong with them.
fn all(
    lines: &[Line],
    check: &(dyn Fn(&Line, &SeedResult) -> Option<String> + Sync),
) -> Vec<String> {
    let wrong = std::sync::Mutex::new(Vec::new());
    let last = (lines.len() as u64).checked_sub(1).expect("at least one line");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Campaign { name: "lines".into(), seeds: 0..=last, jobs };
    let work = |number: u64| {
        let line = &lines[number as usize];
        let result = result(&line.scenario, line.seed, false);
        let what =
            check(line, &result).map(|what| format!("{} {}: {what}", line.scenario, line.seed));
        wrong.lock().expect("no panic").extend(what);
        Some(result)
    };
    let summary = run(&plan, &|_| String::new(), &work, &mut |_, _| {});
    assert_eq!(summary.ran, lines.len() as u64);
    wrong.into_inner().expect("no panic")
}

#[test]
fn seeds_that_once_failed_end_as_they_should() {
    let lines = lines("tests/seeds.txt");
    assert!(lines.iter().all(|line| line.rest.starts_with("# ")), "each says why");
    let wrong = all(&lines, &|_, result| {
        result.failure.as_ref().map(|failure| format!("{}: {}", failure.kind.name(), failure.what))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_seed_has_one_digest_on_every_machine() {
    let name = "tests/vectors/digests.txt";
    let pinned = lines(name);
    if blessing() {
        let mut text = String::from("# SCENARIO SEED DIGEST: see tests/it/seeds.rs\n");
        for line in &pinned {
            let digest = result(&line.scenario, line.seed, false).digest.expect("it ends");
            text += &format!("{} {} {digest}\n", line.scenario, line.seed);
        }
        std::fs::write(root().join(name), text).expect("it can be written");
    }
    let wrong = all(&lines(name), &|line, result| {
        let digest = result.digest.as_deref().unwrap_or("none");
        (digest != line.rest).then(|| format!("{digest} instead of {}", line.rest))
    });
    assert!(wrong.is_empty(), "the run changed:\n{}", wrong.join("\n"));
}

#[test]
fn a_run_is_the_same_twice_and_another_with_another_seed() {
    for (scenario, seed) in [("forge", 2), ("kill-and-restart", 2), ("swarm", 8)] {
        let twice = result(scenario, seed, true);
        assert_eq!(twice.failure, None, "{scenario} {seed}");
        assert_eq!(twice.digest, result(scenario, seed, false).digest, "{scenario} {seed}");
        assert_ne!(twice.digest, result(scenario, seed + 1, false).digest, "{scenario} {seed}");
    }
}

#[test]
fn what_a_run_has_not_been_promised_is_a_failure() {
    // A run cannot deliver more than everything, so this expectation fails.
    let text = "name = \"lost\"\n[mesh]\nnodes = 4\n[[load]]\nrate = 20\ncount = 10\n\
                [[expect]]\nmetric = \"delivery.ratio\"\nat_least = 2.0\n";
    let scenario = Scenario::parse(text, &[]).expect("a sound scenario");
    let order = Job {
        scenario: &scenario,
        seed: 1,
        verify: false,
        lenient: false,
        reproduce: "again".into(),
    };
    let failure = order.try_out(|_| true).and_then(|result| result.failure).expect("it fails");
    assert_eq!((failure.kind.name(), failure.kind.exit_code()), ("liveness", 3));
    assert!(failure.what.contains("delivery.ratio"), "{}", failure.what);
    assert!(order.try_out(|_| false).is_none(), "it can be stopped");
    assert!(catch_panic(|| order.try_out(|_| panic!("watcher"))).expect("kept").is_some_and(
        |result| { result.failure.is_some_and(|failure| failure.kind.name() == "panicked") }
    ));
}

fn loyal(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.arg("sim").args(arguments).current_dir(dir).stdin(Stdio::null());
    command.output().expect("it runs")
}

fn json(ran: &Output) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn one_seed_prints_its_report_and_how_to_run_it_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let ran = loyal(&["forge", "--seed", "5", "--set", "mesh.links=2", "--json"], dir.path());
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let report = json(&ran);
    assert_eq!((&report["backend"], &report["seed"]), (&"simulated".into(), &5.into()));
    for figure in ["wall_s", "cpu_s", "peak_rss_mb", "events_per_s", "sim_s", "events"] {
        assert!(report["resources"][figure].as_f64().is_some_and(|n| n > 0.0), "{figure}");
    }
    let again = report["reproduce"].as_str().expect("a line");
    assert_eq!(again, "loyal sim forge --seed 5 --set mesh.links=2");
    let words: Vec<&str> = again.split(' ').skip(2).chain(["--verify", "--json"]).collect();
    let twice = loyal(&words, dir.path());
    assert_eq!(json(&twice)["digest"], report["digest"]);
    let other = loyal(&["forge", "--seed", "6", "--set", "mesh.links=2", "--json"], dir.path());
    assert_ne!(json(&other)["digest"], report["digest"]);
}

#[test]
fn a_campaign_tells_its_failures_makes_them_smaller_and_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    // A run cannot deliver more than everything, so every seed fails.
    let text = "name = \"more\"\nduration = \"1s\"\n[mesh]\nnodes = 7\n[[malicious]]\ncount = 1\n\
                behave = \"forge+drop\"\n[[load]]\nrate = 20\ncount = 10\n\
                [[expect]]\nmetric = \"delivery.ratio\"\nat_least = 2.0\n";
    std::fs::write(dir.path().join("more.toml"), text).expect("written");
    let arguments = ["more.toml", "--seeds", "3..6", "--shrink", "1", "--report", "out", "--json"];
    let ran = loyal(&arguments, dir.path());
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let found = json(&ran);
    assert_eq!((&found["ran"], &found["failed"]), (&4.into(), &4.into()));
    assert_eq!(found["verdicts"]["liveness"], 4);
    let failure = &found["failures"][0];
    assert_eq!(failure["reproduce"], "loyal sim more.toml --seed 3");
    assert_eq!(failure["shrunk"], "out/failures/more-3.toml");
    let small = loyal(&["out/failures/more-3.toml", "--seed", "3", "--json"], dir.path());
    assert_eq!(small.status.code(), Some(3), "the smaller one fails in the same way");
    let small = json(&small);
    assert_eq!((&small["nodes"], &small["published"]), (&1.into(), &1.into()));
    let rows = std::fs::read_to_string(dir.path().join("out/seeds.ndjson")).expect("written");
    assert_eq!(rows.lines().count(), 4);
    assert!(dir.path().join("out/campaign.json").is_file());
}

#[test]
fn what_makes_no_sense_is_bad_usage() {
    let dir = tempfile::tempdir().expect("a folder");
    for (arguments, hint) in [
        (vec!["forge", "--seeds", "5..1"], "1..5"),
        (vec!["forge", "--seeds", "0..10000000"], "10000000"),
        (vec!["three-lairs"], "three-liars"),
        (vec!["forge", "--set", "mesh.ndoes=4"], "nodes"),
        (vec!["swarm", "--nodes", "0"], "nodes"),
    ] {
        let ran = loyal(&arguments, dir.path());
        let text = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(hint) && !text.contains("panicked"), "{arguments:?}: {text}");
    }
}

#[test]
fn an_interrupted_campaign_tells_what_it_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.args(["sim", "drop", "--seeds", "1..1000000", "--json", "--report", "."]);
    command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().expect("it runs");
    let until = Instant::now() + Duration::from_secs(30);
    let rows = dir.path().join("seeds.ndjson");
    // Rows are written in blocks: once the file has any, some seeds have ended.
    while std::fs::metadata(&rows).map_or(0, |rows| rows.len()) == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("it runs");
    assert!(sent.success());
    let ran = child.wait_with_output().expect("it ends");
    assert_eq!(ran.status.code(), Some(130));
    let found = json(&ran);
    assert_eq!(found["interrupted"], true);
    assert!(found["ran"].as_u64().is_some_and(|ran| ran > 0), "{found}");
}
