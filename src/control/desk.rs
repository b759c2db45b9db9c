//! The desk: one change at a time, whatever comes in.
//!
//! Comes in: messages of users, the session's coming and going, the parts' health and
//! the time. Goes out: orders to the application, and what is to be said about them.
//! Everything that is decided is decided by [`Changes`], which is on disk before it is
//! done; this only carries it out, in order.

mod command;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use super::change::{Action, Changes, Now};
use super::command::Commands;
use super::disk::{self, Disk};
use super::ear::{Asked, Ear, QUEUE};
use super::judge::Against;
use super::order::Order;
use super::overlay::Overlay;
use super::post::{Letter, Post};
use super::teller::Teller;
use super::told::Told;
use super::topics::{Inbound, Topics};
use crate::clock::{self, WallClock, rfc3339};
use crate::config::means::Means;
use crate::config::{self, Config};
use crate::feed::board::Board;
use crate::mqtt::{Publisher, Will};
use crate::status::{Health, Parts, Status};

/// A change is applied within this, or has failed.
const APPLY: Duration = Duration::from_secs(45);
/// The clock's state is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Health is told at most this often.
const SPREAD: Duration = Duration::from_millis(100);

/// What control works with.
pub struct Setting {
    /// What is on disk.
    pub changes: Changes,
    /// What a start had to say.
    pub first: Vec<Action>,
    /// What is on air.
    pub on_air: Config,
    /// What was found on the box; the first time this takes long.
    pub means: fn() -> &'static Means,
    /// Where what must survive a power cut is kept.
    pub dir: PathBuf,
    /// What people closed, which is closed already.
    pub overlay: Overlay,
    /// The samples.
    pub board: Arc<Board>,
    /// UTC.
    pub wall: Arc<WallClock>,
    /// Every part's health.
    pub status: Status,
    /// To the application.
    pub orders: mpsc::Sender<Order>,
}

/// Whoever sits at the desk.
pub struct Desk {
    changes: Changes,
    commands: Commands,
    /// For commands that are being run.
    hands: Arc<Semaphore>,
    /// From writes that came to their end.
    ended: mpsc::Sender<command::Ended>,
    overlay: Overlay,
    on_air: Config,
    means: fn() -> &'static Means,
    disk: Disk,
    topics: Topics,
    dir: PathBuf,
    board: Arc<Board>,
    teller: Option<Teller>,
    wall: Arc<WallClock>,
    status: Status,
    orders: mpsc::Sender<Order>,
    post: Post,
    ear: AbortOnDropHandle<()>,
    stop_ear: CancellationToken,
    asking: mpsc::Sender<Asked>,
    line: watch::Sender<Option<Publisher>>,
    is_up: bool,
    told: Told,
    state: Value,
}

/// Serves until `stop`.
pub async fn run(setting: Setting, stop: CancellationToken) {
    let (asking, mut asked) = mpsc::channel(QUEUE);
    let (ended, mut writes) = mpsc::channel(command::AT_ONCE);
    let line = watch::Sender::new(None);
    let (post, delivery) = Post::open(line.subscribe(), stop.clone());
    let _delivery = AbortOnDropHandle::new(tokio::spawn(delivery));
    let Setting { changes, first, on_air, means, dir, overlay, board, wall, status, orders } =
        setting;
    let mut session = line.subscribe();
    let mut health = status.changes();
    let mut desk = Desk {
        topics: Topics::new(&on_air.site),
        changes,
        commands: Commands::default(),
        hands: Arc::new(Semaphore::new(command::AT_ONCE)),
        ended,
        overlay,
        on_air,
        means,
        disk: Disk::new(&dir, status.clone()),
        told: block_in_place(|| Told::open(&dir)),
        dir,
        board,
        teller: None,
        wall,
        status,
        orders,
        post,
        ear: AbortOnDropHandle::new(tokio::spawn(async {})),
        stop_ear: CancellationToken::new(),
        asking,
        line,
        is_up: false,
        state: Value::Null,
    };
    desk.listen();
    desk.teller = desk.tell();
    desk.carry_out(first).await;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let due = desk.changes.due().map(|at| at.since(clock::now()));
        tokio::select! {
            // What a session brought is looked at once it is known to be up.
            biased;
            () = stop.cancelled() => break,
            Ok(()) = session.changed() => {
                let up = session.borrow_and_update().is_some();
                desk.session(up).await;
            }
            () = sleep(due.unwrap_or_default()), if due.is_some() => {
                let now = desk.now();
                let actions = block_in_place(|| desk.changes.tick(now));
                desk.carry_out(actions).await;
            }
            Some(asked) = asked.recv() => desk.hear(asked).await,
            Some(ended) = writes.recv() => desk.ended(ended).await,
            Ok(()) = health.changed() => {
                health.mark_unchanged();
                desk.look_at_health().await;
                // More may have changed by then; it is told together.
                sleep(SPREAD).await;
            }
            _ = look.tick() => {
                let now = clock::now();
                block_in_place(|| desk.disk.look(now));
                desk.tell_state();
            }
        }
    }
    if let Some(teller) = desk.teller.take() {
        teller.end().await;
    }
    desk.stop_ear.cancel();
    let _ = timeout(Duration::from_secs(2), &mut desk.ear).await;
}

