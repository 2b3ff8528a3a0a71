//! One link: a task that reads frames into the inbox and writes what the outbox holds, until either
//! ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::inbox::{Inbox, Item};
use super::mailbox::Mailbox;
use super::outbox::{Chunk, Next, Outbox};
use super::traffic::{Direction, Meter};
use crate::protocol::{Down, LinkId};
use crate::wire::limits::MAX_FRAME;

/// Version and kind: no frame is shorter.
const MIN_FRAME: usize = 2;
/// A body is read, and memory for it taken, in steps of this many bytes.
const STEP: usize = 64 << 10;
/// What is still read and thrown away on a link that we close, so that the peer gets our last words
/// and not a reset.
const DISCARDED: usize = 256 << 10;

/// How long a link waits. The values are the ones below but in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For each step of a frame that has begun. A link may be silent between frames as long as the node
    /// lets it.
    pub step: Duration,
    /// For each step of writing.
    pub write: Duration,
    /// For what is left to write when the link is closed.
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

/// What the driver and a link's task share.
pub(super) struct Link {
    pub id: LinkId,
    pub inbox: Inbox,
    pub outbox: Outbox,
    /// Whether to say when everything is written; a malicious node's links only.
    reports_drained: bool,
    closing: watch::Sender<bool>,
    mail: Arc<Mailbox>,
    meter: Arc<Meter>,
}

/// Puts the end into the inbox, exactly once, however the task ends.
struct End {
    link: Arc<Link>,
    cause: Down,
}

impl Drop for End {
    fn drop(&mut self) {
        self.link.deliver(Item::End(self.cause));
    }
}

impl Link {
    pub fn new(
        id: LinkId,
        reports_drained: bool,
        mail: Arc<Mailbox>,
        meter: Arc<Meter>,
    ) -> Arc<Self> {
        let (inbox, outbox) = (Inbox::default(), Outbox::default());
        let closing = watch::Sender::new(false);
        Arc::new(Self { id, inbox, outbox, reports_drained, closing, mail, meter })
    }

    /// Writes what is queued, in bounded time, and ends. Nothing that comes is handed on any more.
    pub fn close(&self) {
        self.outbox.close();
        self.inbox.discard();
        self.closing.send_replace(true);
    }

    /// Queues something to write, and counts what had to be dropped for it.
    pub fn send(&self, chunk: Chunk) {
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
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    fn deliver(&self, item: Item) {
        if self.inbox.push(item) {
            self.mail.ready(self.id);
        }
    }

    /// Runs the link until it ends; its end is the last item of its inbox.
    pub async fn run<S>(self: Arc<Self>, stream: S, deadlines: Deadlines)
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
            sleep(deadlines.close).await;
        };
        tokio::select! {
            () = both => {}
            () = overdue => {}
        }
        if self.is_closing() {
            end.cause = Down::Closed;
        }
    }

    /// Reads until the stream ends or breaks; or, when the link is closed, until there is nothing more
    /// worth waiting for.
    async fn read(&self, mut reader: impl AsyncRead + Unpin, deadlines: &Deadlines) {
        loop {
            match self.read_frame(&mut reader, deadlines.step).await {
                Ok(Some(Item::Oversize(length))) => {
                    self.deliver(Item::Oversize(length));
                    self.closed().await;
                    break;
                }
                Ok(Some(item)) => self.deliver(item),
                Ok(None) => break,
                Err(_) => return,
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

    /// The next frame; `None` when nobody wants it any more.
    async fn read_frame(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        step: Duration,
    ) -> io::Result<Option<Item>> {
        if !self.inbox.room(0).await {
            return Ok(None);
        }
        let mut prefix = [0; 4];
        tokio::select! {
            read = reader.read_exact(&mut prefix[..1]) => read?,
            () = self.closed() => return Ok(None),
        };
        timeout(step, reader.read_exact(&mut prefix[1..])).await??;
        let announced = u32::from_be_bytes(prefix);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
            self.meter.bytes(Direction::Received, prefix.len());
            return Ok(Some(Item::Oversize(announced)));
        }
        if !self.inbox.room(length).await {
            return Ok(None);
        }
        // Memory follows what has come, not what was announced.
        let mut body = Vec::new();
        while body.len() < length {
            let from = body.len();
            body.resize(length.min(from + STEP), 0);
            timeout(step, reader.read_exact(&mut body[from..])).await??;
        }
        self.meter.frame(Direction::Received, &body);
        Ok(Some(Item::Frame(body.into())))
    }

    /// Writes until the link is closed and all is written, or writing fails or takes too long.
    async fn write(&self, mut writer: impl AsyncWrite + Unpin, deadlines: &Deadlines) {
        let mut buffer = Vec::new();
        loop {
            match self.outbox.next() {
                Next::Write(chunks) => {
                    if self.put(&mut writer, &chunks, &mut buffer, deadlines.write).await.is_err() {
                        return;
                    }
                    if self.reports_drained && self.outbox.is_empty() {
                        self.mail.drained(self.id);
                    }
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

    async fn put(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        chunks: &[Chunk],
        buffer: &mut Vec<u8>,
        deadline: Duration,
    ) -> io::Result<()> {
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
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let pace = self.outbox.pace();
            // Twenty pieces a second when paced.
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
