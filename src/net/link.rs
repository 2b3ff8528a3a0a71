//! One link: a task that reads frames into the inbox and writes what the outbox holds, until one of
//! the two directions ends.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::delay_line::DelayLine;
use super::impairment::Conditions;
use super::inbox::{Inbox, Incoming};
use super::outbox::{Chunk, Next, Outbox};
use super::queue::Queue;
use super::records::FrameCount;
use super::traffic::{Direction, Meter};
use crate::protocol::{Down, LinkId};
use crate::wire::limits::{MAX_FRAME, MIN_FRAME};

/// Bytes by which a body is read and its buffer grows.
const STEP: usize = 64 << 10;
/// Most bytes still read and discarded on a link that we close, so that the peer gets our last
/// frames instead of a reset.
const DISCARDED: usize = 256 << 10;

/// Time limits of a link. Only tests use other values than the default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For each step of reading a frame that has begun. Between frames a link may be silent for as
    /// long as the state machine allows.
    pub step: Duration,
    /// For each write and flush.
    pub write: Duration,
    /// For writing the rest of the outbox once the link is closed.
    pub close: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(20),
            write: Duration::from_secs(10),
            close: Duration::from_secs(1),
        }
    }
}

/// State shared by the driver and the link's task.
pub(super) struct Link {
    pub id: LinkId,
    pub inbox: Inbox,
    pub outbox: Outbox,
    conditions: Conditions,
    /// Whether to report when the outbox has drained; only on a malicious node.
    reports_drained: bool,
    closing: watch::Sender<bool>,
    mail: Arc<Queue>,
    meter: Arc<Meter>,
    frames: FrameCount,
}

/// Puts [`Incoming::End`] into the inbox on drop: exactly once, however the task ends.
struct End {
    link: Arc<Link>,
    cause: Down,
}

