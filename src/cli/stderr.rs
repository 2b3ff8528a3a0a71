//! Writes log lines, and lines for people, to standard error from their own thread: a stalled
//! reader, a full disk or a closed pipe neither blocks nor ends the process. Lines that cannot be
//! queued or written are counted, and the log says so as soon as it can.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// Maximum number of queued lines, and of their bytes.
const MAX_LINES: usize = 4096;
const MAX_BYTES: usize = 1 << 20;
/// Number of queued lines from which drawings are dropped.
const MAX_DRAWN: usize = 8;
/// How long to wait for queued lines when the process ends.
const FLUSH: Duration = Duration::from_millis(500);

enum Queued {
    Line(Vec<u8>),
    /// This many lines were lost before the next one.
    Lost(u64),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Queued>,
    bytes: usize,
    lost: u64,
    /// Whether the thread has taken an item that it has not written yet.
    busy: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The sending end of the queue. Never blocks and never fails.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

/// When dropped, waits for a bounded time until all queued lines are written.
pub(super) struct Flush {
    shared: Arc<Shared>,
}

/// Starts a thread that writes lines to `sink` until the process ends.
///
/// # Errors
/// If the operating system cannot create a thread.
pub(super) fn write_to(
    sink: impl Write + Send + 'static,
    json: bool,
) -> io::Result<(Lines, Flush)> {
    let shared = Arc::new(Shared::default());
    let (lines, flush) = (Lines { shared: shared.clone() }, Flush { shared: shared.clone() });
    let work = move || shared.write_all_to(sink, json);
    std::thread::Builder::new().name("log".into()).stack_size(128 << 10).spawn(work)?;
    Ok((lines, flush))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.items.len() >= MAX_LINES || queue.bytes.saturating_add(line.len()) > MAX_BYTES {
            queue.lost = queue.lost.saturating_add(1);
            return;
        }
        let lost = std::mem::take(&mut queue.lost);
        if lost > 0 {
            queue.items.push_back(Queued::Lost(lost));
        }
        queue.bytes += line.len();
        queue.items.push_back(Queued::Line(line.to_vec()));
        self.changed.notify_all();
    }

    fn next(&self) -> Queued {
        let mut queue = self.lock();
        queue.busy = false;
        loop {
            if let Some(item) = queue.items.pop_front() {
                if let Queued::Line(line) = &item {
                    queue.bytes -= line.len();
                }
                queue.busy = true;
                return item;
            }
            self.changed.notify_all();
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all_to(&self, mut sink: impl Write, json: bool) {
        // If a line was written only in part, end it before the next one.
        let mut torn = false;
        loop {
            let (line, count) = match self.next() {
                Queued::Line(line) => (line, 1),
                Queued::Lost(count) => (notice(count, json), count),
            };
            let written = if torn { sink.write_all(b"\n") } else { Ok(()) };
            torn &= written.is_err();
            if written.and_then(|()| whole(&mut sink, &line, &mut torn)).is_err() {
                let mut queue = self.lock();
                queue.lost = queue.lost.saturating_add(count);
            }
        }
    }
}

/// Writes a line; sets `torn` to whether only a part of it was written.
fn whole(sink: &mut impl Write, mut line: &[u8], torn: &mut bool) -> io::Result<()> {
    let length = line.len();
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => line = &line[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Standard error was made non-blocking by another process: that must not lose lines.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => {
                *torn |= line.len() < length;
                return Err(error);
            }
        }
        *torn = false;
    }
    sink.flush()
}

fn notice(count: u64, json: bool) -> Vec<u8> {
    let mut at = String::new();
    // If the time cannot be formatted, it is left empty.
    let _ = SystemTime.format_time(&mut Writer::new(&mut at));
    let what = "log lines were lost because they could not be written";
    let line = if json {
        format!(r#"{{"timestamp":"{at}","level":"WARN","message":"{what}","count":{count}}}"#)
    } else {
        format!("{at}  WARN {count} {what}")
    };
    format!("{line}\n").into_bytes()
}

impl Lines {
    /// Queues a drawing, unless several lines wait already: a later drawing replaces it anyway.
    pub(super) fn draw(&self, drawn: &[u8]) {
        let waiting = self.shared.lock().items.len();
        if waiting < MAX_DRAWN && !drawn.is_empty() {
            self.shared.push(drawn);
        }
    }
}

impl Write for Lines {
    /// Queues a whole line, as the formatter passes it in.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let queue = self.shared.lock();
        let waits = |queue: &mut Queue| queue.busy || !queue.items.is_empty();
        drop(self.shared.changed.wait_timeout_while(queue, FLUSH, waits));
    }
}

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
        *writer = write_to(std::io::stderr(), false).ok();
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// A sink that is told for each write to take a number of bytes, to fail, or to wait.
    struct Sink {
        told: mpsc::Receiver<io::Result<usize>>,
        seen: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.told.recv().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            let _ = self.seen.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        lines: Lines,
        flush: Option<Flush>,
        tell: mpsc::Sender<io::Result<usize>>,
        seen: mpsc::Receiver<Vec<u8>>,
    }

