//! What a V4L2 node says about itself.
//!
//! The `v4l` crate supplies the structures and request numbers, but its device
//! type knows single-planar capture only, and panics on control types newer
//! than itself; most camera chips are multi-planar. So the calls are made here.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use v4l::v4l_sys as sys;
use v4l::v4l2::{ioctl, vidioc};

use super::timing::Edge;
use crate::model::Mono;

/// Formats, sizes and intervals are listed up to this many each: a broken
/// driver may never say that it is done.
const LIST: u32 = 256;

/// An open V4L2 node.
pub struct Node(File);

/// `VIDIOC_QUERYCAP`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Kernel driver: `uvcvideo`.
    pub driver: String,
    /// The device in its maker's words.
    pub card: String,
    /// `usb-0000:00:14.0-3`, `platform:vivid-000`; at most 31 bytes.
    pub bus: String,
    /// `V4L2_CAP_*` of this node.
    pub caps: u32,
}

/// How a node's buffers are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planes {
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
    Single,
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
    Multi,
}

impl Identity {
    /// Reads the kernel's structure.
    pub fn parse(raw: &sys::v4l2_capability) -> Self {
        let per_node = raw.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
        Self {
            driver: text(&raw.driver),
            card: text(&raw.card),
            bus: text(&raw.bus_info),
            caps: if per_node { raw.device_caps } else { raw.capabilities },
        }
    }

    /// How it captures video, if it does: encoders, metadata and radio nodes do not.
    pub fn captures(&self) -> Option<Planes> {
        let has = |cap: u32| self.caps & cap != 0;
        let plays = sys::V4L2_CAP_VIDEO_OUTPUT | sys::V4L2_CAP_VIDEO_OUTPUT_MPLANE;
        if !has(sys::V4L2_CAP_STREAMING) || has(plays) {
            None // older converters and encoders say both
        } else if has(sys::V4L2_CAP_VIDEO_CAPTURE) {
            Some(Planes::Single)
        } else if has(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
            Some(Planes::Multi)
        } else {
            None
        }
    }
}

/// Frame rates of a size.
#[derive(Clone, PartialEq, Debug)]
pub enum Rates {
    /// These, as pictures per so many seconds.
    Each(Vec<(u32, u32)>),
    /// Any from the first to the second.
    Range((u32, u32), (u32, u32)),
}

/// Sizes of a format.
#[derive(Clone, PartialEq, Debug)]
pub enum Size {
    /// This one.
    Exact(u32, u32),
    /// Any in steps: least, greatest, step; each width and height.
    Range((u32, u32), (u32, u32), (u32, u32)),
}

impl Size {
    /// It covers width and height.
    pub fn covers(&self, width: u32, height: u32) -> bool {
        let fits = |x: u32, least: u32, most: u32, step: u32| {
            (least..=most).contains(&x) && (x - least).is_multiple_of(step.max(1))
        };
        match *self {
            Self::Exact(w, h) => (w, h) == (width, height),
            Self::Range(least, most, step) => {
                fits(width, least.0, most.0, step.0) && fits(height, least.1, most.1, step.1)
            }
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(w, h) => write!(f, "{w}x{h}"),
            Self::Range(least, most, _) => {
                write!(f, "{}x{} to {}x{}", least.0, least.1, most.0, most.1)
            }
        }
    }
}

/// One pixel format of a camera.
#[derive(Clone, PartialEq, Debug)]
pub struct Offer {
    /// `YUYV`, `MJPG`.
    pub fourcc: [u8; 4],
    /// In the driver's words.
    pub name: String,
    /// Its sizes.
    pub sizes: Vec<Size>,
}

