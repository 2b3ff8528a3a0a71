//! A delay line: written bytes leave later and in order, as over a slow or distant link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::impairment::Impairment;

/// Bytes in flight above which no more are accepted: a link with a delay of 100 ms can carry 20
/// MB/s.
const FULL: usize = 2 << 20;
/// How far ahead of the rate bytes are accepted. The others wait in the outbox, which drops the
/// least important.
const AHEAD: Duration = Duration::from_millis(50);
/// Pieces per second into which bytes are cut under a rate limit, and the largest piece in bytes.
const PIECES_PER_S: u64 = 20;
const LARGEST: usize = 64 << 10;
/// Upper bound of each delay computed here, so that sums of times cannot overflow.
const LONGEST: Duration = Duration::from_secs(3600);

/// The bytes in flight on one link.
pub(super) struct DelayLine {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the last accepted piece leaves the sender under the rate limit.
    free_at: Option<Instant>,
    rng: ChaCha8Rng,
}

impl DelayLine {
    /// Creates an empty delay line; the seed is for jitter.
    pub(super) fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { pieces: VecDeque::new(), bytes: 0, free_at: None, rng }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether more bytes are accepted at `now`.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.bytes < FULL && self.free_at.is_none_or(|free| free <= now + AHEAD)
    }

    /// Accepts bytes written at `now`.
    pub(super) fn push(&mut self, bytes: &[u8], impairment: &Impairment, now: Instant) {
        let jitter = u64::try_from(impairment.jitter.min(LONGEST).as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.rng.random_range(0..=jitter));
        let later = impairment.delay.min(LONGEST) + jitter;
        let rate = impairment.bytes_per_s.map(|rate| rate.max(1));
        let size = rate.map_or(bytes.len(), |rate| {
            usize::try_from(rate / PIECES_PER_S).unwrap_or(usize::MAX).clamp(1, LARGEST)
        });
        for piece in bytes.chunks(size.max(1)) {
            let mut leaves = now;
            if let Some(rate) = rate {
                let nanos = (piece.len() as u64).saturating_mul(1_000_000_000) / rate;
                let begins = self.free_at.map_or(now, |free| free.max(now));
                leaves = begins + Duration::from_nanos(nanos).min(LONGEST);
                self.free_at = Some(leaves);
            }
            // Jitter and changes of the delay must not reorder pieces.
            let last = self.pieces.back().map(|(arrives, _)| *arrives);
            let arrives = last.map_or(leaves + later, |last| last.max(leaves + later));
            self.bytes += piece.len();
            self.pieces.push_back((arrives, piece.to_vec()));
        }
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.pieces.front().filter(|(arrives, _)| *arrives <= now)?;
        let (_, piece) = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// When the next piece is due or there is room again.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let piece = self.pieces.front().map(|(arrives, _)| *arrives);
        let room = self.free_at.filter(|free| *free > now + AHEAD);
        let room = room.and_then(|free| free.checked_sub(AHEAD));
        [piece, room].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drain(line: &mut DelayLine, begun: Instant) -> Vec<(Duration, usize)> {
        let mut seen = vec![];
        while let Some(at) = line.pieces.front().map(|(at, _)| *at) {
            assert_eq!(line.take_due(at - MS / 1000).map(|piece| piece.len()), None);
            let piece = line.take_due(at).expect("due");
            seen.push((at - begun, piece.len()));
        }
        assert_eq!(line.bytes, 0);
        seen
    }

    #[test]
    fn delay_is_added_and_order_kept() {
        let (mut line, now) = (DelayLine::new(1), Instant::now());
        let late = |ms| Impairment { delay: MS * ms, ..Impairment::default() };
        line.push(&[1; 10], &late(80), now);
        line.push(&[2; 20], &late(30), now + MS);
        line.push(&[3; 30], &late(80), now + MS * 2);
        assert_eq!(line.wake_at(now), Some(now + MS * 80));
        assert_eq!(drain(&mut line, now), [(MS * 80, 10), (MS * 80, 20), (MS * 82, 30)]);
    }

    #[test]
    fn jitter_spreads_and_keeps_order() {
        let (mut line, now) = (DelayLine::new(1), Instant::now());
        let jitter = Impairment { delay: MS * 10, jitter: MS * 20, ..Impairment::default() };
        for number in 0..100 {
            line.push(&[0], &jitter, now + MS * 100 * number);
        }
        let seen = drain(&mut line, now);
        let late: Vec<Duration> =
            seen.iter().zip(0..).map(|((at, _), number)| *at - MS * 100 * number).collect();
        assert!(late.iter().all(|late| (MS * 10..=MS * 30).contains(late)), "{late:?}");
        assert!(late.iter().any(|late| *late < MS * 15) && late.iter().any(|l| *l > MS * 25));
        let mut line = DelayLine::new(1);
        for number in 0..100 {
            line.push(&[0], &jitter, now + MS * number);
        }
        assert!(drain(&mut line, now).is_sorted());
    }

    #[test]
    fn a_rate_spreads_bytes_over_time_and_holds_back_what_it_cannot_take() {
        let (mut line, now) = (DelayLine::new(1), Instant::now());
        let slow = Impairment { bytes_per_s: Some(10_000), ..Impairment::default() };
        line.push(&[0; 5000], &slow, now);
        assert!(!line.has_room(now) && !line.has_room(now + MS * 449));
        assert!(line.has_room(now + MS * 450));
        line.push(&[0; 1000], &slow, now + MS * 450);
        let seen = drain(&mut line, now);
        assert_eq!(seen.last(), Some(&(MS * 600, 500)));
        assert_eq!(seen.len(), 12);
        assert!(line.has_room(now + MS * 600));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let (mut line, now) = (DelayLine::new(1), Instant::now());
        let far = Impairment { delay: LONGEST * 9, ..Impairment::default() };
        while line.has_room(now) {
            line.push(&[0; 64 << 10], &far, now);
        }
        assert!(line.bytes <= FULL + (64 << 10));
        assert_eq!(line.wake_at(now), Some(now + LONGEST));
    }
}
