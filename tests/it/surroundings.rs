//! Real processes while their surroundings fail: folders that vanish, readers that stall or leave,
//! clients that hold connections, programs and keys that are replaced or edited.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::process::{Process, free_address, request};
use crate::support::lay_out;

const LOYAL: &str = env!("CARGO_BIN_EXE_loyal");

/// Starts a node that is alone in its network.
fn alone(dir: &Path) -> Process {
    let gossip = free_address();
    lay_out(dir, &[gossip]);
    let key = dir.join("n0.pem");
    // The key file has a byte order mark and an extra line, as an editor may leave it.
    let text = std::fs::read_to_string(&key).expect("it is there");
    std::fs::write(&key, format!("\u{feff}{text}\n")).expect("written");
    Process::start(dir, "n0", gossip, free_address())
}

fn post(node: &Process) -> u16 {
    request(node.api, "POST", "/v1/messages", b"x").map_or(0, |(status, _)| status)
}

#[test]
fn nothing_is_acknowledged_once_the_data_folder_is_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = alone(dir.path());
    let ready = || request(node.api, "GET", "/readyz", b"").expect("an answer");
    assert_eq!((post(&node), ready().0), (201, 200));
    std::fs::rename(dir.path().join("n0"), dir.path().join("away")).expect("moved");
    assert_eq!(post(&node), 503);
    let (status, why) = ready();
    assert_eq!(status, 503);
    assert!(why["detail"].as_str().is_some_and(|why| why.contains("node.sqlite")), "{why}");
    std::fs::rename(dir.path().join("away"), dir.path().join("n0")).expect("moved");
    assert_eq!((post(&node), ready().0), (201, 200));
}

#[test]
fn idle_connections_shut_nobody_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = alone(dir.path());
    let held: Vec<TcpStream> = (0..600).filter_map(|_| TcpStream::connect(node.api).ok()).collect();
    assert_eq!(held.len(), 600);
    assert_eq!(request(node.api, "GET", "/healthz", b"").expect("an answer").0, 200);
    assert_eq!(post(&node), 201);
}

