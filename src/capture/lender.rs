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

impl Kernel for sys::v4l2_format {}
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
    let layout = set_format(&node, kind, multi, fourcc, width, height)?;
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

fn set_format(
    node: &Node,
    kind: u32,
    multi: bool,
    fourcc: [u8; 4],
    width: u32,
    height: u32,
) -> Result<Layout> {
    let mut raw: sys::v4l2_format = zeroed();
    raw.type_ = kind;
    let format = u32::from_le_bytes(fourcc);
    if multi {
        let mut pix = sys::v4l2_pix_format_mplane { num_planes: 1, ..multi_pix() };
        (pix.width, pix.height, pix.pixelformat) = (width, height, format);
        pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
        raw.fmt.pix_mp = pix;
    } else {
        // SAFETY: all-zero is valid, and nothing else was written.
        let mut pix = unsafe { raw.fmt.pix };
        (pix.width, pix.height, pix.pixelformat) = (width, height, format);
        pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
        raw.fmt.pix = pix;
    }
    call(node.fd(), vidioc::VIDIOC_S_FMT, &mut raw).context("its driver takes no such picture")?;
    let (got, rows, parts, layout) = if multi {
        // SAFETY: the type of the format says which variant the kernel wrote.
        let pix = unsafe { raw.fmt.pix_mp };
        let [plane, ..] = pix.plane_fmt;
        ({ pix.pixelformat }, { pix.height }, pix.num_planes, (plane.bytesperline, plane.sizeimage))
    } else {
        // SAFETY: as above.
        let pix = unsafe { raw.fmt.pix };
        (pix.pixelformat, pix.height, 1, (pix.bytesperline, pix.sizeimage))
    };
    ensure!(got == format && parts == 1, "its driver does not take the picture in one buffer");
    let (stride, size) = layout;
    let needs = u64::from(stride) * u64::from(rows) * 3 / 2;
    if stride < width || rows < height || u64::from(size) < needs {
        bail!("its driver gives an impossible layout: {stride} by {rows} in {size} bytes");
    }
    Ok(Layout { stride, rows, size })
}

fn multi_pix() -> sys::v4l2_pix_format_mplane {
    let raw: sys::v4l2_format = zeroed();
    // SAFETY: all-zero is valid for a structure of plain integers.
    unsafe { raw.fmt.pix_mp }
}

fn export(node: &Node, kind: u32, count: u32) -> io::Result<Vec<OwnedFd>> {
    let got = request_buffers(node, kind, count)?;
    let one = |index| {
        let mut raw: sys::v4l2_exportbuffer = zeroed();
        (raw.type_, raw.index) = (kind, index);
        raw.flags = (libc::O_RDWR | libc::O_CLOEXEC) as u32;
        call(node.fd(), vidioc::VIDIOC_EXPBUF, &mut raw)?;
        // SAFETY: a descriptor that the kernel just made for us.
        Ok(unsafe { OwnedFd::from_raw_fd(raw.fd) })
    };
    (0..got.min(count)).map(one).collect()
}
