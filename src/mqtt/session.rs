//! One connection: opened, subscribed, read from, published to, ended.
//!
//! The library's event loop is polled in a task of its own, which alone
//! drives it and never waits for anything but the inbox.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::publish::{ACKNOWLEDGE, Publisher};
use super::wire::{self, CONNECT, Client, Ended, Event, Poller, Ticket};
use super::{Message, Refused, Subscription, Will, files, tls};
use crate::clock;
use crate::config::mqtt::Connection;
use crate::config::mqtt::connection::Version;

/// Messages that wait for the reader; then reading from the socket pauses.
pub const INBOX: usize = 1024;

/// Bytes that wait for the reader, and as many again in the batch it has; a
/// single message may be larger. Then reading from the socket pauses, too.
pub const INBOX_BYTES: usize = 8 << 20;

/// Each next answer to a SUBSCRIBE comes within this time.
const SUBSCRIBE: Duration = Duration::from_secs(15);

/// Filters in one SUBSCRIBE; some brokers take no more than eight.
const FILTERS: usize = 8;

/// SUBSCRIBEs under way at once.
const AT_ONCE: usize = 16;

/// One live connection. Dropping it ends it without a word.
pub struct Session {
    client: Client,
    publisher: Publisher,
    version: Version,
    inbox: mpsc::Receiver<(Message, OwnedSemaphorePermit)>,
    pump: AbortOnDropHandle<String>,
    round_trip: Arc<AtomicU64>,
}

impl Session {
    /// Connects: by `worked` where that is known, else by the version that is
    /// configured, else by MQTT 5 and, where the broker does not take that, by
    /// 3.1.1. The error names what failed: a file, TLS, the broker's refusal.
    pub async fn open(
        connection: &Connection,
        client_id: &str,
        will: Option<&Will>,
        worked: Option<Version>,
    ) -> anyhow::Result<Self> {
        let first = connection.version.or(worked).unwrap_or(Version::V5);
        let ended = match Self::open_by(first, connection, client_id, will).await? {
            Ok(session) => return Ok(session),
            Err(ended) => ended,
        };
        // 3.1.1 has no password without a user name.
        let without_name = connection.username.is_none() && connection.password_file.is_some();
        if connection.version.is_some() || !ended.wrong_version || without_name {
            bail!(ended.reason);
        }
        info!(host = connection.host, reason = ended.reason, "no MQTT 5: asking by MQTT 3.1.1");
        match Self::open_by(Version::V4, connection, client_id, will).await? {
            Ok(session) => Ok(session),
            Err(ended) => bail!(ended.reason),
        }
    }

    async fn open_by(
        version: Version,
        connection: &Connection,
        client_id: &str,
        will: Option<&Will>,
    ) -> anyhow::Result<Result<Self, Ended>> {
        let password = match &connection.password_file {
            Some(path) => Some(files::password(path).await?),
            None => None,
        };
        let tls = match &connection.tls {
            Some(tls) => Some(tls::client_config(tls).await?),
            None => None,
        };
        let began = clock::now();
        let will = will.cloned();
        let ticket = Ticket { connection, version, client_id, password, tls, will };
        let (client, mut poller) = wire::open(ticket)?;
        let (asked, packet_max) = match timeout(CONNECT, poller.poll()).await {
            Ok(Ok(Event::Connected { keep_alive, packet_max })) => (keep_alive, packet_max),
            Ok(Ok(_)) => bail!("the broker did not accept the connection"),
            Ok(Err(ended)) => return Ok(Err(ended)),
            Err(_) => bail!("no answer within {CONNECT:?}"),
        };
        let period = match asked {
            // Switched off by the broker: only the kernel's probes are left.
            Some(Duration::ZERO) => None,
            Some(asked) => Some(asked.min(connection.keep_alive)),
            None => Some(connection.keep_alive),
        };
        if let Some(period) = period {
            poller.keep_alive(period);
        }
        let (outbox, inbox) = mpsc::channel(INBOX);
        let round_trip = Arc::new(AtomicU64::new(nanos(clock::now().since(began))));
        // A 3.1.1 broker tells no limit, and the library holds to ours.
        let packet_max = packet_max.unwrap_or(match version {
            Version::V4 => connection.message_max,
            Version::V5 => u32::MAX,
        });
        let over = CancellationToken::new();
        let publisher = Publisher::new(client.clone(), packet_max, over.clone());
        let pump = pump(poller, period, outbox, round_trip.clone());
        let end = over.clone().drop_guard();
        let pump = AbortOnDropHandle::new(tokio::spawn(async move {
            // Also where it is dropped.
            let _end = end;
            tokio::select! {
                reason = pump => reason,
                () = over.cancelled() => {
                    format!("the broker left a message unacknowledged for {ACKNOWLEDGE:?}")
                }
            }
        }));
        Ok(Ok(Self { client, publisher, version, inbox, pump, round_trip }))
    }

