//! Files that survive a power cut.
//!
//! Comes in: whole files and appended lines, under fixed names. Goes out: the
//! same after a power cut at any point, old or new, never half. When the disk
//! is full, an error; nothing that was there is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::failpoint;

/// One directory of files. Every call that returns `Ok` is durable, but for
/// [`rename`](Self::rename) and [`remove`](Self::remove): those are in order,
/// and durable after [`sync`](Self::sync).
pub trait Store: Send {
    /// A file's content; `None` if there is no such file.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// A new file, or a new content that may be cut short by a power cut.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; none is fine.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file to `at` bytes and appends; at 0 it may be new.
    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes names durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// Puts a content in a file's place: old or new, never half. `at` names the
/// place for [`failpoint::here`].
pub fn replace(store: &mut dyn Store, at: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    failpoint::here(at, "before");
    store.write(&fresh, bytes)?;
    failpoint::here(at, "written");
    store.rename(&fresh, name)?;
    failpoint::here(at, "renamed");
    store.sync()?;
    failpoint::here(at, "synced");
    Ok(())
}

/// A directory on a local file system, readable by its owner only.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Makes the directory if there is none.
    pub fn open(at: impl Into<PathBuf>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let at = at.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&at)?;
        Ok(Self { at })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        options
    }
}

impl Store for Disk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.at.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = Self::options().truncate(true).open(self.at.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at.join(from), self.at.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.at.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = Self::options().truncate(false).open(self.at.join(name))?;
        file.set_len(at)?;
        file.write_all_at(bytes, at)?;
        file.sync_all()?;
        if at == 0 { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        File::open(&self.at)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An append starts where the last good line ended, whatever stands there.
    #[test]
    fn an_append_replaces_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path().join("a/b")).unwrap();
        disk.append("log", 0, b"one\ntor").unwrap();
        disk.append("log", 4, b"two\n").unwrap();
        assert_eq!(disk.read("log").unwrap().unwrap(), b"one\ntwo\n");
        assert_eq!(disk.read("none").unwrap(), None);
        disk.remove("none").unwrap();
    }

    /// What is written on a full disk is an error, and what was there stays.
    #[test]
    fn a_full_disk_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path()).unwrap();
        replace(&mut disk, "t", "slot", b"old").unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("slot.new")).unwrap();
        let error = replace(&mut disk, "t", "slot", b"new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read("slot").unwrap().unwrap(), b"old");
    }
}
