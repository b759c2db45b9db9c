//! A broker's messages to samples on the board.
//!
//! Comes in: messages. Goes out: one batch of samples per batch of messages.
//! When full: each tag takes `rate_max_hz`; of what comes faster the newest
//! waits for its turn, the rest is counted. What waits has at most [`HELD`]
//! bytes in all; beyond that the newest is not kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::gate::Gate;
use super::payload::{self, Content};
use super::say::Say;
use super::when::{self, Arrival, When};
use crate::clock::{self, WallClock};
use crate::config::mqtt::{Broker, Filter, MqttTag};
use crate::feed::board::Board;
use crate::model::{Mono, Quality, Sample, Tag, TagId, Value};
use crate::mqtt::{Message, Reader, Refused};
use crate::telemetry::counter::Counter;
use crate::telemetry::plausible;

/// Payload bytes that wait, over all tags of a broker.
pub const HELD: usize = 8 << 20;

/// All tags of one broker.
pub struct Ingest {
    board: Arc<Board>,
    wall: Arc<WallClock>,
    tags: Vec<Source>,
    /// Which tags an exact topic feeds.
    exact: HashMap<Filter, Vec<usize>>,
    /// Which tags a topic with wildcards feeds.
    wild: Vec<(Filter, Vec<usize>)>,
    /// Tags with a message that waits.
    waiting: Vec<usize>,
    /// Payload bytes of what waits.
    held: usize,
    round_trip: Duration,
    say: Say,
    messages: metrics::Counter,
    unmatched: metrics::Counter,
    skipped: metrics::Counter,
    bad: metrics::Counter,
}

/// One tag's state.
struct Source {
    tag: MqttTag,
    gate: Gate<Message>,
    counter: Option<Counter>,
    is_bad: bool,
}

impl Ingest {
    /// For one broker. Counters: `floorcast_mqtt_messages_total`, `…_unmatched_total`
    /// (no tag wants it), `…_skipped_total` (faster than `rate_max_hz`),
    /// `…_bad_total` (bad samples), each with label `broker`.
    pub fn new(broker: &Broker, board: Arc<Board>, wall: Arc<WallClock>) -> Self {
        let (mut exact, mut wild) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (i, tag) in broker.tags.iter().enumerate() {
            let routes = if tag.topic.is_exact() { &mut exact } else { &mut wild };
            routes.entry(tag.topic.clone()).or_default().push(i);
        }
        let source = |tag: &MqttTag| Source {
            tag: tag.clone(),
            gate: Gate::new(tag.spacing),
            counter: tag.count.as_ref().map(Counter::new),
            is_bad: false,
        };
        let count = |name: &'static str| metrics::counter!(name, "broker" => broker.id.clone());
        Self {
            board,
            wall,
            tags: broker.tags.iter().map(source).collect(),
            exact,
            wild: wild.into_iter().collect(),
            waiting: Vec::new(),
            held: 0,
            round_trip: Duration::ZERO,
            say: Say::new(&broker.id),
            messages: count("floorcast_mqtt_messages_total"),
            unmatched: count("floorcast_mqtt_unmatched_total"),
            skipped: count("floorcast_mqtt_skipped_total"),
            bad: count("floorcast_mqtt_bad_total"),
        }
    }

    /// Which tags a topic feeds.
    fn route(&self, topic: &str) -> Vec<usize> {
        let wild = self.wild.iter().filter(|(f, _)| f.matches(topic)).flat_map(|(_, tags)| tags);
        self.exact.get(topic).into_iter().flatten().chain(wild).copied().collect()
    }

    fn take(&mut self, message: &Message, now: Mono, out: &mut Vec<Sample>) {
        self.messages.increment(1);
        let tags = self.route(&message.topic);
        if tags.is_empty() {
            self.unmatched.increment(1);
        }
        let content = Content::new(&message.topic, &message.payload);
        let mut copy = None;
        for i in tags {
            if self.tags[i].gate.admits(now) {
                if let Some(older) = self.tags[i].gate.overtaken() {
                    self.waiting.retain(|w| *w != i);
                    self.skip(&older);
                }
                self.sample(i, message, &content, out);
            } else {
                // Copied once, so that it does not keep the connection's buffer alive.
                let copy = copy.get_or_insert_with(|| {
                    let payload = Bytes::copy_from_slice(&message.payload);
                    Message { payload, ..message.clone() }
                });
                self.hold(i, copy.clone());
            }
        }
    }

    /// Lets a message wait for its tag's turn, if there is room.
    fn hold(&mut self, i: usize, message: Message) {
        let size = message.payload.len();
        if self.held + size > HELD {
            return self.skipped.increment(1);
        }
        self.held += size;
        match self.tags[i].gate.hold(message) {
            Some(older) => self.skip(&older),
            None => self.waiting.push(i),
        }
    }

