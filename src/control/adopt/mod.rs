//! First contact: a box without a site waits to be adopted.
//!
//! Comes in: an invitation, on the one topic that is this box's own at the door
//! (`floorcast/v1/new/<serial>/adopt`). Goes out: a greeting with the request for a
//! certificate, every [`GREET`]; then the first revision, on disk, and a start under it.
//! The box's key never leaves it. Who invites is known by the door's rights; that the box
//! is the one that is meant, by the fingerprint that it shows. A door that is found by
//! looking around is trusted as one that is written down: as far as the authority that
//! the box came with vouches for it. One invitation at a time;
//! more are dropped and counted.

mod identity;
mod invitation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

pub use identity::{Identity, fingerprint};
use invitation::Invitation;

use super::change::Now;
use super::order::Order;
use super::topics::ROOT;
use crate::clock::{self, WallClock};
use crate::config;
use crate::config::Config;
use crate::config::mqtt::{Connection, Filter};
use crate::mqtt::{Link, Message, Publisher, Reader, Refused, Subscription, nearby};
use crate::status::{State, Status};

/// The door's name in the status.
pub const PART: &str = "door";
/// An engineer who has just come hears of the box within this.
const GREET: Duration = Duration::from_secs(10);
/// Where no door that was found by looking around lets the box in for so long, it looks
/// around anew.
const ANEW: Duration = Duration::from_secs(60);
/// The answer may take this long to leave; the box goes on without.
const ANSWER: Duration = Duration::from_secs(5);

/// What a box that waits has.
pub struct Waiting {
    /// Where it knocks.
    pub door: Connection,
    /// What the first revision is made from.
    pub seed: Value,
    /// Where revisions and the box's identity are kept.
    pub dir: PathBuf,
    /// UTC.
    pub wall: Arc<WallClock>,
    /// The door's health.
    pub status: Status,
    /// To the application.
    pub orders: mpsc::Sender<Order>,
}

/// Waits until it is adopted or `stop`.
///
/// # Errors
/// The identity cannot be read or made.
pub async fn run(waiting: Waiting, stop: CancellationToken) -> Result<()> {
    let Waiting { mut door, seed, dir, wall, status, orders } = waiting;
    let at = dir.join("identity");
    let identity = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = Identity::open(&at) => Arc::new(opened?),
    };
    let serial = identity.serial().to_owned();
    let (fingerprint, key) = (identity.fingerprint(), identity.keeper());
    info!(serial, fingerprint, key, "waiting to be adopted");
    door.client_id = Some(serial.clone());
    let looks = door.is_nearby();
    let doors = if looks {
        status.set(PART, State::Connecting, "looking for a door on the local network");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            found = nearby::doors(&door) => found?,
        }
    } else {
        vec![door]
    };
    let topic = |name: &str| format!("{ROOT}/new/{serial}/{name}");
    let filter = Filter::parse(&topic("adopt")).map_err(anyhow::Error::msg)?;
    let (heard, mut messages) = mpsc::channel(4);
    let (line, sessions) = tokio::sync::watch::channel(None);
    let link = Link::new(PART, doors, [Subscription { filter, qos: 1 }], status);
    let until = stop.child_token();
    let _end = until.clone().drop_guard();
    let _link = AbortOnDropHandle::new(tokio::spawn(async move {
        link.run(&mut Knock { heard, line }, &until).await;
    }));
    let hello = Bytes::from(identity.hello()?.to_string());
    let mut greet = interval(GREET);
    let mut came = sessions.clone();
    let mut up = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Ok(()) = came.changed() => greet.reset_immediately(),
            _ = greet.tick() => {
                if sessions.borrow().is_some() {
                    up = Instant::now();
                }
                // It may have moved, or was none.
                ensure!(!looks || up.elapsed() < ANEW, "no door that was found lets the box in");
                say(&sessions, topic("hello"), hello.clone());
            }
            Some(message) = messages.recv() => {
                let (txid, adopted) = answer(&message, &identity, &seed, &dir, &wall).await;
                let result = match &adopted {
                    Ok((site, id)) => json!({
                        "txid": txid, "status": "adopted", "site": site, "box": id,
                    }),
                    Err(why) => json!({
                        "txid": txid, "status": "refused", "reason": format!("{why:#}"),
                    }),
                };
                let publisher = sessions.borrow().clone();
                if let Some(publisher) = publisher {
                    let result = Bytes::from(result.to_string());
                    let said = publisher.publish(topic("result"), result, 1, false);
                    let _ = timeout(ANSWER, said).await;
                }
                match adopted {
                    Ok((site, id)) => {
                        info!(site, id, "adopted");
                        let _ = orders.send(Order::Restart).await;
                        stop.cancelled().await;
                        return Ok(());
                    }
                    Err(why) => warn!("not adopted: {why:#}"),
                }
            }
        }
    }
}

/// Says something over the session that there is; who needs it hears it again.
fn say(sessions: &tokio::sync::watch::Receiver<Option<Publisher>>, topic: String, what: Bytes) {
    if let Some(publisher) = sessions.borrow().clone() {
        tokio::spawn(async move {
            if let Err(why) = publisher.publish(topic, what, 1, false).await {
                warn!("no greeting: {why}");
            }
        });
    }
}

/// The invitation's txid, and the site and name that the box has from now on.
async fn answer(
    message: &Message,
    identity: &Arc<Identity>,
    seed: &Value,
    dir: &std::path::Path,
    wall: &WallClock,
) -> (String, Result<(String, String)>) {
    let mono = clock::now();
    let now = Now { mono, utc: wall.utc(mono), lock: wall.lock() };
    let txid = invitation::txid(&message.payload);
    let parsed = match message.retained {
        true => Err(anyhow::anyhow!("a stored invitation is not taken: publish without retain")),
        false => Invitation::parse(&message.payload, identity.serial(), now),
    };
    let (identity, seed, dir) = (identity.clone(), seed.clone(), dir.to_owned());
    let adopted = async {
        let invitation = parsed?;
        spawn_blocking(move || adopt(&invitation, &identity, seed, &dir)).await?
    };
    (txid, adopted.await)
}

/// Writes the box's certificate and its first revision. Blocks.
fn adopt(
    invitation: &Invitation,
    identity: &Identity,
    seed: Value,
    dir: &std::path::Path,
) -> Result<(String, String)> {
    let files = identity.accept(&invitation.certificate, &invitation.authority)?;
    let document = invitation.document(seed, &files);
    let config = config::check(document.clone(), &[]).map_err(|problems| {
        let all: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
        anyhow::anyhow!("the first revision has mistakes: {}", all.join("; "))
    })?;
    let Config { site, .. } = config;
    super::open(dir, document).context("the first revision")?;
    ensure!(super::has_revision(dir), "{}: the first revision cannot be written", dir.display());
    Ok((site.site, site.id))
}

/// Reads the door's link.
struct Knock {
    heard: mpsc::Sender<Message>,
    line: tokio::sync::watch::Sender<Option<Publisher>>,
}

impl Reader for Knock {
    fn messages(&mut self, batch: &mut Vec<Message>, _round_trip: Duration) {
        for message in batch.drain(..) {
            if self.heard.try_send(message).is_err() {
                metrics::counter!("floorcast_door_messages_dropped_total").increment(1);
            }
        }
    }

    fn refused(&mut self, _refused: &[Refused]) {
        // The link has it in the status.
    }

    fn up(&mut self, publisher: &Publisher) {
        self.line.send_replace(Some(publisher.clone()));
    }

    fn down(&mut self) {
        self.line.send_replace(None);
    }
}
