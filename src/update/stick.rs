//! A bundle that somebody brings on a stick, to a box that need not have a network.
//!
//! Comes in: a directory that the system mounts a stick to. Goes out: a wish for the bundle
//! that is on it, as if it had come over MQTT, once for each bundle; how that went is the
//! health of the part `stick` while the stick is there. What is on a stick is nobody's word:
//! only the signature counts, and RAUC looks at that.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::info;

use super::Wish;
use super::fetch::digest;
use super::rauc::Rauc;
use super::record::{Record, Stage};
use crate::clock;
use crate::model::update::Ask;
use crate::status::{State, Status};

/// As parts are named.
const PART: &str = "stick";
/// Whether one was plugged in is looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// A stick that is left in is mounted within this after a start.
const MOUNTED: Duration = Duration::from_secs(60);
/// Entries of its directory that are looked at.
const ENTRIES: usize = 1000;

/// Looks for ever.
pub async fn watch(stick: &Path, dir: &Path, status: &Status, wishes: &mpsc::Sender<Wish>) {
    let (mut before, mut again, began) = (None, false, clock::now());
    loop {
        let looked = stick.to_owned();
        let found = tokio::task::spawn_blocking(move || newest(&looked)).await;
        // A stick that cannot be read is none; a panic is told by the task that had it.
        let found = found.ok().and_then(Result::ok).flatten();
        // It was pulled out, or is not one that was left in and mounted late.
        again |= found.is_none() && (before.is_some() || clock::now() > began + MOUNTED);
        if found != before {
            match &found {
                Some(bundle) => {
                    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
                    status.set(PART, State::Connecting, &format!("{name}: being looked at"));
                    match take(bundle, dir, wishes, again).await {
                        Ok(word) => status.set(PART, State::Live, &format!("{name}: {word}")),
                        Err(why) => status.set(PART, State::Suspect, &format!("{name}: {why:#}")),
                    }
                }
                None => status.forget(|part| part == PART),
            }
            before = found;
        }
        sleep(LOOK).await;
    }
}

/// Of the bundles on a stick the last by name.
fn newest(stick: &Path) -> io::Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(stick)?.take(ENTRIES).filter_map(Result::ok);
    let bundles = entries.map(|entry| entry.path()).filter(|path| {
        path.is_file() && path.extension().is_some_and(|name| name.eq_ignore_ascii_case("raucb"))
    });
    Ok(bundles.max())
}

/// Asks for it unless it was the last one asked for; what came of it. One that failed is taken
/// `again` from a stick that was pulled out meanwhile, not from one that is just left in.
async fn take(
    bundle: &Path,
    dir: &Path,
    wishes: &mpsc::Sender<Wish>,
    again: bool,
) -> Result<&'static str> {
    let rauc = Rauc::open().await?;
    let version = rauc.version(bundle).await?;
    let sha256 = digest(bundle).await?;
    match Record::read(dir).filter(|last| last.ask.sha256 == sha256).map(|last| last.stage) {
        Some(Stage::Failed { .. }) if again => {}
        Some(Stage::Failed { .. }) => bail!("failed before: pull it out and plug it in again"),
        Some(Stage::Done { slot }) if again && slot != rauc.booted().await? => {}
        Some(_) => return Ok("was taken before: health/update says how it goes"),
        None => {}
    }
    info!(version, bundle = %bundle.display(), "an update on a stick");
    let url = format!("file://{}", bundle.display());
    let ask = Ask { url, sha256, version, window: None, force: false };
    let (reply, answer) = oneshot::channel();
    wishes.send(Wish { ask, reply }).await?;
    answer.await?.map_err(|why| anyhow!(why))?;
    Ok("taken: health/update says how far it is")
}
