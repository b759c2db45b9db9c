//! Health of the disk that what must survive a power cut is kept on.
//!
//! Comes in: the time. Goes out: the part `disk`: whether it takes writes, and whether there
//! is room left. Looked at once in [`EVERY`]; what is written for that is one small file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::free;
use crate::model::Mono;
use crate::status::{State, Status};

/// From look to look.
const EVERY: Duration = Duration::from_secs(60);
/// Less room than this is told, bytes: a document and the audit have to fit.
const LITTLE: u64 = 16 << 20;
/// As parts are named.
pub const PART: &str = "disk";

/// Looks after one directory.
pub struct Disk {
    dir: PathBuf,
    status: Status,
    next: Mono,
}

impl Disk {
    /// Of the file system that `dir` is on.
    pub fn new(dir: &Path, status: Status) -> Self {
        Self { dir: dir.to_owned(), status, next: Mono(0) }
    }

    /// Looks, if it is time. May wait for the disk.
    pub fn look(&mut self, now: Mono) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let room = free(&self.dir);
        metrics::gauge!("floorcast_disk_free_bytes").set(room.unwrap_or_default() as f64);
        let (state, code, reason) = match (self.writes(), room) {
            (Err(error), _) => (State::NoSignal, "disk", format!("it takes no writes: {error}")),
            (Ok(()), Some(room)) if room < LITTLE => (
                State::Suspect,
                "full",
                format!("{} KiB left: free space or replace it", room >> 10),
            ),
            (Ok(()), _) => (State::Live, "", String::new()),
        };
        self.status.set_coded(PART, state, code, &reason);
    }

    /// Whether what is written comes to the disk.
    fn writes(&self) -> io::Result<()> {
        let file = self.dir.join("written");
        let mut open = File::create(&file)?;
        open.write_all(b"it takes writes\n")?;
        open.sync_all()?;
        std::fs::remove_file(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is gone is told, and one that is back; not at every look.
    #[test]
    fn a_disk_that_takes_no_writes_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let status = Status::new();
        let inside = dir.path().join("state");
        let mut disk = Disk::new(&inside, status.clone());
        let start = Mono(1_000_000_000_000);
        disk.look(start);
        let health = status.get(PART).unwrap();
        assert_eq!((health.state, health.code), (State::NoSignal, "disk"));
        std::fs::create_dir(&inside).unwrap();
        disk.look(start + EVERY / 2);
        assert_eq!(status.get(PART).unwrap().state, State::NoSignal);
        disk.look(start + EVERY);
        assert_eq!(status.get(PART).unwrap().state, State::Live);
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
    }
}
