//! Who asked for what, and what became of it: one JSON line each, append-only,
//! each with the hash of the line before.
//!
//! Comes in: accepted and refused requests and commands, and what the box did
//! by itself. Goes out: the line, for the topic. At [`FILE_MAX`] the file becomes
//! the older one and a new one begins with its last hash; of the two before, the
//! older is gone. A line that cannot be written is counted in the next one that can.

use std::io;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::document::hex;
use super::store::Store;
use super::{Now, request};
use crate::clock::{Lock, rfc3339};
use crate::failpoint;

/// The newer file.
pub const FILE: &str = "audit";
/// The older file.
pub const OLDER: &str = "audit.1";
/// The last line that a power cut tore.
pub const TORN: &str = "audit.torn";
/// A file's greatest size, bytes.
pub const FILE_MAX: u64 = 1 << 20;
/// Longer reasons are cut, characters.
const REASON_MAX: usize = 300;

/// What is to be noted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Note<'a> {
    /// The operation or command.
    pub what: &'a str,
    /// Who asked; none for the box itself.
    pub user: Option<&'a str>,
    /// The request's.
    pub txid: &'a str,
    /// What became of it: `accepted`, `refused`, `confirmed`, `rolled_back` …
    pub outcome: &'a str,
    /// The revision in question.
    pub revision: Option<u64>,
    /// The hash of that revision's document.
    pub sha256: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Counts up by one per line.
    n: u64,
    /// RFC 3339, by the box's clock.
    at: String,
    /// False if that clock was never set since the start.
    clock_set: bool,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    txid: String,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Lines that could not be written before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: u64,
    /// The hash of the line before; zeros before the first.
    prev: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The end of the chain.
#[derive(Debug)]
pub struct Audit {
    n: u64,
    prev: String,
    /// Where the newer file's last whole line ends.
    end: u64,
    lost: u64,
    /// The greatest revision that a line names.
    highest: u64,
    /// The files could not be read: where the chain ends is unknown.
    blind: bool,
}

/// What a look at both files found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Whole lines in both files.
    pub lines: u64,
    /// Lines that say they could not be written.
    pub lost: u64,
    /// Bytes after the last whole line: a power cut.
    pub torn: usize,
    /// Where the chain is not what was written; empty if it is intact.
    pub broken: Vec<String>,
}

impl Audit {
    /// Finds the end of the chain; a torn last line is kept aside, and that it
    /// was is the next line.
    ///
    /// While a file cannot be read, no line can be appended.
    pub fn open(store: &mut dyn Store, now: Now) -> (Self, Option<String>) {
        let files = store.read(OLDER).and_then(|older| Ok((older, store.read(FILE)?)));
        let (older, newer) = match files {
            Ok((older, newer)) => (older.unwrap_or_default(), newer.unwrap_or_default()),
            Err(error) => {
                warn!("audit: cannot be read: {error}");
                let prev = String::new();
                return (Self { n: 0, prev, end: 0, lost: 0, highest: 0, blind: true }, None);
            }
        };
        let mut walk = Walk::default();
        walk.file(OLDER, &older);
        let end = walk.file(FILE, &newer);
        let mut audit = Self {
            n: walk.n,
            prev: walk.prev,
            end: end as u64,
            lost: 0,
            highest: walk.highest,
            blind: false,
        };
        let torn = &newer[end..];
        if torn.is_empty() && walk.broken.is_empty() {
            return (audit, None);
        }
        if !torn.is_empty()
            && let Err(error) = store.write(TORN, torn)
        {
            warn!("audit: the torn last line is lost: {error}");
        }
        let broken = walk.broken.first().map_or(String::new(), |b| format!("; {b}"));
        let reason = format!("last line torn: {} bytes kept aside{broken}", torn.len());
        warn!("audit: {reason}");
        let note = Note { what: "audit", outcome: "continued", reason: &reason, ..Note::default() };
        let line = audit.note(store, "start.audit", note, now).ok();
        (audit, line)
    }

    /// The greatest revision number that a line names.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Appends a line; durable when this returns.
    pub fn note(
        &mut self,
        store: &mut dyn Store,
        at: &str,
        note: Note<'_>,
        now: Now,
    ) -> io::Result<String> {
        let line = Line {
            n: self.n + 1,
            at: rfc3339::text(now.utc),
            clock_set: now.lock != Lock::Free && !request::unset(now),
            what: note.what.into(),
            user: note.user.map(str::to_owned),
            txid: note.txid.into(),
            outcome: note.outcome.into(),
            revision: note.revision,
            sha256: note.sha256.map(str::to_owned),
            reason: note.reason.chars().take(REASON_MAX).collect(),
            lost: self.lost,
            prev: self.prev.clone(),
        };
        let line = serde_json::to_string(&line).expect("plain data has JSON");
        failpoint::here(at, "before");
        self.append(store, &line).inspect_err(|error| {
            self.lost += 1;
            metrics::counter!("floorcast_audit_lost_total").increment(1);
            warn!("audit: a line is lost: {error}");
        })?;
        failpoint::here(at, "synced");
        Ok(line)
    }

    fn append(&mut self, store: &mut dyn Store, line: &str) -> io::Result<()> {
        if self.blind {
            return Err(io::Error::other("the audit file cannot be read"));
        }
        if self.end + line.len() as u64 + 1 > FILE_MAX {
            store.rename(FILE, OLDER)?;
            self.end = 0;
        }
        store.append(FILE, self.end, format!("{line}\n").as_bytes())?;
        self.end += line.len() as u64 + 1;
        (self.n, self.prev, self.lost) = (self.n + 1, hex(line.as_bytes()), 0);
        Ok(())
    }
}

/// Walks both files and checks every hash.
pub fn verify(store: &dyn Store) -> io::Result<Verified> {
    let mut walk = Walk::default();
    walk.file(OLDER, &store.read(OLDER)?.unwrap_or_default());
    let newer = store.read(FILE)?.unwrap_or_default();
    let end = walk.file(FILE, &newer);
    let Walk { lines, lost, broken, .. } = walk;
    Ok(Verified { lines, lost, torn: newer.len() - end, broken })
}

struct Walk {
    n: u64,
    prev: String,
    lines: u64,
    lost: u64,
    highest: u64,
    broken: Vec<String>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { n: 0, prev: "0".repeat(64), lines: 0, lost: 0, highest: 0, broken: Vec::new() }
    }
}

impl Walk {
    /// Goes through a file's whole lines; says where the last of them ends.
    fn file(&mut self, name: &str, bytes: &[u8]) -> usize {
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for (i, text) in bytes[..end].split_inclusive(|b| *b == b'\n').enumerate() {
            let text = &text[..text.len() - 1];
            // What the oldest line follows has been rotated away.
            let first = self.lines == 0;
            match serde_json::from_slice::<Line>(text) {
                Ok(line) => {
                    if !(first && line.n > 1) && (line.prev != self.prev || line.n != self.n + 1) {
                        self.broken(format!("{name}, line {}: not what followed", i + 1));
                    }
                    (self.n, self.lost) = (line.n, self.lost + line.lost);
                    self.highest = self.highest.max(line.revision.unwrap_or(0));
                }
                Err(_) => self.broken(format!("{name}, line {}: not an audit line", i + 1)),
            }
            self.lines += 1;
            self.prev = hex(text);
        }
        end
    }

    fn broken(&mut self, what: String) {
        if self.broken.len() < 20 {
            self.broken.push(what);
        }
    }
}
