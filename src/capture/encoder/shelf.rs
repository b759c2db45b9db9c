//! Dmabufs for an encoder that reads pictures where they are.
//!
//! Comes in: raw pictures. Goes out: the same ones, if the encoder can read
//! them in place, else copies in buffers that its own driver lent: slates, and
//! pictures that were converted or came from elsewhere. [`BUFFERS`] of them;
//! when all are on their way the picture is shed.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use gstreamer as gst;
use gstreamer_allocators as gst_allocators;
use gstreamer_allocators::prelude::*;
use gstreamer_video as gst_video;

use super::machine::Device;
use crate::capture::lender::{self, Layout, Loan};

/// What an encoder may hold at once, and one in hand.
const BUFFERS: u32 = 6;

/// An encoder's buffers, and the layout it reads.
pub(in crate::capture) struct Shelf {
    info: gst_video::VideoInfo,
    layout: Layout,
    buffers: Mutex<Vec<gst::Buffer>>,
}

impl Shelf {
    /// Borrows buffers for pictures of `caps` from the encoder's driver.
    ///
    /// # Errors
    /// It lends none, or not for such pictures.
    pub fn new(device: &Device, caps: &gst::Caps) -> Result<Self> {
        let info = gst_video::VideoInfo::from_caps(caps).context("no picture's caps")?;
        let fourcc = match info.format() {
            gst_video::VideoFormat::Nv12 => *b"NV12",
            gst_video::VideoFormat::I420 => *b"YU12",
            other => anyhow::bail!("{other:?} is not lent"),
        };
        let (width, height) = (info.width(), info.height());
        Self::of(lender::borrow(&device.node, fourcc, width, height, BUFFERS)?, info)
    }

    fn of(loan: Loan, info: gst_video::VideoInfo) -> Result<Self> {
        let Loan { layout, buffers } = loan;
        ensure!(!buffers.is_empty(), "its driver lends no buffer");
        let allocator = gst_allocators::DmaBufAllocator::new();
        let picture = |fd: OwnedFd| picture(&allocator, fd, layout, &info);
        let buffers = buffers.into_iter().map(picture).collect::<Result<_>>()?;
        Ok(Self { info, layout, buffers: Mutex::new(buffers) })
    }

    /// The picture as the encoder can read it; `None` if all buffers are on their way.
    ///
    /// # Errors
    /// The picture cannot be read.
    pub fn place(&self, picture: &gst::BufferRef) -> Result<Option<gst::Buffer>> {
        if self.misfit(picture).is_none() {
            return Ok(Some(picture.to_owned()));
        }
        let mut buffers = self.buffers.lock().expect("shelf lock");
        // Free is what nobody else holds: neither the buffer nor its memory.
        let free = |b: &&mut gst::Buffer| b.is_writable() && b.is_all_memory_writable();
        let Some(buffer) = buffers.iter_mut().find(free) else { return Ok(None) };
        let to = buffer.get_mut().context("a free buffer is writable")?;
        let from = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, &self.info)
            .context("read the picture")?;
        let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(to, &self.info)
            .context("write into the encoder's buffer")?;
        from.copy(&mut frame).context("copy the picture")?;
        drop(frame);
        to.set_pts(picture.pts());
        Ok(Some(buffer.clone()))
    }

    /// Why the encoder cannot read this picture where it is.
    pub fn misfit(&self, picture: &gst::BufferRef) -> Option<String> {
        let (layout, info) = (self.layout, &self.info);
        if picture.n_memory() != 1 || !picture.peek_memory(0).is_type("dmabuf") {
            return Some("the pictures are not in one dmabuf each".into());
        }
        let (memory, size) = (picture.peek_memory(0), layout.size as usize);
        let (offsets, strides) = match picture.meta::<gst_video::VideoMeta>() {
            Some(meta) => (meta.offset().to_vec(), meta.stride().to_vec()),
            None => (info.offset().to_vec(), info.stride().to_vec()),
        };
        let (wanted_offsets, wanted_strides) = planes(layout, info.format());
        if strides != wanted_strides {
            return Some(format!("rows of {} bytes where it reads {}", strides[0], layout.stride));
        }
        if offsets != wanted_offsets {
            let rows = offsets[1] / strides[0].max(1) as usize;
            return Some(format!("colours begin after {rows} rows where it reads {}", layout.rows));
        }
        (memory.maxsize() < size || memory.offset() != 0)
            .then(|| format!("buffers of {} bytes where it reads {size}", memory.maxsize()))
    }
}

/// Where chroma planes begin, and their strides, in a driver's layout.
fn planes(layout: Layout, format: gst_video::VideoFormat) -> (Vec<usize>, Vec<i32>) {
    let luma = layout.stride as usize * layout.rows as usize;
    let stride = layout.stride as i32;
    match format {
        gst_video::VideoFormat::Nv12 => (vec![0, luma], vec![stride, stride]),
        _ => (vec![0, luma, luma + luma / 4], vec![stride, stride / 2, stride / 2]),
    }
}

