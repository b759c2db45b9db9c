//! A stream started and stopped again before v4l2src starts it for good.
//!
//! Where the driver refuses to start, v4l2src (all releases so far) loses the
//! buffers that it had queued: descriptors and memory, once for each attempt,
//! and a camera that lacks bandwidth is tried once a second for ever. So a
//! camera that failed has to show that it starts. Nothing is captured.

use std::io;
use std::os::fd::RawFd;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::ioctl::{Node, Planes, buffer_type, call, request_buffers, zeroed};

/// Buffers asked for; drivers that need more give more.
const BUFFERS: u32 = 2;

/// Rehearses with the format that the device has been given. While `node` is
/// open after a failure, the driver takes nobody else's buffers.
///
/// # Errors
/// The driver does not start, or somebody else streams.
pub(super) fn rehearse(node: &Node, planes: Planes) -> io::Result<()> {
    let fd = node.fd();
    let mut kind = buffer_type(planes);
    let count = request_buffers(node, kind, BUFFERS)?;
    for index in 0..count {
        queue(fd, planes, index)?;
    }
    call(fd, vidioc::VIDIOC_STREAMON, &mut kind)?;
    call(fd, vidioc::VIDIOC_STREAMOFF, &mut kind)?;
    request_buffers(node, kind, 0).map(drop)
}

fn queue(fd: RawFd, planes: Planes, index: u32) -> io::Result<()> {
    let mut parts: [sys::v4l2_plane; 8] = [zeroed(); sys::VIDEO_MAX_PLANES as usize];
    let mut raw: sys::v4l2_buffer = zeroed();
    (raw.index, raw.type_) = (index, buffer_type(planes));
    raw.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
    if planes == Planes::Multi {
        raw.length = sys::VIDEO_MAX_PLANES;
        raw.m.planes = parts.as_mut_ptr();
    }
    // How many planes there are is asked of the driver.
    call(fd, vidioc::VIDIOC_QUERYBUF, &mut raw)?;
    call(fd, vidioc::VIDIOC_QBUF, &mut raw)
}
