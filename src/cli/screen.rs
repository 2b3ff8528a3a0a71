//! Bars and tables that are redrawn on standard error. They take the same queue as all lines for
//! people, so that a stalled terminal holds up no run, and no line lands inside a bar.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::stderr;

/// Columns of a terminal whose size is unknown.
const COLUMNS: u16 = 80;
/// Maximum drawings per second.
const RATE: u8 = 20;

/// Creates a bar on standard error, drawn only if that is a terminal that can move its cursor.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let plain = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
    let target = if io::stderr().is_terminal() && !plain {
        ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), RATE)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Lines and columns of the terminal; `None` if unknown.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// What was drawn since the last flush, as terminal control sequences (ECMA-48).
#[derive(Debug, Default)]
struct Screen(Mutex<String>);

impl Screen {
    fn add(&self, what: std::fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.write_fmt(what).map_err(io::Error::other)
    }

    fn go(&self, count: usize, way: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.add(format_args!("\x1b[{count}{way}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size().map_or(COLUMNS, |(_, columns)| columns)
    }

    fn height(&self) -> u16 {
        size().map_or(u16::MAX, |(lines, _)| lines)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.add(format_args!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.add(format_args!("{s}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        stderr::draw(&drawn);
        Ok(())
    }
}
