//! Carries out the state machine's outputs and a liar's effects.

use super::checkers::Job;
use super::driver::Driver;
use super::outbox::Chunk;
use crate::adversary::Effect;
use crate::protocol::{CloseWhy, LinkId, Output, Reason, Record};

impl Driver {
    pub(super) fn carry_out(&mut self, act: Effect) {
        match act {
            Effect::Node(output) => self.output(output),
            Effect::Raw { link, bytes } => self.send(link, Chunk::Raw(bytes)),
            Effect::Pause { link, reading } => {
                if let Some(link) = self.open(link) {
                    link.inbox.pause(reading);
                }
            }
            Effect::Pace { link, bytes_per_s } => {
                if let Some(link) = self.open(link) {
                    link.outbox.set_pace(bytes_per_s);
                }
            }
        }
    }

    fn send(&self, link: LinkId, chunk: Chunk) {
        if let Some(link) = self.open(link) {
            link.send(chunk);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Dial { peer } => self.dialer.dial(peer),
            Output::Send { link, kind: _, class, frame } => {
                self.send(link, Chunk::Frame(class, frame));
            }
            Output::Close { link, why } => {
                self.log_blame(link, why);
                self.close(link);
            }
            Output::Check { token, key, statement, signature } => {
                self.checkers.ask(Job { token, key, statement, signature });
            }
            Output::Write { token, record, durability } => {
                match &record {
                    Record::Rejection(rejection) => self.log.rejection(rejection),
                    Record::Ban(ban) => self.log.ban(ban),
                    Record::Batch(_) | Record::Holes { .. } => {}
                }
                self.disk.write(token, record, durability);
            }
            Output::Read { token, author, seq, id } => self.disk.read(token, author, seq, id),
            // Every read checks the row, and a damaged row is set aside.
            Output::Doubt { token, author, seq, id } => {
                self.disk.read(token, author, seq, Some(id));
            }
            // The commit of the preceding `Write` wakes streams.
            Output::Deliver(_) => {}
            Output::Published { ticket, id, seq } => {
                self.waiters.published(ticket, Some((id, seq)));
            }
            Output::PublishFailed { ticket } => self.waiters.published(ticket, None),
            Output::Submitted { ticket, result } => self.waiters.submitted(ticket, result),
        }
    }

    /// Logs which member the node considers a liar and why, for the operator.
    fn log_blame(&mut self, link: LinkId, why: CloseWhy) {
        let reason = match why {
            CloseWhy::Blamed(reason) => reason,
            CloseWhy::Banned => Reason::Banned,
            _ => return,
        };
        let Some(entry) = self.links.get(&link).filter(|entry| !entry.closing) else { return };
        self.log.closed(link.0, entry.peer, reason);
    }
}
