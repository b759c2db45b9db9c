//! A box's session and telemetry, running, and a consumer that nobody here wrote.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floorcast::clock::WallClock;
use floorcast::config;
use floorcast::control::outbox::Outbox;
use floorcast::control::tele;
use floorcast::feed::board::Board;
use floorcast::model::{Mono, Quality, Sample, TagId, UtcMicros, Value};
use floorcast::mqtt::{Link, Message, Publisher, Reader, Refused, Will};
use floorcast::status::{State, Status};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::mosquitto::{Mosquitto, program};
use crate::support::peer::Peer;

/// Everything that is waited for comes within this time, or the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const ROOT: &str = "floorcast/v1/plant/line";

/// Tells who publishes that there is a session.
struct Sessions(watch::Sender<Option<Publisher>>);

impl Reader for Sessions {
    fn messages(&mut self, batch: &mut Vec<Message>, _: Duration) {
        batch.clear();
    }

    fn refused(&mut self, _: &[Refused]) {}

    fn will(&self) -> Option<Will> {
        let payload = Bytes::from_static(b"gone");
        Some(Will { topic: format!("{ROOT}/state"), payload, retain: true })
    }

    fn up(&mut self, publisher: &Publisher) {
        self.0.send_replace(Some(publisher.clone()));
    }

    fn down(&mut self) {
        self.0.send_replace(None);
    }
}

pub struct Rig {
    pub board: Arc<Board>,
    pub status: Status,
    pub sessions: watch::Receiver<Option<Publisher>>,
    pub outbox: Arc<Outbox>,
    stop: CancellationToken,
    link: JoinHandle<()>,
    tele: JoinHandle<anyhow::Result<()>>,
    value: i128,
}

/// `[[control.broker]]` of a port, with more keys.
pub fn broker(port: u16, more: &str) -> String {
    format!("[[control.broker]]\nurl = \"mqtt://127.0.0.1:{port}\"\n{more}\n")
}

impl Rig {
    /// Runs a box that publishes two tags of two units, with its outbox in `dir`.
    pub fn start(dir: &Path, brokers: &str) -> Self {
        let tag = |n| {
            format!(
                "[[modbus.unit]]\nid = {n}\n[[modbus.unit.tag]]\nname = \"n{n}\"\n\
                 table = \"input\"\naddress = 0\ntype = \"u16\"\n"
            )
        };
        let bus = "[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:1502\"\n";
        let text = format!("{bus}{}{}{brokers}", tag(1), tag(2));
        let config = config::load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let board = Board::new(config.tags.clone());
        let (status, stop) = (Status::new(), CancellationToken::new());
        let (up, sessions) = watch::channel(None);
        let now = UtcMicros(1000);
        let outbox = Outbox::open(dir, config.control.outbox_max, now, status.clone());
        let outbox = Arc::new(outbox.expect("outbox"));
        let way = tele::Way {
            outbox: outbox.clone(),
            root: ROOT.into(),
            boot: "boot-1".into(),
            sessions: sessions.clone(),
        };
        let wall = Arc::new(WallClock::new());
        let tele = tele::run(way, board.clone(), wall, status.clone(), stop.clone());
        let link = Link::new("control", config.control.brokers, [], status.clone());
        let until = stop.clone();
        let link = tokio::spawn(async move { link.run(&mut Sessions(up), &until).await });
        Self { board, status, sessions, outbox, stop, link, tele: tokio::spawn(tele), value: 0 }
    }

    /// Waits until a part's state and reason satisfy `is`; gives the reason.
    pub async fn state(&self, part: &str, is: impl Fn(State, &str) -> bool) -> String {
        let mut changes = self.status.changes();
        let wait = async {
            loop {
                if let Some(health) = self.status.get(part)
                    && is(health.state, &health.reason)
                {
                    return health.reason.to_string();
                }
                changes.changed().await.expect("status");
            }
        };
        match timeout(DEADLINE, wait).await {
            Ok(reason) => reason,
            Err(_) => panic!("{part} is {:?}", self.status.get(part)),
        }
    }

    pub async fn live(&self) {
        self.state("control", |state, _| state == State::Live).await;
        self.state("tele", |state, _| state == State::Live).await;
    }

    /// Publishes samples whose values count on, in batches of at most 100, one
    /// tag after the other; waits until they are on disk. The last value.
    pub async fn samples(&mut self, many: usize) -> i128 {
        // It listens to the board by then: what was published before is nobody's.
        self.state("tele", |_, _| true).await;
        let mut durable = self.outbox.durable();
        durable.mark_unchanged();
        // An append under way does not have these; the one after the next sample does.
        for some in [many - 1, 1] {
            let values: Vec<_> = (0..some).map(|_| self.next_value()).collect();
            for batch in values.chunks(100) {
                let batch = batch.iter().map(|value| sample((*value % 2) as u32, *value));
                self.board.publish(batch.collect());
                tokio::task::yield_now().await;
            }
            let changed = timeout(DEADLINE, durable.changed()).await;
            changed.expect("samples are stored").expect("outbox");
        }
        self.value
    }

