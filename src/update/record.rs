//! What is known of an update, on disk: it goes on where a restart or a power cut left it.
//!
//! Comes in: what somebody asked for, and how far it has come. Goes out: the same after a
//! restart. One update at a time; a file that cannot be read is none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::disk;
use crate::model::update::Ask;

/// Its name in the directory of updates.
const FILE: &str = "update.json";

/// How far it has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The bundle is being fetched.
    Fetching,
    /// It is being written to the other slot.
    Installing {
        /// The slot that runs meanwhile.
        from: String,
        /// How often that was begun.
        #[serde(default)]
        begun: u8,
    },
    /// It is on the other slot; the restart is waited for.
    Waiting {
        /// The slot that runs meanwhile.
        from: String,
    },
    /// The box restarts.
    Restarting {
        /// The boot in which that was decided.
        boot: String,
        /// The slot that ran before the update.
        from: String,
        /// Back to that slot.
        #[serde(default)]
        given_up: bool,
    },
    /// It runs; whether it stays is for the health gate.
    Proving {
        /// The slot that ran before the update.
        from: String,
        /// It was to go back to that slot.
        #[serde(default)]
        given_up: bool,
    },
    /// It stays.
    Done {
        /// The slot that has it.
        #[serde(default)]
        slot: String,
    },
    /// It does not.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Stage {
    /// Nothing more is to be done.
    pub fn ended(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }

    /// Another one may take its place.
    pub fn gives_way(&self) -> bool {
        self.ended() || matches!(self, Self::Fetching | Self::Waiting { .. })
    }

    /// The bundle is still of use.
    pub fn wants_bundle(&self) -> bool {
        matches!(self, Self::Fetching | Self::Installing { .. })
    }
}

/// One update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// As it was asked for.
    pub ask: Ask,
    /// How far it has come.
    #[serde(flatten)]
    pub stage: Stage,
}

impl Record {
    /// What an earlier start left.
    pub fn read(dir: &Path) -> Option<Self> {
        let file = dir.join(FILE);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %file.display(), "update: not read: {error}");
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| warn!(path = %file.display(), "update: not understood: {error}"))
            .ok()
    }

    /// Keeps it over a power cut.
    ///
    /// # Errors
    /// The disk does not take it; what was there before still is.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self)?;
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        disk::put(&dir.join(FILE), &text)
    }
}

/// Where a bundle is fetched to.
pub fn bundle(dir: &Path) -> PathBuf {
    dir.join("bundle.raucb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UtcMicros;
    use crate::model::update::Window;
    use proptest::prelude::*;

    fn record(stage: Stage) -> Record {
        let window = Some(Window { from: UtcMicros(1), to: UtcMicros(2) });
        let (url, sha256) = ("http://x/b".into(), "0".repeat(64));
        let ask = Ask { url, sha256, version: "2".into(), window, force: false };
        Record { ask, stage }
    }

    /// Every stage comes back as it was left.
    #[test]
    fn stages_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (boot, from, reason) = ("b".to_owned(), "A".to_owned(), "no".to_owned());
        for stage in [
            Stage::Fetching,
            Stage::Installing { from: from.clone(), begun: 2 },
            Stage::Waiting { from: from.clone() },
            Stage::Restarting { boot, from: from.clone(), given_up: true },
            Stage::Proving { from, given_up: false },
            Stage::Done { slot: "B".into() },
            Stage::Failed { reason },
        ] {
            let left = record(stage);
            left.write(dir.path()).unwrap();
            assert_eq!(Record::read(dir.path()), Some(left));
        }
    }

    proptest! {
        /// Whatever is on the disk is an update or none.
        #[test]
        fn any_file_is_read(bytes: Vec<u8>, cut in 0usize..300) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), &bytes).unwrap();
            Record::read(dir.path());
            let whole = serde_json::to_vec(&record(Stage::Fetching)).unwrap();
            fs::write(dir.path().join(FILE), &whole[..cut.min(whole.len())]).unwrap();
            prop_assert_eq!(Record::read(dir.path()).is_some(), cut >= whole.len());
        }
    }
}
