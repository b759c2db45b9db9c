//! The stages of an update, each of them done once or as often as power goes.
//!
//! Comes in: how far an update is. Goes out: the stage after that. A slot is written only while
//! the one that runs has passed its own gate: there is always one that is good.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use tracing::warn;

use super::gate::Verdict;
use super::rauc::{self, Rauc};
use super::record::{self, Record, Stage};
use super::{Work, fetch};
use crate::clock::{self, rfc3339};
use crate::disk::free;
use crate::model::update::{Ask, Window};

/// A fetch that breaks off goes on after this, then after twice as long, up to [`CAP`].
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause between attempts.
const CAP: Duration = Duration::from_secs(300);
/// Attempts to fetch: a day of them.
const ATTEMPTS: u32 = 300;
/// A slot is written so often, if each time ends in the middle of it: what takes the box down is
/// not done for ever.
const BEGUN: u8 = 3;
const ON_TRIAL: &str = "the slot that runs is still on trial itself";
/// Whether it may restart is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// With less, in bytes, the gate cannot write.
const FULL: u64 = 1 << 20;
/// Nobody has watched for so long: a viewer whose connection broke comes back sooner.
const QUIET: Duration = Duration::from_secs(15);

impl Work {
    /// Does what a stage wants; the stage after it.
    pub(super) async fn step(&self, record: &Record) -> Stage {
        self.tell(record, "");
        let failed = |error: anyhow::Error| Stage::Failed { reason: format!("{error:#}") };
        match &record.stage {
            Stage::Fetching => self.fetch(record).await.unwrap_or_else(failed),
            Stage::Installing { from, begun } => {
                self.install(record, from, *begun).await.unwrap_or_else(failed)
            }
            Stage::Waiting { from } => self.wait(record, from).await.unwrap_or_else(failed),
            Stage::Restarting { boot, from, given_up } if boot == clock::boot_id() => {
                let restarted = restart(*given_up).await;
                let why = restarted.err().map(|error| format!("{error:#}")).unwrap_or_default();
                self.tell(record, &why);
                // It comes within moments, or not at all.
                sleep(CAP).await;
                if *given_up {
                    let reason = format!("the box does not restart into slot {from}: {why}");
                    return Stage::Failed { reason };
                }
                if let Err(error) = self.stay().await {
                    warn!("update: what waits is still the next to start: {error:#}");
                }
                Stage::Waiting { from: from.clone() }
            }
            Stage::Restarting { from, given_up, .. } => {
                Stage::Proving { from: from.clone(), given_up: *given_up }
            }
            Stage::Proving { from, given_up } => {
                self.prove(record, from, *given_up).await.unwrap_or_else(failed)
            }
            Stage::Done { .. } | Stage::Failed { .. } => std::future::pending().await,
        }
    }

