//! One session after the other, for as long as it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Message, Refused, Session, Subscription};
use crate::clock;
use crate::config::mqtt::Connection;
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

    /// When [`Self::messages`] is wanted even if no message arrives.
    fn due(&self) -> Option<Mono> {
        None
    }
}

/// Keeps a broker connected. State and reason are in the status of `part`.
pub struct Link {
    part: String,
    connection: Connection,
    client_id: String,
    subscriptions: Vec<Subscription>,
    status: Status,
    pace: Backoff,
    pause: Duration,
    attempts: metrics::Counter,
    losses: metrics::Counter,
}

impl Link {
    /// A link that is not up yet. `part` is its name in the status, and in the
    /// counters `floorcast_mqtt_connects_total` and `floorcast_mqtt_losses_total`.
    pub fn new(
        part: &str,
        connection: &Connection,
        subscriptions: impl IntoIterator<Item = Subscription>,
        status: Status,
    ) -> Self {
        let count = |name: &'static str| metrics::counter!(name, "part" => part.to_owned());
        let pace = Backoff::DEVICE;
        Self {
            part: part.to_owned(),
            connection: connection.clone(),
            // Stable while this process lives: the broker sees who came back
            // and ends the half-open connection before.
            client_id: connection.client_id.clone().unwrap_or_else(random_id),
            subscriptions: fewest(subscriptions),
            status,
            pace,
            pause: pace.first,
            attempts: count("floorcast_mqtt_connects_total"),
            losses: count("floorcast_mqtt_losses_total"),
        }
    }

    /// Keeps the broker connected and `reader` fed, until stopped.
    pub async fn run(mut self, reader: &mut impl Reader, stop: &CancellationToken) {
        self.status.set(&self.part, State::Connecting, "");
        loop {
            self.attempts.increment(1);
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = Session::open(&self.connection, &self.client_id) => opened,
            };
            let reason = match opened {
                Ok(session) => {
                    let began = Instant::now();
                    let Some(reason) = self.serve(session, reader, stop).await else { return };
                    if began.elapsed() >= self.pace.steady {
                        self.pause = self.pace.first;
                    }
                    self.losses.increment(1);
                    reason
                }
                Err(error) => format!("{error:#}"),
            };
            self.status.set(&self.part, State::Connecting, &reason);
            if !self.wait(stop).await {
                return;
            }
        }
    }

    /// Subscribes and reads until the session ends; why it did, `None` when stopped.
    async fn serve(
        &self,
        mut session: Session,
        reader: &mut impl Reader,
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
                    session.close().await;
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
