//! A bus as the daemon runs it, its board, and what comes from it.

use std::sync::Arc;
use std::time::Duration;

use floorcast::config::{self, Config};
use floorcast::feed::board::Board;
use floorcast::model::{Quality, Sample, Value};
use floorcast::status::{State, Status};
use floorcast::telemetry::modbus;
use floorcast::telemetry::modbus::write::{self, Outcome, Wish};
use tokio::sync::broadcast::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Everything waited for comes within this, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub config: Config,
    pub status: Status,
    samples: Receiver<Arc<[Sample]>>,
    /// Of the last bus.
    asker: Option<write::Asker>,
    batch: std::vec::IntoIter<Sample>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Rig {
    /// Polls the buses of a configuration.
    pub fn new(text: &str) -> Self {
        let config = config::load(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let board = Board::new(config.tags.clone());
        let (status, stop) = (Status::new(), CancellationToken::new());
        let samples = board.subscribe();
        let (mut tasks, mut asker) = (JoinSet::new(), None);
        for bus in &config.buses {
            let bus = Arc::new(bus.clone());
            let (writes, wishes) = write::channel();
            asker = Some(writes);
            tasks.spawn(modbus::run(bus, board.clone(), status.clone(), wishes, stop.clone()));
        }
        Self { config, status, samples, asker, batch: Vec::new().into_iter(), stop, tasks }
    }

    /// Writes a tag; what became of it.
    pub async fn write(&self, name: &str, value: Value) -> Outcome {
        let tag = self.config.tags.iter().find(|t| &*t.name == name).expect("a tag").id;
        let (reply, outcome) = oneshot::channel();
        let until = floorcast::clock::now() + PATIENCE;
        self.asker.as_ref().expect("a bus").ask(Wish { tag, value, until, reply });
        let deadline = Instant::now() + PATIENCE;
        timeout_at(deadline, outcome).await.expect("in time").expect("an outcome")
    }

    pub fn name(&self, sample: &Sample) -> &str {
        &self.config.tags[sample.tag.0 as usize].name
    }

    /// The next sample, in the order of publication.
    pub async fn next(&mut self) -> Sample {
        self.next_before(Instant::now() + PATIENCE).await.expect("no sample came in time")
    }

    /// The next sample, if one comes before `deadline`.
    pub async fn next_before(&mut self, deadline: Instant) -> Option<Sample> {
        loop {
            if let Some(sample) = self.batch.next() {
                return Some(sample);
            }
            let batch = timeout_at(deadline, self.samples.recv()).await.ok()?;
            self.batch = batch.expect("the board").to_vec().into_iter();
        }
    }

    /// Waits for a sample of `name` that `wanted` accepts; returns it and how
    /// many of that name came before it.
    pub async fn wait(&mut self, name: &str, wanted: impl Fn(&Sample) -> bool) -> (Sample, usize) {
        let (deadline, mut seen) = (Instant::now() + PATIENCE, Vec::new());
        while let Some(sample) = self.next_before(deadline).await {
            if self.name(&sample) != name {
                continue;
            }
            if wanted(&sample) {
                return (sample, seen.len());
            }
            seen.push(format!("{:?} {:?}", sample.value, sample.reason));
        }
        seen.dedup();
        panic!("{name}: not in time; instead came {seen:#?}");
    }

    /// Waits for a good sample of `name`.
    pub async fn good(&mut self, name: &str) -> Sample {
        self.wait(name, |s| s.quality == Quality::Good).await.0
    }

    /// Waits for a bad sample of `name`, and returns why it is bad.
    pub async fn bad(&mut self, name: &str) -> String {
        let sample = self.wait(name, |s| s.quality == Quality::Bad).await.0;
        assert_eq!(sample.value, Value::None, "a bad sample has no value");
        sample.reason.expect("a reason").to_string()
    }

    /// Waits until a part is in this state.
    pub async fn state(&self, part: &str, state: State) {
        let mut changes = self.status.changes();
        let deadline = Instant::now() + PATIENCE;
        while self.status.get(part).is_none_or(|health| health.state != state) {
            let changed = timeout_at(deadline, changes.changed()).await;
            assert!(changed.is_ok(), "{part} is {:?}, not {state:?}", self.status.get(part));
        }
    }

    /// Stops the buses; they end at once.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(ended) = timeout_at(deadline, self.tasks.join_next()).await.expect("ends") {
            ended.expect("no panic").expect("no error");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
