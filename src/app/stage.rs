//! Tasks that belong together, and the end of one or of all of them.

use std::time::Duration;

use anyhow::Result;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::status::Status;
use crate::task::{Backoff, supervise};

/// One stage's tasks with the token that stops them.
pub(super) struct Stage {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    status: Status,
}

/// One task of a stage, which can end before the others.
pub(super) struct Running {
    name: String,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Stage {
    pub(super) fn new(status: &Status) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { tasks, stop, status: status.clone() }
    }

    /// Runs `body` under supervision as `name` until the stage or `stop`, a child of the
    /// stage's token, says so; the watchdog sees if it gets stuck.
    pub(super) fn spawn<F, Fut>(&self, name: String, stop: CancellationToken, body: F) -> Running
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let (status, until, of) = (self.status.clone(), stop.clone(), name.clone());
        let ended = self.tasks.spawn(async move {
            status.alive(&name, supervise(name.clone(), until, Backoff::DEVICE, body)).await;
        });
        Running { name: of, stop, ended }
    }

    /// Stops and waits; what has not ended by then is left behind, with a warning.
    pub(super) async fn drain(&self, name: &str, within: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(within, self.tasks.wait()).await.is_err() {
            warn!(stage = name, left = self.tasks.len(), "did not end in time");
        }
    }
}

impl Running {
    /// Stops it and waits; what has not ended by then is left behind, with a warning.
    pub(super) async fn end(self, within: Duration) {
        self.stop.cancel();
        if timeout(within, self.ended).await.is_err() {
            warn!(task = self.name, "did not end in time");
        }
    }
}
