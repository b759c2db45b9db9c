//! Updates of the box's firmware: fetched, checked, installed beside what runs, tried, kept
//! or taken back.
//!
//! Comes in: what somebody asks for over MQTT, one at a time; whether somebody watches; the
//! time. Goes out: the health of the part `update`, which says how far it is, and a box that
//! runs another slot. Every step is on disk before it is done, so a power cut only repeats
//! it. Whether a new slot is good is not decided here: the health gate of the firmware does
//! that, and the bootloader goes back by itself where it does not come to it.

mod fetch;
mod gate;
mod rauc;
mod record;
mod steps;
mod stick;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::WallClock;
use crate::model::update::Ask;
use crate::status::{State, Status};
pub use gate::Gate;
use rauc::Rauc;
use record::{Record, Stage};

/// As parts are named.
pub const PART: &str = "update";

/// Somebody asks for an update.
pub struct Wish {
    /// Which.
    pub ask: Ask,
    /// Whether it is begun, or why not.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Where updates come from, and where they are kept.
pub struct Place {
    /// Bundle and record, so that an update survives a power cut.
    pub dir: PathBuf,
    /// A stick with a bundle, while there is one.
    pub stick: PathBuf,
    /// The firmware's health gate.
    pub gate: Gate,
}

/// What an update works with.
pub struct Setting {
    /// Where its files are.
    pub place: Place,
    /// Where its health is told.
    pub status: Status,
    /// UTC.
    pub wall: Arc<WallClock>,
    /// The name of a feed that somebody watches.
    pub watched: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Wishes; one is heard at a time.
    pub wishes: mpsc::Receiver<Wish>,
}

/// Serves until `stop`. What comes on a stick goes the way of all `wishes`.
pub async fn run(setting: Setting, wishes: mpsc::Sender<Wish>, stop: CancellationToken) {
    let Setting { place, status, wall, watched, wishes: heard } = setting;
    let Place { dir, stick, gate } = place;
    let work = Work { dir: dir.clone(), gate, status: status.clone(), wall, watched };
    tokio::select! {
        () = stop.cancelled() => {}
        () = stick::watch(&stick, &dir, &status, &wishes) => {}
        () = serve(work, heard) => {}
    }
}

async fn serve(work: Work, mut wishes: mpsc::Receiver<Wish>) {
    let mut record = Record::read(&work.dir);
    loop {
        let next = work.next(record.as_ref(), &mut wishes).await;
        record = match (next, record) {
            (None, _) => return,
            (Some(Next::Wish(wish)), before) => work.take(before, wish).await,
            (Some(Next::Stage(stage)), Some(Record { ask, .. })) => {
                Some(work.keep(Record { ask, stage }).await)
            }
            (Some(Next::Stage(_)), None) => None,
        };
    }
}

/// What ends a stage.
enum Next {
    /// Another update, which takes its place.
    Wish(Wish),
    /// The stage after it.
    Stage(Stage),
}

/// One update at work.
struct Work {
    dir: PathBuf,
    gate: Gate,
    status: Status,
    wall: Arc<WallClock>,
    watched: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Work {
    /// Does what is under way, and answers what may not take its place; `None` when nobody
    /// can wish any more.
    async fn next(
        &self,
        record: Option<&Record>,
        wishes: &mut mpsc::Receiver<Wish>,
    ) -> Option<Next> {
        let Some(record) = record.filter(|record| !record.stage.ended()) else {
            if let Some(ended) = record {
                self.tell(ended, "");
            }
            return wishes.recv().await.map(Next::Wish);
        };
        let step = self.step(record);
        tokio::pin!(step);
        loop {
            tokio::select! {
                stage = &mut step => return Some(Next::Stage(stage)),
                wish = wishes.recv() => {
                    let wish = wish?;
                    let answer = match &record.stage {
                        _ if record.ask == wish.ask => Ok(()),
                        stage if stage.gives_way() => return Some(Next::Wish(wish)),
                        _ => {
                            let version = &record.ask.version;
                            Err(format!("version {version} is being installed: wait for its end"))
                        }
                    };
                    // Who asked may have given up.
                    let _ = wish.reply.send(answer);
                }
            }
        }
    }

    /// Begins with a wish, or refuses it.
    async fn take(&self, before: Option<Record>, Wish { ask, reply }: Wish) -> Option<Record> {
        let able = async { Rauc::open().await?.booted().await };
        let begun = match able.await {
            Err(error) => Err(format!("this box does not update itself: {error:#}")),
            Ok(booted) => {
                let begun = self.begin(before.as_ref(), ask, &booted).await;
                begun.map_err(|error| format!("{error:#}"))
            }
        };
        let (answer, record) = match begun {
            Ok(record) => (Ok(()), Some(record)),
            Err(why) => (Err(why), before),
        };
        // Who asked may have given up.
        let _ = reply.send(answer);
        record
    }

    async fn begin(&self, before: Option<&Record>, ask: Ask, booted: &str) -> Result<Record> {
        let same = |had: &Ask| had.sha256 == ask.sha256 && had.version == ask.version;
        let stage = match before {
            Some(Record { ask: had, stage: Stage::Waiting { from } }) if from != booted => {
                bail!("version {} is on trial: wait for its end", had.version)
            }
            Some(Record { ask: had, stage: stage @ Stage::Waiting { .. } }) => {
                // Its restart may just have begun.
                Rauc::open().await?.stay().await?;
                // It is on the other slot already: only its window is another.
                if same(had) { stage.clone() } else { Stage::Fetching }
            }
            // It stays already; who asks for it each night does not restart the line for it.
            Some(done @ Record { ask: had, stage: Stage::Done { slot } })
                if same(had) && slot == booted && !ask.force =>
            {
                return Ok(done.clone());
            }
            _ => Stage::Fetching,
        };
        let record = Record { ask, stage };
        tokio::task::block_in_place(|| {
            // What is there of another bundle is of no use.
            if before.is_none_or(|before| before.ask.sha256 != record.ask.sha256) {
                self.discard()?;
            }
            record.write(&self.dir)
        })
        .context("the disk does not take it: free space or replace it")?;
        Ok(record)
    }

    /// Makes room. Blocks.
    fn discard(&self) -> io::Result<()> {
        match std::fs::remove_file(record::bundle(&self.dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// On disk before it is done. A disk that does not take it ends the update.
    async fn keep(&self, record: Record) -> Record {
        info!(version = record.ask.version, stage = ?record.stage, "update");
        let goes_on = matches!(record.stage, Stage::Restarting { given_up: false, .. });
        let kept = tokio::task::block_in_place(|| {
            let record = record.write(&self.dir).map_or_else(
                |error| {
                    let reason = format!("disk: {error:#}: free space or replace it");
                    Record { stage: Stage::Failed { reason }, ..record.clone() }
                },
                |()| record.clone(),
            );
            if !record.stage.wants_bundle()
                && let Err(error) = self.discard()
            {
                warn!("update: the bundle stays: {error}");
            }
            record
        });
        if goes_on
            && kept.stage.ended()
            && let Err(error) = self.stay().await
        {
            warn!("update: it ended, and is still the next to start: {error:#}");
        }
        kept
    }

    /// How it goes, for `health/update`.
    fn tell(&self, record: &Record, more: &str) {
        let (state, code) = match &record.stage {
            Stage::Fetching => (State::Connecting, "fetching"),
            Stage::Installing { .. } => (State::Connecting, "installing"),
            Stage::Waiting { .. } => (State::Connecting, "waiting"),
            Stage::Restarting { .. } => (State::Connecting, "restarting"),
            Stage::Proving { .. } => (State::Connecting, "proving"),
            Stage::Done { .. } => (State::Live, ""),
            Stage::Failed { .. } => (State::Suspect, "failed"),
        };
        let version = &record.ask.version;
        let reason = match &record.stage {
            Stage::Done { .. } => format!("version {version} stays"),
            Stage::Failed { reason } => format!("version {version}: {reason}"),
            _ if more.is_empty() => format!("version {version}"),
            _ => format!("version {version}: {more}"),
        };
        self.status.progress(PART, state, code, &reason);
    }
}
