//! What is refused, and with which message; that nothing panics; that what is written reads back.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"name = "good"
about = "all there is, \"quoted\""
seed = 18446744073709551615
duration = "20s"
settle = "1500ms"
verdict = "liveness"
crypto = "modelled"
[mesh]
f = 4
links = 3
start = "cold"
[net]
latency = { kind = "regions", names = ["eu", "us"], matrix = [["1ms", "40ms"], ["41ms", "1.5ms"]] }
jitter = "5ms"
loss = 0.01
duplicate = 0.001
reorder = 1
bandwidth = 1000000
[store]
max_bytes = 4096
[cpu]
check = "45us"
[[malicious]]
count = 1
behave = "forge@after=2s+flood:rate=500"
[[malicious]]
fraction = 0.1
behave = "drop:p=0.5"
[[malicious]]
nodes = ["n7", "n2"]
behave = "censor:author=n0"
[[fault]]
kind = "partition"
at = "5s"
until = "9s"
select = { fraction = 0.4 }
[[fault]]
kind = "isolate"
until = "9s"
select = { nodes = ["n1"] }
[[fault]]
kind = "loss"
p = 0.2
until = "9s"
[[fault]]
kind = "delay"
by = "100ms"
until = "9s"
[[fault]]
kind = "cap"
bandwidth = 5000
until = "9s"
select = { count = 2, of = "malicious" }
[[fault]]
kind = "kill"
at = "1s"
select = { count = 1 }
[[fault]]
kind = "restart"
down = "2s"
select = { count = 1 }
[[fault]]
kind = "pause"
until = "2s"
select = { count = 1, of = "all" }
[[fault]]
kind = "churn"
every = "2s"
select = { count = 3, of = "honest" }
[[fault]]
kind = "disk-full"
until = "2s"
select = { count = 1 }
[[fault]]
kind = "rot"
rows = 7
select = { count = 1 }
[[fault]]
kind = "wipe"
until = "2s"
select = { nodes = ["n1"] }
[[load]]
rate = 50
count = 100
from = "1s"
until = "4s"
size = 0
publishers = ["n0", "n1"]
[[load]]
rate = 0.3333
publishers = { count = 2 }
[[expect]]
metric = "delivery.ratio"
at_least = 1
[[expect]]
metric = "attacks.forge.accepted"
at_most = 0
[[expect]]
metric = "rejections.by_reason.bad_signature"
equals = 1e300
"#;

