//! Room on a file system, and files that are there as a whole or not at all.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file, on disk when this returns, for the owner's eyes only. Blocks.
///
/// # Errors
/// It cannot be written; an older one is as it was.
pub fn put(at: &Path, what: &[u8]) -> Result<()> {
    let mut name = at.as_os_str().to_owned();
    name.push(".next");
    let next = Path::new(&name);
    let mut options = OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(next).and_then(
        |mut file| {
            file.write_all(what)?;
            file.sync_all()?;
            fs::rename(next, at)?;
            at.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        },
    );
    written.with_context(|| format!("write {}", at.display()))
}

/// Bytes that are left for whoever is not root on the file system that holds `dir`
/// (`statvfs(3)`); `None` where that cannot be told.
pub fn free(dir: &Path) -> Option<u64> {
    let path = CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: all-zero is a valid `statvfs`.
    let mut of: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call, which keeps neither.
    let read = unsafe { libc::statvfs(path.as_ptr(), &mut of) };
    #[allow(clippy::unnecessary_cast)] // 32 bits on small boxes
    (read == 0).then(|| of.f_bavail as u64 * of.f_frsize as u64)
}
