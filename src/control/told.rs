//! What a broker has been told of each part's health.
//!
//! Comes in: the health of all parts. Goes out: what differs from what was said. The
//! broker keeps what it is told for later subscribers, so the names of all parts that it
//! may have are kept on disk: one that is no longer there is taken back, also by the
//! next start. Bounded by the parts of the configurations since the last session.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::status::{Health, Parts};

/// The file of names.
const FILE: &str = "told";

/// What was said, and what a broker may have.
pub struct Told {
    file: PathBuf,
    /// In this session.
    said: BTreeMap<Arc<str>, Health>,
    /// In any.
    kept: BTreeSet<Arc<str>>,
}

impl Told {
    /// Goes on with what earlier starts have said. A file that cannot be read is empty.
    pub fn open(dir: &Path) -> Self {
        let file = dir.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let kept = text.lines().filter(|name| !name.is_empty()).map(Arc::from).collect();
        Self { file, said: BTreeMap::new(), kept }
    }

    /// Another session, perhaps with another broker: everything is to be said again.
    pub fn forget(&mut self) {
        self.said.clear();
    }

    /// What is to be said now: a part's health, or `None` where it is to be taken back.
    pub fn news(&mut self, parts: &Parts) -> Vec<(Arc<str>, Option<Health>)> {
        let differs = |(part, health): &(&Arc<str>, &Health)| self.said.get(*part) != Some(*health);
        let mut news: Vec<_> =
            parts.iter().filter(differs).map(|(p, h)| (p.clone(), Some(h.clone()))).collect();
        let gone = self.kept.iter().filter(|part| !parts.contains_key(*part));
        news.extend(gone.map(|part| (part.clone(), None)));
        self.said.clone_from(parts);
        let now: BTreeSet<_> = parts.keys().cloned().collect();
        if now != self.kept {
            self.kept = now;
            self.write();
        }
        news
    }

    /// Small and replaceable: without it a broker keeps what is no longer true of a part
    /// that went while the box was off.
    fn write(&self) {
        let next = self.file.with_extension("new");
        let text = self.kept.iter().fold(String::new(), |text, name| text + name + "\n");
        let written = std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &self.file));
        if let Err(error) = written {
            warn!("{}: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{State, Status};

    fn parts(names: &[&str]) -> Parts {
        let status = Status::new();
        names.iter().for_each(|name| status.set(name, State::Live, ""));
        status.all()
    }

    /// Each change is said once, and all of it again in another session.
    #[test]
    fn what_is_known_is_not_said_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Told::open(dir.path());
        let (one, two) = (parts(&["bus/a"]), parts(&["bus/a", "feed/b"]));
        assert_eq!(told.news(&one).len(), 1);
        assert_eq!(told.news(&one), []);
        assert_eq!(told.news(&Parts::from_iter(one.clone().into_iter().chain(two))).len(), 1);
        told.forget();
        assert_eq!(told.news(&one).len(), 2);
    }

    /// A part that went while the box was off is taken back once.
    #[test]
    fn what_went_is_taken_back_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        Told::open(dir.path()).news(&parts(&["bus/a", "feed/b"]));
        let mut told = Told::open(dir.path());
        let news = told.news(&parts(&["bus/a"]));
        let gone: Vec<_> = news.iter().filter(|(_, health)| health.is_none()).collect();
        assert_eq!((gone.len(), &*gone[0].0), (1, "feed/b"));
        let mut told = Told::open(dir.path());
        assert!(told.news(&parts(&["bus/a"])).iter().all(|(_, health)| health.is_some()));
    }
}