    /// Values count on from this one.
    pub fn count_from(&mut self, value: i128) {
        self.value = value;
    }

    fn next_value(&mut self) -> i128 {
        self.value += 1;
        self.value
    }

    /// The broker has acknowledged everything.
    pub async fn delivered(&self) {
        let delivered = async {
            let mut poll = tokio::time::interval(Duration::from_millis(20));
            while self.outbox.waiting() > 0 {
                poll.tick().await;
            }
        };
        timeout(DEADLINE, delivered).await.expect("delivered");
    }

    /// Stops it; it must end soon and without an error.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = timeout(Duration::from_secs(5), async { (self.link.await, self.tele.await) });
        let (link, tele) = ended.await.expect("did not stop in time");
        link.expect("panicked");
        tele.expect("panicked").expect("failed");
    }

    /// Ends it as SIGKILL would: nobody says or stores anything any more.
    pub async fn kill(self) {
        self.link.abort();
        self.tele.abort();
        let _ = (self.link.await, self.tele.await);
    }
}

fn sample(tag: u32, value: i128) -> Sample {
    // A second of the line's time between two.
    let at = Mono(value as u64 * 1_000_000_000);
    Sample {
        tag: TagId(tag),
        value: Value::Int(value),
        quality: Quality::Good,
        reason: None,
        taken: at,
        error: Duration::from_millis(1),
        requested: at,
        received: at,
    }
}

/// One record as a consumer sees it.
#[derive(Debug)]
pub struct Got {
    pub topic: String,
    pub seq: u64,
    pub late: bool,
    pub values: Vec<i64>,
}

/// `mosquitto_sub` with a session of its own: it loses nothing while the broker is away.
pub struct Consumer {
    lines: mpsc::UnboundedReceiver<String>,
    _process: Peer,
}

impl Consumer {
    /// Subscribes below the box's root, and waits until the broker has it.
    pub async fn start(broker: &Mosquitto, filter: &str) -> Self {
        let mut command = program("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-V", "5"]);
        command.args(["-q", "1", "-i", "consumer", "-c", "-x", "4294967295", "-k", "5"]);
        command.args(["-t", &format!("{ROOT}/{filter}"), "-t", "ready", "-F", "%t %p"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Peer::start(&mut command, "mosquitto-clients");
        let out = BufReader::new(process.0.stdout.take().expect("stdout"));
        let (tx, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        let mut consumer = Self { lines, _process: process };
        broker.publish("ready", "yes", &["-r"]);
        assert_eq!(consumer.line().await, "ready yes");
        consumer
    }

    /// The next message, topic and payload.
    pub async fn line(&mut self) -> String {
        let line = timeout(DEADLINE, self.lines.recv()).await.expect("a message in time");
        line.expect("mosquitto_sub ended")
    }

    /// The next record.
    pub async fn record(&mut self) -> Got {
        loop {
            let line = self.line().await;
            let (topic, payload) = line.split_once(' ').expect("topic and payload");
            if topic == "ready" {
                continue;
            }
            let json: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            let samples = json["samples"].as_array().expect("samples");
            return Got {
                topic: topic.strip_prefix(ROOT).expect("below the root").to_owned(),
                seq: json["seq"].as_u64().expect("seq"),
                late: json["late"].as_bool().expect("late"),
                values: samples.iter().map(|s| s["v"].as_i64().expect("v")).collect(),
            };
        }
    }

    /// Records until every value from 1 to `last` has come; duplicates of a
    /// number are dropped, and must be the same. In order of arrival.
    pub async fn all(&mut self, last: i128) -> Vec<Got> {
        let (mut all, mut known) = (Vec::new(), HashMap::new());
        let mut values = std::collections::BTreeSet::new();
        while values.len() < last as usize {
            let got = self.record().await;
            if let Some(same) = known.get(&got.seq) {
                assert_eq!(same, &got.values, "one number, two records");
                continue;
            }
            known.insert(got.seq, got.values.clone());
            // Even values are unit 1's, odd ones unit 2's: see `sample`.
            let unit = 1 + got.values[0] % 2;
            assert_eq!(got.topic, format!("/tele/plc/unit-{unit}"));
            for value in &got.values {
                assert!(values.insert(*value), "{value} came in two records");
            }
            all.push(got);
        }
        assert_eq!(values.last(), Some(&(last as i64)));
        all
    }
}

/// Each lane has its order.
pub fn in_order(all: &[Got]) {
    for late in [false, true] {
        let seqs: Vec<_> = all.iter().filter(|g| g.late == late).map(|g| g.seq).collect();
        assert!(seqs.is_sorted(), "late {late}: {seqs:?}");
    }
}