/// A network of a node and a liar, as processes with a standard error of their own.
struct Pair {
    dir: tempfile::TempDir,
    api: SocketAddr,
    gossip: [SocketAddr; 2],
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let gossip = [free_address(), free_address()];
        lay_out(dir.path(), &gossip);
        Self { dir, api: free_address(), gossip }
    }

    fn start(&self, number: usize, more: &[&str], errors: Stdio) -> Running {
        let path = |name: String| self.dir.path().join(name);
        let api = if number == 0 { self.api } else { free_address() };
        let mut command = Command::new(LOYAL);
        command.arg("node").arg("--network").arg(path("network.toml".into()));
        command.arg("--key").arg(path(format!("n{number}.pem")));
        command.arg("--data").arg(path(format!("n{number}"))).args(more);
        command.args(["--gossip", &self.gossip[number].to_string(), "--api", &api.to_string()]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Running(quiet.spawn().expect("it starts"))
    }

    fn wait(&self, path: &str, until: impl Fn(u16, &serde_json::Value) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = request(self.api, "GET", path, b"");
            if answer.as_ref().is_some_and(|(status, body)| until(*status, body)) {
                return;
            }
            assert!(Instant::now() < end, "{path}: {answer:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asserts that the first node works on although its log has much to say: a member is banned,
    /// and dials again and again.
    fn survives(&self, mut node: Running) {
        self.wait("/healthz", |status, _| status == 200);
        let _liar = self.start(1, &["--malicious", "malformed"], Stdio::null());
        let all = |body: &serde_json::Value| body["items"].as_array().map_or(0, Vec::len);
        self.wait("/v1/rejections", |status, body| status == 200 && all(body) > 2);
        assert_eq!(request(self.api, "POST", "/v1/messages", b"x").map(|it| it.0), Some(201));
        assert_eq!(node.terminate(), Some(0));
    }
}

/// A process that is killed when the test ends.
struct Running(Child);

impl Running {
    /// Sends SIGTERM. Returns the exit code; `None` if the process has not ended after 10 s.
    fn terminate(&mut self) -> Option<i32> {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("it runs");
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe that is full, and is not read as long as the reader lives.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let full = writer.try_clone().expect("a handle");
    // The thread stays in this write for as long as the pipe is not read.
    std::thread::spawn(move || writer.write_all(&vec![b'x'; 8 << 20]));
    std::thread::sleep(Duration::from_millis(300));
    (reader, full)
}

#[test]
fn a_log_that_cannot_be_written_stops_no_node() {
    // The log goes to a full disk.
    let pair = Pair::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    pair.survives(pair.start(0, &[], full.into()));
    // The reader of the log stalls from the first line on.
    let pair = Pair::new();
    let (_reader, writer) = full_pipe();
    pair.survives(pair.start(0, &[], writer.into()));
    // The reader of the log has left.
    let pair = Pair::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    pair.survives(pair.start(0, &[], writer.into()));
}

#[test]
fn a_banned_member_that_knocks_fills_no_log() {
    let pair = Pair::new();
    let log = pair.dir.path().join("log");
    let errors = std::fs::File::create(&log).expect("made");
    let _node = pair.start(0, &[], errors.into());
    pair.wait("/healthz", |status, _| status == 200);
    let _liar = pair.start(1, &["--malicious", "malformed"], Stdio::null());
    let knocks = |body: &serde_json::Value| {
        let items = body["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|row| row["reason"] == "banned").count()
    };
    pair.wait("/v1/rejections", |_, body| knocks(body) > 4);
    let text = std::fs::read_to_string(&log).expect("text");
    let lines = text.lines().filter(|line| line.contains("banned\"")).count();
    assert!((1..=3).contains(&lines), "{text}");
}

#[test]
fn a_program_that_is_replaced_goes_on_with_its_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let (program, next) = (dir.path().join("loyal"), dir.path().join("next"));
    std::fs::copy(LOYAL, &program).expect("copied");
    let mut command = Command::new(&program);
    command.args(["mesh", "run", "kill-and-restart", "--set", "mesh.nodes=7", "--json"]);
    command.env("TMPDIR", dir.path()).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(1500));
    std::fs::write(&next, "no program").expect("written");
    std::fs::rename(&next, &program).expect("replaced");
    let (code, errors) = end(child);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("start n"), "a node was started after that: {errors}");
}

/// Starts a mesh that is judged, with its temporary folder in `dir`.
fn mesh(dir: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(LOYAL);
    command.args(["mesh", "up", "--nodes", "2"]).args(arguments).env("TMPDIR", dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    (status.code(), errors)
}

#[test]
fn an_interrupted_run_says_so_and_leaves_no_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let child = mesh(dir.path(), &["--messages", "2000", "--rate", "50"]);
    let (code, errors) = interrupt(child, Duration::from_secs(2));
    assert_eq!(code, Some(130), "{errors}");
    assert!(errors.contains("nothing is judged"), "{errors}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

/// Waits for the folder of a mesh in a folder for temporary files.
fn mesh_in(dir: &Path) -> std::path::PathBuf {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let entries = std::fs::read_dir(dir).expect("a folder").flatten();
        if let Some(found) = entries.map(|one| one.path()).find(|p| p.join("mesh.json").exists()) {
            return found;
        }
        assert!(Instant::now() < until, "there is no mesh");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(pid: u64, name: &str) {
    Command::new("kill").args([name, &pid.to_string()]).status().expect("it runs");
}

fn first_pid(mesh: &Path) -> u64 {
    json(&mesh.join("mesh.json"))["nodes"][0]["pid"].as_u64().expect("a number")
}

#[test]
fn a_run_that_fails_keeps_its_logs_and_no_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let child = mesh(dir.path(), &["--messages", "60", "--rate", "20"]);
    let kept = mesh_in(dir.path());
    std::thread::sleep(Duration::from_secs(1));
    signal(first_pid(&kept), "-KILL");
    let (code, errors) = end(child);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("n0 died") && kept.join("n0/node.log").exists(), "{errors}");
    let secret = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| extension == "pem" || extension == "token")
    };
    let entries = std::fs::read_dir(&kept).expect("it is kept").flatten();
    assert_eq!(entries.map(|entry| entry.path()).find(secret), None);
}

