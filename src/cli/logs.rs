//! Logs: to standard error, for people on a terminal, JSON on request.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// The variable that holds a filter, as in `loyal=debug`.
const VARIABLE: &str = "LOYAL_LOG";

/// Starts logging; `LOYAL_LOG` chooses what, `info` by default.
pub fn start(json: bool) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start in one process changes nothing; that is no failure.
    let _ = if json {
        logs.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        logs.with_ansi(colour).with_target(false).try_init()
    };
}
