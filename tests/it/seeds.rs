//! The simulator on seeds that once failed; one seed, one digest.
//!
//! `tests/seeds.txt` lists what is run again; `tests/vectors/digests.txt` pins digests, which must
//! be the same in debug and release builds and on any machine.

use loyal::campaign::{Order, Plan, SeedResult, Source, caught, run};
use loyal::scenario::{Scenario, builtin};

use crate::support::{blessing, root};

/// A line of a list: SCENARIO, seed, and what follows.
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

fn source(scenario: &str) -> Source {
    if scenario == "swarm" {
        return Source::Swarm(Vec::new());
    }
    let text = builtin(scenario).map_or_else(
        || std::fs::read_to_string(root().join("tests").join(scenario)).expect("a file"),
        str::to_owned,
    );
    Source::Fixed(Box::new(Scenario::parse(&text, &[]).expect("a sound scenario")))
}

fn result(scenario: &str, seed: u64, verify: bool) -> SeedResult {
    let source = source(scenario);
    let scenario = source.of(seed).expect("a sound scenario");
    let reproduce = format!("loyal sim {} --seed {seed}", source.name());
    let lenient = source.lenient();
    let order = Order { scenario: &scenario, seed, verify, lenient, reproduce };
    order.try_out(|_| true).expect("nobody stops it")
}

/// Runs each of the lines, on all cores, and says what is wrong with them.
fn all(
    lines: &[Line],
    check: &(dyn Fn(&Line, &SeedResult) -> Option<String> + Sync),
) -> Vec<String> {
    let wrong = std::sync::Mutex::new(Vec::new());
    let last = (lines.len() as u64).checked_sub(1).expect("at least one line");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan { name: "lines".into(), seeds: 0..=last, jobs };
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
    // No run delivers more than everything.
    let text = "name = \"lost\"\n[mesh]\nnodes = 4\n[[load]]\nrate = 20\ncount = 10\n\
                [[expect]]\nmetric = \"delivery.ratio\"\nat_least = 2.0\n";
    let scenario = Scenario::parse(text, &[]).expect("a sound scenario");
    let order = Order {
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
    assert!(caught(|| order.try_out(|_| panic!("watcher"))).expect("kept").is_some_and(|result| {
        result.failure.is_some_and(|failure| failure.kind.name() == "panicked")
    }));
}
