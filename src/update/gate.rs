//! What the firmware's health gate says: whether the slot that runs may stay.
//!
//! Comes in: two files that it writes as root. Goes out: whether this start of the box has
//! passed, and of a slot that has not, why. A file that is not there or not understood says
//! nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::clock;

/// Where it says what.
pub struct Gate {
    /// Is there once this start of the box has passed and the bootloader knows it.
    pub good: PathBuf,
    /// What is wrong with a slot that has not passed.
    pub verdict: PathBuf,
    /// It has decided by then, or never will.
    pub within: Duration,
}

/// Its word about one start of the box.
#[derive(Deserialize)]
pub struct Verdict {
    /// The kernel's id of that start.
    boot: String,
    /// The box goes back to the other slot; otherwise it is still tried.
    pub given_up: bool,
    /// Why.
    pub reason: String,
}

impl Verdict {
    /// About this start, not an earlier one.
    pub fn of_now(&self) -> bool {
        self.boot == clock::boot_id()
    }
}

impl Gate {
    /// The slot that runs has passed in this start.
    pub async fn passed(&self) -> bool {
        tokio::fs::try_exists(&self.good).await.unwrap_or(false)
    }

    /// What is wrong, of this start or an earlier one.
    pub async fn verdict(&self) -> Option<Verdict> {
        let text = tokio::fs::read(&self.verdict).await.ok()?;
        serde_json::from_slice(&text).ok()
    }
}