impl Node {
    /// Opens a node without becoming its owner.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map(Self)
    }

    /// The node that `fd` is open on, as the same opening: what belongs to an
    /// opening (the controls of an encoder) is shared.
    ///
    /// # Errors
    /// As `fcntl(2)`: `fd` is not open, or too many are.
    pub fn of(fd: RawFd) -> io::Result<Self> {
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: not negative; borrowed for this call only, which says if it is not open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        fd.try_clone_to_owned().map(|fd| Self(fd.into()))
    }

    /// Its descriptor, as long as the node lives.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Who it is.
    ///
    /// # Errors
    /// As `VIDIOC_QUERYCAP`: ENOTTY if it is no V4L2 node.
    pub fn identity(&self) -> io::Result<Identity> {
        let mut raw: sys::v4l2_capability = zeroed();
        call(self.fd(), vidioc::VIDIOC_QUERYCAP, &mut raw)?;
        Ok(Identity::parse(&raw))
    }

    /// Its formats with their sizes; what the driver refuses to list is left out.
    pub fn offers(&self, planes: Planes) -> Vec<Offer> {
        let mut offers = Vec::new();
        for index in 0..LIST {
            let mut raw: sys::v4l2_fmtdesc = zeroed();
            raw.index = index;
            raw.type_ = buffer_type(planes);
            if call(self.fd(), vidioc::VIDIOC_ENUM_FMT, &mut raw).is_err() {
                break;
            }
            offers.push(Offer {
                fourcc: raw.pixelformat.to_le_bytes(),
                name: text(&raw.description),
                sizes: self.sizes(raw.pixelformat),
            });
        }
        offers
    }

    fn sizes(&self, format: u32) -> Vec<Size> {
        let mut sizes = Vec::new();
        for index in 0..LIST {
            let mut raw: sys::v4l2_frmsizeenum = zeroed();
            raw.index = index;
            raw.pixel_format = format;
            if call(self.fd(), vidioc::VIDIOC_ENUM_FRAMESIZES, &mut raw).is_err() {
                break;
            }
            sizes.push(size(&raw));
            if raw.type_ != sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                break;
            }
        }
        sizes
    }

    /// Frame rates of a format at a size; `None` where the driver does not tell.
    pub fn rates(&self, fourcc: [u8; 4], width: u32, height: u32) -> Option<Rates> {
        let mut each = Vec::new();
        for index in 0..LIST {
            let mut raw: sys::v4l2_frmivalenum = zeroed();
            raw.index = index;
            raw.pixel_format = u32::from_le_bytes(fourcc);
            (raw.width, raw.height) = (width, height);
            if call(self.fd(), vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut raw).is_err() {
                break;
            }
            match rate(&raw) {
                Rates::Each(one) => each.extend(one),
                range => return Some(range),
            }
        }
        (!each.is_empty()).then_some(Rates::Each(each))
    }
}

/// A captured buffer's time as its driver stamped it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Of `CLOCK_MONOTONIC`.
    pub at: Mono,
    /// Which instant of the picture.
    pub edge: Edge,
}

/// A dequeued buffer's stamp; `None` where it is not of the monotonic clock.
pub(super) fn stamp(raw: &sys::v4l2_buffer) -> Option<Stamp> {
    let clock = raw.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK;
    let seconds = u64::try_from(raw.timestamp.tv_sec).ok()?;
    let micros = u64::try_from(raw.timestamp.tv_usec).ok()?;
    let at = Mono(seconds.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1000)?)?);
    let known = clock == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC && at.0 > 0;
    let edge = match raw.flags & sys::V4L2_BUF_FLAG_TSTAMP_SRC_MASK {
        sys::V4L2_BUF_FLAG_TSTAMP_SRC_SOE => Edge::ExposureStart { exposure: None },
        _ => Edge::FrameEnd,
    };
    known.then_some(Stamp { at, edge })
}

/// `V4L2_BUF_TYPE_*`.
pub(super) fn buffer_type(planes: Planes) -> u32 {
    match planes {
        Planes::Single => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
        Planes::Multi => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
    }
}

fn size(raw: &sys::v4l2_frmsizeenum) -> Size {
    if raw.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
        // SAFETY: all variants are plain integers; the type says which is meant.
        let one = unsafe { raw.__bindgen_anon_1.discrete };
        return Size::Exact(one.width, one.height);
    }
    // SAFETY: as above.
    let s = unsafe { raw.__bindgen_anon_1.stepwise };
    Size::Range(
        (s.min_width, s.min_height),
        (s.max_width, s.max_height),
        (s.step_width, s.step_height),
    )
}

/// Intervals are seconds per picture; rates are the other way round.
fn rate(raw: &sys::v4l2_frmivalenum) -> Rates {
    let turned = |f: sys::v4l2_fract| (f.denominator, f.numerator.max(1));
    if raw.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
        // SAFETY: all variants are plain integers; the type says which is meant.
        return Rates::Each(vec![turned(unsafe { raw.__bindgen_anon_1.discrete })]);
    }
    // SAFETY: as above.
    let s = unsafe { raw.__bindgen_anon_1.stepwise };
    Rates::Range(turned(s.max), turned(s.min))
}

/// Bytes up to the first NUL, lossy.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// Asks for `count` buffers of the driver's own; it gives more or fewer: how many.
///
/// # Errors
/// As `VIDIOC_REQBUFS`: somebody else has some, or streams.
pub(super) fn request_buffers(node: &Node, kind: u32, count: u32) -> io::Result<u32> {
    let mut raw: sys::v4l2_requestbuffers = zeroed();
    (raw.count, raw.type_) = (count, kind);
    raw.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
    call(node.fd(), vidioc::VIDIOC_REQBUFS, &mut raw)?;
    Ok(raw.count)
}

