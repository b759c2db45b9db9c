//! One session with the broker, for as long as a command takes.
//!
//! Comes in: the broker's messages. Goes out: what is asked, one message after the
//! other, each acknowledged. When full: messages wait in the session's inbox, and while
//! the broker is asked for something at most [`HEARD`] more, or [`HEARD_BYTES`]; what
//! comes then is passed over, and said so once.

use std::collections::VecDeque;
use std::pin::pin;

use anyhow::Context;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::end::{Code, bad, silent, with};
use super::out::Out;
use crate::config::mqtt::{Connection, Filter};
use crate::mqtt::{Message, Session, Subscription, Unsent};

/// Most messages taken from the session at once.
const BATCH: usize = 64;

/// Messages that wait to be read.
const HEARD: usize = 20_000;

/// Their bytes.
const HEARD_BYTES: usize = 64 << 20;

/// Messages that wait to be read, in order.
#[derive(Default)]
struct Heard {
    messages: VecDeque<Message>,
    bytes: usize,
    full: bool,
}

impl Heard {
    fn keep(&mut self, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            let size = message.topic.len() + message.payload.len();
            if self.messages.len() < HEARD && self.bytes + size <= HEARD_BYTES {
                self.bytes += size;
                self.messages.push_back(message);
            } else if !std::mem::replace(&mut self.full, true) {
                Out::new(false).note("more messages than there is room for: some are passed over");
            }
        }
    }

    fn next(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.topic.len() + message.payload.len();
        Some(message)
    }
}

/// A session.
pub struct Call {
    session: Option<Session>,
    heard: Heard,
    at: String,
}

impl Call {
    /// Connects.
    ///
    /// # Errors
    /// No broker there, or it does not let us in.
    pub async fn open(connection: &Connection) -> anyhow::Result<Self> {
        let at = format!("{}:{}", connection.host, connection.port);
        // Nobody else can know it, and end this session by taking the same one.
        let id = format!("ctl{:016x}", rand::random::<u64>());
        let session = Session::open(connection, &id, None, None).await.map_err(|error| {
            silent(format!(
                "broker {at}: {error:#}; look at --broker (mqtts:// where it wants certificates), \
                 --ca, --cert and --key"
            ))
        })?;
        Ok(Self { session: Some(session), heard: Heard::default(), at })
    }

    /// Subscribes; resolves once the broker has answered. Stored messages come at once.
    ///
    /// # Errors
    /// The broker does not grant it.
    pub async fn listen(&mut self, filters: &[String]) -> anyhow::Result<()> {
        let Some(session) = &mut self.session else { return Err(self.lost().await) };
        let mut wanted = Vec::new();
        for text in filters {
            let filter =
                Filter::parse(text).map_err(|why| bad(format!("topic {text:?}: {why}")))?;
            wanted.push(Subscription { filter, qos: 1 });
        }
        let mut batch = Vec::new();
        let refused = {
            let mut asking = pin!(session.subscribe(wanted));
            loop {
                tokio::select! {
                    refused = &mut asking => break refused.context("subscribe").ok(),
                    alive = session.receive(&mut batch, BATCH) => {
                        self.heard.keep(&mut batch);
                        if !alive {
                            break None;
                        }
                    }
                }
            }
        };
        let Some(refused) = refused else { return Err(self.lost().await) };
        let Some(first) = refused.first() else { return Ok(()) };
        let (filter, why) = (&first.subscription.filter, &first.reason);
        let remedy = "your rights at the broker do not reach so far: see `floorcast pki role`";
        Err(with(Code::Refused, format!("subscription to {filter} refused: {why}; {remedy}")))
    }

    /// Publishes, never retained; resolves when the broker has it.
    ///
    /// # Errors
    /// The broker refuses it, or the session has ended.
    pub async fn say(&mut self, topic: &str, payload: Bytes) -> anyhow::Result<()> {
        let Some(session) = &mut self.session else { return Err(self.lost().await) };
        let mut said = pin!(session.publisher().publish(topic.to_owned(), payload, 1, false));
        let mut batch = Vec::new();
        let answer = loop {
            tokio::select! {
                answer = &mut said => break answer,
                // A full inbox would hold the answer up.
                alive = session.receive(&mut batch, BATCH) => {
                    self.heard.keep(&mut batch);
                    if !alive {
                        break Err(Unsent::Lost);
                    }
                }
            }
        };
        match answer {
            Ok(()) => Ok(()),
            Err(Unsent::Lost) => Err(self.lost().await),
            Err(why) => {
                let remedy = "your rights at the broker do not reach so far, or --user is not \
                              the certificate's: see `floorcast pki role`";
                Err(with(Code::Refused, format!("{topic}: {why}; {remedy}")))
            }
        }
    }

    /// The next message; `None` when there was none until `until`.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn next(&mut self, until: Instant) -> anyhow::Result<Option<Message>> {
        if let Some(message) = self.heard.next() {
            return Ok(Some(message));
        }
        let Some(session) = &mut self.session else { return Err(self.lost().await) };
        let mut batch = Vec::new();
        match timeout_at(until, session.receive(&mut batch, BATCH)).await {
            Err(_) => Ok(None),
            Ok(false) => Err(self.lost().await),
            Ok(true) => {
                self.heard.keep(&mut batch);
                Ok(self.heard.next())
            }
        }
    }

    async fn lost(&mut self) -> anyhow::Error {
        let why = match self.session.take() {
            Some(session) => session.ended().await,
            None => "it has ended".into(),
        };
        silent(format!("broker {}: the session was lost: {why}", self.at))
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if let Some(session) = self.session.take() {
            session.close(None).await;
        }
    }
}