/// One node is stopped and does not answer: the report has what the other one said.
#[test]
fn an_interrupted_run_tells_what_those_say_who_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let report = dir.path().join("report");
    let arguments = ["--messages", "2000", "--rate", "50", "--report"];
    let arguments: Vec<&str> =
        arguments.into_iter().chain([report.to_str().expect("text")]).collect();
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).expect("made");
    let child = mesh(&temporary, &arguments);
    let pid = first_pid(&mesh_in(&temporary));
    std::thread::sleep(Duration::from_secs(2));
    signal(pid, "-STOP");
    let (code, errors) = interrupt(child, Duration::from_secs(1));
    assert_eq!(code, Some(130), "{errors}");
    let told = json(&report.join("report.json"));
    assert_eq!(told["verdict"], "interrupted");
    assert!(told["delivery"]["delivered"].as_u64().is_some_and(|count| count > 0), "{told}");
}

/// Sends SIGTERM after a while, and waits for the process to end.
fn interrupt(child: Child, after: Duration) -> (Option<i32>, String) {
    std::thread::sleep(after);
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().expect("it runs");
    end(child)
}

fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn whatever_is_interrupted_leaves_what_it_measured_and_no_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    for (line, file, key, value) in [
        ("mesh up --nodes 2 --messages 2000 --rate 50", "report.json", "verdict", "interrupted"),
        ("mesh run three-liars --set duration=60s", "report.json", "verdict", "interrupted"),
        ("sim three-liars --set duration=24h", "report.json", "verdict", "interrupted"),
        ("sim three-liars --set duration=24h --verify", "report.json", "verdict", "interrupted"),
        ("sim swarm --seeds 1..1000000", "campaign.json", "interrupted", "true"),
    ] {
        let report = dir.path().join(line.replace(' ', "_"));
        let mut command = Command::new(LOYAL);
        command.args(line.split(' ')).arg("--report").arg(&report).env("TMPDIR", dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        let (code, errors) = interrupt(child, Duration::from_secs(4));
        assert_eq!(code, Some(130), "{line}: {errors}");
        let written = json(&report.join(file));
        assert_eq!(written[key].to_string().trim_matches('"'), value, "{line}: {errors}");
        if file == "report.json" {
            assert!(errors.contains("nothing is judged"), "{line}: {errors}");
            assert!(report.join("report.html").exists(), "{line}");
            assert!(written["delivery"]["expected"].is_u64(), "{line}: {written}");
            assert_eq!(written["delivery"]["unpublished"], 0, "{line}: {written}");
        }
        if line.starts_with("mesh") {
            assert!(written["published"].as_u64() > Some(0), "{line}: {written}");
        }
    }
    let left = std::fs::read_dir(dir.path()).expect("a folder").flatten();
    let left = left.filter(|one| one.file_name().to_string_lossy().starts_with("loyal-mesh"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_reader_that_leaves_costs_a_run_neither_its_verdict_nor_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = mesh(dir.path(), &["--messages", "10", "--rate", "50"]);
    drop(child.stdout.take());
    let (code, errors) = end(child);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "{errors}");
}

/// The run's result, or its progress, goes to a pipe that is not read.
#[test]
fn a_reader_that_stands_still_costs_a_run_neither_its_report_nor_its_end() {
    for (arguments, result, written) in [
        (&["sim", "three-liars", "--json"][..], true, "report.json"),
        (&["sim", "three-liars", "--seeds", "1..2"][..], true, "campaign.json"),
        (&["mesh", "up", "--nodes", "4", "--messages", "9"][..], true, "report.json"),
        (&["mesh", "run", "kill-and-restart"][..], false, "report.json"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (_reader, writer) = full_pipe();
        let (out, err) = match result {
            true => (Stdio::from(writer), Stdio::null()),
            false => (Stdio::null(), Stdio::from(writer)),
        };
        let report = dir.path().join("report");
        let mut command = Command::new(LOYAL);
        command.args(arguments).arg("--report").arg(&report).stdout(out).stderr(err);
        let mut child = command.stdin(Stdio::null()).spawn().expect("it starts");
        let begun = Instant::now();
        let wrote = || report.join(written).exists();
        while !wrote() && begun.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(wrote(), "{arguments:?}");
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{arguments:?} does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A terminal whose output is held, as by Ctrl-S. The first part is the end that would read it.
fn held_terminal() -> (OwnedFd, std::fs::File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it may be used");
    let name = ptsname(&ours, vec![]).expect("it has a name");
    let open = |flags: OFlags| {
        let flags = i32::try_from((OFlags::NOCTTY | flags).bits()).expect("small");
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        std::fs::File::options().read(true).write(true).custom_flags(flags).open(path)
    };
    let mut filler = open(OFlags::NONBLOCK).expect("it opens");
    while filler.write(&[b'x'; 512]).is_ok() {}
    (ours, open(OFlags::empty()).expect("it opens"))
}

#[test]
fn a_terminal_that_is_held_costs_a_run_neither_its_result_nor_its_end() {
    for arguments in [&["sim", "forge", "--seeds", "1..3"][..], &["sim", "forge"][..]] {
        let (_ours, terminal) = held_terminal();
        let mut command = Command::new(LOYAL);
        command.args(arguments).env("TERM", "xterm").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(terminal).spawn().expect("it starts");
        let begun = Instant::now();
        while child.try_wait().expect("a child").is_none() {
            if begun.elapsed() > Duration::from_secs(120) {
                child.kill().expect("it is ours");
                panic!("{arguments:?} does not end");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let output = child.wait_with_output().expect("it ended");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("PASS"), "{text}");
    }
}

#[test]
fn a_campaign_gives_its_result_though_its_copies_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a folder");
    // A file has the name of the folder for failures.
    std::fs::write(dir.path().join("loyal-failures"), "").expect("written");
    let mut command = Command::new(LOYAL);
    command.current_dir(dir.path()).args(["sim", "three-liars", "--seeds", "1..2"]).args([
        "--set",
        "expect.0.metric=delivery.latency_ms.max",
        "--set",
        "expect.0.at_most=1",
        "--set",
        "load.0.count=5",
    ]);
    let ran = command.stdin(Stdio::null()).output().expect("it runs");
    let (text, errors) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(3), "{text}{errors}");
    assert!(text.contains("0 of 2 seeds") && errors.contains("loyal-failures"), "{text}{errors}");
}

#[test]
fn an_error_at_the_start_ends_the_process_though_nobody_reads_it() {
    let (_reader, full) = full_pipe();
    let mut command = Command::new(LOYAL);
    command.args(["node", "--network", "none", "--key", "none", "--data", "none"]);
    let mut child = command.stdin(Stdio::null()).stderr(full).spawn().expect("it starts");
    let until = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > until {
            child.kill().expect("a child");
            panic!("it waits for its reader");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(1));
}

#[test]
fn folders_may_have_names_that_are_no_text() {
    let dir = tempfile::tempdir().expect("a folder");
    let odd = dir.path().join(OsStr::from_bytes(b"n\xff"));
    std::fs::create_dir(&odd).expect("made");
    let node = alone(&odd);
    assert_eq!(post(&node), 201);
    drop(node);
    let run = |arguments: &[&OsStr]| {
        let ran = Command::new(LOYAL).args(arguments).stdin(Stdio::null()).output();
        let ran = ran.expect("it runs");
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let os = OsStr::new;
    run(&[os("rejections"), os("--json"), os("--data"), odd.join("n0").as_os_str()]);
    let made = run(&[os("keygen"), os("--json"), os("--out"), odd.join("k.pem").as_os_str()]);
    assert!(made.contains("k.pem") && odd.join("k.pem").exists(), "{made}");
    let network = odd.join("net");
    run(&[
        os("network"),
        os("new"),
        os("--nodes=1"),
        os("--json"),
        os("--dir"),
        network.as_os_str(),
    ]);
    run(&[os("network"), os("check"), os("--json"), network.join("network.toml").as_os_str()]);
}