    /// A message that waited gave way to a newer one.
    fn skip(&mut self, older: &Message) {
        self.held -= older.payload.len();
        self.skipped.increment(1);
    }

    fn release(&mut self, now: Mono, out: &mut Vec<Sample>) {
        for i in std::mem::take(&mut self.waiting) {
            match self.tags[i].gate.release(now) {
                Some(message) => {
                    self.held -= message.payload.len();
                    let content = Content::new(&message.topic, &message.payload);
                    self.sample(i, &message, &content, out);
                }
                None => self.waiting.push(i),
            }
        }
    }

    fn sample(
        &mut self,
        i: usize,
        message: &Message,
        content: &Content<'_>,
        out: &mut Vec<Sample>,
    ) {
        let tags = self.board.tags().clone();
        let source = &mut self.tags[i];
        let Some(tag) = tags.get(source.tag.id.0 as usize) else { return };
        let arrival = Arrival {
            at: message.received,
            round_trip: self.round_trip,
            retained: message.retained,
        };
        let when = match &source.tag.time {
            Some(from) => when::by_payload(from, content, arrival, &self.wall),
            None => match when::by_arrival(arrival, source.tag.retained) {
                Some(when) => Ok(when),
                None => return,
            },
        };
        let read = when.and_then(|when| {
            let value = content.value(&source.tag, &tag.unit)?;
            Ok((when, source.read(tag, value, when)?))
        });
        let rate = source.tag.count.as_ref().and_then(|c| c.rate);
        match read {
            Ok((when, (value, per_minute))) => {
                if std::mem::take(&mut source.is_bad) {
                    self.say.recovered(&tag.name, message.received);
                }
                out.push(good(tag.id, value, when, message.received));
                let rate = rate.and_then(|id| tags.get(id.0 as usize)).zip(per_minute);
                out.extend(rate.map(|(tag, x)| match plausible(tag, Value::Real(x)) {
                    Ok(value) => good(tag.id, value, when, message.received),
                    Err(reason) => bad(tag.id, reason.into(), when.taken, message.received),
                }));
            }
            Err(reason) => {
                self.bad.increment(1);
                if !std::mem::replace(&mut source.is_bad, true) {
                    self.say.bad(&tag.name, reason, message);
                }
                let taken = when::of_bad(arrival, source.tag.retained);
                let ids = [Some(tag.id), rate].into_iter().flatten();
                out.extend(ids.map(|id| bad(id, reason.into(), taken, message.received)));
            }
        }
    }
}

impl Source {
    /// The tag's value and how fast it counts, per minute; or why there is none.
    fn read(
        &mut self,
        tag: &Tag,
        value: Value,
        when: When,
    ) -> Result<(Value, Option<f64>), &'static str> {
        let (mut value, mut per_minute) = (value, None);
        // A count of unknown age says nothing about speed.
        if let (Some(counter), None) = (&mut self.counter, when.stale) {
            let reading = counter.update(&value, when.taken).ok_or("not a number")?;
            value = reading.value;
            let scale = self.tag.line.map_or(1.0, |(scale, _)| scale);
            per_minute = reading.per_minute.map(|rate| rate * scale);
        }
        Ok((plausible(tag, payload::scaled(value, self.tag.line)?)?, per_minute))
    }
}

fn good(tag: TagId, value: Value, when: When, received: Mono) -> Sample {
    Sample {
        tag,
        value,
        quality: if when.stale.is_some() { Quality::Stale } else { Quality::Good },
        reason: when.stale.map(Into::into),
        taken: when.taken,
        error: when.error,
        requested: received,
        received,
    }
}

fn bad(tag: TagId, reason: Arc<str>, taken: Mono, received: Mono) -> Sample {
    Sample {
        tag,
        value: Value::None,
        quality: Quality::Bad,
        reason: Some(reason),
        taken,
        error: received.since(taken),
        requested: received,
        received,
    }
}

impl Reader for Ingest {
    fn messages(&mut self, batch: &mut Vec<Message>, round_trip: Duration) {
        self.round_trip = round_trip;
        let now = clock::now();
        let mut out = Vec::with_capacity(batch.len());
        self.release(now, &mut out);
        for message in batch.drain(..) {
            self.take(&message, now, &mut out);
        }
        self.board.publish(out);
    }

    fn refused(&mut self, refused: &[Refused]) {
        let now = clock::now();
        let mut out = Vec::new();
        for Refused { subscription, reason } in refused {
            let reason: Arc<str> = format!("subscription refused: {reason}").into();
            let without = self.tags.iter_mut().filter(|s| subscription.filter.covers(&s.tag.topic));
            out.extend(without.map(|source| {
                source.is_bad = true;
                bad(source.tag.id, reason.clone(), now, now)
            }));
        }
        self.bad.increment(out.len() as u64);
        self.board.publish(out);
    }

    fn due(&self) -> Option<Mono> {
        self.waiting.iter().map(|i| self.tags[*i].gate.due()).min()
    }
}
