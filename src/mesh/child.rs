//! A node as a child process: how it is started, observed and stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, ChildStdin, Command};

use super::{MeshError, NodeEntry};

/// How much of the end of a log is shown, in bytes.
const TAIL: u64 = 1500;
/// How long a child may take to exit after it was asked to.
const PATIENCE: Duration = Duration::from_secs(8);

/// A `loyal node` that runs as a child process; killed when this is dropped.
pub struct NodeProcess {
    child: Child,
    /// Closed when this value is dropped or the launcher dies in any way; the child then stops.
    stdin: Option<ChildStdin>,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// The options of a node that are not in its [`NodeEntry`].
#[derive(Clone, Debug)]
pub struct Extras {
    /// Path of the network file.
    pub network: PathBuf,
    /// Links that the node chooses for itself; its own default if `None`.
    pub links: Option<usize>,
    /// The file of decoys; passed to liars only.
    pub decoys: PathBuf,
    /// The file with the lab token.
    pub lab_token: PathBuf,
    /// Whether the node writes JSON logs.
    pub log_json: bool,
}

/// The command that starts this program again. Uses `/proc/self/exe` if the program's file was
/// replaced after the launcher started.
fn program() -> io::Result<Command> {
    let path = std::env::current_exe()?;
    let running = Path::new("/proc/self/exe");
    let file = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let replaced = file(running).is_some_and(|own| file(&path) != Some(own));
    let mut command = Command::new(if replaced { running } else { &path });
    command.arg0(path);
    Ok(command)
}

impl NodeProcess {
    /// Starts a node; its output is appended to `DATA/node.log`.
    ///
    /// # Errors
    /// If a file or process cannot be created.
    pub fn start(entry: &NodeEntry, extras: &Extras) -> Result<Self, MeshError> {
        let spawn = |error| MeshError::Spawn { name: entry.name.clone(), error };
        fs::create_dir_all(&entry.data).map_err(MeshError::file("create", &entry.data))?;
        let log = entry.data.join("node.log");
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.map_err(MeshError::file("create", &log))?;
        let error = out.try_clone().map_err(MeshError::file("open", &log))?;
        let mut command = program().map_err(spawn)?;
        command.arg("node").arg("--network").arg(&extras.network);
        command.arg("--key").arg(&entry.key_file).arg("--data").arg(&entry.data);
        command.args(["--gossip", &entry.gossip, "--with-parent", "--api"]);
        command.arg(entry.api.strip_prefix("http://").unwrap_or(&entry.api));
        command.arg("--lab-token-file").arg(&extras.lab_token);
        if let Some(links) = extras.links {
            command.arg("--links").arg(links.to_string());
        }
        if let Some(spec) = &entry.malicious {
            command.arg("--malicious").arg(spec).arg("--decoys").arg(&extras.decoys);
        }
        if extras.log_json {
            command.arg("--log-json");
        }
        // Its own process group: Ctrl-C reaches only the launcher, which stops its children in
        // order.
        command.stdin(Stdio::piped()).stdout(out).stderr(error).kill_on_drop(true).process_group(0);
        let mut child = command.spawn().map_err(spawn)?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, log, ended: None })
    }

    /// The process id; `None` once the process was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// The error that reports the process's death, with the end of its log.
    pub fn death(&self, name: &str) -> MeshError {
        MeshError::Died {
            name: name.to_owned(),
            status: self.ended.map_or_else(|| "unknown status".into(), |status| status.to_string()),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }

    /// Returns the last warning or error near the end of the log.
    pub fn complaint(&self) -> Option<String> {
        complaint(&tail(&self.log))
    }

    /// Asks the process to stop, and resumes it in case it is paused.
    pub fn ask_to_stop(&mut self) {
        self.stdin = None;
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Pauses the process (SIGSTOP).
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Resumes the process (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process and waits until it has ended.
    pub async fn kill(&mut self) {
        // Fails if the process has ended meanwhile: then there is nothing to kill.
        let _ = self.child.start_kill();
        if let Ok(status) = self.child.wait().await {
            self.ended.get_or_insert(status);
        }
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(pid) = self.signalled_pid() {
            // Fails if the process has ended meanwhile: then there is nothing to signal.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until the process ends, and kills it if it takes longer than `PATIENCE`.
    pub async fn wait_or_kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn signalled_pid(&mut self) -> Option<rustix::process::Pid> {
        // Once the process was waited for, its id may belong to another process.
        if self.ended().is_some() {
            return None;
        }
        rustix::process::Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }
}

/// The last lines of a log, indented.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        std::io::Result::Ok((bytes, length > TAIL))
    };
    match read() {
        Err(error) => format!("  (cannot be read: {error})"),
        Ok((bytes, cut)) => {
            let text = String::from_utf8_lossy(&bytes);
            // The first line is probably incomplete.
            let lines = text.lines().skip(usize::from(cut));
            lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
    }
}

fn complaint(log: &str) -> Option<String> {
    let levels = [" WARN ", " ERROR ", "\"WARN\"", "\"ERROR\""];
    let complains = |line: &&str| levels.iter().any(|level| line.contains(level));
    log.lines().rev().find(complains).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_short_and_of_whole_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        fs::write(&path, "one\ntwo\n").expect("writes");
        assert_eq!(tail(&path), "  one\n  two");
        fs::write(&path, "x".repeat(3000) + "\nlast\n").expect("writes");
        assert_eq!(tail(&path), "  last");
        assert!(tail(&dir.path().join("none")).contains("cannot be read"));
    }

    #[test]
    fn the_last_complaint_is_told_and_none_is_made_up() {
        let log = "  1  INFO node started\n  2  WARN member unreachable\n  3  INFO x";
        assert_eq!(complaint(log).as_deref(), Some("2  WARN member unreachable"));
        let json = r#"  {"level":"ERROR","message":"x"}"#;
        assert_eq!(complaint(json).as_deref(), Some(json.trim()));
        assert_eq!(complaint("  1  INFO node started"), None);
    }
}
