//! Carries out what the state machine wants.

use std::sync::Arc;

use super::checkers::Job;
use super::driver::Driver;
use super::log;
use super::outbox::Chunk;
use crate::adversary::Act;
use crate::protocol::{CloseWhy, LinkId, Output, Record};

impl Driver {
    pub(super) fn carry_out(&mut self, act: Act) {
        match act {
            Act::Node(output) => self.output(output),
            Act::Raw { link, bytes } => self.send(link, Chunk::Raw(bytes)),
            Act::Pause { link, reading } => {
                if let Some(link) = self.open(link) {
                    link.inbox.pause(reading);
                }
            }
            Act::Pace { link, bytes_per_s } => {
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
                if let (Some(open), CloseWhy::Blamed(_) | CloseWhy::Banned) =
                    (self.open(link).map(Arc::clone), why)
                {
                    tracing::info!(link = open.id.0, ?why, "link closed");
                }
                self.close(link);
            }
            Output::Check { token, key, statement, signature } => {
                self.checkers.ask(Job { token, key, statement, signature });
            }
            Output::Write { token, record, durability } => {
                if let Record::Rejection(rejection) = &record {
                    log::rejection(rejection);
                }
                self.disk.write(token, record, durability);
            }
            Output::Read { token, author, seq, id } => self.disk.read(token, author, seq, id),
            // Streams are woken by the commit of its `Write`, which came just before.
            Output::Deliver(_) => {}
            Output::Published { ticket, id, seq } => {
                self.waiters.published(ticket, Some((id, seq)));
            }
            Output::PublishFailed { ticket } => self.waiters.published(ticket, None),
            Output::Submitted { ticket, result } => self.waiters.submitted(ticket, result),
        }
    }
}
