//! What is asked of a box on air.
//!
//! Comes in: SIGHUP, and then the configuration file. Goes out: what is on air becomes
//! what it says; in the log, what changed. A file with a mistake changes nothing. One
//! order at a time: the others wait.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::listeners::VIEWERS;
use super::on_air::OnAir;
use crate::config;

/// The one place that changes what is on air.
pub(super) struct Orders {
    on_air: OnAir,
    file: Option<PathBuf>,
}

impl Orders {
    /// For what is on air, from `file` if it came from one.
    pub(super) fn new(on_air: OnAir, file: Option<PathBuf>) -> Self {
        Self { on_air, file }
    }

    /// Does what is asked, until `stop`.
    pub(super) async fn take(&mut self, mut hangup: Signal, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                got = hangup.recv() => match (got, self.file.clone()) {
                    (None, _) => return stop.cancelled().await,
                    (Some(()), Some(file)) => self.reload(&file).await,
                    (Some(()), None) => {
                        warn!("SIGHUP: the built-in configuration has no file to read again");
                    }
                },
            }
        }
    }

    async fn reload(&mut self, file: &Path) {
        let path = file.display();
        let text = match tokio::fs::read_to_string(file).await {
            Ok(text) => text,
            Err(error) => return error!(%path, "configuration not read, nothing changes: {error}"),
        };
        let before = &self.on_air.config().tags;
        match config::parse(&text).and_then(|doc| config::check(doc, before)) {
            Ok(new) => match self.on_air.turn_into(new).await {
                Ok(difference) => {
                    info!(%path, "configuration read again");
                    difference.lines().iter().for_each(|line| info!("{line}"));
                }
                Err(error) => error!(%path, "nothing changes: {error:#}"),
            },
            Err(problems) => {
                error!(%path, mistakes = problems.iter().count(), "nothing changes");
                problems.iter().for_each(|p| error!("{}: {}", p.key, p.message));
            }
        }
    }

    /// Goes off air.
    pub(super) async fn end(self, sources: Duration) {
        self.on_air.end(VIEWERS, sources).await;
    }
}
