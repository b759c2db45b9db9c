//! The directory of a site's keys: only its owner may look in, one command at
//! a time, and every file is either the old one or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Largest file that is read, bytes: an index of some ten thousand certificates.
const LARGEST: u64 = 4 << 20;

/// An open directory; locked until it is dropped.
pub struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes it, or takes an empty one.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().mode(0o700).create(path);
        if let Err(error) = made
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("make directory {}", path.display()));
        }
        Self::open(path)
    }

    /// Opens it and waits until no other command is in it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let at = || path.display().to_string();
        let lock = match File::open(path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{}: no such directory; make it with `floorcast pki init`", at())
            }
            Err(error) => return Err(error).with_context(at),
        };
        let mode = lock.metadata().with_context(at)?.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{}: others may look in (mode {:03o}); `chmod 700` it",
            at(),
            mode & 0o777
        );
        lock.lock().with_context(|| format!("{}: lock", at()))?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Is there such a file?
    pub fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Reads a file of text.
    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        read(&self.path(name), LARGEST)
    }

    /// Replaces a file at once: after a power cut it is the old or the new one.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.put(name, text, 0o644)
    }

    /// The same for a secret, which only its owner may read.
    pub fn write_secret(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.put(name, text, 0o600)
    }

    fn put(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.path(name);
        let new = self.path(&format!(".{name}.new"));
        let replace = || {
            // Left by a command that was cut off.
            if let Err(error) = std::fs::remove_file(&new)
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            self.lock.sync_all()
        };
        replace().with_context(|| format!("write {}", path.display()))
    }
}

/// Reads a file of text of at most so many bytes.
pub fn read(path: &Path, most: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let read = file.take(most + 1).read_to_string(&mut text);
    let length = read.with_context(|| format!("read {}", path.display()))?;
    ensure!(length as u64 <= most, "{}: larger than {most} bytes", path.display());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that others may look into is not used.
    #[test]
    fn an_open_directory_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("keys");
        drop(Directory::create(&path).expect("create"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).expect("chmod");
        let error = Directory::open(&path).map(drop).expect_err("open").to_string();
        assert!(error.contains("chmod 700"), "{error}");
        let error = Directory::open(&dir.path().join("none")).map(drop).expect_err("none");
        assert!(error.to_string().contains("pki init"), "{error}");
    }

    /// A secret is its owner's alone, also where an open file was before; what
    /// a cut-off command left is no obstacle.
    #[test]
    fn a_secret_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let keys = Directory::create(&dir.path().join("keys")).expect("create");
        keys.write("a.key", "open").expect("write");
        std::fs::write(keys.path(".a.key.new"), "left").expect("leave");
        keys.write_secret("a.key", "secret").expect("write");
        let mode = std::fs::metadata(keys.path("a.key")).expect("file").permissions().mode();
        assert_eq!((mode & 0o777, &keys.read("a.key").expect("read")[..]), (0o600, "secret"));
        let mode = std::fs::metadata(keys.path("")).expect("directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    /// A file without end is not read to its end.
    #[test]
    fn a_large_file_is_refused() {
        let error = read(Path::new("/dev/zero"), 100).expect_err("endless").to_string();
        assert_eq!(error, "/dev/zero: larger than 100 bytes");
    }
}