impl Desk {
    fn now(&self) -> Now {
        let mono = clock::now();
        Now { mono, utc: self.wall.utc(mono), lock: self.wall.lock() }
    }

    /// Keeps a session with the brokers of what is on air.
    fn listen(&mut self) {
        self.stop_ear = CancellationToken::new();
        let state = json!({ "online": false, "boot": clock::boot_id() });
        let will =
            Will { topic: self.topics.state(), payload: state.to_string().into(), retain: true };
        let ear = Ear::new(self.topics.clone(), will, self.asking.clone(), self.line.clone());
        let (brokers, status) = (self.on_air.control.brokers.clone(), self.status.clone());
        let listen = ear.listen(brokers, status, self.stop_ear.clone());
        self.ear = AbortOnDropHandle::new(tokio::spawn(listen));
    }

    /// Publishes telemetry, if that is wanted.
    fn tell(&self) -> Option<Teller> {
        let Self { dir, board, wall, status, .. } = self;
        let root = Topics::new(&self.on_air.site).root().to_owned();
        let (board, wall, line) = (board.clone(), wall.clone(), self.line.subscribe());
        let control = &self.on_air.control;
        control.telemetry.then(|| {
            let dir = dir.join("outbox");
            Teller::start(dir, control.outbox_max, root, board, wall, line, status.clone())
        })
    }

    /// Ends the session in order, and opens another one.
    async fn reconnect(&mut self) {
        self.stop_ear.cancel();
        let _ = timeout(Duration::from_secs(2), &mut self.ear).await;
        self.line.send_replace(None);
        // Told before the next one is up: they are two.
        self.session(false).await;
        self.topics = Topics::new(&self.on_air.site);
        self.listen();
    }

    /// The session came or went; if it came and went meanwhile, both are told.
    async fn session(&mut self, up: bool) {
        if std::mem::replace(&mut self.is_up, false) {
            self.changes.session_down();
        }
        if !up {
            return;
        }
        self.is_up = true;
        self.told.forget();
        self.state = Value::Null;
        self.tell_state();
        self.tell_health(&self.status.all());
        let now = self.now();
        let actions = block_in_place(|| self.changes.session_up(now));
        Box::pin(self.carry_out(actions)).await;
    }

    async fn hear(&mut self, Asked { inbound, message }: Asked) {
        let now = self.now();
        let (payload, retained) = (&message.payload, message.retained);
        if let Inbound::Command { user, name } = &inbound {
            let actions = self.command(user, name, payload, retained, now).await;
            return self.carry_out(actions).await;
        }
        let actions = block_in_place(|| {
            let judge = Against(&self.on_air, (self.means)());
            match &inbound {
                Inbound::Request { user, op } => {
                    self.changes.request(user, *op, payload, retained, &judge, now)
                }
                Inbound::Desired => self.changes.desired(payload, &judge, now),
                // Judged above.
                Inbound::Command { .. } => Vec::new(),
            }
        });
        self.carry_out(actions).await;
    }

    async fn look_at_health(&mut self) {
        let parts = self.status.all();
        let now = self.now();
        let on_air = &self.on_air;
        let actions =
            block_in_place(|| self.changes.parts(&parts, &|part| has_part(on_air, part), now));
        if self.is_up {
            self.tell_health(&parts);
        }
        self.carry_out(actions).await;
    }