fn read(text: &str) -> Scenario {
    Scenario::parse(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str, overlays: &[&str]) -> ScenarioError {
    let overlays: Vec<String> = overlays.iter().map(|text| (*text).to_owned()).collect();
    match Scenario::parse(text, &overlays) {
        Ok(_) => panic!("is read: {text} {overlays:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_file_with_everything_is_read() {
    let it = read(GOOD);
    assert_eq!((it.mesh.nodes, it.mesh.links, it.mesh.start), (13, Some(3), Start::Cold));
    assert_eq!((it.seed, it.verdict), (u64::MAX, Verdict::Liveness));
    assert_eq!((it.net.loss, it.net.reorder), (Ppm(10_000), Ppm::ONE));
    assert_eq!(it.malicious[2].who, Who::Nodes(vec![7, 2]));
    assert_eq!(it.loads[0].every, Duration::from_millis(20));
    assert_eq!(it.faults[2].select, Select { who: Who::Fraction(Ppm::ONE), of: Among::All });
    assert_eq!(it.faults[5].select.of, Among::Honest);
    assert_eq!(it.faults[6].kind, FaultKind::Restart(Duration::from_secs(2)));
    assert_eq!(it.expects[2].limit, Limit::Equals(1e300));
    assert_eq!((it.store.max_bytes, it.cpu.check), (Some(4096), Some(Duration::from_micros(45))));
    assert_eq!((it.faults[9].kind, it.faults[9].select.of), (FaultKind::DiskFull, Among::Honest));
    assert_eq!((it.faults[10].kind, it.faults[11].kind), (FaultKind::Rot(7), FaultKind::Wipe));
    let Latency::Regions { matrix, .. } = &it.net.latency else { panic!("regions") };
    assert_eq!(matrix[1][1], Duration::from_micros(1500));
}

#[test]
fn what_is_left_out_has_a_default() {
    let it = read("name = 'x'\n[mesh]\nnodes = 4\n[[load]]\nrate = 1\ncount = 1\n");
    assert_eq!((it.seed, it.duration, it.settle), (1, Duration::ZERO, Duration::from_secs(10)));
    assert_eq!((it.verdict, it.crypto), (Verdict::Pass, Cryptography::Real));
    assert_eq!((it.mesh.links, it.mesh.start), (None, Start::Linked));
    assert_eq!(it.net, Net::default());
    assert_eq!(it.net.latency, Latency::Constant(Duration::from_millis(1)));
    let load = &it.loads[0];
    assert_eq!(
        (load.size, load.from, &load.publishers),
        (256, Duration::ZERO, &Publishers::Honest)
    );
}

#[test]
fn what_is_written_reads_back() {
    let it = read(GOOD);
    let text = it.to_toml();
    assert_eq!(read(&text), it, "{text}");
    for latency in [
        "'250us'",
        "{ kind = 'uniform', min = '1ms', max = '2ms' }",
        "{ kind = 'normal', mean = '20ms', sd = '5ms' }",
        "{ kind = 'long-tailed', median = '20ms', max = '2s' }",
    ] {
        let it = read(&format!("name = 'x'\n[mesh]\nnodes = 4\n[net]\nlatency = {latency}\n"));
        assert_eq!(read(&it.to_toml()), it, "{latency}");
    }
}

/// The head of a good file, followed by `rest` in line 4.
fn after_mesh(rest: &str) -> String {
    format!("name = 'x'\n[mesh]\nnodes = 4\n{rest}\n")
}

#[track_caller]
fn told(text: &str, line: usize, column: usize, hints: &[&str]) {
    let error = refused(text, &[]);
    for hint in hints {
        assert!(error.why.contains(hint), "{error} lacks {hint}");
    }
    assert_eq!((error.line, error.column), (line, column), "{error}\n{text}");
}

#[test]
fn misspelt_keys_are_told_the_nearest() {
    told("nmae = 'x'\n", 1, 1, &["`nmae`", "did you mean `name`?"]);
    told("name = 'x'\n[mesh]\n  ndoes = 1", 3, 3, &["[mesh]", "`nodes`"]);
    told(&after_mesh("[net]\nlatncy = '1s'"), 5, 1, &["did you mean `latency`?"]);
    told(&after_mesh("[[malicious]]\ncount = 1\nbehaves = 'drop'"), 6, 1, &["`behave`"]);
    told(&after_mesh("[[fault]]\nkindd = 'kill'"), 5, 1, &["`kind`"]);
    told(&after_mesh("[[load]]\nrate = 1\nsise = 2"), 6, 1, &["`size`"]);
    told(&after_mesh("[[expect]]\natleast = 2"), 5, 1, &["`at_least`"]);
    told(&after_mesh("[elephant]"), 4, 2, &["the file takes `name`"]);
    told(
        &after_mesh("[[fault]]\nkind = 'kill'\nselect = { cuont = 1 }"),
        6,
        12,
        &["did you mean `count`?"],
    );
}

#[test]
fn disks_say_what_they_lack() {
    let fault = |rest: &str| after_mesh(&format!("[[fault]]\nkind = {rest}"));
    let select = "\nselect = { count = 1 }";
    told(&fault(&format!("'rot'{select}")), 4, 1, &["`rows`"]);
    told(&fault(&format!("'rot'\nrows = 0{select}")), 6, 8, &["1 to 1000000"]);
    told(&fault(&format!("'wipe'{select}")), 4, 1, &["`until`"]);
    told(&fault(&format!("'disk-ful'{select}")), 5, 8, &["did you mean `disk-full`?"]);
    told(&after_mesh("[store]\nmax_bytes = 1"), 5, 13, &["4096"]);
    told(&after_mesh("[cpu]\nchek = '45us'"), 5, 1, &["did you mean `check`?"]);
}

#[test]
fn misspelt_words_are_told_the_nearest() {
    told("name = 'x'\nverdict = 'pas'", 2, 11, &["`pass`"]);
    told("name = 'x'\ncrypto = 'modeled'", 2, 10, &["`modelled`"]);
    told("name = 'x'\n[mesh]\nstart = 'cald'\nnodes = 1", 3, 9, &["`cold`"]);
    told(&after_mesh("[[fault]]\nkind = 'partion'"), 5, 8, &["did you mean `partition`?"]);
    let metric = "[[expect]]\nmetric = 'delivery.ration'\nat_least = 1.0";
    told(&after_mesh(metric), 5, 10, &["did you mean `delivery.ratio`?"]);
    told(&after_mesh("[[expect]]\nmetric = 'x.y.z'"), 5, 10, &["not a metric"]);
    let latency = "[net]\nlatency = { kind = 'regoins' }";
    told(&after_mesh(latency), 5, 20, &["did you mean `regions`?"]);
    told(&after_mesh("[[load]]\nrate=1\ncount=1\npublishers = 'honst'"), 7, 14, &["`honest`"]);
    let of = "[[fault]]\nkind = 'kill'\nselect = { count = 1, of = 'liars' }";
    told(&after_mesh(of), 6, 28, &["`malicious`"]);
}

#[test]
fn wrong_types_and_numbers_are_told_their_bounds() {
    told("name = 7", 1, 8, &["`name` must be a string, not a whole number"]);
    told("name = 'A B'", 1, 8, &["a-z"]);
    told("name = 'x'\n[mesh]\nnodes = -3\n", 3, 9, &["`nodes`", "from 1 to 1048576", "-3"]);
    told("name = 'x'\n[mesh]\nnodes = 1048577", 3, 9, &["`nodes`"]);
    told("name = 'x'\n[mesh]\nnodes = 0x1_0000_0000_0000_0000_0000", 3, 9, &["`nodes`"]);
    told("name = 'x'\n[mesh]\nnodes = 4.5", 3, 9, &["4.5"]);
    told("name = 'x'\n[mesh]\nf = 349526", 3, 5, &["`f`"]);
    told("name = 'x'\n[mesh]\nnodes = 4\nf = 1", 4, 1, &["both", "`nodes`", "`f`"]);
    told("name = 'x'\n[mesh]\nlinks = 65\nnodes = 4", 3, 9, &["from 1 to 64"]);
    told("name = 'x'\nmesh = 4", 2, 8, &["[mesh] must be a table"]);
    told("name = 'x'\nduration = 20", 2, 12, &["has no unit", "\"20ms\" or \"20s\""]);
    told("name = 'x'\nduration = '20'", 2, 12, &["no unit"]);
    told("name = 'x'\nduration = -20", 2, 12, &["must not be negative"]);
    told("name = 'x'\nduration = '-2s'", 2, 12, &["must not be negative"]);
    told("name = 'x'\nduration = 0.5", 2, 12, &["0.5 has no unit"]);
    told("name = 'x'\nduration = '25h'", 2, 12, &["from 0s to 24h"]);
    told("name = 'x'\nsettle = '0s'", 2, 10, &["from 1ms"]);
    told("name = 'x'\nseed = 18446744073709551616", 2, 8, &["`seed`"]);
    told("name = 'x'\nseed = true", 2, 8, &["true or false"]);
    told(&after_mesh("[net]\nloss = 1.5"), 5, 8, &["from 0 to 1", "1.5"]);
    told(&after_mesh("[net]\nloss = nan"), 5, 8, &["finite"]);
    told(&after_mesh("[net]\nlatency = '2m'"), 5, 11, &["1m"]);
    told(&after_mesh("[[load]]\nrate = 0"), 5, 8, &["`rate`"]);
    told(&after_mesh("[[load]]\nrate = inf"), 5, 8, &["`rate`"]);
    told(&after_mesh("[[load]]\nrate = 1000001\ncount = 1"), 5, 8, &["`rate`"]);
    told(&after_mesh("[[load]]\nrate = 1\ncount = 10000001"), 6, 9, &["`count`"]);
    told(&after_mesh("[[load]]\nrate = 1\ncount = 1\nsize = 1048577"), 7, 8, &["`size`"]);
    told(&after_mesh("[load]\nrate = 1"), 4, 1, &["[[load]]"]);
}

#[test]
fn missing_keys_are_told_with_an_example() {
    told("", 1, 1, &["`name`"]);
    told("name = 'x'", 1, 1, &["[mesh]"]);
    told("name = 'x'\n[mesh]\n", 2, 1, &["`nodes`", "f = 3"]);
    told(&after_mesh("[[malicious]]\nbehave = 'drop'"), 4, 1, &["`count`"]);
    told(&after_mesh("[[malicious]]\ncount = 1"), 4, 1, &["`behave`"]);
    told(&after_mesh("[[fault]]\nat = '1s'"), 4, 1, &["`kind`"]);
    told(&after_mesh("[[load]]\ncount = 1"), 4, 1, &["`rate`"]);
    told(&after_mesh("[[load]]\nrate = 1"), 4, 1, &["`duration`", "count = 1000"]);
    told(&after_mesh("[[expect]]\nat_least = 1"), 4, 1, &["`metric`"]);
    told(&after_mesh("[[expect]]\nmetric = 'nodes'"), 4, 1, &["at_most"]);
    let both = "[[expect]]\nmetric = 'nodes'\nat_most = 1\nat_least = 1";
    told(&after_mesh(both), 7, 1, &["both"]);
}

#[test]
fn impossible_liars_are_refused() {
    let nine = "[[malicious]]\ncount = 9\nbehave = 'forge'";
    told(&after_mesh(nine), 5, 9, &["`count`", "9 liars of 4 nodes", "at most 3"]);
    let four = "[[malicious]]\ncount = 2\nbehave = 'forge'\n[[malicious]]\nfraction = \
                0.5\nbehave='drop'";
    told(&after_mesh(four), 8, 12, &["`fraction`", "4 liars"]);
    assert_eq!(read(&after_mesh("[[malicious]]\ncount = 3\nbehave = 'drop'")).specs().len(), 4);
    let both = "[[malicious]]\ncount = 1\nfraction = 0.1\nbehave = 'drop'";
    told(&after_mesh(both), 6, 1, &["`count` and `fraction`"]);
    told(&after_mesh("[[malicious]]\nnodes = ['n4']\nbehave='drop'"), 5, 10, &["n0 to n3"]);
    told(&after_mesh("[[malicious]]\nnodes = ['n01']\nbehave='drop'"), 5, 10, &["`n01`"]);
    told(&after_mesh("[[malicious]]\nnodes = []\nbehave='drop'"), 5, 9, &["names no node"]);
    told(&after_mesh("[[malicious]]\nnodes = ['n1', 'n1']\nbehave='drop'"), 5, 16, &["twice"]);
    let again = "[[malicious]]\nnodes = ['n1']\nbehave='drop'\n[[malicious]]\nnodes = \
                 ['n1']\nbehave='forge'";
    told(&after_mesh(again), 8, 9, &["n1 is named twice"]);
}

#[test]
fn contradictory_behaviours_point_at_the_spec() {
    let behave = |spec: &str| after_mesh(&format!("[[malicious]]\ncount = 1\nbehave = '{spec}'"));
    told(&behave("drop+tamper"), 6, 10, &["contradicts", "did you mean"]);
    told(&behave("froge"), 6, 10, &["did you mean `forge`?"]);
    told(&behave("censor:author=n99"), 6, 10, &["`n99` is not a node", "n0 to n3"]);
    told(&behave(&format!("censor:author={}", "ab".repeat(32))), 6, 10, &["is not a node"]);
    assert_eq!(read(&behave("censor:author=n3")).malicious.len(), 1);
}

#[test]
fn impossible_faults_are_refused() {
    let fault = |rest: &str| after_mesh(&format!("[[fault]]\n{rest}"));
    told(&fault("kind = 'partition'\nselect = { count = 1 }"), 4, 1, &["`until`"]);
    told(&fault("kind = 'kill'\nat = '5s'\nuntil = '5s'"), 7, 9, &["must be after `at`", "5s"]);
    let all = "kind = 'partition'\nuntil = '5s'\nselect = { fraction = 1.0 }";
    told(&fault(all), 7, 23, &["all nodes"]);
    let none = "kind = 'partition'\nuntil = '5s'\nselect = { fraction = 0.2 }";
    told(&fault(none), 7, 23, &["none of 4 nodes"]);
    told(&fault("kind = 'kill'\nselect = { count = 5 }"), 6, 20, &["5 of 4 honest nodes"]);
    let liars = "kind = 'kill'\nselect = { count = 1, of = 'malicious' }";
    told(&fault(liars), 6, 20, &["1 of 0 malicious nodes"]);
    told(&fault("kind = 'kill'"), 4, 1, &["`select`"]);
    told(&fault("kind = 'partition'\np = 0.5"), 6, 1, &["`p`", "`loss`"]);
    told(&fault("kind = 'restart'\nuntil = '5s'"), 6, 1, &["`until`", "restart takes `down`"]);
    told(&fault("kind = 'loss'\nuntil = '5s'"), 4, 1, &["`p`"]);
    told(&fault("kind = 'delay'\nuntil = '5s'"), 4, 1, &["`by`"]);
    told(&fault("kind = 'cap'\nuntil = '5s'"), 4, 1, &["`bandwidth`"]);
    told(&fault("kind = 'churn'\nselect = { count = 1 }"), 4, 1, &["`until`"]);
    let named = "kind = 'kill'\nselect = { nodes = ['n0'], of = 'all' }";
    told(&fault(named), 6, 10, &["`of`"]);
    let many = "kind = 'churn'\nevery = '1ms'\nuntil = '24h'\nselect = { count = 1 }";
    told(&fault(many), 4, 1, &["times in total"]);
}

#[test]
fn impossible_loads_and_nets_are_refused() {
    let load = |rest: &str| after_mesh(&format!("[[load]]\nrate = 1\n{rest}"));
    told(&load("from = '2s'\nuntil = '1s'"), 7, 9, &["must be after `from`"]);
    told(&load("count = 1\npublishers = { count = 5 }"), 7, 24, &["from 1 to 4"]);
    told(&load("count = 1\npublishers = ['n4']"), 7, 15, &["`n4` is not a node"]);
    let liar = "count = 1\npublishers = ['n0', 'n3']\n[[malicious]]\ncount = 1\nbehave = 'drop'";
    told(&load(liar), 7, 21, &["n3 lies"]);
    told(&load("count = 100000"), 6, 9, &["more than a day"]);
    let many = "[[load]]\nrate = 1e6\nuntil = '1m'";
    told(&after_mesh(many), 4, 1, &["60000000 messages"]);
    let net = |latency: &str| after_mesh(&format!("[net]\nlatency = {latency}"));
    told(&net("{ kind = 'uniform', min = '2ms', max = '1ms' }"), 5, 50, &["`max`"]);
    told(&net("{ kind = 'uniform', min = '2ms' }"), 5, 11, &["`max`"]);
    told(&net("{ kind = 'uniform', mean = '2ms' }"), 5, 31, &["`mean`", "`normal`"]);
    let regions = |rest: &str| net(&format!("{{ kind = 'regions', names = ['a', 'b'], {rest} }}"));
    told(&regions("matrix = [['1ms', '2ms']]"), 5, 60, &["must be square", "1 rows"]);
    told(&regions("matrix = [['1ms'], ['2ms']]"), 5, 61, &["must be square", "1 entries"]);
    told(&net("true"), 5, 11, &["a duration or a table"]);
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    told("name = 'x\n", 1, 10, &[""]);
    assert_eq!(refused("name = 'x'\n= 4", &[]).line, 2);
    assert_eq!(refused("a = 1\na = 2", &[]).line, 2);
    assert!(refused(&"#".repeat((1 << 20) + 1), &[]).why.contains("longer"));
}

#[test]
fn deep_nesting_is_refused_before_it_hurts() {
    for (open, close) in
        [("a.", "b = 1"), ("\"=\".", "b = 1"), ("[", ""), ("{a=", ""), ("[{a.", "")]
    {
        let text = format!("x = {}{close}", open.repeat(100_000));
        assert!(!refused(&text, &[]).why.is_empty());
        let text = format!("{}{close}", open.repeat(100_000));
        assert!(!refused(&text, &[]).why.is_empty());
        assert!(!refused("", &[&text, &format!("x={text}")]).why.is_empty());
    }
    // As deep as the parser allows.
    let key = format!("{}a", "a.".repeat(78));
    for depth in 1..80 {
        let text = format!(
            "[{key}]\n{} = 1{}",
            vec![key.as_str(); depth].join(" = {\n"),
            "}".repeat(depth - 1)
        );
        let error = refused(&text, &[]);
        assert!(depth > 70 || error.why.contains("nest deeper"), "{depth}: {error}");
    }
}

#[test]
fn overlays_are_laid_over_the_file() {
    let with = |overlays: &[&str]| {
        let overlays: Vec<String> = overlays.iter().map(|text| (*text).to_owned()).collect();
        Scenario::parse(GOOD, &overlays).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(with(&["seed=9", "seed = 10"]).seed, 10, "the last one counts");
    let net = with(&["net.latency=50ms"]).net;
    assert_eq!(net.latency, Latency::Constant(Duration::from_millis(50)));
    assert_eq!(with(&["malicious.0.behave=drop"]).malicious[0].behave.to_string(), "drop");
    assert_eq!(with(&["malicious.1.behave = 'stall'"]).malicious[1].behave.to_string(), "stall");
    assert_eq!(with(&["fault.0.select={ count = 2 }"]).faults[0].select.who, Who::Count(2));
    assert_eq!(with(&["mesh.nodes=40"]).mesh.nodes, 40, "instead of the file's `f`");
    assert_eq!(with(&["fault.0.select.count=2"]).faults[0].select.who, Who::Count(2));
    let more = with(&["load.2.rate=5", "load.2.count=7"]);
    assert_eq!(more.loads[2].count, Some(7));
    let new =
        Scenario::parse("name = 'x'", &["mesh.nodes=5".into(), "load.0={rate=1,count=1}".into()]);
    assert_eq!(new.expect("reads").mesh.nodes, 5);
    let list = Scenario::parse(
        "",
        &["name=x".into(), "mesh.nodes=5".into(), "load.0.rate=1".into(), "load.0.count=1".into()],
    );
    assert_eq!(list.expect("reads").loads.len(), 1);
}

#[test]
fn errors_in_overlays_name_them() {
    let told = |overlay: &str, hint: &str| {
        let error = refused(GOOD, &["seed=5", overlay]);
        assert!(error.why.starts_with(&format!("--set {overlay}: ")), "{error}");
        assert!(error.why.contains(hint), "{error}");
        assert_eq!((error.line, error.column), (0, 0));
        assert_eq!(error.to_string(), error.why);
    };
    told("mesh.f=-3", "`f`");
    told("mesh.ndoes=3", "did you mean `nodes`?");
    told("malicious.0={ count = 1, fraction = 0.1, behave = \"drop\" }", "both");
    told("malicious.0.count=99", "liars");
    told("malicious.0.behave=froge", "`forge`");
    told("malicious.9.behave=drop", "has 3 entries");
    told("malicious.x=drop", "has 3 entries");
    told("name.x=1", "name is a string, not a table");
    told("net.loss.x=1", "net.loss is a number");
    told("nothing", "mesh.nodes=1000");
    told("=1", "is not a path");
    told("a..b=1", "is not a path");
    told("fault.0.select.cuont=1", "`count`");
    assert_eq!(
        refused("name = 'x'\nsede = 1", &["mesh.nodes=4"]).line,
        2,
        "the file's own stay its own"
    );
}

/// Cuts, doubles, swaps and replaces parts of a file.
fn mutate(text: &str, edits: &[(usize, usize, u8)], words: &[&str]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, what) in edits {
        let at = at % (chars.len() + 1);
        let end = (at + length).min(chars.len());
        match what % 4 {
            0 => drop(chars.drain(at..end)),
            1 => {
                let part = chars[at..end].to_vec();
                chars.splice(at..at, part);
            }
            2 => {
                let word = words[(usize::from(*what) / 4) % words.len()];
                chars.splice(at..end, word.chars());
            }
            _ => chars[at..end].reverse(),
        }
    }
    chars.into_iter().collect()
}

const WORDS: &[&str] = &[
    "-1",
    "0",
    "99999999999999999999",
    "1e999",
    "nan",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "\n",
    "'24h'",
    "'0s'",
    "true",
    "n99",
    "é",
    "\u{0}",
    "[[fault]]",
    "select = { count = 0 }",
    "1979-05-27",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_file_makes_it_panic(
        edits in prop::collection::vec((0..4000_usize, 0..12_usize, any::<u8>()), 1..4),
    ) {
        for (_, text) in builtins().iter().take(12).chain(&[("good", GOOD)]) {
            match Scenario::parse(&mutate(text, &edits, WORDS), &[]) {
                Ok(it) => prop_assert_eq!(Scenario::parse(&it.to_toml(), &[]), Ok(it)),
                Err(error) => {
                    prop_assert!(!error.why.is_empty());
                    prop_assert!(error.line > 0 && error.column > 0, "{}", error);
                }
            }
        }
    }

    #[test]
    fn no_text_and_no_overlay_makes_it_panic(text in ".{0,200}", overlay in "[a-z.0-9]{0,12}=?.{0,20}") {
        for text in [&text, GOOD] {
            if let Err(error) = Scenario::parse(text, std::slice::from_ref(&overlay)) {
                prop_assert!(!error.why.is_empty());
            }
        }
    }
}
