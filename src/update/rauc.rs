//! RAUC over D-Bus: it checks the bundle's signature and writes the other slot.
//!
//! Comes in: calls. Goes out: what RAUC says (its reference manual, "D-Bus API"). On a box
//! without RAUC every call fails, with that as the reason.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::zvariant::Value;

use crate::clock::rfc3339;
use crate::model::UtcMicros;

/// An installation is given up after this: a slot of 1 GB on a slow card takes minutes.
pub const INSTALL: Duration = Duration::from_secs(3600);

/// It answers a call within this, or does not. An installation is no call: it is begun by one.
const ANSWER: Duration = Duration::from_secs(120);

/// It says that it does nothing so often before it is taken to have died: its word that it has
/// come to its end may be on its way.
const IDLE: u32 = 3;

#[zbus::proxy(
    interface = "de.pengutronix.rauc.Installer",
    default_service = "de.pengutronix.rauc",
    default_path = "/"
)]
trait Installer {
    fn install_bundle(&self, source: &str, args: HashMap<&str, Value<'_>>) -> zbus::Result<()>;
    fn info(&self, bundle: &str) -> zbus::Result<(String, String)>;
    fn mark(&self, state: &str, slot: &str) -> zbus::Result<(String, String)>;
    #[zbus(property)]
    fn operation(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn last_error(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn progress(&self) -> zbus::Result<(i32, String, i32)>;
    #[zbus(property)]
    fn compatible(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn boot_slot(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn completed(&self, result: i32) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logind {
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
}

/// By the system's clock, which is the one that RAUC judges by.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rfc3339::text(UtcMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}

/// The box's RAUC.
pub struct Rauc {
    bus: Connection,
    installer: InstallerProxy<'static>,
}

impl Rauc {
    /// Connects to the system's bus.
    ///
    /// # Errors
    /// There is no bus.
    pub async fn open() -> Result<Self> {
        let bus = async { Builder::system()?.method_timeout(ANSWER).build().await };
        let bus = bus.await.context("the system's D-Bus")?;
        let installer = InstallerProxy::builder(&bus)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .context("RAUC's D-Bus interface")?;
        Ok(Self { bus, installer })
    }

    /// The version of a bundle that is signed, and for this board.
    ///
    /// # Errors
    /// It is not; the reason is RAUC's.
    pub async fn version(&self, bundle: &Path) -> Result<String> {
        let path = bundle.to_str().context("a path in UTF-8")?;
        let ours = self.installer.compatible().await.context("ask RAUC for its board")?;
        let told = self.installer.info(path).await.map_err(|error| {
            // A signer's time is judged by the clock, and a box may have no battery for it.
            let why = match error.to_string() {
                text if ["not yet valid", "expired"].iter().any(|word| text.contains(word)) => {
                    format!("RAUC refuses it, and this box's clock says {}", now())
                }
                _ => "RAUC refuses it".into(),
            };
            anyhow::Error::from(error).context(why)
        });
        let (compatible, found) = told?;
        ensure!(compatible == ours, "the bundle is for {compatible:?}, the box is {ours:?}");
        Ok(found)
    }

    /// Writes the bundle to the other slot. `told` hears percent and step.
    ///
    /// # Errors
    /// RAUC's reason.
    pub async fn install(&self, bundle: &Path, mut told: impl FnMut(i32, &str)) -> Result<()> {
        let path = bundle.to_str().context("a path in UTF-8")?;
        let mut completed = self.installer.receive_completed().await.context("listen to RAUC")?;
        self.installer.install_bundle(path, HashMap::new()).await.context("RAUC refuses it")?;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = 0;
        let done = tokio::time::timeout(INSTALL, async {
            loop {
                tokio::select! {
                    biased;
                    signal = completed.next() => {
                        let signal = signal.context("RAUC has ended")?;
                        return Ok::<_, anyhow::Error>(signal.args().context("RAUC")?.result);
                    }
                    _ = look.tick() => {
                        if let Ok((percent, step, _)) = self.installer.progress().await {
                            told(percent, &step);
                        }
                        idle = if self.busy().await.unwrap_or(true) { 0 } else { idle + 1 };
                        ensure!(idle < IDLE, "RAUC has ended in the middle");
                    }
                }
            }
        });
        let result = done.await.context("RAUC did not come to an end within an hour")??;
        if result != 0 {
            let error = self.installer.last_error().await.unwrap_or_default();
            anyhow::bail!("RAUC: {error}");
        }
        Ok(())
    }

    /// The bootloader's name of the slot that runs.
    ///
    /// # Errors
    /// RAUC does not say.
    pub async fn booted(&self) -> Result<String> {
        let name = self.installer.boot_slot().await.context("ask RAUC which slot runs")?;
        ensure!(!name.is_empty(), "RAUC does not know which slot runs");
        Ok(name)
    }

    /// Whether it installs something, for whomever.
    ///
    /// # Errors
    /// RAUC does not say.
    pub async fn busy(&self) -> Result<bool> {
        Ok(self.installer.operation().await.context("ask RAUC what it does")? != "idle")
    }

    /// The next start is of the slot that runs; the other one is not started until [`Self::go_on`].
    ///
    /// # Errors
    /// The bootloader is not told.
    pub async fn stay(&self) -> Result<()> {
        self.mark("active", "booted").await?;
        self.mark("bad", "other").await
    }

    /// The next start is of the other slot: a Pi's firmware forgets it with a power cut.
    ///
    /// # Errors
    /// The bootloader is not told.
    pub async fn go_on(&self) -> Result<()> {
        self.mark("active", "other").await
    }

    /// The slot that runs is not started again.
    ///
    /// # Errors
    /// The bootloader is not told.
    pub async fn give_up(&self) -> Result<()> {
        self.mark("bad", "booted").await
    }

    async fn mark(&self, state: &str, slot: &str) -> Result<()> {
        let marked = self.installer.mark(state, slot).await;
        marked.map(drop).with_context(|| format!("RAUC: mark {slot} {state}"))
    }

    /// Restarts the box in order.
    ///
    /// # Errors
    /// systemd refuses it.
    pub async fn restart(&self) -> Result<()> {
        let logind = LogindProxy::new(&self.bus).await.context("systemd-logind")?;
        logind.reboot(false).await.context("systemd-logind refuses to restart the box")
    }
}
