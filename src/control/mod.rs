//! How the box is set up over MQTT, and what it says by itself.
//!
//! Comes in: messages of technicians over the box's own session, and the health of every
//! part. Goes out: orders to the application; answers, state, health and telemetry to
//! the plant's broker. Disk is the truth: what a technician was told has happened is
//! there after a power cut. Each part says for itself what happens when it is full.
//!
//! ```text
//! broker ── ear ──► desk ── order ──► application
//!    ▲               │ │
//!    └──── post ◄────┘ └── change (the transaction, on disk)
//! ```

pub mod adopt;
mod bundle;
pub mod change;
pub mod command;
mod desk;
mod disk;
mod ear;
mod judge;
mod order;
pub mod outbox;
pub mod overlay;
mod post;
mod suspects;
pub mod tele;
mod teller;
mod told;
pub mod topics;

use std::path::Path;

use serde_json::Value;

pub use desk::{Setting, run};
pub use ear::PART;
pub use order::{Deed, Done, Made, Order, Undone};
pub use overlay::Overlay;

use crate::clock::{self, WallClock};
use change::{Action, Changes, Now, Revision, slot};

/// Whether a directory holds a revision that once ran.
pub fn has_revision(dir: &Path) -> bool {
    [slot::GOOD, slot::PREVIOUS].iter().any(|name| dir.join(name).exists())
}

/// Opens the directory of revisions; with nothing good in it, `seed` is the first.
///
/// Returns with it what is to run, and what [`run`] is to say about it first.
///
/// # Errors
/// There is no such directory and it cannot be made.
pub fn open(dir: &Path, seed: Value) -> anyhow::Result<(Changes, Revision, Vec<Action>)> {
    let (wall, mono) = (WallClock::new(), clock::now());
    Changes::open(dir, seed, Now { mono, utc: wall.utc(mono), lock: wall.lock() })
}
