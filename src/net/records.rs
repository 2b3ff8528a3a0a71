//! Limits TLS records and reads beyond what frames need. Each costs a wake-up or a decryption, so a
//! peer that sends one byte at a time costs hundreds of times what its bytes are worth. They are
//! counted where bytes arrive, and a stream that makes too many is read more slowly. Nobody is
//! blamed, because a network may split what an honest peer wrote.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::wire::limits::{PIECE_BURST, PIECE_BYTES, PIECES_PER_FRAME, PIECES_PER_S};

/// Length of a TLS record's header: type, version, length.
const HEADER: usize = 5;
/// Longest pause in reading.
const LONGEST: Duration = Duration::from_secs(1);

/// Counts the whole frames that a link has read from its stream.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameCount(Arc<AtomicU64>);

impl FrameCount {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn taken(&self, before: &mut u64) -> u64 {
        let now = self.0.load(Relaxed);
        now.saturating_sub(std::mem::replace(before, now))
    }
}

/// Follows a stream of TLS records and counts those that begin.
#[derive(Debug, Default)]
struct Records {
    /// Bytes received so far of the next record's header.
    header: [u8; HEADER],
    filled: usize,
    /// Bytes of the current record's body that are still to come.
    rest: usize,
}

impl Records {
    /// Takes bytes of the stream; returns the number of record headers completed by them.
    fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut count = 0;
        while let Some(first) = bytes.first() {
            if self.rest > 0 {
                let now = self.rest.min(bytes.len());
                self.rest -= now;
                bytes = &bytes[now..];
                continue;
            }
            self.header[self.filled] = *first;
            self.filled += 1;
            bytes = &bytes[1..];
            if self.filled == HEADER {
                self.filled = 0;
                self.rest = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                count += 1;
            }
        }
        count
    }
}

/// What a stream has used beyond its rate, as the time after which that is made up for.
#[derive(Debug, Default)]
struct Account {
    records: Records,
    owed: Duration,
    since: Duration,
}

impl Account {
    /// Accounts for one read at `now`, which never goes back, and for the frames since the last
    /// one. Returns how long to pause reading.
    fn read(&mut self, now: Duration, bytes: &[u8], frames: u64) -> Duration {
        let pieces = 1 + self.records.take(bytes);
        let piece = Duration::from_secs(1) / PIECES_PER_S;
        let times = |count: u64| piece.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let worth = times(frames.saturating_mul(PIECES_PER_FRAME))
            .saturating_add(times(bytes.len() as u64) / PIECE_BYTES);
        let passed = now.saturating_sub(std::mem::replace(&mut self.since, now));
        self.owed = self.owed.saturating_sub(passed.saturating_add(worth));
        self.owed = self.owed.saturating_add(times(pieces));
        self.owed.saturating_sub(times(PIECE_BURST)).min(LONGEST)
    }
}

