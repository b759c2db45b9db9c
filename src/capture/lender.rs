//! Picture memory that a V4L2 driver lends as dmabufs.
//!
//! Comes in: a node, and the picture wanted. Goes out: buffers of the driver's
//! own making, as descriptors that outlive the node's being open, with the
//! layout the driver wants. Whatever a chip demands of its memory (contiguous,
//! aligned, in reach), its own buffers have it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::ioctl::{Kernel, Node, Planes, buffer_type, call, request_buffers, zeroed};
use super::pix::{Part, Pix};

impl Kernel for sys::v4l2_exportbuffer {}

/// How a driver lays out a 4:2:0 picture in one buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Bytes from row to row of luma.
    pub stride: u32,
    /// Rows of luma, those below the picture with them: chroma begins behind.
    pub rows: u32,
    /// Bytes of the buffer.
    pub size: u32,
}

/// Borrowed buffers.
pub(super) struct Loan {
    /// Of each.
    pub layout: Layout,
    /// One dmabuf each.
    pub buffers: Vec<OwnedFd>,
}

/// Borrows `count` buffers for pictures from the input of the encoder at `node`.
///
/// # Errors
/// It does not export its buffers, or wants pictures in another form.
pub(super) fn borrow(
    node: &Path,
    fourcc: [u8; 4],
    width: u32,
    height: u32,
    count: u32,
) -> Result<Loan> {
    let node = Node::open(node).with_context(|| format!("open {}", node.display()))?;
    let multi = node.identity()?.caps & sys::V4L2_CAP_VIDEO_M2M_MPLANE != 0;
    let kind = if multi {
        sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
    } else {
        sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT
    };
    let pix = Pix::set(&node, kind, fourcc, (width, height));
    let layout = layout(&pix.context("its driver takes no such picture")?, fourcc, width, height)?;
    let buffers = export(&node, kind, count).context("its driver does not lend its buffers")?;
    Ok(Loan { layout, buffers })
}

/// The camera at this open node lends its buffers as dmabufs.
pub(super) fn lends(node: &Node, planes: Planes) -> bool {
    let lent = export(node, buffer_type(planes), 1).is_ok();
    // Its next owner begins with none.
    let _ = request_buffers(node, buffer_type(planes), 0);
    lent
}

fn layout(pix: &Pix, fourcc: [u8; 4], width: u32, height: u32) -> Result<Layout> {
    let one = pix.fourcc == fourcc && pix.parts.len() == 1;
    ensure!(one, "its driver does not take the picture in one buffer");
    let (Part { stride, size }, rows) = (pix.parts[0], pix.height);
    let needs = u64::from(stride) * u64::from(rows) * 3 / 2;
    if stride < width || rows < height || u64::from(size) < needs {
        bail!("its driver gives an impossible layout: {stride} by {rows} in {size} bytes");
    }
    Ok(Layout { stride, rows, size })
}

fn export(node: &Node, kind: u32, count: u32) -> io::Result<Vec<OwnedFd>> {
    let got = request_buffers(node, kind, count)?;
    (0..got.min(count)).map(|index| export_part(node, kind, index, 0)).collect()
}

/// A buffer's piece of memory as a dmabuf.
///
/// # Errors
/// As `VIDIOC_EXPBUF`: not every driver can.
pub(super) fn export_part(node: &Node, kind: u32, index: u32, part: u32) -> io::Result<OwnedFd> {
    let mut raw: sys::v4l2_exportbuffer = zeroed();
    (raw.type_, raw.index, raw.plane) = (kind, index, part);
    raw.flags = (libc::O_RDWR | libc::O_CLOEXEC) as u32;
    call(node.fd(), vidioc::VIDIOC_EXPBUF, &mut raw)?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw.fd) })
}