    /// Does what was decided, and what follows from it.
    async fn carry_out(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Apply { revision, document } => {
                    let result = self.apply(&document).await;
                    let anew = result.as_ref().is_ok_and(|anew| *anew);
                    if let Err(why) = &result {
                        error!(revision, "not applied: {why}");
                    }
                    let now = self.now();
                    let result = result.map(drop);
                    let more = block_in_place(|| self.changes.applied(revision, result, now));
                    actions.extend(more);
                    if anew {
                        self.reconnect().await;
                    }
                    self.tell_state();
                    let parts = self.status.all();
                    let (on_air, now) = (&self.on_air, self.now());
                    actions.extend(block_in_place(|| {
                        self.changes.parts(&parts, &|part| has_part(on_air, part), now)
                    }));
                }
                Action::Reply { user, reply } => {
                    let topic = self.topics.reply(&user, &reply.txid);
                    self.say(topic, &reply, false, false);
                }
                Action::Report(report) => {
                    self.say(self.topics.reported(), &report, true, !self.is_up);
                }
                Action::Audit(line) => {
                    let topic = self.topics.audit();
                    self.post.send(Letter {
                        topic,
                        payload: line.into(),
                        retain: false,
                        passing: true,
                    });
                }
                Action::Reconnect => self.reconnect().await,
                Action::Restart { why } => {
                    error!("to be started again: {why}");
                    let _ = self.orders.send(Order::Restart).await;
                }
            }
        }
    }

    /// Turns what is on air into a document; true if the control session is of the change.
    async fn apply(&mut self, document: &Value) -> Result<bool, String> {
        let new = config::check(document.clone(), &self.on_air.tags)
            .map_err(|problems| problems.to_string().trim_end().replace('\n', "; "))?;
        let (reply, done) = oneshot::channel();
        let order = Order::TurnInto(Box::new(new.clone()), reply);
        let ended = "the application has ended";
        self.orders.send(order).await.map_err(|_| ended)?;
        timeout(APPLY, done)
            .await
            .map_err(|_| format!("not done within {APPLY:?}"))?
            .map_err(|_| ended)??;
        let old = std::mem::replace(&mut self.on_air, new);
        let new = &self.on_air;
        if Teller::differs(&old, new) {
            if let Some(teller) = self.teller.take() {
                teller.end().await;
            }
            self.teller = self.tell();
        }
        let new = &self.on_air;
        Ok(old.control.brokers != new.control.brokers || old.site != new.site)
    }

    /// `gone`: nobody hears it now, and it will be said again when somebody does.
    fn say(&self, topic: String, body: &impl serde::Serialize, retain: bool, gone: bool) {
        match serde_json::to_vec(body) {
            Ok(payload) if !gone => {
                let payload = Bytes::from(payload);
                self.post.send(Letter { topic, payload, retain, passing: retain });
            }
            Ok(_) => {}
            Err(error) => error!(topic, "cannot be said: {error}"),
        }
    }

    /// Whether the box is there, and what runs, wherever it differs from what was said.
    fn tell_state(&mut self) {
        if !self.is_up {
            return;
        }
        let state = json!({
            "online": true,
            "boot": clock::boot_id(),
            "version": env!("CARGO_PKG_VERSION"),
            "revision": self.changes.good().number,
            "clock": self.wall.lock(),
        });
        if self.state != state {
            self.say(self.topics.state(), &state, true, false);
            self.state = state;
        }
    }

    /// One part's health as it is said.
    fn health(&self, health: &Health) -> Value {
        json!({
            "state": health.state,
            "code": health.code,
            "reason": &*health.reason,
            "since": rfc3339::text(self.wall.utc(health.since)),
        })
    }

    /// The health of every part, wherever it differs from what was said.
    fn tell_health(&mut self, parts: &Parts) {
        for (part, health) in block_in_place(|| self.told.news(parts)) {
            let topic = self.topics.health(&part);
            let Some(health) = health else {
                info!(part = &*part, "no longer there");
                let payload = Bytes::new();
                self.post.send(Letter { topic, payload, retain: true, passing: true });
                continue;
            };
            let said = self.health(&health);
            self.say(topic, &said, true, false);
        }
    }
}

/// Whether a configuration has this part.
fn has_part(config: &Config, part: &str) -> bool {
    let (kind, rest) = part.split_once('/').unwrap_or((part, ""));
    let id = rest.split('/').next().unwrap_or_default();
    match kind {
        "feed" | "encoder" => config.cameras.iter().any(|camera| &*camera.id.0 == id),
        "bus" | "unit" => config.buses.iter().any(|bus| {
            let unit = rest.split_once('/').map(|(_, unit)| unit);
            &*bus.id == id
                && unit.is_none_or(|unit| bus.units.iter().any(|u| u.id.to_string() == unit))
        }),
        "broker" => config.brokers.iter().any(|broker| broker.id == id),
        // No configuration makes it better.
        disk::PART => false,
        _ => true,
    }
}
