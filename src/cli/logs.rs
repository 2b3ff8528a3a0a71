//! Logging to standard error: text for people, or JSON on request.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::stderr::{self, Flush};

/// Environment variable with the filter, such as `loyal=debug`.
const VARIABLE: &str = "LOYAL_LOG";

/// Starts logging. `LOYAL_LOG` selects what is logged, by default `info`. Panics are logged as
/// well.
///
/// # Errors
/// If the operating system cannot create a thread.
pub(super) fn start(json: bool) -> io::Result<Flush> {
    let (filter, ignored) = match wanted(std::env::var_os(VARIABLE).as_deref()) {
        Ok(filter) => (filter, None),
        Err(why) => (usual(), Some(why)),
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (lines, flush) = stderr::write_to(io::stderr(), json)?;
    let logs = tracing_subscriber::fmt::layer().with_writer(lines);
    let filtered = tracing_subscriber::registry().with(filter);
    // Fails if logging was started before in this process, which is harmless.
    let _ = if json {
        filtered.with(logs.json().flatten_event(true).with_ansi(false)).try_init()
    } else {
        filtered.with(logs.with_ansi(colour).with_target(false)).try_init()
    };
    if let Some(why) = ignored {
        tracing::warn!("{VARIABLE} is not a filter like `loyal=debug`, and is ignored: {why}");
    }
    // The default hook writes to standard error itself, and blocks if the reader stalls.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("?");
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("?");
        tracing::error!(thread, place, "panic: {what}");
    }));
    Ok(flush)
}

fn usual() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Parses the filter; the default if it is empty.
fn wanted(filter: Option<&OsStr>) -> Result<Targets, String> {
    let filter = filter.unwrap_or_default().to_str().ok_or("it is not UTF-8")?;
    let parts: Vec<&str> = filter.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
    if parts.is_empty() {
        return Ok(usual());
    }
    parts.join(",").parse().map_err(|error: ParseError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_names_levels_and_parts() {
        let enables = |filter: Option<&str>, target, level: Level| {
            wanted(filter.map(OsStr::new)).map(|filter| filter.would_enable(target, &level))
        };
        assert_eq!(enables(None, "loyal::net", Level::INFO), Ok(true));
        assert_eq!(enables(Some(""), "loyal::net", Level::DEBUG), Ok(false), "the usual");
        assert_eq!(enables(Some("loyal=debug"), "loyal::net", Level::DEBUG), Ok(true));
        assert_eq!(enables(Some("warn,loyal::net=trace"), "loyal::net", Level::TRACE), Ok(true));
        assert_eq!(enables(Some("warn,loyal::net=trace"), "loyal::api", Level::INFO), Ok(false));
        assert_eq!(enables(Some("info, "), "loyal::net", Level::INFO), Ok(true), "a comma");
        assert!(enables(Some("loyal=loud"), "loyal", Level::INFO).is_err());
    }
}
