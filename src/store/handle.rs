//! The handle of a node's store, which owns its two threads.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::log::{Overflow, RejectionLog};
use super::quarantine::Damage;
use super::queue::{Answer, Command, Shared};
use super::writer::Writer;
use super::{Health, Reader, StoreError, open};
use crate::crypto::PublicKey;
use crate::diagnostics::Folds;
use crate::protocol::{Durability, Input, Network, Record, Restored, Shares, Token};
use crate::wire::BatchId;

/// Lines of the rejection log that may wait; further ones are only counted.
const MAX_LINES: usize = 4096;

/// How much a store keeps before the oldest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of batches of all authors together. The node's own author gets an even share, at least
    /// an eighth; the others divide the rest evenly.
    pub max_bytes: u64,
    /// Most rows of the rejection log, at least 1.
    pub max_rejections: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_bytes: 4 << 30, max_rejections: 100_000 }
    }
}

struct Question {
    token: Token,
    author: PublicKey,
    seq: u64,
    id: Option<BatchId>,
}

/// The store of a running node. While it exists no other process can open the folder. Dropping it
/// writes all accepted records, as [`Store::close`] does, but does not count as a clean end.
pub struct Store {
    commands: Option<Arc<Sender<Command>>>,
    questions: Option<Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    commits: watch::Receiver<u64>,
    reader: Reader,
    health: Health,
    // Last field: the lock is released once everything else has ended.
    _lock: File,
}

