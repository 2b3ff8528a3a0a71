//! The one shutdown signal: SIGINT, SIGTERM, SIGHUP, or the end of the launcher's pipe.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Signals so close together count as one.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Folders that go away with the process, keys in them, also when it is told to end at once.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Notes such a folder.
pub fn temporary(path: &Path) {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}

/// The end at once. Children see it, and may write a little meanwhile.
fn end() -> ! {
    for path in &*TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_dir_all(path));
    }
    std::process::exit(130);
}

/// Becomes true once, when it is time to stop.
pub type Stop = watch::Receiver<bool>;

/// Listens from now on for SIGINT, SIGTERM and SIGHUP (a closed terminal, unless it was started
/// with that ignored), and with `with_parent` for the end of standard input.
pub fn listen(with_parent: bool) -> io::Result<Stop> {
    let (sender, receiver) = watch::channel(false);
    // By default a write beyond `ulimit -f` kills. With a handler it fails as on a full disk.
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
        // A later signal means: at once. One that comes with the first is the same wish, sent to a
        // process and to its group.
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
        // One that stands still does not see the end of its standard input: it must go on first.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT))?;
        // A thread, as a read of standard input cannot be cancelled and must not hold up the end.
        std::thread::Builder::new().name("parent".into()).stack_size(64 << 10).spawn(
            move || {
                let mut byte = [0];
                while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
                let _ = sender.send(true);
            },
        )?;
    }
    Ok(receiver)
}

/// Whether the process was started with a signal ignored, as by `nohup`: then it stays ignored.
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

/// Resolves when it is time to stop.
pub async fn stopped(mut stop: Stop) {
    // When nobody can say so any more, nobody will.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