/// All zero.
pub(super) fn zeroed<T: Kernel>() -> T {
    // SAFETY: `Kernel` is implemented for structures of plain integers and
    // nullable pointers only, for which all-zero is valid.
    unsafe { std::mem::zeroed() }
}

/// A structure of the V4L2 interface for which all-zero is valid.
pub(super) trait Kernel: Copy {}
impl Kernel for sys::v4l2_capability {}
impl Kernel for sys::v4l2_fmtdesc {}
impl Kernel for sys::v4l2_frmsizeenum {}
impl Kernel for sys::v4l2_frmivalenum {}
impl Kernel for sys::v4l2_buffer {}
impl Kernel for sys::v4l2_plane {}
impl Kernel for sys::v4l2_requestbuffers {}
impl Kernel for u32 {}
impl Kernel for sys::v4l2_query_ext_ctrl {}
impl Kernel for sys::v4l2_querymenu {}
impl Kernel for sys::v4l2_ext_control {}
impl Kernel for sys::v4l2_ext_controls {}

/// One call; a signal in between is not an error.
pub(super) fn call<T: Kernel>(
    fd: RawFd,
    request: vidioc::_IOC_TYPE,
    arg: &mut T,
) -> io::Result<()> {
    loop {
        // SAFETY: `arg` is the structure that `request` names, valid for reads and writes.
        match unsafe { ioctl(fd, request, std::ptr::from_mut(arg).cast()) } {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UVC camera as the kernel describes it: node capabilities win over the device's.
    #[test]
    fn identity_is_of_the_node() {
        let mut raw: sys::v4l2_capability = zeroed();
        raw.driver[..8].copy_from_slice(b"uvcvideo");
        raw.card[..6].copy_from_slice(b"C920\xff ");
        raw.bus_info[..18].copy_from_slice(b"usb-0000:00:14.0-3");
        raw.capabilities = sys::V4L2_CAP_DEVICE_CAPS | sys::V4L2_CAP_VIDEO_CAPTURE;
        raw.device_caps = sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING;
        let identity = Identity::parse(&raw);
        assert_eq!(identity.driver, "uvcvideo");
        assert_eq!(identity.card, "C920\u{fffd}");
        assert_eq!(identity.bus, "usb-0000:00:14.0-3");
        assert_eq!(identity.captures(), None);
    }

    /// Both kinds of capture node are cameras.
    #[test]
    fn planes_follow_the_capabilities() {
        let with = |caps| Identity {
            driver: String::new(),
            card: String::new(),
            bus: String::new(),
            caps: caps | sys::V4L2_CAP_STREAMING,
        };
        assert_eq!(with(sys::V4L2_CAP_VIDEO_CAPTURE).captures(), Some(Planes::Single));
        assert_eq!(with(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE).captures(), Some(Planes::Multi));
        assert_eq!(with(sys::V4L2_CAP_VIDEO_M2M_MPLANE).captures(), None);
    }

    /// Stepped sizes cover what lies on a step, and nothing else.
    #[test]
    fn stepped_sizes_cover_their_steps() {
        let size = Size::Range((32, 32), (1920, 1080), (32, 2));
        assert!(size.covers(1280, 720) && size.covers(1920, 1080));
        assert!(!size.covers(1290, 720) && !size.covers(1952, 720));
    }

    /// An interval of 2/25 s is 12.5 pictures per second.
    #[test]
    fn intervals_become_rates() {
        let mut raw: sys::v4l2_frmivalenum = zeroed();
        raw.type_ = sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE;
        raw.__bindgen_anon_1.discrete = sys::v4l2_fract { numerator: 2, denominator: 25 };
        assert_eq!(rate(&raw), Rates::Each(vec![(25, 2)]));
    }

    /// A stamp counts only with the monotonic clock's flag; start of exposure
    /// only with its own.
    #[test]
    fn stamp_flags_name_clock_and_edge() {
        let mut raw: sys::v4l2_buffer = zeroed();
        (raw.timestamp.tv_sec, raw.timestamp.tv_usec) = (12, 345_678);
        assert_eq!(stamp(&raw), None);
        raw.flags = sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let known = Stamp { at: Mono(12_345_678_000), edge: Edge::FrameEnd };
        assert_eq!(stamp(&raw), Some(known));
        raw.flags |= sys::V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
        let edge = Edge::ExposureStart { exposure: None };
        assert_eq!(stamp(&raw), Some(Stamp { edge, ..known }));
        (raw.flags, raw.timestamp.tv_sec) = (sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, -1);
        assert_eq!(stamp(&raw), None);
    }
}
