//! One broker's ingest, running, and what it puts on the board.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floorcast::clock::WallClock;
use floorcast::config;
use floorcast::feed::board::Board;
use floorcast::model::{Quality, Sample, Value};
use floorcast::status::{State, Status};
use floorcast::telemetry::mqtt;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Everything that is waited for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct Rig {
    pub board: Arc<Board>,
    pub status: Status,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    batches: Receiver<Arc<[Sample]>>,
    ready: VecDeque<Sample>,
}

impl Rig {
    /// Runs what `[[mqtt]]` says, `id` left out.
    pub fn start(text: &str) -> Self {
        let text = format!("[[mqtt]]\nid = \"b\"\n{text}");
        let config = config::load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let board = Board::new(config.tags.clone());
        let (status, stop) = (Status::new(), CancellationToken::new());
        let broker = config.brokers.into_iter().next().expect("one broker");
        let wall = Arc::new(WallClock::new());
        let run = mqtt::run(broker, board.clone(), wall, status.clone(), stop.clone());
        let batches = board.subscribe();
        Self { board, status, stop, task: tokio::spawn(run), batches, ready: VecDeque::new() }
    }

    /// The same, and waits until every subscription is confirmed.
    pub async fn live(text: &str) -> Self {
        let rig = Self::start(text);
        rig.state(|state, _| state == State::Live).await;
        rig
    }

    /// Waits until the broker's state and reason satisfy `is`; gives the reason.
    pub async fn state(&self, is: impl Fn(State, &str) -> bool) -> String {
        let mut changes = self.status.changes();
        let wait = async {
            loop {
                if let Some(health) = self.status.get("broker/b")
                    && is(health.state, &health.reason)
                {
                    return health.reason.to_string();
                }
                changes.changed().await.expect("status");
            }
        };
        match timeout(DEADLINE, wait).await {
            Ok(reason) => reason,
            Err(_) => panic!("broker is {:?}", self.status.get("broker/b")),
        }
    }

    /// The next sample, of whatever tag.
    pub async fn any(&mut self) -> Sample {
        let next = async {
            while self.ready.is_empty() {
                self.ready.extend(self.batches.recv().await.expect("board").iter().cloned());
            }
        };
        let what = || format!("no sample; broker is {:?}", self.status.get("broker/b"));
        timeout(DEADLINE, next).await.unwrap_or_else(|_| panic!("{}", what()));
        self.ready.pop_front().expect("ready")
    }

    /// The next sample of a tag; those of others are passed over.
    pub async fn next(&mut self, name: &str) -> Sample {
        loop {
            let sample = self.any().await;
            if self.name(&sample) == name {
                return sample;
            }
        }
    }

    /// The next sample's value, which must be good.
    pub async fn value(&mut self, name: &str) -> Value {
        let sample = self.next(name).await;
        assert_eq!(sample.quality, Quality::Good, "{name}: {sample:?}");
        sample.value
    }

    /// The next sample's reason, which must be bad.
    pub async fn bad(&mut self, name: &str) -> String {
        let sample = self.next(name).await;
        assert_eq!((sample.quality, &sample.value), (Quality::Bad, &Value::None), "{name}");
        sample.reason.expect("reason").to_string()
    }

    pub fn name(&self, sample: &Sample) -> String {
        self.board.tags()[sample.tag.0 as usize].name.to_string()
    }

    /// Stops it; it must end at once and without an error.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = timeout(Duration::from_secs(3), self.task).await;
        ended.expect("did not stop in time").expect("panicked").expect("failed");
    }
}

pub fn text(t: &str) -> Value {
    Value::Text(t.into())
}
