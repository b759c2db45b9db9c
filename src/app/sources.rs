//! What delivers: cameras into their rings, buses and brokers onto the board.
//!
//! Comes in: which parts end and which begin. Goes out: running tasks, and the feeds
//! that they fill. A camera that begins anew fills the ring that it had, so that its
//! viewers stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::demo::DemoLine;
use super::stage::{Running, Stage};
use crate::capture::Source;
use crate::capture::snapshot::{self, Asker, Wish};
use crate::clock::WallClock;
use crate::config::Config;
use crate::config::camera::{ByHand, Camera, Settings};
use crate::config::difference::Difference;
use crate::config::modbus::Bus;
use crate::config::mqtt::Broker;
use crate::control::overlay::{Cover, Overlay};
use crate::feed::board::Board;
use crate::feed::ring::Ring;
use crate::model::FeedId;
use crate::status::Status;
use crate::telemetry::modbus::write;
use crate::web::FeedInfo;
use crate::{capture, telemetry};

/// A camera or a bus may take this long to let go of its device.
const LET_GO: Duration = Duration::from_millis(2500);

/// What every source writes to.
pub(super) struct Floor {
    pub(super) board: Arc<Board>,
    pub(super) wall: Arc<WallClock>,
    pub(super) status: Status,
    /// Of every slate.
    pub(super) style: watch::Sender<capture::Style>,
}

/// Where a camera's pictures will come from, and what ends them.
pub(super) type Origin = (Source, CancellationToken);

/// The running sources.
pub(super) struct Sources {
    floor: Floor,
    stage: Stage,
    demo: DemoLine,
    overlay: Overlay,
    cameras: BTreeMap<FeedId, Filming>,
    buses: BTreeMap<String, Reading>,
    brokers: BTreeMap<String, Running>,
}

/// One bus at work.
struct Reading {
    running: Running,
    asker: write::Asker,
}

/// One camera at work.
pub(super) struct Filming {
    running: Running,
    settings: watch::Sender<Settings>,
    asker: Asker,
    feed: Feed,
    /// Of the application: it has no driver.
    pub(super) pushed: bool,
}

impl Filming {
    /// What of it may change while it runs.
    pub(super) fn retune(&self, change: impl FnOnce(&mut Settings)) {
        self.settings.send_if_modified(|settings| {
            let before = settings.clone();
            change(settings);
            *settings != before
        });
    }

    /// Asks for a snapshot.
    pub(super) fn ask(&self, wish: Wish) {
        self.asker.ask(wish);
    }
}

/// What viewers of a camera hold on to.
#[derive(Clone)]
struct Feed {
    ring: Arc<Ring>,
    profile: Arc<AtomicU32>,
}

impl Sources {
    /// None yet.
    pub(super) fn new(floor: Floor, stage: Stage, demo: DemoLine, overlay: Overlay) -> Self {
        let (cameras, buses, brokers) = Default::default();
        Self { floor, stage, demo, overlay, cameras, buses, brokers }
    }

    /// What they write to.
    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Where the pictures of the cameras that begin will come from.
    ///
    /// # Errors
    /// A camera of the demo line where there is none, or where it does not start.
    pub(super) async fn origins(
        &mut self,
        new: &Config,
        difference: &Difference,
    ) -> Result<Vec<Origin>> {
        self.demo.start(new, &self.floor.wall, &self.stage).await?;
        let begins = new.cameras.iter().filter(|c| difference.cameras.starts(&c.id.0));
        let origin = |camera| {
            let stop = self.stage.stop.child_token();
            self.demo.source(camera, &stop).map(|source| (source, stop))
        };
        begins.map(origin).collect()
    }

    /// Ends what goes or begins anew, then begins what is to run.
    pub(super) async fn change(
        &mut self,
        new: &Config,
        difference: &Difference,
        origins: Vec<Origin>,
    ) {
        let mut feeds = self.end_what_goes(difference).await;
        self.floor.board.retag(new.tags.clone());
        // Also where the configuration does not differ: a command may have changed it.
        for camera in &new.cameras {
            if let Some(filming) = self.cameras.get(&camera.id) {
                filming.retune(|settings| {
                    let by_hand = std::mem::take(&mut settings.by_hand);
                    *settings = Settings { by_hand, ..camera.settings() };
                });
            }
        }
        let begins = new.cameras.iter().filter(|c| difference.cameras.starts(&c.id.0));
        for (camera, origin) in begins.zip(origins) {
            let feed = feeds.remove(&camera.id).unwrap_or_else(|| Feed {
                ring: Ring::new(camera.id.clone()),
                profile: Arc::default(),
            });
            self.film(camera, origin, feed);
        }
        for bus in new.buses.iter().filter(|b| difference.buses.starts(&b.id)) {
            self.read_bus(bus);
        }
        for broker in new.brokers.iter().filter(|b| difference.brokers.starts(&b.id)) {
            self.read_broker(broker);
        }
    }

