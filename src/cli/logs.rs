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
    let builder = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(VARIABLE);
    let (filter, ignored) = match builder.try_from_env() {
        Ok(filter) => (filter, None),
        Err(_) if std::env::var_os(VARIABLE).is_none() => (builder.parse_lossy(""), None),
        Err(error) => (builder.parse_lossy(""), Some(error)),
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) = log_lines::write_to(io::stderr(), json)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second start in one process changes nothing; that is no failure.
    let _ = if json {
        logs.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        logs.with_ansi(colour).with_target(false).try_init()
    };
    if let Some(why) = ignored {
        tracing::warn!("{VARIABLE} is no filter, as `loyal=debug` is one, and is ignored: {why}");
    }
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
