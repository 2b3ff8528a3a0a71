//! The pages in docs/ and the code agree on numbers and names.

use std::collections::BTreeSet;

use loyal::protocol::Reason;
use loyal::report::judge;
use loyal::scenario::{Scenario, builtin, builtins, metrics, schema};
use loyal::sim::Sim;
use loyal::wire::limits::{
    AUTHOR_BATCH_BURST, AUTHOR_BATCHES_PER_S, AUTHOR_BYTE_BURST, AUTHOR_BYTES_PER_S, MAX_BODY,
    MAX_ENTRIES, MAX_FRAME, MAX_KEYS, MAX_PAYLOAD, MAX_SHARED_BODY, MAX_TOPIC, RECENT, WINDOW,
};
use loyal::wire::{Class, Kind};

use crate::support::root;

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("the document is there")
}

/// The ways to write a number in the documents: digits in groups of three with spaces from 10 000
/// on; four digits without a space.
fn spaced(number: u64) -> Vec<String> {
    let plain = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    vec![plain, grouped]
}

#[test]
fn the_protocol_page_has_every_kind_with_its_longest_frame() {
    let page = text("docs/PROTOCOL.md");
    for kind in Kind::ALL {
        let lengths = spaced(kind.max_len() as u64);
        let row = page.lines().find(|line| {
            line.starts_with(&format!("| {} | {} |", kind as u8, kind.name()))
                && lengths.iter().any(|length| line.contains(&format!("| {length} |")))
        });
        assert!(row.is_some(), "{kind:?}, {lengths:?}");
    }
}

#[test]
fn the_protocol_page_has_every_window() {
    let page = text("docs/PROTOCOL.md");
    for class in Class::CREDITED {
        let (frames, bytes) = class.window().expect("credited");
        let name = format!("{class:?}").to_lowercase();
        let rows = spaced(bytes);
        let found = rows.iter().any(|bytes| {
            page.contains(&format!("| {name} | {} | {frames} | {bytes} |", class as u8))
        });
        assert!(found, "{name} {frames} {rows:?}");
    }
}

#[test]
fn the_protocol_page_has_every_limit_and_reason() {
    let page = text("docs/PROTOCOL.md");
    let limits =
        [MAX_PAYLOAD, MAX_TOPIC, MAX_ENTRIES, MAX_SHARED_BODY, MAX_BODY, MAX_FRAME, MAX_KEYS];
    let quotas = [AUTHOR_BATCHES_PER_S, AUTHOR_BATCH_BURST, AUTHOR_BYTES_PER_S, AUTHOR_BYTE_BURST];
    let all = limits.into_iter().map(|limit| limit as u64).chain([WINDOW, RECENT]).chain(quotas);
    for number in all {
        assert!(spaced(number).iter().any(|text| page.contains(text)), "{number}");
    }
    for reason in Reason::ALL {
        assert!(page.contains(&format!("`{}`", reason.name())), "{reason:?}");
    }
}

