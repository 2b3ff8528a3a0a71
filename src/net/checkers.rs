//! Signature checks on dedicated threads: the reactor never verifies.
//!
//! The queue itself is unbounded, because a check that is never answered would hold the node's
//! memory forever. Instead, the driver takes no frames while [`Checkers::len`] is
//! [`WAITING_CHECKS`](crate::wire::limits::WAITING_CHECKS) or above.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};

use super::queue::{Queue, lock};
use super::traffic::Meter;
use crate::crypto::{PublicKey, Signature, check};
use crate::diagnostics::Pulse;
use crate::protocol::{Input, Token};
use crate::wire::SignedSlot;

/// Most threads; with more, the driver is the bottleneck.
const THREADS: usize = 4;
/// Most checks that a thread takes and answers at once.
const BATCH: usize = 16;

pub(super) struct Job {
    pub token: Token,
    pub key: PublicKey,
    pub statement: Box<[u8; SignedSlot::STATEMENT]>,
    pub signature: Signature,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    stop: bool,
}

struct Shared {
    pulses: Vec<Pulse>,
    queue: Mutex<Waiting>,
    work: Condvar,
    threads: usize,
    mail: Arc<Queue>,
    meter: Arc<Meter>,
}

/// The thread pool. Dropping it ends and joins the threads; checks that still wait are not
/// answered.
pub(super) struct Checkers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Checkers {
    /// # Errors
    /// When the operating system does not start a thread.
    pub(super) fn new(mail: Arc<Queue>, meter: Arc<Meter>) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let (queue, work) = (Mutex::default(), Condvar::new());
        let pulses = std::iter::repeat_with(Pulse::default).take(threads).collect();
        let shared = Arc::new(Shared { pulses, queue, work, threads, mail, meter });
        let mut pool = Self { shared, threads: vec![] };
        for number in 0..threads {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new()
                .name(format!("check-{number}"))
                .stack_size(256 << 10)
                .spawn(move || shared.run(number))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues a check; the answer arrives on the driver's queue.
    pub(super) fn ask(&self, job: Job) {
        let waiting = {
            let mut queue = lock(&self.shared.queue);
            queue.jobs.push_back(job);
            queue.jobs.len()
        };
        self.shared.meter.verify_queue.store(waiting as u64, Relaxed);
        self.shared.work.notify_one();
    }

    pub(super) fn pulses(&self) -> Vec<Pulse> {
        self.shared.pulses.clone()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.shared.queue).jobs.len()
    }
}

impl Drop for Checkers {
    fn drop(&mut self) {
        lock(&self.shared.queue).stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, number: usize) {
        let beat = self.pulses[number].beat();
        while let Some(jobs) = self.next() {
            beat.begins();
            let mut answers = Vec::with_capacity(jobs.len());
            for job in jobs {
                let begun = Instant::now();
                let verdict = check(&job.key, job.statement.as_slice(), &job.signature);
                self.meter.verified(begun.elapsed());
                answers.push(Input::Checked { token: job.token, verdict });
            }
            self.mail.answers(&mut answers);
            beat.ends();
        }
    }

    /// Waits for checks and takes an even share of them, at most [`BATCH`]; `None` when the pool
    /// stops.
    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stop {
                return None;
            }
            if !queue.jobs.is_empty() {
                let share = queue.jobs.len().div_ceil(self.threads).min(BATCH);
                let jobs = queue.jobs.drain(..share).collect();
                self.meter.verify_queue.store(queue.jobs.len() as u64, Relaxed);
                return Some(jobs);
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::protocol::testing::identity;

    #[test]
    fn every_question_is_answered_once_and_the_threads_end() {
        let (mail, meter) = (Arc::new(Queue::default()), Arc::new(Meter::default()));
        let pool = Checkers::new(mail.clone(), meter.clone()).expect("threads");
        let good = identity(1);
        let statement = Box::new([7; SignedSlot::STATEMENT]);
        let signature = good.sign(statement.as_slice());
        for number in 0..200 {
            let key = identity(if number % 2 == 0 { 1 } else { 2 }).public();
            pool.ask(Job { token: Token(number), key, statement: statement.clone(), signature });
        }
        let mut answers = BTreeMap::new();
        let begun = Instant::now();
        while answers.len() < 200 && begun.elapsed() < Duration::from_secs(20) {
            for answer in mail.take().answers {
                let Input::Checked { token, verdict } = answer else { panic!("{answer:?}") };
                assert!(answers.insert(token.0, verdict.is_good()).is_none());
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(answers.len(), 200);
        assert!(answers.iter().all(|(token, good)| *good == (token % 2 == 0)));
        assert_eq!((meter.read().verify.count, pool.len()), (200, 0));
        let pulses = pool.pulses();
        assert!(pulses.iter().all(|pulse| !pulse.is_gone()));
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        assert!(shared.upgrade().is_none());
        assert!(pulses.iter().all(Pulse::is_gone), "whoever asks for them is told");
    }
}