    /// Which version the broker took.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What publishes over this session, from any task.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Subscribes; resolves once the broker has answered for every filter, to
    /// the refused ones. Read messages meanwhile: stored ones arrive before
    /// the answer, and a full inbox holds it up.
    pub fn subscribe(
        &self,
        wanted: Vec<Subscription>,
    ) -> impl Future<Output = anyhow::Result<Vec<Refused>>> + Send + use<> {
        let client = self.client.clone();
        async move {
            let mut refused = Vec::new();
            let some: Vec<_> = wanted.chunks(FILTERS).map(<[_]>::to_vec).collect();
            let asked = some.into_iter().map(|some| {
                let client = client.clone();
                async move { client.subscribe(&some).await.map(|answers| (some, answers)) }
            });
            let mut answered = pin!(stream::iter(asked).buffered(AT_ONCE));
            while let Some(next) = timeout(SUBSCRIBE, answered.next()).await.transpose() {
                let (some, answers) = next.context("subscriptions not confirmed")??;
                ensure!(answers.len() == some.len(), "not every filter was answered");
                refused.extend(some.into_iter().zip(answers).filter_map(
                    |(subscription, reason)| Some(Refused { subscription, reason: reason? }),
                ));
            }
            Ok(refused)
        }
    }

    /// Waits for messages and adds them to `into`, at most `most`; false when
    /// the connection has ended.
    pub async fn receive(&mut self, into: &mut Vec<Message>, most: usize) -> bool {
        let Some((message, _)) = self.inbox.recv().await else { return false };
        let mut bytes = message.payload.len();
        into.push(message);
        while into.len() < most
            && bytes < INBOX_BYTES
            && let Ok((message, _)) = self.inbox.try_recv()
        {
            bytes += message.payload.len();
            into.push(message);
        }
        true
    }

    /// Waits for the end and says why, in a few words.
    pub async fn ended(mut self) -> String {
        self.inbox.close();
        (&mut self.pump).await.unwrap_or_else(|error| error.to_string())
    }

    /// The newest measured round trip to the broker. A message that has just
    /// arrived left the broker no longer ago than this, unless the way is
    /// congested.
    pub fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Ordering::Relaxed))
    }

    /// Says `last` and goodbye, and waits shortly for each to leave.
    pub async fn close(mut self, last: Option<Will>) {
        self.inbox.close();
        if let Some(Will { topic, payload, retain }) = last {
            // Where it does not get through, the broker takes us for lost and says it.
            let said = self.publisher.publish(topic, payload, 1, retain);
            let _ = timeout(Duration::from_secs(1), said).await;
        }
        self.client.disconnect();
        // Late is as good as gone: dropping the task ends the connection.
        let _ = timeout(Duration::from_secs(1), &mut self.pump).await;
    }
}

fn nanos(d: Duration) -> u64 {
    d.as_nanos().min(u64::MAX.into()) as u64
}

/// Polls until the connection ends; returns why.
///
/// Whatever happens, a poll ends by its own ping after `period` at the latest;
/// where it does not, the library hangs (its flush has no deadline in MQTT 5).
async fn pump(
    mut poller: Poller,
    period: Option<Duration>,
    outbox: mpsc::Sender<(Message, OwnedSemaphorePermit)>,
    round_trip: Arc<AtomicU64>,
) -> String {
    let limit = period.map_or(Duration::MAX, |period| period * 2 + Duration::from_secs(2));
    let room = Arc::new(Semaphore::new(INBOX_BYTES));
    let mut asked = None;
    loop {
        let event = match timeout(limit, poller.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(ended)) => return ended.reason,
            Err(_) => return format!("the connection hung for {limit:?}"),
        };
        match event {
            Event::Message { topic, payload, retained, response_topic } => {
                let received = clock::now();
                // Both versions demand UTF-8; one that is not has no filter that names it.
                let Ok(topic) = String::from_utf8(topic.into()) else { continue };
                let response = response_topic.as_ref().map_or(0, String::len);
                let size = (topic.len() + response + payload.len()).min(INBOX_BYTES) as u32;
                let message = Message { topic, payload, retained, response_topic, received };
                let Ok(space) = room.clone().acquire_many_owned(size).await else { continue };
                // Nobody reads any more: the session is closing.
                let _ = outbox.send((message, space)).await;
            }
            Event::Ping => asked = Some(clock::now()),
            Event::Pong => {
                if let Some(asked) = asked.take() {
                    let trip = clock::now().since(asked);
                    round_trip.store(nanos(trip), Ordering::Relaxed);
                }
            }
            Event::Connected { .. } | Event::Other => {}
        }
    }
}