/// Each file that the pages for contributors name exists.
#[test]
fn the_pages_for_contributors_name_files_that_exist() {
    let mut named = 0;
    for page in ["CONTRIBUTING.md", "docs/ARCHITECTURE.md", "README.md"] {
        let page = text(page);
        let quoted =
            page.split('`').skip(1).step_by(2).filter(|path| !path.contains(char::is_whitespace));
        let paths = quoted.filter(|path| {
            ["src/", "tests/", "docs/", "scripts/"].iter().any(|at| path.starts_with(at))
        });
        for path in paths.filter(|path| !path.contains("NAME") && !path.contains('*')) {
            assert!(root().join(path).exists(), "{path} is named but does not exist");
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}

/// Each test that the threats page names exists.
#[test]
fn the_threats_page_names_tests_that_exist() {
    let page = text("docs/THREATS.md");
    let mut named = 0;
    for (at, _) in page.match_indices("::") {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let module: String = page[..at].chars().rev().take_while(|c| is_name(*c)).collect();
        let module: String = module.chars().rev().collect();
        let test: String = page[at + 2..].chars().take_while(|c| is_name(*c)).collect();
        let folders = [
            "tests/it",
            "src",
            "src/cli",
            "tests/it/vectors",
            "src/net",
            "src/store",
            "src/store/tests",
            "src/http",
            "src/api",
            "src/api/tests",
            "src/protocol",
            "src/protocol/lanes",
            "src/protocol/node/attacks",
            "src/scenario",
            "src/sim/oracle/mutations",
            "src/sim/tests",
        ];
        let there = folders.iter().any(|folder| {
            ["", "/tests"].iter().any(|of| {
                let place = root().join(folder).join(format!("{module}{of}.rs"));
                let text = std::fs::read_to_string(place);
                text.is_ok_and(|text| text.contains(&format!("fn {test}(")))
            })
        });
        assert!(there, "docs/THREATS.md names {module}::{test}, which does not exist");
        named += 1;
    }
    assert!(named > 10, "{named}");
}

/// Each test that the page of invariants names exists, and the page names every mutation test and
/// every test that compares runs.
#[test]
fn the_invariants_page_and_the_mutation_tests_name_each_other() {
    let page = text("docs/INVARIANTS.md");
    let files = [
        "oracle/mutations/mod",
        "oracle/mutations/authenticity",
        "oracle/mutations/bounds",
        "oracle/mutations/durability",
        "oracle/mutations/liveness",
        "tests/liveness",
        "tests/overlay",
    ];
    let tests: String = files.iter().map(|file| text(&format!("src/sim/{file}.rs"))).collect();
    let in_rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let named: Vec<&str> = in_rows.filter_map(|row| row.rsplit('`').nth(1)).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in &named {
        assert!(tests.contains(&format!("\nfn {name}() {{")), "{name} does not exist");
    }
    for (at, _) in tests.match_indices("#[test]\nfn ") {
        let name = tests[at + "#[test]\nfn ".len()..].split('(').next().unwrap_or_default();
        let healthy = name.starts_with("healthy_") || name.starts_with("crashes_");
        assert!(healthy || named.contains(&name), "{name} is not on the page");
    }
}

/// Collects every name in a schema: keys of tables, and words that a string may be.
fn names_of(schema: &serde_json::Value, names: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties", serde_json::Value::Object(keys)) => {
                        names.extend(keys.keys().cloned());
                        keys.values().for_each(|value| names_of(value, names));
                    }
                    ("enum", serde_json::Value::Array(words)) if words.len() < 20 => {
                        names.extend(words.iter().filter_map(|word| word.as_str().map(Into::into)));
                    }
                    ("const", serde_json::Value::String(word)) => drop(names.insert(word.clone())),
                    _ => names_of(value, names),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| names_of(value, names)),
        _ => {}
    }
}

/// Whether a page has a name as code: alone, in quotes, or at the beginning of a longer code span.
fn has(page: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    page.split('`').skip(1).step_by(2).any(|code| code.split(|c| !is_name(c)).any(|w| w == name))
}

#[test]
fn the_scenarios_page_has_every_key_built_in_and_metric() {
    let page = text("docs/SCENARIOS.md");
    assert!(!has(&page, "bandwith") && !has("`links` bandwidth", "bandwidth"), "it can say no");
    let mut names = BTreeSet::new();
    names_of(&schema(), &mut names);
    assert!(names.len() > 60, "{names:?}");
    for name in &names {
        assert!(has(&page, name), "the key or word {name}");
    }
    for (name, _) in builtins() {
        assert!(has(&page, name), "the built-in {name}");
    }
    let kinds = loyal::adversary::KINDS;
    let spelt_out = |part: &str| {
        kinds.contains(&part) || Reason::ALL.iter().any(|reason| reason.name() == part)
    };
    for metric in metrics() {
        let mut parts = metric.split('.');
        if !["certified", "evidence"].iter().any(|later| metric.starts_with(later)) {
            assert!(parts.all(|part| spelt_out(part) || has(&page, part)), "the metric {metric}");
        }
    }
}

/// The page names every key of a report, at the top level and in `delivery`.
#[test]
fn the_scenarios_page_has_every_key_of_a_report() {
    let page = text("docs/SCENARIOS.md");
    let few = ["load.0.count=3".to_owned(), "duration=0s".to_owned()];
    let scenario = Scenario::parse(builtin("drop").expect("built in"), &few).expect("sound");
    let mut sim = Sim::new(&scenario, 1);
    while sim.step() {}
    let report = serde_json::to_value(judge(&sim.finish())).expect("a JSON form");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let (top, delivery) = (keys(&report), keys(&report["delivery"]));
    assert!(top.len() > 25 && delivery.len() > 10, "{top:?} {delivery:?}");
    for key in top.iter().chain(&delivery) {
        assert!(has(&page, key), "the key {key}");
    }
}
