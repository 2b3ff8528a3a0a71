//! Lines for people on standard error. Whoever reads them may stand still: that holds up no run,
//! and no end of one.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use super::log_lines::{self, Flush, Lines};

/// The thread that writes them, from the first one on; none if there could be none.
static WRITER: Mutex<Option<(Lines, Flush)>> = Mutex::new(None);

/// Writes a line, soon. ANSI colours are taken out unless standard error is a terminal.
pub fn note(line: impl Display) {
    let mut line = format!("{line}\n");
    if AutoStream::choice(&std::io::stderr()) == ColorChoice::Never {
        line = strip_str(&line).to_string();
    }
    // It is taken or counted as lost, and never fails.
    with_writer(|lines| drop(lines.write(line.as_bytes())));
}

/// Draws on the terminal, soon; not while it does not take what was drawn before.
pub fn draw(drawn: &str) {
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

/// The same of what went wrong.
pub fn error(why: impl Display) {
    note(format_args!("\x1b[1;31merror:\x1b[0m {why}"));
}

/// Waits until they are written, for a bounded time: the process is about to end.
pub fn flush() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}
