//! What people closed, over whatever revision runs.
//!
//! Comes in: which feed is closed and opened, by command. Goes out: the same after a
//! restart and with later revisions, also for a camera that is gone for a while. Holds
//! [`FEEDS`] feeds; another one is refused. A file that cannot be read may have closed
//! any camera: then all are closed until somebody opens them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::error;

use super::change::slot;
use super::change::store::{Disk, Store, replace};

const FILE: &str = "overlay";
/// More than a box ever has.
const FEEDS: usize = 64;

/// What is closed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overlay {
    /// It is not known what was closed.
    lost: bool,
    feeds: BTreeMap<String, Cover>,
}

/// How one feed is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cover {
    /// Paused by the house.
    pub paused: bool,
    /// Closed for privacy.
    pub privacy: bool,
}

impl Overlay {
    /// What a directory holds; nothing is closed where there is no file.
    pub fn open(dir: &Path) -> Self {
        let read = Disk::open(dir).and_then(|disk| disk.read(FILE));
        let opened = read.map_err(Into::into).and_then(|bytes| match bytes {
            Some(bytes) => slot::open(&bytes),
            None => Ok(Self::default()),
        });
        opened.unwrap_or_else(|error: anyhow::Error| {
            error!("what was closed by command cannot be read, so every camera is: {error:#}");
            Self { lost: true, ..Self::default() }
        })
    }

    /// How a feed is closed.
    pub fn of(&self, feed: &str) -> Cover {
        let unknown = Cover { privacy: self.lost, ..Cover::default() };
        self.feeds.get(feed).copied().unwrap_or(unknown)
    }

    /// The same with one feed closed otherwise; `None` where there is no room.
    pub fn with(&self, feed: &str, cover: Cover) -> Option<Self> {
        let mut other = self.clone();
        match cover == Cover::default() && !self.lost {
            true => other.feeds.remove(feed),
            false => other.feeds.insert(feed.to_owned(), cover),
        };
        (other.feeds.len() <= FEEDS).then_some(other)
    }

    /// Writes it down; durable when this returns.
    ///
    /// # Errors
    /// The disk does not take it; what was there before is there still.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        replace(&mut Disk::open(dir)?, "overlay", FILE, &slot::seal(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Cover = Cover { paused: false, privacy: true };

    /// What is closed is closed after a restart, and what is opened is open.
    #[test]
    fn what_people_closed_stays_closed() {
        let dir = tempfile::tempdir().unwrap();
        let before = Overlay::open(dir.path());
        assert_eq!(before.of("fill"), Cover::default());
        let closed = before.with("fill", CLOSED).unwrap();
        closed.keep(dir.path()).unwrap();
        let after = Overlay::open(dir.path());
        assert_eq!((after.of("fill"), after.of("cap")), (CLOSED, Cover::default()));
        after.with("fill", Cover::default()).unwrap().keep(dir.path()).unwrap();
        assert_eq!(Overlay::open(dir.path()), Overlay::default());
    }

    /// What cannot be read closes everything, until it is opened one by one.
    #[test]
    fn an_unreadable_file_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"half a fi").unwrap();
        let lost = Overlay::open(dir.path());
        assert_eq!(lost.of("fill"), CLOSED);
        lost.with("fill", Cover::default()).unwrap().keep(dir.path()).unwrap();
        let after = Overlay::open(dir.path());
        assert_eq!((after.of("fill"), after.of("cap")), (Cover::default(), CLOSED));
    }

    /// A name too many is refused; those that are there can still be opened.
    #[test]
    fn it_holds_so_many_feeds() {
        let full = (0..FEEDS)
            .try_fold(Overlay::default(), |all, n| all.with(&format!("c{n}"), CLOSED))
            .unwrap();
        assert_eq!(full.with("more", CLOSED), None);
        assert!(full.with("c0", Cover::default()).is_some());
    }
}