    /// Ends the parts that go or begin anew; the feeds of the cameras among them.
    async fn end_what_goes(&mut self, difference: &Difference) -> BTreeMap<FeedId, Feed> {
        let mut ending = Vec::new();
        let mut feeds = BTreeMap::new();
        for id in difference.cameras.stops().map(FeedId::from) {
            if let Some(Filming { running, feed, .. }) = self.cameras.remove(&id) {
                ending.push(running);
                feeds.insert(id, feed);
            }
        }
        ending
            .extend(difference.buses.stops().filter_map(|id| Some(self.buses.remove(id)?.running)));
        ending.extend(difference.brokers.stops().filter_map(|id| self.brokers.remove(id)));
        join_all(ending.into_iter().map(|part| part.end(LET_GO))).await;
        self.floor.status.forget(|part| !stays(part, difference));
        feeds
    }

    fn film(&mut self, camera: &Camera, (source, stop): Origin, feed: Feed) {
        let (status, wall) = (self.floor.status.clone(), self.floor.wall.clone());
        let look = capture::Look { style: self.floor.style.subscribe(), wall };
        let by_hand = closed(self.overlay.of(&camera.id.0));
        let settings = watch::Sender::new(Settings { by_hand, ..camera.settings() });
        let (asker, wishes) = snapshot::channel();
        let pushed = matches!(source, Source::Push(_));
        let asked = capture::Asked { settings: settings.subscribe(), wishes };
        let (of, frames, until) = (camera.clone(), feed.ring.clone(), stop.clone());
        let running = self.stage.spawn(format!("camera {}", camera.id), stop, move || {
            let (camera, asked, source) = (of.clone(), asked.clone(), source.clone());
            let (look, ring) = (look.clone(), frames.clone());
            capture::run(camera, asked, source, look, ring, status.clone(), until.clone())
        });
        let filming = Filming { running, settings, asker, feed, pushed };
        self.cameras.insert(camera.id.clone(), filming);
    }

    /// Closes and opens cameras as `overlay` says, from now on.
    pub(super) fn cover(&mut self, overlay: Overlay) {
        for (id, filming) in &self.cameras {
            let ByHand { privacy, paused, .. } = closed(overlay.of(&id.0));
            filming.retune(|settings| {
                (settings.by_hand.privacy, settings.by_hand.paused) = (privacy, paused);
            });
        }
        self.overlay = overlay;
    }

    /// One camera at work.
    pub(super) fn camera(&self, id: &str) -> Option<&Filming> {
        self.cameras.get(&FeedId::from(id))
    }

    /// All of them.
    pub(super) fn cameras(&self) -> impl Iterator<Item = (&FeedId, &Filming)> {
        self.cameras.iter()
    }

    /// Where writes on a bus are asked for.
    pub(super) fn bus(&self, id: &str) -> Option<&write::Asker> {
        self.buses.get(id).map(|reading| &reading.asker)
    }

    fn read_bus(&mut self, bus: &Bus) {
        let (bus, stop) = (Arc::new(bus.clone()), self.stage.stop.child_token());
        let (board, status) = (self.floor.board.clone(), self.floor.status.clone());
        let (id, until) = (bus.id.to_string(), stop.clone());
        let (asker, wishes) = write::channel();
        let running = self.stage.spawn(format!("modbus {id}"), stop, move || {
            let (bus, board, wishes) = (bus.clone(), board.clone(), wishes.clone());
            telemetry::modbus::run(bus, board, status.clone(), wishes, until.clone())
        });
        self.buses.insert(id, Reading { running, asker });
    }

    fn read_broker(&mut self, broker: &Broker) {
        let (broker, stop) = (broker.clone(), self.stage.stop.child_token());
        let Floor { board, wall, status, .. } = &self.floor;
        let (board, wall, status) = (board.clone(), wall.clone(), status.clone());
        let (id, until) = (broker.id.clone(), stop.clone());
        let running = self.stage.spawn(format!("mqtt {id}"), stop, move || {
            let (board, wall) = (board.clone(), wall.clone());
            telemetry::mqtt::run(broker.clone(), board, wall, status.clone(), until.clone())
        });
        self.brokers.insert(id, running);
    }

    /// The feeds as viewers may see them, in the order of the configuration.
    pub(super) fn feeds(&self, config: &Config) -> Vec<FeedInfo> {
        let feed = |camera: &Camera| {
            let Feed { ring, profile } = self.cameras.get(&camera.id)?.feed.clone();
            Some(FeedInfo {
                id: camera.id.clone(),
                name: camera.name.clone(),
                width: camera.width,
                height: camera.height,
                fps: f64::from(camera.fps),
                ring,
                profile,
            })
        };
        config.cameras.iter().filter_map(feed).collect()
    }

    /// Ends them all.
    pub(super) async fn end(self, within: Duration) {
        self.stage.drain("sources", within).await;
    }
}

/// As a camera's settings have it.
fn closed(Cover { paused, privacy }: Cover) -> ByHand {
    ByHand { paused, privacy, named: None }
}

/// False for the health of a part that goes or begins anew.
fn stays(part: &str, difference: &Difference) -> bool {
    let (kind, id) = part.split_once('/').unwrap_or((part, ""));
    let changes = match kind {
        "feed" | "encoder" => &difference.cameras,
        "bus" | "unit" => &difference.buses,
        "broker" => &difference.brokers,
        _ => return true,
    };
    let owner = id.split('/').next();
    !changes.stops().any(|stops| Some(stops) == owner)
}
