//! One session after the other, for as long as it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Message, Publisher, Refused, Session, Subscription, Will};
use crate::clock;
use crate::config::mqtt::Connection;
use crate::config::mqtt::connection::Version;
use crate::model::Mono;
use crate::status::{State, Status};
use crate::task::Backoff;

/// Most messages handed over at once.
const BATCH: usize = 256;

/// Refused subscriptions are asked for again this often.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Who gets the messages. None of these may block.
pub trait Reader {
    /// Takes messages in the order of their arrival; none when [`Self::due`]
    /// has come. The broker sent them no longer ago than about `round_trip`.
    fn messages(&mut self, batch: &mut Vec<Message>, round_trip: Duration);

    /// The broker has answered for all subscriptions but refused these.
    fn refused(&mut self, refused: &[Refused]);

    /// What the next session is opened with, and what an orderly end says.
    fn will(&self) -> Option<Will> {
        None
    }

    /// A session is up: the broker has answered for all subscriptions, and
    /// [`Self::refused`] has been told.
    fn up(&mut self, publisher: &Publisher) {
        let _ = publisher;
    }

    /// The session that was up has ended.
    fn down(&mut self) {}

    /// When [`Self::messages`] is wanted even if no message arrives.
    fn due(&self) -> Option<Mono> {
        None
    }
}

/// Keeps one of several brokers connected. State and reason are in the status of `part`.
///
/// They are tried in order. What is up stays up, also when one before it is
/// back; when it is lost, the first is asked again, unless the session was too
/// short to be worth anything: then the next.
pub struct Link {
    part: String,
    brokers: Vec<Broker>,
    subscriptions: Vec<Subscription>,
    status: Status,
    pace: Backoff,
    pause: Duration,
    attempts: metrics::Counter,
    losses: metrics::Counter,
}

struct Broker {
    connection: Connection,
    client_id: String,
    /// The version that the last session had.
    worked: Option<Version>,
}

impl Broker {
    fn new(connection: Connection) -> Self {
        // Stable while this process lives: the broker sees who came back
        // and ends the half-open connection before.
        let client_id = connection.client_id.clone().unwrap_or_else(random_id);
        Self { connection, client_id, worked: None }
    }
}

impl Link {
    /// A link that is not up yet. `part` is its name in the status, and in the
    /// counters `floorcast_mqtt_connects_total` and `floorcast_mqtt_losses_total`.
    pub fn new(
        part: &str,
        connections: impl IntoIterator<Item = Connection>,
        subscriptions: impl IntoIterator<Item = Subscription>,
        status: Status,
    ) -> Self {
        let count = |name: &'static str| metrics::counter!(name, "part" => part.to_owned());
        let pace = Backoff::DEVICE;
        Self {
            part: part.to_owned(),
            brokers: connections.into_iter().map(Broker::new).collect(),
            subscriptions: fewest(subscriptions),
            status,
            pace,
            pause: pace.first,
            attempts: count("floorcast_mqtt_connects_total"),
            losses: count("floorcast_mqtt_losses_total"),
        }
    }