fn picture(
    allocator: &gst_allocators::DmaBufAllocator,
    fd: OwnedFd,
    layout: Layout,
    info: &gst_video::VideoInfo,
) -> Result<gst::Buffer> {
    // SAFETY: the descriptor is ours to give, and its buffer has this size.
    let memory = unsafe { allocator.alloc_dmabuf(fd.into_raw_fd(), layout.size as usize) }?;
    let (offsets, strides) = planes(layout, info.format());
    let mut buffer = gst::Buffer::new();
    let inner = buffer.get_mut().context("a new buffer is writable")?;
    inner.append_memory(memory);
    gst_video::VideoMeta::add_full(
        inner,
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use gstreamer_video::VideoFrameExt;

    use super::*;
    use crate::clock;

    const CAPS: &str = "video/x-raw,format=NV12,width=64,height=32";
    /// As a chip that works in rows of 96 bytes and 48 lines.
    const LAYOUT: Layout = Layout { stride: 96, rows: 48, size: 96 * 48 * 3 / 2 };

    /// Memory that GStreamer takes for a dmabuf.
    fn memory(size: u32) -> OwnedFd {
        // SAFETY: the name is a C string; the descriptor is new and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"picture".as_ptr(), 0)) };
        std::fs::File::from(fd.try_clone().unwrap()).set_len(size.into()).unwrap();
        fd
    }

    fn info() -> gst_video::VideoInfo {
        gst::init().unwrap();
        gst_video::VideoInfo::from_caps(&CAPS.parse::<gst::Caps>().unwrap()).unwrap()
    }

    fn shelf(buffers: usize) -> Shelf {
        let buffers = (0..buffers).map(|_| memory(LAYOUT.size)).collect();
        Shelf::of(Loan { layout: LAYOUT, buffers }, info()).unwrap()
    }

    /// A slate: rows without padding, in our own memory.
    fn drawn() -> gst::Buffer {
        let mut buffer =
            gst::Buffer::from_slice((0..64 * 32 * 3 / 2).map(|n| n as u8).collect::<Vec<_>>());
        let now = gst::ClockTime::from_nseconds(clock::now().0);
        buffer.get_mut().unwrap().set_pts(now);
        buffer
    }

    fn lent(layout: Layout) -> gst::Buffer {
        let info = info();
        picture(&gst_allocators::DmaBufAllocator::new(), memory(layout.size), layout, &info)
            .unwrap()
    }

    /// What lies as the encoder reads it goes through untouched.
    #[test]
    fn fitting_pictures_are_not_copied() {
        let (shelf, picture) = (shelf(1), lent(LAYOUT));
        let placed = shelf.place(&picture).unwrap().unwrap();
        assert_eq!(placed.peek_memory(0).as_ptr(), picture.peek_memory(0).as_ptr());
    }

    /// Rows, colours or sizes elsewhere than the encoder looks for them are told.
    #[test]
    fn misfits_say_what_the_encoder_reads_instead() {
        let shelf = shelf(1);
        let why = |layout| shelf.misfit(&lent(layout)).unwrap();
        assert_eq!(why(Layout { stride: 64, ..LAYOUT }), "rows of 64 bytes where it reads 96");
        let short = Layout { rows: 32, ..LAYOUT };
        assert_eq!(why(short), "colours begin after 32 rows where it reads 48");
        let cut = Layout { size: LAYOUT.size - 1, ..LAYOUT };
        assert_eq!(why(cut), "buffers of 6911 bytes where it reads 6912");
        assert_eq!(shelf.misfit(&drawn()).unwrap(), "the pictures are not in one dmabuf each");
        assert_eq!(shelf.misfit(&lent(LAYOUT)), None);
    }

    /// A slate is copied into the encoder's own buffer and layout, pixel by pixel.
    #[test]
    fn slates_are_copied_into_the_encoders_layout() {
        let (shelf, slate, info) = (shelf(1), drawn(), info());
        let placed = shelf.place(&slate).unwrap().unwrap();
        assert_eq!((shelf.misfit(&placed), placed.pts()), (None, slate.pts()));
        let rows = |buffer: &gst::BufferRef, plane: u32| -> Vec<Vec<u8>> {
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
            let stride = frame.plane_stride()[plane as usize] as usize;
            let data = frame.plane_data(plane).unwrap().chunks(stride);
            data.take(32 >> plane).map(|row| row[..64].to_vec()).collect()
        };
        for plane in [0, 1] {
            assert_eq!(rows(&slate, plane), rows(&placed, plane), "plane {plane}");
        }
    }

    /// While all buffers are with the encoder, a picture is shed; a returned one is used again.
    #[test]
    fn full_shelf_sheds_until_a_buffer_comes_back() {
        let shelf = shelf(2);
        let first = shelf.place(&drawn()).unwrap().unwrap();
        // An element may hold the memory and not the buffer.
        let second = shelf.place(&drawn()).unwrap().unwrap().copy();
        assert!(shelf.place(&drawn()).unwrap().is_none());
        drop(first);
        let third = shelf.place(&drawn()).unwrap();
        assert!(third.is_some() && shelf.place(&drawn()).unwrap().is_none());
        drop(second);
        assert!(shelf.place(&drawn()).unwrap().is_some());
    }
}
