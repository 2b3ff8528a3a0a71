//! Shutdown by SIGINT, SIGTERM, SIGHUP, or the end of the launcher's pipe.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::mesh::Stop;

/// Signals within this time of the first count as the same request.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Folders that are removed when the process ends at once, because they hold keys.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Adds a folder to remove when the process ends at once.
pub(super) fn temporary(path: &Path) {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}

/// Ends the process at once. Children notice, and may still write while folders are being removed.
fn end() -> ! {
    for path in &*TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_dir_all(path));
    }
    std::process::exit(130);
}

/// Starts an asynchronous runtime with this many worker threads, and listens for signals in it.
pub(super) fn runtime(threads: usize) -> anyhow::Result<(Runtime, Stop)> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads).enable_all().build().context("cannot start")?;
    let stop = {
        let _inside = runtime.enter();
        listen(false).context("cannot listen for signals")?
    };
    Ok((runtime, stop))
}

/// Starts to listen for SIGINT, SIGTERM and SIGHUP (a closed terminal; not if the process was
/// started with SIGHUP ignored), and with `with_parent` for the end of standard input.
pub(super) fn listen(with_parent: bool) -> io::Result<Stop> {
    let (sender, receiver) = watch::channel(false);
    // By default, a write beyond `ulimit -f` kills the process. With a handler, the write fails as
    // on a full disk.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let hang_up = SignalKind::hangup();
    let mut hang_up = if is_ignored(hang_up) { None } else { Some(signal(hang_up)?) };
    let ending = sender.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hung_up(&mut hang_up) => {}
        }
        let _ = ending.send(true);
        // A later signal ends the process at once. One that comes together with the first is the
        // same request, sent both to the process and to its group.
        tokio::time::sleep(SAME_WISH).await;
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        end();
    });
    if with_parent {
        // A paused process cannot see the end of its standard input, so the kernel resumes it when
        // the parent dies.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT))?;
        // A thread, because a read of standard input cannot be cancelled and must not delay the
        // exit.
        std::thread::Builder::new().name("parent".into()).stack_size(64 << 10).spawn(
            move || {
                let mut byte = [0];
                while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
                let _ = sender.send(true);
            },
        )?;
    }
    Ok(Stop::new(receiver))
}

/// Whether the process was started with this signal ignored, as by `nohup`; then it stays ignored.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal.as_raw_value() - 1).unwrap_or(u32::MAX);
    ignored.checked_shr(bit).is_some_and(|mask| mask & 1 == 1)
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
