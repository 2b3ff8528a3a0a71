//! Lines for people on standard error. Whoever reads them may stand still: that holds up no run,
//! and no end of one.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use super::log_lines::{self, Flush, Lines};

/// The thread that writes them, from the first one on; none if there could be none.
static WRITER: Mutex<Option<(Lines, Flush)>> = Mutex::new(None);

/// Writes a line, soon. ANSI colours are taken out unless standard error is a terminal.
pub fn note(line: impl Display) {
    let mut writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.is_none() {
        *writer = log_lines::write_to(anstream::stderr(), false).ok();
    }
    if let Some((lines, _)) = &mut *writer {
        // It is taken or counted as lost, and never fails.
        let _ = lines.write(format!("{line}\n").as_bytes());
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
