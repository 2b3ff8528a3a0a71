//! Lines for people on standard error. A reader that stalls holds up neither a run nor its end.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use super::log_lines::{self, Flush, Lines};

/// The thread that writes the lines, started with the first one; `None` if it could not be started.
static WRITER: Mutex<Option<(Lines, Flush)>> = Mutex::new(None);

/// Queues a line, without ANSI colours unless standard error is a terminal.
pub(super) fn note(line: impl Display) {
    let mut line = format!("{line}\n");
    if AutoStream::choice(&std::io::stderr()) == ColorChoice::Never {
        line = strip_str(&line).to_string();
    }
    // The line is queued or counted as lost; this never fails.
    with_writer(|lines| drop(lines.write(line.as_bytes())));
}

/// Queues a drawing for the terminal; dropped while the terminal has not taken earlier ones.
pub(super) fn draw(drawn: &str) {
    with_writer(|lines| lines.draw(drawn.as_bytes()));
}

fn with_writer(write: impl FnOnce(&mut Lines)) {
    let mut writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.is_none() {
        *writer = log_lines::write_to(std::io::stderr(), false).ok();
    }
    if let Some((lines, _)) = &mut *writer {
        write(lines);
    }
}

/// Queues an error message.
pub(super) fn error(why: impl Display) {
    note(format_args!("\x1b[1;31merror:\x1b[0m {why}"));
}

/// Waits for a bounded time until all lines are written. Call this before the process ends.
pub(super) fn flush() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}
