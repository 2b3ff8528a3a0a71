//! Logs: to standard error, for people on a terminal, JSON on request.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::log_lines::{self, Flush};

/// The variable that holds a filter, as in `loyal=debug`.
const VARIABLE: &str = "LOYAL_LOG";

/// Starts logging; `LOYAL_LOG` chooses what, `info` by default. A panic is a line of the log, too.
///
/// # Errors
/// When the operating system gives no thread.
pub fn start(json: bool) -> io::Result<Flush> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) = log_lines::write_to(io::stderr(), json)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second start in one process changes nothing; that is no failure.
    let _ = if json {
        logs.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        logs.with_ansi(colour).with_target(false).try_init()
    };
    // The usual hook writes to standard error itself, and waits for whoever reads it.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("?");
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("?");
        tracing::error!(thread, place, "panic: {what}");
    }));
    Ok(flush)
}
