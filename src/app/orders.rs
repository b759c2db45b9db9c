//! What is asked of a box on air.
//!
//! Comes in: control's orders, or SIGHUP and then the configuration file. Goes out: what
//! is on air becomes what is asked; in the log, what changed. A file with a mistake
//! changes nothing, and is not read where revisions are kept. One order at a time: the
//! others wait.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Inside;
use super::listeners::VIEWERS;
use super::on_air::OnAir;
use crate::config::{self, Config};
use crate::control::Order;
use crate::update;

/// The one place that changes what is on air.
pub(super) struct Orders {
    on_air: OnAir,
    inside: Inside,
    file: Option<PathBuf>,
    /// Of control, which keeps revisions.
    control: Option<mpsc::Receiver<Order>>,
    updates: mpsc::Sender<update::Wish>,
}

/// Why it is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was told to.
    Stopped,
    /// It is to be started again.
    Restart,
}

impl Orders {
    /// For what is on air: from `file` if it came from one, or from `control`'s revisions.
    pub(super) fn new(
        on_air: OnAir,
        inside: Inside,
        file: Option<PathBuf>,
        control: Option<mpsc::Receiver<Order>>,
        updates: mpsc::Sender<update::Wish>,
    ) -> Self {
        Self { on_air, inside, file, control, updates }
    }

    /// Does what is asked, until `stop` or until it cannot go on.
    pub(super) async fn take(&mut self, mut hangup: Signal, stop: &CancellationToken) -> End {
        loop {
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                Some(()) = hangup.recv() => self.hung_up().await,
                Some(order) = order(self.control.as_mut()) => match order {
                    Order::TurnInto(new, reply) => {
                        let result = self.turn_into(*new).await;
                        // Who asked has given up: it asks for something else then.
                        let _ = reply.send(result.map_err(|error| format!("{error:#}")));
                    }
                    Order::Do(deed, reply) => {
                        self.on_air.carry_out(deed, &self.inside, &self.updates, reply).await;
                    }
                    Order::Restart => return End::Restart,
                },
            }
        }
    }

    async fn hung_up(&mut self) {
        match (&self.control, self.file.clone()) {
            (Some(_), _) => {
                warn!("SIGHUP: the file is only the first revision: change it over MQTT");
            }
            (None, Some(file)) => self.reload(&file).await,
            (None, None) => {
                warn!("SIGHUP: the built-in configuration has no file to read again");
            }
        }
    }

    async fn turn_into(&mut self, new: Config) -> anyhow::Result<()> {
        let difference = self.on_air.turn_into(new).await?;
        info!("on air with another configuration");
        difference.lines().iter().for_each(|line| info!("{line}"));
        Ok(())
    }

    async fn reload(&mut self, file: &Path) {
        let path = file.display();
        let text = match tokio::fs::read_to_string(file).await {
            Ok(text) => text,
            Err(error) => return error!(%path, "configuration not read, nothing changes: {error}"),
        };
        let before = &self.on_air.config().tags;
        match config::parse(&text).and_then(|doc| config::check(doc, before)) {
            Ok(new) => {
                if let Err(error) = self.turn_into(new).await {
                    error!(%path, "nothing changes: {error:#}");
                }
            }
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

/// The next order; never, where nobody gives any.
async fn order(control: Option<&mut mpsc::Receiver<Order>>) -> Option<Order> {
    match control {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}
