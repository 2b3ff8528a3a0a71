//! What a run leaves in its folder, read as a user reads it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn loyal(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn simulated(dir: &Path, seed: &str) -> String {
    let folder = dir.join(seed).to_str().expect("ASCII").to_owned();
    let ran = loyal(&["sim", "partition-and-heal", "--seed", seed, "--report", &folder]);
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    folder
}

fn text(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr)
}

#[test]
fn a_run_is_read_compared_and_explained_from_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, two) = (simulated(dir.path(), "1"), simulated(dir.path(), "2"));
    let page = fs::read_to_string(Path::new(&one).join("report.html")).expect("is there");
    assert!(page.contains("<svg") && page.contains("partition of"));
    assert!(!page.replace("http://www.w3.org", "").contains("://"), "another host is named");

    let shown = text(&loyal(&["report", &one]));
    assert!(shown.contains("PASS") && shown.contains("seed 1"), "{shown}");
    let json = fs::read_to_string(Path::new(&one).join("report.json")).expect("is there");
    assert_eq!(text(&loyal(&["report", &one, "--json"])), json);
    let same = text(&loyal(&["report", &one, "--diff", &one]));
    assert!(same.contains("the same digest") && same.contains("no number differs"), "{same}");
    let other = text(&loyal(&["report", &two, "--diff", &one]));
    assert!(other.contains("seed differs: 1 before, 2 after"), "{other}");

    let slowest = text(&loyal(&["explain", "--report", &one]));
    let id = slowest.split_whitespace().nth(1).expect("an id");
    assert!(slowest.contains("published") && slowest.contains("last    n"), "{slowest}");
    assert_eq!(text(&loyal(&["explain", &id[..12], "--report", &one])), slowest);
    assert_eq!(text(&loyal(&["explain", &format!("{id}.0"), "--report", &one])), slowest);
}

#[test]
fn what_is_no_report_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let empty = dir.path().to_str().expect("ASCII");
    for (arguments, code, part) in [
        (vec!["report", empty], 1, "report.json"),
        (vec!["explain", "--report", empty], 1, "deliveries.ndjson"),
        (vec!["explain", "nonsense", "--report", empty], 2, "hex digits"),
        (vec!["explain"], 2, "no message id"),
    ] {
        let ran = loyal(&arguments);
        let errors = text(&ran);
        assert_eq!(ran.status.code(), Some(code), "{errors}");
        assert!(errors.contains(part) && !errors.contains("panicked"), "{errors}");
    }
}
