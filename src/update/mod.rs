//! Updates of the box's firmware: fetched, checked, installed beside what runs, tried, kept
//! or taken back.
//!
//! Comes in: what somebody asks for over MQTT, one at a time; whether somebody watches; the
//! time. Goes out: the health of the part `update`, which says how far it is, and a box that
//! runs another slot. Every step is on disk before it is done, so a power cut only repeats
//! it. Whether a new slot is good is not decided here: the health gate of the firmware does
//! that, and the bootloader goes back by itself where it does not come to it.

mod fetch;
mod rauc;
mod record;
mod stick;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{self, WallClock, rfc3339};
use crate::disk::free;
use crate::model::update::{Ask, Window};
use crate::status::{State, Status};
use rauc::Rauc;
use record::{Record, Stage};

/// As parts are named.
pub const PART: &str = "update";
/// A fetch that breaks off goes on after this, then after twice as long, up to [`CAP`].
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause between attempts.
const CAP: Duration = Duration::from_secs(300);
/// Attempts to fetch: a day of them.
const ATTEMPTS: u32 = 300;
/// Whether it may restart is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// The health gate has decided by then, or never will.
const PROVED: Duration = Duration::from_secs(900);

/// The health gate's word about one start of the box.
#[derive(Deserialize)]
struct Verdict {
    /// The kernel's id of that start.
    boot: String,
    /// The slot may stay.
    good: bool,
    /// Why not.
    #[serde(default)]
    reason: String,
}

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
    /// What the firmware's health gate found.
    pub verdict: PathBuf,
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
    let (dir, verdict) = (place.dir.clone(), place.verdict.clone());
    let work = Work { dir, verdict, status: status.clone(), wall, watched };
    tokio::select! {
        () = stop.cancelled() => {}
        () = stick::watch(&place, &status, &wishes) => {}
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
            (Some(Next::Stage(stage)), before) => {
                before.map(|Record { ask, .. }| work.keep(Record { ask, stage }))
            }
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
    verdict: PathBuf,
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
            Ok(_) => self.begin(before.as_ref(), ask).map_err(|error| format!("disk: {error}")),
        };
        let (answer, record) = match begun {
            Ok(record) => (Ok(()), Some(record)),
            Err(why) => (Err(why), before),
        };
        // Who asked may have given up.
        let _ = reply.send(answer);
        record
    }

    fn begin(&self, before: Option<&Record>, ask: Ask) -> io::Result<Record> {
        let record = Record { ask, stage: Stage::Fetching };
        let bundle = record::bundle(&self.dir);
        tokio::task::block_in_place(|| {
            // What is there of another bundle is of no use.
            if before.is_none_or(|before| before.ask.sha256 != record.ask.sha256)
                && let Err(error) = std::fs::remove_file(bundle)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            record.write(&self.dir)
        })?;
        Ok(record)
    }

    /// On disk before it is done. A disk that does not take it ends the update.
    fn keep(&self, record: Record) -> Record {
        info!(version = record.ask.version, stage = ?record.stage, "update");
        match tokio::task::block_in_place(|| record.write(&self.dir)) {
            Ok(()) => record,
            Err(error) => {
                let reason = format!("disk: {error}: free space or replace it");
                Record { stage: Stage::Failed { reason }, ..record }
            }
        }
    }

    /// Does what a stage wants; the stage after it.
    async fn step(&self, record: &Record) -> Stage {
        self.tell(record, "");
        let failed = |error: anyhow::Error| Stage::Failed { reason: format!("{error:#}") };
        match &record.stage {
            Stage::Fetching => self.fetch(record).await.map_or_else(failed, |()| Stage::Installing),
            Stage::Installing => {
                self.install(record).await.map_or_else(failed, |()| Stage::Waiting)
            }
            Stage::Waiting => self.wait(record).await.unwrap_or_else(failed),
            Stage::Restarting { boot, from } if boot == clock::boot_id() => {
                let restarted = async { Rauc::open().await?.restart().await };
                match restarted.await {
                    // It comes within moments.
                    Ok(()) => std::future::pending().await,
                    Err(error) => {
                        let from = from.clone();
                        self.tell(record, &format!("{error:#}"));
                        sleep(CAP).await;
                        Stage::Restarting { boot: clock::boot_id().into(), from }
                    }
                }
            }
            Stage::Restarting { from, .. } => Stage::Proving { from: from.clone() },
            Stage::Proving { from } => self.prove(from).await.unwrap_or_else(failed),
            Stage::Done | Stage::Failed { .. } => std::future::pending().await,
        }
    }

    async fn fetch(&self, record: &Record) -> Result<()> {
        let Ask { url, sha256, .. } = &record.ask;
        let file = record::bundle(&self.dir);
        let mut pause = FIRST;
        for attempt in 1..=ATTEMPTS {
            let told = |there: u64, whole: Option<u64>| match whole {
                Some(whole) => self.tell(record, &format!("{} %", there * 100 / whole.max(1))),
                None => self.tell(record, &format!("{} MB", there / 1_000_000)),
            };
            let free = || free(&self.dir);
            match fetch::fetch(url, &file, sha256, free, told).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is::<fetch::Hopeless>() => return Err(error),
                Err(error) => {
                    warn!(attempt, ?pause, "update: {error:#}");
                    self.tell(record, &format!("tried again: {error:#}"));
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(CAP);
        }
        anyhow::bail!("not fetched in {ATTEMPTS} attempts")
    }

    async fn install(&self, record: &Record) -> Result<()> {
        let (rauc, bundle) = (Rauc::open().await?, record::bundle(&self.dir));
        let (found, version) = (rauc.version(&bundle).await?, &record.ask.version);
        ensure!(found == *version, "the bundle is version {found:?}, not {version:?}");
        let told = |percent, step: &str| self.tell(record, &format!("{percent} %: {step}"));
        rauc.install(&bundle, told).await?;
        // The slot has it.
        tokio::fs::remove_file(&bundle).await.context("remove the bundle")
    }

    /// Until it may restart.
    async fn wait(&self, record: &Record) -> Result<Stage> {
        loop {
            let now = self.wall.utc(clock::now());
            if let Some(Window { from, to }) = record.ask.window {
                let text = rfc3339::text;
                ensure!(now <= to, "its window closed at {}: send it anew", text(to));
                if now < from {
                    self.tell(record, &format!("the window opens at {}", text(from)));
                    sleep(LOOK).await;
                    continue;
                }
            }
            match (self.watched)() {
                Some(feed) if !record.ask.force => {
                    self.tell(record, &format!("{feed} is being watched"));
                    sleep(LOOK).await;
                }
                _ => {
                    let from = Rauc::open().await?.booted().await?;
                    return Ok(Stage::Restarting { boot: clock::boot_id().into(), from });
                }
            }
        }
    }

    /// The box has restarted: which slot runs, and does it stay?
    async fn prove(&self, from: &str) -> Result<Stage> {
        let until = clock::now() + PROVED;
        loop {
            let verdict = self.verdict().await;
            // RAUC may be later than this daemon: that proves nothing yet.
            let booted = async { Rauc::open().await?.booted().await };
            let booted = match booted.await {
                Ok(booted) => booted,
                Err(error) if clock::now() > until => return Err(error),
                Err(_) => {
                    sleep(LOOK).await;
                    continue;
                }
            };
            if booted == from {
                let why = match &verdict {
                    Some(Verdict { good: false, reason, .. }) => reason,
                    _ => "it did not come up, or did not come to its health gate",
                };
                anyhow::bail!("the box is back on slot {from}: {why}");
            }
            match verdict.filter(|verdict| verdict.boot == clock::boot_id()) {
                Some(Verdict { good: true, .. }) => return Ok(Stage::Done),
                Some(Verdict { reason, .. }) => {
                    anyhow::bail!("slot {booted} does not pass its health gate: {reason}")
                }
                None => ensure!(clock::now() < until, "slot {booted} was never found good"),
            }
            sleep(LOOK).await;
        }
    }

    async fn verdict(&self) -> Option<Verdict> {
        let text = tokio::fs::read(&self.verdict).await.ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// How it goes, for `health/update`.
    fn tell(&self, record: &Record, more: &str) {
        let (state, code) = match &record.stage {
            Stage::Fetching => (State::Connecting, "fetching"),
            Stage::Installing => (State::Connecting, "installing"),
            Stage::Waiting => (State::Connecting, "waiting"),
            Stage::Restarting { .. } => (State::Connecting, "restarting"),
            Stage::Proving { .. } => (State::Connecting, "proving"),
            Stage::Done => (State::Live, ""),
            Stage::Failed { .. } => (State::Suspect, "failed"),
        };
        let version = &record.ask.version;
        let reason = match &record.stage {
            Stage::Done => format!("version {version} stays"),
            Stage::Failed { reason } => format!("version {version}: {reason}"),
            _ if more.is_empty() => format!("version {version}"),
            _ => format!("version {version}: {more}"),
        };
        self.status.progress(PART, state, code, &reason);
    }
}