/// A stream below TLS that is read at a bounded pace.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    begun: Instant,
    account: Account,
    frames: FrameCount,
    before: u64,
    rest: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S) -> Self {
        let (account, frames) = (Account::default(), FrameCount::default());
        Self { inner, begun: Instant::now(), account, frames, before: 0, rest: None }
    }

    /// The counter that the link increments for every frame of this stream.
    pub(super) fn frames(&self) -> FrameCount {
        self.frames.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(rest) = &mut this.rest {
            ready!(rest.as_mut().poll(context));
            this.rest = None;
        }
        let from = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[from..];
        let frames = this.frames.taken(&mut this.before);
        let rest = this.account.read(this.begun.elapsed(), bytes, frames);
        if !rest.is_zero() {
            this.rest = Some(Box::pin(sleep(rest)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::wire::limits::MAX_FRAME;

    /// What TLS 1.3 adds to a record: the header, the type, the tag.
    const OVERHEAD: usize = HEADER + 1 + 16;
    /// The largest record.
    const RECORD: usize = 16 << 10;

    /// Splits bytes into records as TLS would, each of at most `most` bytes.
    fn records(mut bytes: usize, most: usize) -> Vec<u8> {
        let mut out = vec![];
        while bytes > 0 {
            let now = bytes.min(most);
            let length = u16::try_from(now + OVERHEAD - HEADER).expect("a record");
            out.extend([23, 3, 3]);
            out.extend(length.to_be_bytes());
            out.extend(vec![7; now + OVERHEAD - HEADER]);
            bytes -= now;
        }
        out
    }

    #[test]
    fn records_are_counted_however_they_are_cut() {
        let stream = [records(1000, 1), records(40_000, RECORD), records(7, 3)].concat();
        for cut in [1, 2, 4, 5, 6, 22, 23, 24, 1448, 4096, stream.len()] {
            let mut seen = Records::default();
            let count: u64 = stream.chunks(cut).map(|piece| seen.take(piece)).sum();
            assert_eq!(count, 1000 + 3 + 3, "{cut}");
        }
    }

    /// The longest pause of a stream that is read in these pieces; `frames` says how many frames
    /// end with each.
    fn rests(pieces: &[&[u8]], gap: Duration, frames: impl Fn(usize) -> u64) -> Duration {
        let mut account = Account::default();
        let read = |(i, piece): (usize, &&[u8])| {
            account.read(gap * u32::try_from(i).expect("few"), piece, frames(i))
        };
        pieces.iter().enumerate().map(read).max().unwrap_or_default()
    }

    #[test]
    fn honest_traffic_never_rests() {
        let none = Duration::ZERO;
        // Short frames, one a record and a read; as an implementation that writes the length by
        // itself does; and short frames in segments of their own.
        let short = [records(76, RECORD), [records(4, RECORD), records(72, RECORD)].concat()];
        for frame in &short {
            let pieces: Vec<&[u8]> = vec![frame; 20_000];
            assert_eq!(rests(&pieces, none, |_| 1), none);
        }
        let (prefix, body) = (records(4, RECORD), records(72, RECORD));
        let pieces: Vec<&[u8]> = [&prefix[..], &body].repeat(10_000);
        assert_eq!(rests(&pieces, none, |i| i as u64 % 2), none);
        // The longest frames, at once, in the segments of Ethernet, and of the narrowest network.
        let long = records(MAX_FRAME + 4, RECORD);
        for segment in [536, 1448, 4096] {
            let pieces: Vec<&[u8]> = long.chunks(segment).collect();
            let last = pieces.len() - 1;
            let many = pieces.repeat(50);
            assert_eq!(rests(&many, none, |i| u64::from(i % (last + 1) == last)), none);
        }
        // Records of a kilobyte, as some make of long frames.
        let records = records(MAX_FRAME + 4, 1 << 10);
        let pieces: Vec<&[u8]> = records.chunks(1448).collect();
        assert_eq!(rests(&pieces.repeat(50), none, |_| 0), none);
    }

    #[test]
    fn a_byte_at_a_time_is_read_at_its_rate() {
        let flood = records(100_000, 1);
        for segment in [1, 23, 1448, 4096] {
            let (mut account, mut now, mut bytes) = (Account::default(), Duration::ZERO, 0);
            for piece in flood.chunks(segment) {
                if now >= Duration::from_secs(10) {
                    break;
                }
                now += account.read(now, piece, 0);
                bytes += piece.len();
            }
            let records = bytes as u64 / 23;
            let most = PIECE_BURST + 12 * u64::from(PIECES_PER_S) + 200;
            assert!(records <= most, "{records} of {segment} bytes a read");
            assert!(records >= 200, "{records}: it is slowed down, not cut off");
        }
    }

    #[tokio::test]
    async fn a_stream_rests_and_goes_on_and_writes_meanwhile() {
        let (mut far, near) = duplex(1 << 20);
        let mut near = Paced::new(near);
        let burst = usize::try_from(PIECE_BURST).expect("small");
        far.write_all(&records(burst * 2, 1)).await.expect("room");
        let mut got = vec![0; 4096];
        let begun = Instant::now();
        let mut bytes = 0;
        while bytes < burst * 23 * 3 / 2 {
            bytes += near.read(&mut got).await.expect("reads");
            near.write_all(&[1]).await.expect("writes");
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1000), "{took:?}");
        let next = timeout(Duration::from_secs(5), near.read(&mut got)).await;
        assert!(next.expect("it goes on").expect("reads") > 0);
    }
}
