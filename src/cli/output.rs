//! What is printed: JSON lines, tables, text; colour only on a terminal.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::stderr;
use crate::crypto::hex;
use crate::mesh::Stop;
use crate::report::escape;

/// How long a reader of a result may take once the process is told to stop; checked at intervals of
/// `LOOK`.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// Writes text to standard output, without ANSI colours unless it is a terminal.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    named(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Text that is being written to standard output by its own thread, since the reader may stall.
pub(super) struct Showing(mpsc::Receiver<io::Result<()>>);

/// Starts to write text, like [`text`], on another thread.
///
/// # Errors
/// If the operating system cannot create a thread.
pub(super) fn start(shown: String) -> io::Result<Showing> {
    let (done, written) = mpsc::channel();
    std::thread::Builder::new().name("output".into()).spawn(move || {
        let _ = done.send(text(&shown));
    })?;
    Ok(Showing(written))
}

impl Showing {
    /// Waits until the text is written. Once the process is told to stop, waits only one more
    /// second for a reader that has stalled.
    ///
    /// # Errors
    /// Those of [`text`]; and if the process was told to stop and the reader took too long.
    pub(super) fn wait(self, stop: &Stop) -> anyhow::Result<()> {
        let mut left = PATIENCE;
        loop {
            match self.0.recv_timeout(LOOK) {
                Ok(result) => return Ok(result?),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("standard output: a panic"),
                Err(RecvTimeoutError::Timeout) if stop.asked() => {
                    left = left.saturating_sub(LOOK);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if left.is_zero() {
                anyhow::bail!("standard output was closed: not everything was printed");
            }
        }
    }
}

/// Prints a run's result, which may have been written to files already.
///
/// # Errors
/// Those of [`start`] and [`Showing::wait`].
pub(super) fn result(result: String, stop: &Stop) -> anyhow::Result<()> {
    start(result)?.wait(stop)
}

/// Writes text and a newline to standard output.
pub(super) fn line(line: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    named(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Writes bytes to standard output unchanged.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    named(out.write_all(bytes).and_then(|()| out.flush()))
}

fn named(result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::new(error.kind(), format!("standard output: {error}")))
}

/// Whether the error means that the reader has closed our output, which is not a failure.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Returns the exit code of a run after its result was written. Reports each copy that could not be
/// written; one such copy turns success into failure.
pub(super) fn outcome(code: u8, copies: impl IntoIterator<Item = anyhow::Result<()>>) -> ExitCode {
    let mut code = code;
    for error in copies.into_iter().filter_map(Result::err).filter(|error| !is_broken_pipe(error)) {
        code = code.max(1);
        stderr::error(format_args!("{error:#}"));
    }
    code.into()
}

/// Writes one compact JSON object and a newline.
pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut row = serde_json::to_vec(value)?;
    row.push(b'\n');
    Ok(bytes(&row)?)
}

/// Creates an empty table with these headings.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table
}

/// Returns the table's text with a trailing newline.
pub(super) fn render(table: &Table) -> String {
    table.trim_fmt() + "\n"
}

/// Formats microseconds since 1970 as UTC, to the millisecond.
pub(super) fn time(micros: u64) -> String {
    let stamp = i64::try_from(micros).ok().and_then(|m| jiff::Timestamp::from_microsecond(m).ok());
    stamp.map_or_else(|| micros.to_string(), |stamp| format!("{stamp:.3}"))
}

/// Returns the first 12 digits of a key or id.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// Formats a number of bytes in a unit that fits.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x0010_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Shows a payload as text if it is UTF-8, else as hex.
pub(super) fn payload(bytes: &[u8], most: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => escape(text, most),
        Err(_) => {
            let cut = bytes.get(..most / 2).unwrap_or(bytes);
            let more = if cut.len() < bytes.len() { "…" } else { "" };
            format!("0x{}{more}", hex(cut))
        }
    }
}

/// Quotes text for a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=+@%,^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_reader_is_no_failure() {
        let error = || anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("x");
        assert!(is_broken_pipe(&error()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
        let code = |code, error| format!("{:?}", outcome(code, [Ok(()), Err(error)]));
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!((code(0, error()), code(3, error())), (is(0), is(3)));
        let full = || io::Error::from(io::ErrorKind::StorageFull).into();
        assert_eq!((code(0, full()), code(3, full())), (is(1), is(3)), "the verdict stays");
    }

    #[test]
    fn figures_are_short_and_exact() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_500_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("é"), "é");
        assert_eq!((size(5), size(1536)), ("5 B".into(), "1.5 KiB".into()));
    }

    #[test]
    fn a_payload_is_text_or_hex() {
        assert_eq!(payload("a\x1bb".as_bytes(), 10), r"a\u{1b}b");
        assert_eq!(payload(&[0xff, 0x00], 10), "0xff00");
        assert_eq!(payload(&[0xff; 9], 4), "0xffff…");
    }

    #[test]
    fn a_shell_reads_back_what_is_quoted() {
        assert_eq!(quoted("net.loss=0.1"), "net.loss=0.1");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        let nasty = "load.0.publishers={count=1} # it's \"$HOME\" `x`";
        let script = format!("printf %s {}", quoted(nasty));
        let printed =
            std::process::Command::new("sh").args(["-c", &script]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&printed.stdout), nasty);
    }
}