impl Store {
    /// Locks the folder, opens its database (creating it if there is none) and reads the state that
    /// a node starts from. `answer` receives the answers to all requests.
    ///
    /// # Errors
    /// See [`StoreError`]; a database that is refused is left unchanged.
    pub fn open(
        dir: &Path,
        network: &Network,
        own: PublicKey,
        options: Options,
        answer: Answer,
    ) -> Result<(Self, Restored), StoreError> {
        let shares = Shares::new(options.max_bytes, network.keys().len(), own);
        let open::Opened { db, lock, path, restored, authors, damaged } =
            open::open(dir, network, shares)?;
        let fail = |error| StoreError::sqlite(&path, error);
        let log = RejectionLog::load(&db, network, options.max_rejections).map_err(fail)?;
        let (commands, queue) = channel();
        let commands = Arc::new(commands);
        let quarantined = Arc::default();
        let doubts = Arc::downgrade(&commands);
        let health = Health::of(&path).map_err(|error| StoreError::io(&path, error))?;
        let reader = Reader::open(&path, doubts, Some(health.clone()), Arc::clone(&quarantined))?;
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            queued: AtomicUsize::new(0),
            logged: AtomicUsize::new(0),
            #[cfg(test)]
            turns: AtomicUsize::new(0),
        });
        let (commits, seen) = watch::channel(0);
        let (questions, asked) = channel();
        let mut store = Self {
            commands: Some(commands),
            questions: Some(questions),
            threads: vec![],
            shared: Arc::clone(&shared),
            commits: seen,
            reader: reader.clone(),
            health: health.clone(),
            _lock: lock,
        };
        let writer = Writer {
            db,
            path: path.clone(),
            queue,
            shared: Arc::clone(&shared),
            commits,
            authors,
            log,
            network: network.id(),
            suspects: BTreeSet::new(),
            quarantined,
            full: true,
            unmerged: 0,
            stalled: false,
            health: health.clone(),
            failures: Folds::default(),
        };
        store.spawn("store-writer", &path, move || writer.run())?;
        let answers = Arc::clone(&shared);
        store.spawn("store-reader", &path, move || {
            answer_reads(&asked, &reader, &answers, &health);
        })?;
        if !damaged.is_empty() {
            let (path, count) = (path.display(), damaged.len());
            tracing::error!(
                %path, count,
                "damaged rows were moved to the table quarantine and will be fetched again; check \
                 the disk"
            );
        }
        damaged.iter().filter_map(Damage::input).for_each(|input| shared.tell(input));
        Ok((store, restored))
    }

    fn spawn(
        &mut self,
        name: &str,
        path: &Path,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let builder = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(builder.spawn(work).map_err(|error| StoreError::io(path, error))?);
        Ok(())
    }

    /// Writes a record; answered by `Written` once it is as durable as asked for, or by
    /// `WriteFailed`. Never blocks; the caller bounds what waits, see [`Store::queue_len`]. Records
    /// are committed in the order given, except for lines of the rejection log, which wait for the
    /// rest.
    pub fn write(&self, token: Token, record: Record, durability: Durability) {
        let command = match record {
            Record::Rejection(rejection) => {
                if self.shared.logged.load(Ordering::Relaxed) < MAX_LINES {
                    self.shared.logged.fetch_add(1, Ordering::Relaxed);
                    Command::Log { token, rejection }
                } else {
                    let (at, reason) = (rejection.at, rejection.reason);
                    let (link, count) = (rejection.link, rejection.count);
                    let counts_as = rejection.counts_as;
                    let line = Overflow { at, reason, link, counts_as, count };
                    Command::Overflow { token, line }
                }
            }
            record => Command::Write { token, record, durability },
        };
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        let sent = self.commands.as_ref().is_some_and(|queue| queue.send(command).is_ok());
        if !sent {
            self.shared.answer(Input::WriteFailed { token });
        }
    }

    /// Reads a batch: the one with this id, or else the slot's first; answered by `Read`. It finds
    /// every batch whose write was answered with `Written` before.
    pub fn read(&self, token: Token, author: PublicKey, seq: u64, id: Option<BatchId>) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        let question = Question { token, author, seq, id };
        let sent = self.questions.as_ref().is_some_and(|queue| queue.send(question).is_ok());
        if !sent {
            self.shared.answer(Input::Read { token, batch: None });
        }
    }

    /// Stores how far the wall clock is ahead of the node's clock, in microseconds. Times in the
    /// store are by the node's clock, while those who read the folder later have the wall clock.
    /// See [`Reader::node_time`].
    pub fn clock_stepped(&self, ahead: i64) {
        if let Some(queue) = &self.commands {
            let _ = queue.send(Command::ClockStepped(ahead)); // no effect if the writer has ended
        }
    }

    /// A counter that grows with every commit that readers of messages, gaps or rejections may see.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// A reader of the same database.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The health of the store's threads and files.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Number of records and reads that are not answered yet.
    pub fn queue_len(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Writes all accepted records, syncs, and marks the end as clean. Blocks until that is done.
    pub fn close(mut self) {
        self.stop_reading();
        if let Some(queue) = &self.commands {
            // If the writer has ended there is nothing to close.
            let _ = queue.send(Command::Close);
        }
    }

    /// Number of turns of the writer's loop so far.
    #[cfg(test)]
    pub(super) fn turns(&self) -> usize {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Limits the database to this many pages, to simulate a full disk.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        let queue = self.commands.as_ref().expect("open");
        queue.send(Command::MaxPages(pages)).expect("open");
    }
}

impl Store {
    /// Ends the reading thread and closes idle connections. The writer's connection is then the
    /// last to close, so SQLite merges and removes the files beside the database.
    fn stop_reading(&mut self) {
        self.questions = None;
        join(self.threads.drain(1..)); // the writer's thread is the first
        self.reader.rest();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.threads.len() > 1 {
            self.stop_reading();
        }
        self.commands = None;
        join(self.threads.drain(..));
    }
}

fn join(threads: impl Iterator<Item = JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the store has panicked");
        }
    }
}

fn answer_reads(questions: &Receiver<Question>, reader: &Reader, shared: &Shared, health: &Health) {
    let beat = health.reader().beat();
    while let Ok(Question { token, author, seq, id }) = questions.recv() {
        beat.begins();
        let batch = reader.batch(author, seq, id);
        beat.ends();
        let batch = batch.unwrap_or_default();
        shared.answer(Input::Read { token, batch: batch.map(Box::new) });
    }
}
