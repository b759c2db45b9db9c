//! The demo line's readers tell one truth: picture, PLC and sensors, read by
//! the product itself as `configs/demo.toml` says.
#![allow(missing_docs)]
#![cfg(feature = "sim")]

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use floorcast::clock::{self, WallClock};
use floorcast::config::{self, Config};
use floorcast::feed::board::Board;
use floorcast::model::{Quality, Sample, Value};
use floorcast::sim::{self, Sim, SimOptions};
use floorcast::status::Status;
use floorcast::telemetry;
use support::mosquitto::Mosquitto;
use support::peer::free_port;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Whatever is waited for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// The demo's configuration on free ports, and the line it reads.
struct Demo {
    config: Config,
    line: Sim,
    wall: Arc<WallClock>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Demo {
    async fn start(broker: u16) -> Self {
        let (wall, stop, tasks) =
            (Arc::new(WallClock::new()), CancellationToken::new(), TaskTracker::new());
        let options = SimOptions {
            strip: true,
            modbus_listen: ([127, 0, 0, 1], 0).into(),
            mqtt: Some(sim::Address { host: "127.0.0.1".into(), port: broker }),
            seed: sim::SEED,
        };
        let line = sim::start(options, &wall, stop.clone(), &tasks).await.expect("start");
        let text = include_str!("../configs/demo.toml")
            .replace("127.0.0.1:15020", &line.plc().to_string())
            .replace("127.0.0.1:18830", &format!("127.0.0.1:{broker}"));
        let config = config::load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        Self { config, line, wall, stop, tasks }
    }

    /// Reads everything that the configuration names.
    fn read(&self) -> Arc<Board> {
        let (board, status) = (Board::new(self.config.tags.clone()), Status::new());
        for bus in &self.config.buses {
            let run = telemetry::modbus::run(
                Arc::new(bus.clone()),
                board.clone(),
                status.clone(),
                telemetry::modbus::write::channel().1,
                self.stop.clone(),
            );
            self.tasks.spawn(run);
        }
        for broker in &self.config.brokers {
            let run = telemetry::mqtt::run(
                broker.clone(),
                board.clone(),
                self.wall.clone(),
                status.clone(),
                self.stop.clone(),
            );
            self.tasks.spawn(run);
        }
        board
    }

    fn name(&self, sample: &Sample) -> &str {
        &self.config.tags[sample.tag.0 as usize].name
    }

    /// Everything stops when told to.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        timeout(DEADLINE, self.tasks.wait()).await.expect("everything stops");
    }
}

/// How far tick `a` is from tick `b`, over the roll-over.
fn apart(a: u16, b: u16) -> u16 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}

/// Every figure of the demo arrives, good, and the tick tells UTC.
#[tokio::test]
async fn every_figure_of_the_demo_arrives() {
    let broker = Mosquitto::open();
    let demo = Demo::start(broker.port).await;
    let board = demo.read();
    let mut batches = board.subscribe();
    let (mut seen, mut ticks) = (vec![false; demo.config.tags.len()], 0);
    let all = async {
        while seen.contains(&false) || ticks < 20 {
            for sample in batches.recv().await.expect("batch").iter() {
                let name = demo.name(sample);
                // A rate needs a while of counts first.
                let young = name == "rejects.per_minute";
                let what = format!("{name}: {:?}", sample.reason);
                assert!(young || sample.quality == Quality::Good, "{what}");
                seen[sample.tag.0 as usize] = true;
                if let ("tick", Value::Int(tick)) = (name, &sample.value) {
                    let at = |mono| (demo.wall.utc(mono).0 / 40_000) as u16;
                    let (first, last) = (at(sample.requested), at(sample.received));
                    let late = (*tick as u16).wrapping_sub(first);
                    assert!(late <= last.wrapping_sub(first), "{tick}: not {first} to {last}");
                    ticks += 1;
                }
            }
        }
    };
    let complete = timeout(DEADLINE, all).await;
    let missing: Vec<_> = demo.config.tags.iter().zip(&seen).filter(|(_, seen)| !**seen).collect();
    assert!(complete.is_ok(), "{ticks} ticks; missing: {missing:?}");
    demo.end().await;
}

/// The strip in a picture is the tick of the picture's own capture time.
#[tokio::test]
async fn strip_tells_the_capture_time() {
    let demo = Demo::start(free_port()).await;
    let (give, mut take) = mpsc::channel(4);
    let sink = move |at, data| drop(give.try_send((at, data)));
    demo.line.camera("sim:line", (640, 360), 50, demo.stop.clone(), sink).expect("camera");
    for _ in 0..25 {
        let (at, data) = timeout(DEADLINE, take.recv()).await.expect("picture").expect("picture");
        assert!(clock::now() >= at, "no picture comes before its time");
        let bit = |n: usize| u16::from(data[16 * 640 + 32 * n + 16] > 128);
        let gray = (0..16).fold(0, |code, n| code << 1 | bit(n));
        let tick = (1..16).fold(gray, |tick, shift| tick ^ (gray >> shift));
        assert!(apart(tick, (demo.wall.utc(at).0 / 40_000) as u16) == 0, "{tick} at {at:?}");
    }
    demo.end().await;
}

/// The sensors come back after the broker did, and publish the state of then.
#[tokio::test]
async fn sensors_survive_a_broker_restart() {
    let mut broker = Mosquitto::open();
    let demo = Demo::start(broker.port).await;
    let board = demo.read();
    let mut batches = board.subscribe();
    for round in 0..2 {
        let since = clock::now();
        let air = async {
            loop {
                let batch = batches.recv().await.expect("batch");
                let fresh = |s: &&Sample| demo.name(s) == "air.pressure" && s.taken > since;
                if batch.iter().any(|s| fresh(&s) && s.quality == Quality::Good) {
                    return;
                }
            }
        };
        timeout(DEADLINE, air).await.unwrap_or_else(|_| panic!("no air pressure, round {round}"));
        if round == 0 {
            broker.kill();
            broker.start();
        }
    }
    demo.end().await;
}

/// A port that the line does not have is refused with those it has.
#[tokio::test]
async fn unknown_camera_is_refused() {
    let demo = Demo::start(free_port()).await;
    let refused = demo
        .line
        .camera("sim:roof", (640, 360), 30, demo.stop.clone(), |_, _| {})
        .expect_err("refused");
    assert!(format!("{refused:#}").contains("sim:line"), "{refused:#}");
    let odd = demo.line.camera("sim:line", (641, 360), 30, demo.stop.clone(), |_, _| {});
    assert!(odd.is_err());
    demo.end().await;
}
