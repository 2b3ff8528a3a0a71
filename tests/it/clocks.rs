//! Real processes under a wall clock that is set while they run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

const LOYAL: &str = env!("CARGO_BIN_EXE_loyal");

/// The clock that can be set: a library for `LD_PRELOAD`, and the file that says how far ahead it
/// is.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    fn new(dir: &Path) -> Self {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        std::fs::write(&source, include_str!("clock-shim.c")).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
        assert!(compiler.status().expect("a C compiler").success());
        let clock = Self { library, offset: dir.join("offset") };
        clock.set(0);
        clock
    }

    fn set(&self, seconds: i64) {
        let next = self.offset.with_extension("new");
        std::fs::write(&next, seconds.to_string()).expect("written");
        std::fs::rename(&next, &self.offset).expect("renamed");
    }

    fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKE_OFF", &self.offset);
    }
}

#[test]
fn a_step_of_the_wall_clock_is_told_and_spoils_no_figure() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::new(dir.path());
    let report = dir.path().join("report");
    let mut command = Command::new(LOYAL);
    clock.under(&mut command);
    command.args(["mesh", "up", "--nodes", "2", "--messages", "120", "--rate", "30"]);
    command.arg("--report").arg(&report).env("TMPDIR", dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(2500));
    clock.set(7200);
    let ran = child.wait_with_output().expect("it ends");
    let (text, errors) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{text}{errors}");
    assert!(text.contains("the wall clock was set 7200.0 s forward"), "{text}{errors}");
    let json = std::fs::read_to_string(report.join("report.json")).expect("it is there");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let steps = json["clock_steps"].as_array().expect("a list");
    assert!(steps.iter().any(|step| step["by_ms"].as_f64() > Some(7_190_000.0)), "{steps:?}");
    let slowest = json["delivery"]["latency_ms"]["max"].as_f64().expect("measured");
    assert!((0.0..60_000.0).contains(&slowest), "{json}");
}