impl Drop for End {
    fn drop(&mut self) {
        self.link.deliver(Incoming::End(self.cause));
    }
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        conditions: Conditions,
        reports_drained: bool,
        (mail, meter, frames): (Arc<Queue>, Arc<Meter>, FrameCount),
    ) -> Arc<Self> {
        let (inbox, outbox) = (Inbox::default(), Outbox::default());
        let closing = watch::Sender::new(false);
        Arc::new(Self {
            id,
            inbox,
            outbox,
            conditions,
            reports_drained,
            closing,
            mail,
            meter,
            frames,
        })
    }

    /// Closes the link: it writes what is queued, in bounded time, and ends. Nothing received from
    /// now on is handed to the driver.
    pub(super) fn close(&self) {
        self.outbox.close();
        self.inbox.discard();
        self.closing.send_replace(true);
    }

    /// Queues a chunk to write, and counts the chunks that had to be dropped for it.
    pub(super) fn send(&self, chunk: Chunk) {
        for dropped in self.outbox.push(chunk) {
            self.meter.dropped(match dropped {
                Chunk::Frame(class, _) => Some(class),
                Chunk::Raw(_) => None,
            });
        }
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    async fn closed(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    fn deliver(&self, item: Incoming) {
        if self.inbox.push(item) {
            self.mail.ready(self.id);
        }
    }

    /// Runs the link until it ends; [`Incoming::End`] is then the last item of its inbox.
    pub(super) async fn run<S>(self: Arc<Self>, stream: S, deadlines: Deadlines)
    where
        S: AsyncRead + AsyncWrite,
    {
        let mut end = End { link: self.clone(), cause: Down::Lost };
        let (reader, writer) = split(stream);
        let mut reading = std::pin::pin!(self.read(reader, &deadlines));
        let mut writing = std::pin::pin!(self.write(writer, &deadlines));
        let both = async {
            tokio::select! {
                () = &mut reading => if self.is_closing() { writing.await },
                () = &mut writing => if self.is_closing() { reading.await },
            }
        };
        let overdue = async {
            self.closed().await;
            let impairment = self.conditions.clone().now();
            sleep(deadlines.close + impairment.delay + impairment.jitter).await;
        };
        tokio::select! {
            () = both => {}
            () = overdue => {}
        }
        if self.is_closing() {
            end.cause = Down::Closed;
        }
    }

    /// Reads until the stream ends or breaks. Once the link is closed, reads and discards at most
    /// [`DISCARDED`] bytes more.
    async fn read(&self, mut reader: impl AsyncRead + Unpin, deadlines: &Deadlines) {
        let mut conditions = self.conditions.clone();
        loop {
            let read = self.read_frame(&mut reader, deadlines.step, &mut conditions).await;
            match read {
                Ok(Some(Incoming::Oversize(length))) => {
                    self.deliver(Incoming::Oversize(length));
                    self.closed().await;
                    break;
                }
                Ok(Some(item)) => self.deliver(item),
                Ok(None) => break,
                // A cut holds back the end of the stream, too.
                Err(_) => return self.passage(&mut conditions).await,
            }
        }
        let mut discarded = 0;
        let mut waste = vec![0; 4096];
        while discarded < DISCARDED {
            match reader.read(&mut waste).await {
                Ok(count) if count > 0 => discarded += count,
                _ => return,
            }
        }
    }

    /// Reads the next frame; `None` once the link is closed and frames are no longer wanted.
    async fn read_frame(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        step: Duration,
        conditions: &mut Conditions,
    ) -> io::Result<Option<Incoming>> {
        if !self.inbox.room(0).await {
            return Ok(None);
        }
        let mut prefix = [0; 4];
        tokio::select! {
            read = reader.read_exact(&mut prefix[..1]) => read?,
            () = self.closed() => return Ok(None),
        };
        self.passage(conditions).await;
        timeout(step, reader.read_exact(&mut prefix[1..])).await??;
        let announced = u32::from_be_bytes(prefix);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
            self.meter.bytes(Direction::Received, prefix.len());
            return Ok(Some(Incoming::Oversize(announced)));
        }
        if !self.inbox.room(length).await {
            return Ok(None);
        }
        // The buffer grows with the bytes received, not with the length announced.
        let mut body = Vec::new();
        while body.len() < length {
            let from = body.len();
            body.resize(length.min(from + STEP), 0);
            timeout(step, reader.read_exact(&mut body[from..])).await??;
        }
        self.passage(conditions).await;
        self.meter.frame(Direction::Received, &body);
        self.frames.count();
        Ok(Some(Incoming::Frame(body.into())))
    }

    /// Waits until no cut is in force or the link is closed.
    async fn passage(&self, conditions: &mut Conditions) {
        if conditions.now().cut {
            tokio::select! {
                () = conditions.mended() => {}
                () = self.closed() => {}
            }
        }
    }

    /// Writes until the link is closed and everything is written, or until writing fails or takes
    /// too long.
    async fn write(&self, mut writer: impl AsyncWrite + Unpin, deadlines: &Deadlines) {
        let mut buffer = Vec::new();
        let (mut conditions, mut line) = (self.conditions.clone(), DelayLine::new(self.id.0));
        loop {
            if !(conditions.now().is_none() && line.is_empty()) {
                let wrote = self.write_late(&mut writer, &mut line, &mut conditions, deadlines);
                match wrote.await {
                    Ok(true) => continue,
                    Ok(false) | Err(_) => return,
                }
            }
            match self.outbox.next() {
                Next::Write(chunks) => {
                    self.encode(&chunks, &mut buffer);
                    if self.put(&mut writer, &buffer, &mut conditions, deadlines).await.is_err() {
                        return;
                    }
                    self.tell_if_drained();
                }
                Next::Wait => {
                    buffer = Vec::new(); // an idle link keeps no buffer
                    self.outbox.work().await;
                }
                Next::End => {
                    let _ = timeout(deadlines.write, writer.shutdown()).await;
                    return;
                }
            }
        }
    }

    /// One step of writing through the delay line; returns whether to continue.
    async fn write_late(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        line: &mut DelayLine,
        conditions: &mut Conditions,
        deadlines: &Deadlines,
    ) -> io::Result<bool> {
        let (mut impairment, now, mut idle) = (conditions.now(), Instant::now(), false);
        if !impairment.cut {
            if let Some(pace) = self.outbox.pace() {
                impairment.bytes_per_s = Some(impairment.bytes_per_s.map_or(pace, |r| r.min(pace)));
            }
            let mut wrote = false;
            while let Some(piece) = line.take_due(Instant::now()) {
                timeout(deadlines.write, writer.write_all(&piece)).await??;
                wrote = true;
            }
            if wrote {
                timeout(deadlines.write, writer.flush()).await??;
                return Ok(true);
            }
            if line.has_room(now) {
                match self.outbox.next() {
                    Next::Write(chunks) => {
                        let mut buffer = Vec::new();
                        self.encode(&chunks, &mut buffer);
                        line.push(&buffer, &impairment, now);
                        self.tell_if_drained();
                        return Ok(true);
                    }
                    Next::End if line.is_empty() => {
                        timeout(deadlines.write, writer.shutdown()).await??;
                        return Ok(false);
                    }
                    Next::End => {}
                    Next::Wait => idle = true,
                }
            }
        }
        let wake = line.wake_at(now).filter(|_| !impairment.cut);
        tokio::select! {
            () = self.outbox.work(), if idle => {}
            () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {}
            () = conditions.changed() => {}
        }
        Ok(true)
    }

    fn tell_if_drained(&self) {
        if self.reports_drained && self.outbox.is_empty() {
            self.mail.drained(self.id);
        }
    }

    /// Encodes chunks into `buffer`, and counts them as sent.
    fn encode(&self, chunks: &[Chunk], buffer: &mut Vec<u8>) {
        buffer.clear();
        for chunk in chunks {
            match chunk {
                Chunk::Frame(_, frame) => {
                    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                    buffer.extend_from_slice(&length.to_be_bytes());
                    buffer.extend_from_slice(frame);
                    self.meter.frame(Direction::Sent, frame);
                }
                Chunk::Raw(bytes) => {
                    buffer.extend_from_slice(bytes);
                    self.meter.raw(bytes.len());
                }
            }
        }
    }

    async fn put(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        mut rest: &[u8],
        conditions: &mut Conditions,
        deadlines: &Deadlines,
    ) -> io::Result<()> {
        let deadline = deadlines.write;
        while !rest.is_empty() {
            conditions.mended().await;
            let pace = self.outbox.pace();
            // Under a pace, 20 writes a second.
            let piece = pace.map_or(STEP, |pace| {
                usize::try_from(pace / 20).unwrap_or(usize::MAX).clamp(1, STEP)
            });
            let (now, later) = rest.split_at(piece.min(rest.len()));
            timeout(deadline, writer.write_all(now)).await??;
            if pace.is_some() {
                timeout(deadline, writer.flush()).await??;
            }
            if let Some(pace) = pace {
                let seconds = now.len() as f64 / pace.max(1) as f64;
                sleep(Duration::from_secs_f64(seconds.min(60.0))).await;
            }
            rest = later;
        }
        timeout(deadline, writer.flush()).await?
    }
}

#[cfg(test)]
mod tests;
