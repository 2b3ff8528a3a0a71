//! Disks at work: writes, reads, and rows that cannot be written or have rotted.

use std::time::Duration;

use super::disk::verify;
use super::event::Event;
use super::world::World;
use crate::crypto::PublicKey;
use crate::protocol::{Durability, Input, Output, Record, Token};
use crate::wire::BatchId;

/// Interval between retries of writes to a full disk, as in the driver.
const AGAIN: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn write(
        &mut self,
        node: usize,
        token: Token,
        record: Record,
        durability: Durability,
    ) {
        let (now, host) = (self.now, &mut self.hosts[node]);
        match &record {
            Record::Rejection(row) => host.log.push((**row).clone()),
            Record::Ban(ban) => host.bans.push(*ban),
            Record::Batch(stored) if stored.from.is_none() => {
                let header = &stored.batch.header;
                let (statement, signature) = (header.statement(), stored.batch.signature);
                self.signatures.signed(header.author, statement, signature);
                self.recorder.signed(node, stored, &mut host.posted);
            }
            Record::Batch(_) | Record::Holes { .. } => {}
        }
        if host.disk.full {
            return self.refuse_write(node, token, record, durability);
        }
        match durability {
            Durability::Synced => {
                host.disk.synced(now, token, record);
                let synced = Event::Synced { node: node as u32, start: host.start, token };
                self.queue.put(now.after(self.sync_takes), node as u32, synced);
            }
            // The node does not wait for a lazy write, so no event is needed.
            Durability::Lazy => {
                host.disk.lazy(now, record);
                self.tell_of_disk(node);
            }
        }
    }

    /// The disk is full. The node is told about a record that it waits for. A neighbour's batch,
    /// which is in its lane already, and holes are retried until there is room, as in the driver.
    fn refuse_write(&mut self, node: usize, token: Token, record: Record, durability: Durability) {
        self.recorder.count("failed_writes", 1);
        match (&record, durability) {
            (Record::Rejection(_), _) => {}
            (Record::Batch(_) | Record::Holes { .. }, Durability::Lazy) => {
                if self.hosts[node].disk.failed(record) {
                    self.put_again(node);
                }
            }
            _ => {
                if self.hosts[node].honest {
                    self.oracle.unwritten(node, &record);
                }
                self.schedule(node, self.sync_takes, Input::WriteFailed { token });
            }
        }
    }

    fn put_again(&mut self, node: usize) {
        let again = Event::Again { node: node as u32, start: self.hosts[node].start };
        self.queue.put(self.now.after(AGAIN), node as u32, again);
    }

    /// Retries the writes that found no room.
    pub(super) fn again(&mut self, node: usize, start: u32) {
        let (now, host) = (self.now, &mut self.hosts[node]);
        if host.start == start {
            if host.disk.again(now) {
                self.put_again(node);
            }
            self.tell_of_disk(node);
        }
    }

    /// Tells a node which payloads its store has pruned.
    pub(super) fn tell_of_disk(&mut self, node: usize) {
        for input in self.hosts[node].disk.take_told() {
            self.recorder.count("prunings", 1);
            self.schedule(node, Duration::ZERO, input);
        }
    }

    /// A node reads a batch. The row is verified like a batch from a link, and set aside if it is
    /// not what was written.
    pub(super) fn read(
        &mut self,
        node: usize,
        token: Token,
        (author, seq, id): (PublicKey, u64, Option<BatchId>),
    ) {
        self.count_read(node);
        let host = &mut self.hosts[node];
        let found = host.disk.read(author, seq, id).cloned();
        let bytes = found.as_ref().map_or(0, |stored| stored.batch.body.len());
        let after = host.disk.read_done(self.now, bytes).since(self.now);
        let checks = &mut self.signatures;
        let mut good = |stored: &crate::protocol::StoredBatch| {
            verify(stored, |stored| {
                let (header, signature) = (&stored.batch.header, stored.batch.signature);
                checks.check(&header.author, &header.statement(), &signature).is_good()
            })
        };
        let (batch, bad) = match found {
            Some(stored) if good(&stored) => {
                #[cfg(test)]
                let stored = self.defects.read(stored);
                (Some(Box::new(stored)), None)
            }
            None if !self.hosts[node].disk.knows(author, seq) => {
                // The node takes the slot for held, but it has no row: reported like a bad row.
                self.schedule(node, after, Input::Damaged { author, seq, id: BatchId::ZERO });
                (None, None)
            }
            found => (None, found),
        };
        if let Some(bad) = bad
            && let Some(row) = self.hosts[node].disk.set_aside(author, seq, bad.id)
        {
            self.damaged(node, &[row]);
            self.schedule(node, after, Input::Damaged { author, seq, id: bad.id });
        }
        self.schedule(node, after, Input::Read { token, batch });
    }

    /// Rows were set aside: the deliveries that depended on them are undone.
    pub(super) fn damaged(&mut self, node: usize, rows: &[Record]) {
        let honest = |record: &&Record| match record {
            Record::Batch(stored) => stored.first && self.is_honest(&stored.batch.header.author),
            _ => false,
        };
        let fewer = rows.iter().filter(honest).count() as u64;
        let host = &mut self.hosts[node];
        host.lossy = true;
        if host.lives() && host.honest {
            let fewer = fewer.min(host.held);
            host.held -= fewer;
            self.recorder.held -= fewer;
        }
        if host.honest {
            self.oracle.damaged(node, rows);
        }
        self.recorder.count("damaged_rows", rows.len() as u64);
        self.recorder.forget(node, rows, "damaged_deliveries");
    }

    /// A node that is down loses its disk.
    pub(super) fn wipe(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.disk.wipe();
        host.lossy = true;
        if host.honest {
            self.oracle.wiped(node);
        }
        self.recorder.count("wiped_disks", 1);
        self.recorder.forget_all(node);
    }

    /// I5: what a node acknowledges must be safe on its disk.
    pub(super) fn judge_acknowledgement(&mut self, node: usize, output: &Output) {
        let host = &self.hosts[node];
        if let Output::Published { id, seq, .. } = output
            && !host.disk.is_safe(host.key, *seq, id.batch)
        {
            self.oracle.acknowledged_unsafe(self.now, node, &id.batch);
        }
    }
}
