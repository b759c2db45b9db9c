//! A driver's buffers that are out, and how they come back.
//!
//! A picture is read where the driver put it. When the last reader lets go of
//! it, whoever that is and on whatever thread, its buffer's number lies here and
//! the thread that owns the stream wakes up to queue it again. What is out when
//! the stream ends stays readable until then, and goes with its last reader.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::ioctl::Node;

/// Where buffers come back to, and how its owner is woken.
pub(super) struct Returns {
    /// No longer than there are buffers.
    back: Mutex<Vec<u32>>,
    stopped: AtomicBool,
    /// An eventfd: readable when there is something to look at.
    wake: OwnedFd,
}

impl Returns {
    /// Nothing is back yet.
    ///
    /// # Errors
    /// As `eventfd(2)`: too many files are open.
    pub fn new() -> io::Result<Arc<Self>> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let wake = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Arc::new(Self { back: Mutex::default(), stopped: AtomicBool::new(false), wake }))
    }

    /// What to poll for reading.
    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// The buffers that came back since the last time.
    pub fn take(&self) -> Vec<u32> {
        let mut count = 0u64;
        // SAFETY: eight bytes, which is what an eventfd writes; it never blocks.
        unsafe { libc::read(self.fd(), std::ptr::from_mut(&mut count).cast(), 8) };
        std::mem::take(&mut self.back.lock().expect("returns lock"))
    }

    /// The owner is to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether it is.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn give(&self, index: u32) {
        self.back.lock().expect("returns lock").push(index);
        self.ring();
    }

    fn ring(&self) {
        // SAFETY: eight bytes, as an eventfd reads them. Full, it is readable already.
        unsafe { libc::write(self.fd(), std::ptr::from_ref(&1u64).cast(), 8) };
    }
}

/// A buffer that is out. Back when dropped.
pub(super) struct Out {
    index: u32,
    returns: Arc<Returns>,
}

impl Out {
    /// The buffer of this number was just dequeued.
    pub fn new(index: u32, returns: Arc<Returns>) -> Arc<Self> {
        Arc::new(Self { index, returns })
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.returns.give(self.index);
    }
}

/// Nothing to read, but who holds it holds the buffer.
pub(super) struct Token {
    /// Held, not read.
    pub _out: Arc<Out>,
}

impl AsRef<[u8]> for Token {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// Bytes of a buffer that is out.
pub(super) struct View {
    /// Where they are.
    pub map: Arc<Map>,
    /// Those of them.
    pub range: Range<usize>,
    /// The driver does not write here as long as this lives.
    pub _out: Arc<Out>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.map.bytes().get(self.range.clone()).unwrap_or_default()
    }
}

/// A piece of a buffer, mapped. Unmapped when dropped.
pub(super) struct Map {
    at: NonNull<u8>,
    /// Bytes.
    pub len: usize,
}

// SAFETY: memory of the process, owned by this alone and read only; who writes
// to it is the device, and only while nobody has a `View`.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes at the driver's `offset` (`VIDIOC_QUERYBUF`).
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn new(node: &Node, offset: u32, len: usize) -> io::Result<Arc<Self>> {
        let (share, offset) = (libc::MAP_SHARED, libc::off_t::from(offset));
        // SAFETY: a new mapping, where the kernel likes; nothing else is touched.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, share, node.fd(), offset)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Self { at, len }))
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody reads it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(returns: &Returns) -> bool {
        let mut poll = libc::pollfd { fd: returns.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, valid for the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    /// A buffer is back when its last holder lets go of it, not before, and says so once.
    #[test]
    fn buffers_come_back_with_their_last_holder() {
        let returns = Returns::new().unwrap();
        let out = Out::new(7, returns.clone());
        let (token, other) = (Token { _out: out.clone() }, Out::new(3, returns.clone()));
        drop(out);
        assert!(!readable(&returns) && returns.take().is_empty());
        std::thread::spawn(move || drop((token, other))).join().unwrap();
        assert!(readable(&returns));
        assert_eq!(returns.take(), [7, 3]);
        assert!(!readable(&returns) && returns.take().is_empty());
    }

    /// Who waits for buffers is woken to stop, and stays so.
    #[test]
    fn stop_wakes() {
        let returns = Returns::new().unwrap();
        assert!(!returns.stopped());
        returns.stop();
        assert!(readable(&returns) && returns.stopped());
        returns.take();
        assert!(returns.stopped());
    }
}
