//! Scenarios on real processes: faults hit real processes, the verdict follows from what happened,
//! and no process is left behind, not even a stopped one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::expect_ended;
use crate::process::{request, request_with};

/// Time limit: nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

const STRUCK: &str = r#"
name = "struck"
duration = "4s"
settle = "30s"
[mesh]
nodes = 4
[net]
latency = "4ms"
jitter = "2ms"
[[fault]]
kind = "partition"
at = "300ms"
until = "1800ms"
select = { nodes = ["n0", "n1"] }
[[fault]]
kind = "kill"
at = "2s"
until = "2800ms"
select = { nodes = ["n1"] }
[[fault]]
kind = "pause"
at = "2200ms"
until = "3s"
select = { nodes = ["n2"] }
[[load]]
rate = 30
count = 100
[[expect]]
metric = "delivery.ratio"
at_least = 1.0
"#;

fn loyal(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("ASCII")
}

fn mesh_file(folder: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("mesh.json")).ok()?).ok()
}

#[test]
fn a_scenario_strikes_processes_and_passes_and_leaves_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, folder) = (dir.path().join("struck.toml"), dir.path().join("mesh"));
    std::fs::write(&file, STRUCK).expect("written");
    let arguments = ["mesh", "run", text(&file), "--dir", text(&folder), "--json", "--seed", "5"];
    let ran = loyal(&arguments).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{told}");
    expect_ended(&mesh_file(&folder).expect("it is there"));
    let report: Value = serde_json::from_slice(&ran.stdout).expect("one object");
    assert_eq!((&report["verdict"], &report["backend"]), (&"pass".into(), &"processes".into()));
    assert_eq!((report["bans"]["honest"].as_u64(), report["seed"].as_u64()), (Some(0), Some(5)));
    // A message may fail unanswered with the node that was killed, but no other may.
    assert_eq!(report["refused_posts"], 0);
    assert!(report["published"].as_u64().is_some_and(|count| count >= 97), "{report}");
    // Messages from the first moments of the partition cannot arrive before its end.
    let slowest = report["delivery"]["latency_ms"]["max"].as_f64().expect("a number");
    assert!(slowest > 1200.0, "the cut lets pass: {report}");
    for line in ["kill n1", "start n1", "pause n2", "resume n2", "partition of 2 nodes: n0, n1"] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(3));
}

/// A launcher that is killed when the test ends, if not earlier. Its nodes then stop.
struct Launcher(Child);

impl Launcher {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn running(dir: &Path, arguments: &[&str]) -> (Launcher, Value) {
    let folder = dir.join("mesh");
    let mut command = loyal(&[arguments, &["--dir", text(&folder)]].concat());
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let launcher = Launcher(quiet.spawn().expect("it starts"));
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(mesh) = mesh_file(&folder) {
            return (launcher, mesh);
        }
        assert!(Instant::now() < until, "no mesh");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pid(of: &Value) -> Pid {
    let number = of["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    Pid::from_raw(number.expect("a pid")).expect("not 0")
}

/// The state of a process in `/proc`; `T` is a stopped one.
fn state(of: &Value) -> Option<char> {
    let path = format!("/proc/{}/stat", pid(of).as_raw_nonzero());
    let stat = std::fs::read_to_string(path).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn until_paused(of: &Value) {
    let until = Instant::now() + PATIENCE;
    while state(of) != Some('T') {
        assert!(Instant::now() < until, "it does not stand still: {:?}", state(of));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whatever_ends_a_run_nothing_is_left_that_stands_still() {
    for signal in [Signal::INT, Signal::KILL] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("paused.toml");
        let paused = "name = 'paused'\nduration = '60s'\n[mesh]\nnodes = 3\n[[fault]]\n\
                      kind = 'pause'\nat = '100ms'\nuntil = '50s'\nselect = { nodes = ['n1'] }\n";
        std::fs::write(&file, paused).expect("written");
        let (mut launcher, mesh) = running(dir.path(), &["mesh", "run", text(&file)]);
        until_paused(&mesh["nodes"][1]);
        launcher.signal(signal);
        let status = launcher.0.wait().expect("a child of ours");
        assert!(!status.success());
        expect_ended(&mesh);
    }
}

#[test]
fn a_mesh_obeys_its_lab_token_and_cut_links_carry_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut launcher, mesh) = running(dir.path(), &["mesh", "up", "--nodes", "4"]);
    let until = Instant::now() + PATIENCE;
    let api = |node: usize| -> SocketAddr {
        let url = mesh["nodes"][node]["api"].as_str().expect("a URL");
        url.trim_start_matches("http://").parse().expect("an address")
    };
    let ready = |node| request(api(node), "GET", "/readyz", b"").is_some_and(|(s, _)| s == 200);
    while !(0..4).all(ready) {
        assert!(Instant::now() < until, "not linked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let token = std::fs::read_to_string(dir.path().join("mesh/lab.token")).expect("a token");
    let impair = |node: usize, token: &str, list: &str| {
        let headers =
            format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
        let path = "/v1/lab/impairments";
        request_with(api(node), "PUT", path, &headers, list.as_bytes()).expect("an answer").0
    };
    assert_eq!(impair(0, "wrong", "[]"), 401);
    let cut = |peer: usize| format!(r#"{{"peer": "n{peer}", "cut": true}}"#);
    let all = [1, 2, 3].map(cut).join(",");
    assert_eq!(impair(0, token.trim(), &format!("[{all}]")), 200);
    for node in 1..4 {
        assert_eq!(impair(node, token.trim(), &format!("[{}]", cut(0))), 200);
    }
    let post = |node| {
        let (status, posted) = request(api(node), "POST", "/v1/messages", b"x").expect("answers");
        assert_eq!(status, 201);
        format!("/v1/messages/{}", posted["id"].as_str().expect("an id"))
    };
    let has = |node, path: &str| {
        request(api(node), "GET", path, b"").is_some_and(|(status, _)| status == 200)
    };
    let await_at = |node, path: &str| {
        while !has(node, path) {
            assert!(Instant::now() < until, "n{node} never gets it");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (inside, outside) = (post(0), post(1));
    (1..4).for_each(|node| await_at(node, &outside));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(has(0, &inside) && !has(0, &outside));
    assert!((1..4).all(|node| !has(node, &inside)), "the cut lets pass");
    (0..4).for_each(|node| assert_eq!(impair(node, token.trim(), "[]"), 200));
    (0..4).for_each(|node| await_at(node, &inside));
    await_at(0, &outside);
    launcher.signal(Signal::TERM);
    launcher.0.wait().expect("a child of ours");
    expect_ended(&mesh);
}
