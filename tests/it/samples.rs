//! The samples of the command's output in README match what the command prints. A sample's block
//! comes after `<!-- sample: COMMAND -->`; a line `…` in it stands for lines that are left out. In
//! samples of real runs, times and numbers may differ; simulated runs must match exactly.
//! `scripts/samples.sh` rewrites the samples from real output.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{blessing, root};

const MARK: &str = "<!-- sample: ";

/// A sample: its command, and the range of lines in README that shows the output.
struct Sample {
    command: String,
    lines: std::ops::Range<usize>,
}

fn samples(text: &[String]) -> Vec<Sample> {
    let mut found = Vec::new();
    for (number, line) in text.iter().enumerate() {
        let Some(command) = line.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let from = number + 2;
        assert_eq!(text.get(from - 1).map(String::as_str), Some("```"), "after {line}");
        let length = text[from..].iter().position(|line| line == "```").expect("the block ends");
        found.push(Sample { command: command.to_owned(), lines: from..from + length });
    }
    found
}

/// The line with long hex digits replaced by `…`.
fn masked(line: &str) -> String {
    let mut out = String::new();
    for (number, word) in line.trim_end().split(' ').enumerate() {
        let hex = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if number > 0 {
            out.push(' ');
        }
        out.push_str(if hex { "…" } else { word });
    }
    out
}

/// The line without spaces, and with `#` for each number.
fn shape(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars().filter(|c| !c.is_whitespace()) {
        match c {
            '0'..='9' | '.' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            _ => out.push(c),
        }
    }
    out
}

/// Whether a line differs from run to run.
fn varies(command: &str, line: &str) -> bool {
    command.contains("mesh") || line.trim_start().starts_with("cost")
}

fn same(command: &str, shown: &str, printed: &str) -> bool {
    let printed = masked(printed);
    if varies(command, shown) { shape(shown) == shape(&printed) } else { shown == printed }
}

/// Identifies a line by its first two words, without numbers.
fn label(line: &str) -> Vec<String> {
    line.split_whitespace().take(2).map(shape).collect()
}

fn printed(dir: &Path, command: &str) -> Vec<String> {
    let arguments = command.strip_prefix("loyal ").expect("a command of ours").split(' ');
    let mut run = Command::new(env!("CARGO_BIN_EXE_loyal"));
    run.current_dir(dir).args(arguments).env("TMPDIR", dir).stdin(Stdio::null());
    let ran = run.output().expect("it runs");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{command}: {errors}");
    String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect()
}

/// The lines as printed now: those that the sample shows, in its order.
fn renewed(shown: &[String], printed: &[String]) -> Vec<String> {
    if shown.iter().all(|line| line.trim() != "…") {
        return printed.iter().map(|line| masked(line)).collect();
    }
    let mut from = 0;
    let mut next = |line: &String| {
        let found = printed[from..].iter().position(|new| label(new) == label(line))?;
        from += found + 1;
        Some(masked(&printed[from - 1]))
    };
    let renew = |line: &String| if line.trim() == "…" { Some(line.clone()) } else { next(line) };
    shown.iter().filter_map(renew).collect()
}

#[test]
fn samples_are_what_is_printed() {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path).expect("README is there");
    let mut text: Vec<String> = text.lines().map(str::to_owned).collect();
    let (dir, samples) = (tempfile::tempdir().expect("a folder"), samples(&text));
    assert!(samples.len() >= 4, "README shows what it is about");
    let outputs: Vec<Vec<String>> =
        samples.iter().map(|sample| printed(dir.path(), &sample.command)).collect();
    let mut stale = Vec::new();
    // In reverse order, because a sample's length may change.
    for (Sample { command, lines }, printed) in samples.iter().zip(&outputs).rev() {
        let shown = text[lines.clone()].to_vec();
        if blessing() {
            text.splice(lines.clone(), renewed(&shown, printed));
            continue;
        }
        let mut rest = printed.iter();
        for line in shown.iter().filter(|line| line.trim() != "…") {
            if !rest.by_ref().any(|new| same(command, line, new)) {
                stale.push(format!("{command}: {line}\nit prints:\n{}", printed.join("\n")));
                break;
            }
        }
    }
    if blessing() {
        std::fs::write(&path, text.join("\n") + "\n").expect("written");
    }
    assert!(stale.is_empty(), "stale (scripts/samples.sh renews them):\n{}", stale.join("\n\n"));
}

#[test]
fn times_may_differ_and_results_may_not() {
    let (sim, mesh) = ("loyal sim x", "loyal mesh run x");
    assert!(same(sim, "  nodes  10", "  nodes  10") && !same(sim, "  nodes  10", "  nodes  11"));
    assert!(same(sim, "  cost  wall 0.8 s", "  cost  wall 12 s"));
    assert!(same(mesh, "n7  forge    99", "n7  forge 1000") && !same(mesh, "n7 forge", "n7 drop"));
    assert!(same(sim, "digest …", "digest 00112233445566aa"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let new = renewed(&lines("a 1\n…\nc 3\ngone 4"), &lines("a 2\nb 5\nc 6"));
    assert_eq!(new, lines("a 2\n…\nc 6"));
    assert_eq!(renewed(&lines("x 1"), &lines("a 2\nb 5")), lines("a 2\nb 5"), "all of it");
}
