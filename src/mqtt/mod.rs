//! MQTT, both versions, behind one small interface; why this client is in
//! `docs/decisions/0001-mqtt-client.md`.
//!
//! Comes in: how to reach brokers, what to subscribe to, what to publish. Goes out: messages,
//! each stamped with its arrival, and acknowledgements. A [`Session`] is one connection: nothing of
//! it outlives it, so no state of the client library can go stale. A [`Link`]
//! keeps one session after the other open for a [`Reader`]: back-off with
//! jitter, and every subscription confirmed before the link counts as live.
//!
//! When the reader is slow, the inbox fills ([`INBOX`] messages or
//! [`INBOX_BYTES`]), reading from the socket pauses, and the broker holds back or drops by its own
//! rules. When the broker is slow, [`Publisher::send`] waits.

mod dial;
mod files;
mod link;
pub mod nearby;
mod publish;
mod session;
mod tls;
mod v4;
mod v5;
mod wire;

use bytes::Bytes;

pub use link::{Link, Reader};
pub use publish::{Publisher, Receipt, Unsent};
pub use session::{INBOX, INBOX_BYTES, Session};

use crate::config::mqtt::Filter;
use crate::model::Mono;

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// The broker had stored it and sends it because of a new subscription; it
    /// may be of any age.
    pub retained: bool,
    /// Where the sender asks for the answer (MQTT 5); any topic, not to be trusted.
    pub response_topic: Option<String>,
    /// When it was taken from the connection.
    pub received: Mono,
}

/// What the broker publishes when the connection is lost, with quality of
/// service 1; an orderly end says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
}

/// What to ask the broker for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: Filter,
    /// Greatest delivery quality, 0 or 1.
    pub qos: u8,
}

/// A subscription that the broker did not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was asked for.
    pub subscription: Subscription,
    /// Why not, in the broker's terms.
    pub reason: String,
}