    async fn fetch(&self, record: &Record) -> Result<Stage> {
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
                Ok(()) => {
                    self.settled(record).await?;
                    return Ok(Stage::Installing { from: self.booted().await?, begun: 0 });
                }
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

    /// Until the slot that runs has passed its gate in this start: before that the other one
    /// may be the only good one.
    async fn settled(&self, record: &Record) -> Result<()> {
        let until = clock::now() + self.gate.within;
        while !self.gate.passed().await {
            let good = self.gate.good.display();
            ensure!(
                clock::now() < until,
                "the slot that runs was never found good itself: its health gate has not made {good}"
            );
            self.tell(record, ON_TRIAL);
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// The slot that runs. RAUC may be later than this daemon.
    async fn booted(&self) -> Result<String> {
        let until = clock::now() + self.gate.within;
        loop {
            match async { Rauc::open().await?.booted().await }.await {
                Err(_) if clock::now() < until => sleep(LOOK).await,
                booted => return booted,
            }
        }
    }

    /// The slot that runs is the next to start, over a power cut too.
    pub(super) async fn stay(&self) -> Result<()> {
        let until = clock::now() + self.gate.within;
        loop {
            match async { Rauc::open().await?.stay().await }.await {
                Err(_) if clock::now() < until => sleep(LOOK).await,
                stayed => return stayed,
            }
        }
    }

    async fn install(&self, record: &Record, from: &str, begun: u8) -> Result<Stage> {
        let from = from.to_owned();
        if self.booted().await? != from {
            // It was installed, and a power cut came before its restart.
            return Ok(Stage::Proving { from, given_up: false });
        }
        self.settled(record).await?;
        // An earlier start of this daemon may have begun it: it is written again, to be sure.
        let rauc = self.idle(record).await?;
        if begun >= BEGUN {
            self.stay().await?;
            anyhow::bail!("the box went down {BEGUN} times while the slot was written");
        }
        let stage = Stage::Installing { from: from.clone(), begun: begun + 1 };
        let kept = self.keep(Record { ask: record.ask.clone(), stage }).await;
        if kept.stage.ended() {
            return Ok(kept.stage);
        }
        let written = self.write(record, &rauc).await;
        // RAUC has made it the next to start: that is for its window, and not for a power cut.
        self.stay().await.with_context(|| match &written {
            Ok(()) => "it is written, and starts next".into(),
            Err(error) => format!("{error:#}"),
        })?;
        written.map(|()| Stage::Waiting { from })
    }

    async fn write(&self, record: &Record, rauc: &Rauc) -> Result<()> {
        self.open_until_now(record)?;
        let bundle = record::bundle(&self.dir);
        let (found, version) = (rauc.version(&bundle).await?, &record.ask.version);
        ensure!(found == *version, "the bundle is version {found:?}, not {version:?}");
        let told = |percent, step: &str| self.tell(record, &format!("{percent} %: {step}"));
        rauc.install(&bundle, told).await
    }

    /// RAUC, once it does nothing.
    async fn idle(&self, record: &Record) -> Result<Rauc> {
        let (rauc, until) = (Rauc::open().await?, clock::now() + rauc::INSTALL);
        while rauc.busy().await? {
            ensure!(clock::now() < until, "RAUC is busy with something else");
            self.tell(record, "RAUC is busy");
            sleep(LOOK).await;
        }
        Ok(rauc)
    }

    /// Its window, if it has one, has not closed.
    fn open_until_now(&self, record: &Record) -> Result<()> {
        let Some(Window { to, .. }) = record.ask.window else { return Ok(()) };
        let now = self.wall.utc(clock::now());
        ensure!(now <= to, "its window closed at {}: send it anew", rfc3339::text(to));
        Ok(())
    }

    /// Until it may restart.
    async fn wait(&self, record: &Record, from: &str) -> Result<Stage> {
        let from = from.to_owned();
        if self.booted().await? != from {
            // Power went after the bootloader was told, or somebody began its trial by hand.
            return Ok(Stage::Proving { from, given_up: false });
        }
        let mut watched = clock::now();
        loop {
            if let Err(closed) = self.open_until_now(record) {
                self.idle(record).await?;
                self.stay().await.with_context(|| closed.to_string())?;
                return Err(closed);
            }
            let (now, passed) = (clock::now(), self.gate.passed().await);
            let feed = (self.watched)();
            if feed.is_some() {
                watched = now;
            }
            let opens = record.ask.window.map(|window| window.from);
            let why = match (opens, feed) {
                (Some(then), _) if self.wall.utc(now) < then => {
                    format!("the window opens at {}", rfc3339::text(then))
                }
                // Its own passing takes the other slot's tries.
                _ if !passed => ON_TRIAL.into(),
                // The bootloader first: a cut in between begins the trial, and is not taken for its end.
                _ if record.ask.force || now >= watched + QUIET => match go_on().await {
                    Ok(()) => {
                        let boot = clock::boot_id().into();
                        return Ok(Stage::Restarting { boot, from, given_up: false });
                    }
                    Err(error) => format!("{error:#}"),
                },
                (_, Some(feed)) => format!("{feed} is being watched"),
                (_, None) => format!("until nobody has watched for {} s", QUIET.as_secs()),
            };
            self.tell(record, &why);
            sleep(LOOK).await;
        }
    }

    /// The box has restarted: which slot runs, and does it stay?
    async fn prove(&self, record: &Record, from: &str, given_up: bool) -> Result<Stage> {
        let booted = self.booted().await?;
        if booted == from {
            let why = match self.gate.verdict().await {
                Some(verdict) if verdict.given_up => verdict.reason,
                _ if free(&self.dir).is_some_and(|left| left < FULL) => {
                    "it did not come to its end, perhaps since the data partition is full".into()
                }
                _ => "it did not come up, or did not come to its health gate".into(),
            };
            anyhow::bail!("the box is back on slot {from}: {why}");
        }
        let (until, mut why) = (clock::now() + self.gate.within, String::new());
        while clock::now() < until {
            if self.gate.passed().await {
                return Ok(Stage::Done { slot: booted });
            }
            if let Some(verdict) = self.gate.verdict().await.filter(Verdict::of_now) {
                why = verdict.reason;
                let told = format!("slot {booted} does not pass its health gate: {why}");
                ensure!(!verdict.given_up, told);
                self.tell(record, &told);
            }
            sleep(LOOK).await;
        }
        let never = format!("slot {booted} was never found good: {why}");
        ensure!(!given_up, "{never}; and the box does not go back to slot {from}");
        warn!("update: {never}");
        // An image without a gate: nobody else would go back.
        if let Err(error) = async { Rauc::open().await?.give_up().await }.await {
            // The restart takes one of its tries.
            warn!("update: {error:#}");
        }
        let (boot, from) = (clock::boot_id().into(), from.into());
        Ok(Stage::Restarting { boot, from, given_up: true })
    }
}

async fn go_on() -> Result<()> {
    Rauc::open().await?.go_on().await
}

/// Restarts the box, into the other slot or `back` to the one before.
async fn restart(back: bool) -> Result<()> {
    if !back {
        go_on().await?;
    }
    Rauc::open().await?.restart().await
}