    /// Keeps a broker connected and `reader` fed, until stopped; without
    /// brokers it only waits for that.
    pub async fn run(mut self, reader: &mut impl Reader, stop: &CancellationToken) {
        if self.brokers.is_empty() {
            return stop.cancelled().await;
        }
        self.status.set(&self.part, State::Connecting, "");
        let mut turn = 0;
        loop {
            self.attempts.increment(1);
            let Broker { connection, client_id, worked } = &self.brokers[turn];
            let will = reader.will();
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = Session::open(connection, client_id, will.as_ref(), *worked) => opened,
            };
            let (mut next, mut version) = ((turn + 1) % self.brokers.len(), None);
            let mut reason = match opened {
                Ok(session) => {
                    version = Some(session.version());
                    let began = Instant::now();
                    let served = self.serve(session, will, reader, stop).await;
                    let Some(reason) = served else { return };
                    if began.elapsed() >= self.pace.steady {
                        self.pause = self.pace.first;
                        next = 0;
                    }
                    self.losses.increment(1);
                    reason
                }
                Err(error) => format!("{error:#}"),
            };
            self.brokers[turn].worked = version;
            if self.brokers.len() > 1 {
                let Connection { host, port, .. } = &self.brokers[turn].connection;
                reason = format!("{host}:{port}: {reason}");
            }
            turn = next;
            self.status.set(&self.part, State::Connecting, &reason);
            if !self.wait(stop).await {
                return;
            }
        }
    }

    /// Subscribes and reads until the session ends; why it did, `None` when stopped.
    async fn serve(
        &self,
        session: Session,
        will: Option<Will>,
        reader: &mut impl Reader,
        stop: &CancellationToken,
    ) -> Option<String> {
        let mut up = false;
        let ended = self.read(session, will, reader, &mut up, stop).await;
        if up {
            reader.down();
        }
        ended
    }

    async fn read(
        &self,
        mut session: Session,
        will: Option<Will>,
        reader: &mut impl Reader,
        up: &mut bool,
        stop: &CancellationToken,
    ) -> Option<String> {
        let mut batch = Vec::new();
        let mut asking = Box::pin(session.subscribe(self.subscriptions.clone()));
        let mut asked = true;
        let mut refused = Vec::new();
        let mut again = Instant::now();
        loop {
            let due = reader.due();
            tokio::select! {
                () = stop.cancelled() => {
                    session.close(will).await;
                    return None;
                }
                alive = session.receive(&mut batch, BATCH) => {
                    if !alive {
                        return Some(session.ended().await);
                    }
                    reader.messages(&mut batch, session.round_trip());
                    batch.clear();
                }
                answer = &mut asking, if asked => {
                    asked = false;
                    match answer {
                        Ok(answer) => refused = answer,
                        Err(error) => {
                            // Where the connection is the cause, it knows better.
                            let ended = timeout(Duration::from_secs(1), session.ended()).await;
                            return Some(ended.unwrap_or_else(|_| format!("{error:#}")));
                        }
                    }
                    self.subscribed(&refused);
                    reader.refused(&refused);
                    if !std::mem::replace(up, true) {
                        reader.up(session.publisher());
                    }
                    again = Instant::now() + ASK_AGAIN;
                }
                // An ACL may have been changed since.
                () = sleep_until(again), if !asked && !refused.is_empty() => {
                    let refused = refused.drain(..).map(|r| r.subscription).collect();
                    asking = Box::pin(session.subscribe(refused));
                    asked = true;
                }
                () = sleep(due.unwrap_or_default().since(clock::now())), if due.is_some() => {
                    reader.messages(&mut batch, session.round_trip());
                }
            }
        }
    }

    /// Notes what the broker granted.
    fn subscribed(&self, refused: &[Refused]) {
        let [first, more @ ..] = refused else {
            info!(part = self.part, subscriptions = self.subscriptions.len(), "subscribed");
            return self.status.set(&self.part, State::Live, "");
        };
        let more = if more.is_empty() { "" } else { ", and more" };
        let filter = &first.subscription.filter;
        let reason = format!("subscription to {filter} refused: {}{more}", first.reason);
        self.status.set(&self.part, State::NoSignal, &reason);
    }

    /// Between half and all of the pause: boxes that lost the same broker must
    /// not come back in step.
    async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.pause.mul_f64(rand::random_range(0.5..=1.0));
        self.pause = self.pace.next(self.pause);
        tokio::select! {
            () = stop.cancelled() => false,
            () = sleep(pause) => true,
        }
    }
}

/// 21 letters and digits: every broker takes up to 23 (MQTT 3.1.1, 3.1.3.1).
fn random_id() -> String {
    format!("floorcast{:012x}", rand::random_range(0..1u64 << 48))
}

/// Drops filters that another covers: a broker may send a message once for
/// each filter that matches it (MQTT 5, section 3.3.4).
fn fewest(wanted: impl IntoIterator<Item = Subscription>) -> Vec<Subscription> {
    let mut best = BTreeMap::new();
    for Subscription { filter, qos } in wanted {
        let most: &mut u8 = best.entry(filter).or_default();
        *most = qos.max(*most);
    }
    let wild: Vec<_> = best.keys().filter(|f| !f.is_exact()).cloned().collect();
    let mut kept = BTreeMap::new();
    for (filter, qos) in best {
        let broadest = wild.iter().find(|w| {
            **w != filter && w.covers(&filter) && !wild.iter().any(|x| x != *w && x.covers(w))
        });
        let most: &mut u8 = kept.entry(broadest.unwrap_or(&filter).clone()).or_default();
        *most = qos.max(*most);
    }
    kept.into_iter().map(|(filter, qos)| Subscription { filter, qos }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mqtt::Filter;
    use proptest::prelude::*;

    fn sub(filter: &str, qos: u8) -> Subscription {
        Subscription { filter: Filter::parse(filter).unwrap(), qos }
    }

    /// A covered filter goes, and its quality of service goes over to the broader one.
    #[test]
    fn covered_filters_are_not_asked_for() {
        let kept = fewest([sub("a/b", 1), sub("a/#", 0), sub("a/+", 0), sub("c", 0), sub("c", 1)]);
        assert_eq!(kept, [sub("a/#", 1), sub("c", 1)]);
    }

    proptest! {
        /// What is kept asks for exactly the same topics, and nothing of it is covered.
        #[test]
        fn nothing_is_lost(
            filters in prop::collection::vec("([ab]|\\+)(/([ab]|\\+)){0,2}(/#)?|#", 1..8),
            topic in "[ab](/[ab]){0,3}",
        ) {
            let wanted: Vec<_> = filters.iter().map(|f| sub(f, 0)).collect();
            let kept = fewest(wanted.clone());
            let asks = |subs: &[Subscription]| subs.iter().any(|s| s.filter.matches(&topic));
            prop_assert_eq!(asks(&wanted), asks(&kept));
            for a in &kept {
                prop_assert!(!kept.iter().any(|b| a != b && b.filter.covers(&a.filter)));
            }
        }
    }

    /// A generated name is legal everywhere and not the same twice.
    #[test]
    fn generated_names_differ() {
        let (a, b) = (random_id(), random_id());
        assert!(a.len() <= 23 && a.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
