//! What the box hears over its control session.
//!
//! Comes in: a link's messages. Goes out: those that ask for something, in order, to
//! the desk. A message may come before the broker has answered for every subscription;
//! it waits until the session is up. When the desk is busy ([`QUEUE`] messages), more are
//! dropped and counted: who asked sees no answer and asks again.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::topics::{Inbound, Topics};
use crate::config::mqtt::Connection;
use crate::mqtt::{Link, Message, Publisher, Reader, Refused, Will};
use crate::status::Status;

/// Messages that wait for the desk.
pub const QUEUE: usize = 64;

/// The control session's name in the status.
pub const PART: &str = "control";

/// A message that asks for something.
pub struct Asked {
    /// For what, and who.
    pub inbound: Inbound,
    /// As it came.
    pub message: Message,
}

/// Reads one link after the other.
pub struct Ear {
    topics: Topics,
    will: Will,
    desk: mpsc::Sender<Asked>,
    line: watch::Sender<Option<Publisher>>,
    is_up: bool,
    early: Vec<Asked>,
}

impl Ear {
    /// Hears for a desk; `line` tells who may speak.
    pub fn new(
        topics: Topics,
        will: Will,
        desk: mpsc::Sender<Asked>,
        line: watch::Sender<Option<Publisher>>,
    ) -> Self {
        Self { topics, will, desk, line, is_up: false, early: Vec::new() }
    }

    /// Keeps one of `brokers` connected until `stop`.
    pub async fn listen(
        mut self,
        brokers: Vec<Connection>,
        status: Status,
        stop: CancellationToken,
    ) {
        let link = Link::new(PART, brokers, self.topics.subscriptions(), status);
        link.run(&mut self, &stop).await;
        self.line.send_replace(None);
    }

    fn hand_over(&self, asked: Asked) {
        if self.desk.try_send(asked).is_err() {
            dropped("busy");
        }
    }
}

fn dropped(why: &'static str) {
    metrics::counter!("floorcast_control_messages_dropped_total", "why" => why).increment(1);
}

impl Reader for Ear {
    fn messages(&mut self, batch: &mut Vec<Message>, _round_trip: Duration) {
        for message in batch.drain(..) {
            let Some(inbound) = self.topics.parse(&message.topic) else {
                dropped("topic");
                continue;
            };
            let asked = Asked { inbound, message };
            if self.is_up {
                self.hand_over(asked);
            } else if self.early.len() < QUEUE {
                self.early.push(asked);
            } else {
                dropped("early");
            }
        }
    }

    fn refused(&mut self, _refused: &[Refused]) {
        // The link has it in the status.
    }

    fn will(&self) -> Option<Will> {
        Some(self.will.clone())
    }

    fn up(&mut self, publisher: &Publisher) {
        self.is_up = true;
        self.line.send_replace(Some(publisher.clone()));
        for asked in std::mem::take(&mut self.early) {
            self.hand_over(asked);
        }
    }

    fn down(&mut self) {
        self.is_up = false;
        self.early.clear();
        self.line.send_replace(None);
    }
}
