//! The two versions as one: what a session needs from the client library.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::tokio_rustls::rustls::ClientConfig;

use super::{Subscription, Unsent, Will, v4, v5};
use crate::config::mqtt::Connection;
use crate::config::mqtt::connection::Version;

/// The whole connect, up to the broker's answer, takes at most this long.
/// Generous: keys in a TPM take seconds.
pub const CONNECT: Duration = Duration::from_secs(15);

/// Unacknowledged publications at once.
pub const INFLIGHT: u16 = 100;

/// Packets read at one go; each may be as large as the limit allows.
pub const PACKETS: usize = 16;

/// Requests waiting to be sent.
pub const REQUESTS: usize = 64;

/// Everything that a connect needs, secrets included: not printable.
pub struct Ticket<'a> {
    pub connection: &'a Connection,
    pub version: Version,
    pub client_id: &'a str,
    pub password: Option<Vec<u8>>,
    pub tls: Option<Arc<ClientConfig>>,
    pub will: Option<Will>,
}

/// What a poll brings.
pub enum Event {
    /// The broker accepted the connection; MQTT 5 brokers may set the
    /// keep-alive, and the greatest packet they take.
    Connected { keep_alive: Option<Duration>, packet_max: Option<u32> },
    /// A publication.
    Message { topic: Bytes, payload: Bytes, retained: bool, response_topic: Option<String> },
    /// The broker was asked for a sign of life.
    Ping,
    /// It gave one.
    Pong,
    /// Nothing of interest.
    Other,
}

/// How a connection ended.
pub struct Ended {
    /// Why, in a few words.
    pub reason: String,
    /// While connecting: another protocol version may help.
    pub wrong_version: bool,
}

/// The sending half; clones share it.
#[derive(Clone)]
pub enum Client {
    V4(rumqttc_v4::AsyncClient),
    V5(rumqttc::AsyncClient),
}

/// The answer to a publication that was handed over.
pub enum Notice {
    V4(rumqttc_v4::PublishNotice),
    V5(rumqttc::PublishNotice),
}

/// The receiving half. It only makes progress while it is polled, and a poll
/// must not be dropped half-way: it may hold a request that is being written.
pub enum Poller {
    V4(Box<rumqttc_v4::EventLoop>),
    V5(Box<rumqttc::EventLoop>),
}

/// Both halves, not yet connected: the first poll connects.
pub fn open(ticket: Ticket<'_>) -> anyhow::Result<(Client, Poller)> {
    Ok(match ticket.version {
        Version::V4 => {
            let (client, poller) = v4::open(ticket)?;
            (Client::V4(client), Poller::V4(Box::new(poller)))
        }
        Version::V5 => {
            let (client, poller) = v5::open(ticket)?;
            (Client::V5(client), Poller::V5(Box::new(poller)))
        }
    })
}

impl Poller {
    /// The next event, or why the connection ended.
    pub async fn poll(&mut self) -> Result<Event, Ended> {
        match self {
            Self::V4(poller) => poller.poll().await.map(v4::event).map_err(v4::ended),
            Self::V5(poller) => poller.poll().await.map(v5::event).map_err(v5::ended),
        }
    }

    /// Keeps the keep-alive that was configured, where a broker asks for a
    /// longer one: more signs of life than asked for are legal.
    pub fn keep_alive(&mut self, period: Duration) {
        let seconds = period.as_secs().min(u16::MAX.into()) as u16;
        match self {
            Self::V4(poller) => _ = poller.mqtt_options.set_keep_alive(seconds),
            Self::V5(poller) => _ = poller.options.set_keep_alive(seconds),
        }
    }
}

impl Client {
    /// Subscribes and waits for the answer: per subscription, why it was
    /// refused. `Err`: the connection ended.
    pub async fn subscribe(&self, wanted: &[Subscription]) -> anyhow::Result<Vec<Option<String>>> {
        match self {
            Self::V4(client) => v4::subscribe(client, wanted).await,
            Self::V5(client) => v5::subscribe(client, wanted).await,
        }
    }

    /// Hands a message over, to be sent after those before it.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        qos: u8,
        retain: bool,
    ) -> Result<Notice, Unsent> {
        Ok(match self {
            Self::V4(c) => Notice::V4(v4::publish(c, topic, payload, qos, retain).await?),
            Self::V5(c) => Notice::V5(v5::publish(c, topic, payload, qos, retain).await?),
        })
    }

    /// Says goodbye, so that the broker does not take it for a loss.
    pub fn disconnect(&self) {
        // An error means that the connection is gone already.
        match self {
            Self::V4(client) => _ = client.try_disconnect_now(),
            Self::V5(client) => _ = client.try_disconnect_now(),
        }
    }
}

impl Notice {
    /// Waits for the broker's answer; without quality of service, until it is sent.
    pub async fn acknowledged(self) -> Result<(), Unsent> {
        match self {
            Self::V4(notice) => v4::acknowledged(notice).await,
            Self::V5(notice) => v5::acknowledged(notice).await,
        }
    }
}
