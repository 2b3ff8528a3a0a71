//! The command as a user runs it: a mesh of processes up to its verdict, and bad input up to its
//! message.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn loyal(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn report(malicious: &str, nodes: &str) -> Value {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("mesh");
    let folder = folder.to_str().expect("ASCII");
    let mesh = ["mesh", "up", "--nodes", nodes, "--malicious", malicious, "--messages", "40"];
    let ran = loyal(&[&mesh[..], &["--rate", "40", "--dir", folder, "--json"]].concat());
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{errors}");
    let list = std::fs::read_to_string(dir.path().join("mesh/mesh.json")).expect("it is there");
    expect_ended(&serde_json::from_str(&list).expect("JSON"));
    serde_json::from_slice(&ran.stdout).expect("one object")
}

/// Asserts that no process of the mesh is left.
pub(crate) fn expect_ended(mesh: &Value) {
    let until = Instant::now() + Duration::from_secs(20);
    for node in mesh["nodes"].as_array().expect("a list") {
        let pid = node["pid"].as_u64().expect("a number");
        // The pid may have been given to another program: only a process named `loyal` counts.
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        while name().trim() == "loyal" {
            assert!(Instant::now() < until, "process {pid} is left behind");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_mesh_of_processes_delivers_despite_its_liars() {
    for (malicious, nodes) in [("0", "1"), ("forge", "4"), ("drop,malformed", "7")] {
        let report = report(malicious, nodes);
        assert_eq!(report["verdict"], "pass", "{report}");
        assert_eq!(report["published"], 40);
        assert_eq!(report["delivery"]["expected"], report["delivery"]["delivered"]);
        assert_eq!(report["delivery"]["duplicates"], 0);
        assert_eq!(report["bans"]["honest"], 0);
        for (kind, counts) in report["attacks"].as_object().expect("an object") {
            assert_eq!(counts["accepted"], 0, "{kind}");
            assert_ne!(counts["reached_honest"], 0, "{kind}");
        }
    }
}

#[test]
fn bad_input_gets_one_clear_message() {
    let none = ["--key", "none.pem", "--data", "none"];
    for (arguments, code, names) in [
        (vec!["mesh", "up", "--malicious", "frge", "--messages", "1"], 2, "`forge`"),
        (vec!["mesh", "up", "--malicious", "9", "--messages", "1"], 2, "--malicious"),
        (vec!["no-such-verb"], 2, "no-such-verb"),
        (vec!["network", "check", "/nonexistent/network.toml"], 1, "/nonexistent/network.toml"),
        (
            [&["node", "--network", "/nonexistent/network.toml"], &none[..]].concat(),
            1,
            "/nonexistent/network.toml",
        ),
    ] {
        let ran = loyal(&arguments);
        let text = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(names) && !text.contains("panicked"), "{arguments:?}: {text}");
    }
}