    fn bench(json: bool) -> Bench {
        let ((tell, told), (seen, out)) = (mpsc::channel(), mpsc::channel());
        let (lines, flush) = write_to(Sink { told, seen }, json).expect("a thread");
        Bench { lines, flush: Some(flush), tell, seen: out }
    }

    impl Bench {
        /// All that is written from now on, once every write succeeds.
        fn rest(mut self) -> String {
            let (tell, _) = mpsc::channel();
            drop(std::mem::replace(&mut self.tell, tell));
            // Nothing holds it up any more; on a busy machine that takes longer than a flush.
            let until = Instant::now() + Duration::from_secs(20);
            let waits = |queue: &Queue| queue.busy || !queue.items.is_empty();
            while waits(&self.lines.shared.lock()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            String::from_utf8(self.seen.try_iter().flatten().collect()).expect("text")
        }
    }

    #[test]
    fn a_reader_that_stands_still_holds_up_nobody_and_is_told_what_it_missed() {
        for json in [false, true] {
            let mut bench = bench(json);
            let begun = Instant::now();
            for number in 0..MAX_LINES + 1000 {
                bench.lines.write_all(format!("line {number}\n").as_bytes()).expect("never fails");
                // The thread holds the first line, and takes no other before it is told to.
                while number == 0 && !bench.lines.shared.lock().busy {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            bench.lines.write_all(&vec![b'x'; MAX_BYTES]).expect("never fails");
            drop(bench.flush.take());
            assert!(begun.elapsed() < Duration::from_secs(20), "the end does not wait for it");
            bench.flush = Some(Flush { shared: bench.lines.shared.clone() });
            bench.tell.send(Ok(usize::MAX)).expect("it waits");
            bench.seen.recv().expect("the first line");
            while bench.lines.shared.lock().items.len() >= MAX_LINES {
                std::thread::sleep(Duration::from_millis(1)); // until there is room
            }
            bench.lines.write_all(b"news\n").expect("never fails");
            let rest = bench.rest();
            let (before, after) = rest.split_once("lost").expect("it says so");
            assert!(before.ends_with(if json { "log lines were " } else { " log lines were " }));
            assert!(after.ends_with("news\n"), "{after}");
            let said = rest.lines().find(|line| line.contains("lost")).expect("a line");
            assert_eq!(said.starts_with('{'), json, "{said}");
            let written = rest.lines().filter(|line| line.starts_with("line ")).count();
            // The first line was seen before.
            let lost = MAX_LINES + 1000 + 1 - (written + 1);
            assert!(said.contains(&lost.to_string()), "{said}, {written} were written");
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_tears_none() {
        let mut bench = bench(false);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            bench.lines.write_all(line.as_bytes()).expect("never fails");
        }
        let full = || Err(io::ErrorKind::StorageFull.into());
        // "one" fits, half of "two" does, then nothing until "four".
        for told in [Ok(usize::MAX), Ok(2), full(), full(), Ok(1)] {
            bench.tell.send(told).expect("it waits");
        }
        let rest = bench.rest();
        assert!(rest.starts_with("one\ntw\n"), "{rest}");
        let tail = &rest["one\ntw\n".len()..];
        assert!(tail.contains("four\n") && !tail.contains("two"), "{rest}");
    }

    #[test]
    fn what_was_lost_is_said_with_the_next_line_that_can_be_written() {
        let mut bench = bench(false);
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        bench.lines.write_all(b"one\n").expect("never fails");
        bench.tell.send(gone()).expect("it waits");
        while bench.lines.shared.lock().lost == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        bench.lines.write_all(b"two\n").expect("never fails");
        let rest = bench.rest();
        assert!(rest.contains("1 log lines were lost") && rest.ends_with("two\n"), "{rest}");
    }
}
