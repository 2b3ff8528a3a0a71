//! Real processes whose wall clock is set while they run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use loyal::protocol::Network;
use serde_json::Value;

use crate::process::{Process, free_address, request};
use crate::support::{identity, lay_out};

const LOYAL: &str = env!("CARGO_BIN_EXE_loyal");

/// A wall clock that can be set: a library for `LD_PRELOAD`, and the file that says how many
/// seconds it is ahead.
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

fn rows(node: &Process, path: &str) -> usize {
    let answer = request(node.api, "GET", path, b"").map(|(_, body)| body);
    answer.and_then(|body| body["items"].as_array().map(Vec::len)).unwrap_or(0)
}

/// Starts a node of a network of two, under `clock` if it is given.
fn node(dir: &Path, number: u8, clock: Option<&Clock>, more: &[&str]) -> Process {
    let addresses = (gossip(dir, number), free_address());
    Process::start_with(dir, &format!("n{number}"), addresses, |command| {
        command.args(more);
        if let Some(clock) = clock {
            clock.under(command);
        }
    })
}

fn gossip(dir: &Path, number: u8) -> SocketAddr {
    let text = std::fs::read_to_string(dir.join("network.toml")).expect("it is there");
    let network = Network::parse(&text).expect("sound");
    let member = network.get(&identity(number + 1).public()).expect("a member");
    member.gossip.expect("an address")
}

fn wait(what: &str, until: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_hour_ago_is_an_hour_ago_though_the_clock_was_set() {
    let dir = tempfile::tempdir().expect("a folder");
    lay_out(dir.path(), &[free_address(), free_address()]);
    let clock = Clock::new(dir.path());
    let mut honest = node(dir.path(), 0, Some(&clock), &[]);
    clock.set(7200);
    let _liar = node(dir.path(), 1, None, &["--malicious", "malformed"]);
    wait("a rejection", || rows(&honest, "/v1/rejections") > 0);
    assert!(rows(&honest, "/v1/rejections?since=1h") > 0);
    // A reader of the folder later gets the same, by the clock that was set.
    let found = || {
        let mut command = Command::new(LOYAL);
        clock.under(&mut command);
        command.args(["rejections", "--since", "1h", "--json", "--data"]);
        let output = command.arg(dir.path().join("n0")).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    wait("a rejection in the folder", || found() > 0);
    honest.kill();
    assert!(found() > 0);
}

#[test]
fn a_ban_of_a_clock_that_was_ahead_is_over_in_its_term() {
    let dir = tempfile::tempdir().expect("a folder");
    lay_out(dir.path(), &[free_address(), free_address()]);
    let clock = Clock::new(dir.path());
    let year = 365 * 24 * 3600;
    clock.set(year);
    let mut honest = node(dir.path(), 0, Some(&clock), &[]);
    let mut liar = node(dir.path(), 1, None, &["--malicious", "malformed"]);
    let banned = |node: &Process| {
        let (_, peers) = request(node.api, "GET", "/v1/peers", b"").expect("an answer");
        peers[0]["banned_until"].as_u64()
    };
    wait("a ban", || banned(&honest).is_some());
    liar.kill();
    honest.kill();
    // The wall clock is correct again.
    let honest = node(dir.path(), 0, None, &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let until = banned(&honest).map_or(0, u128::from);
    assert!(until < now + 3_600_000_000, "for another {} s", until.saturating_sub(now) / 1_000_000);
}
