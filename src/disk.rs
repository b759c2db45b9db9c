//! Room on a file system.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
