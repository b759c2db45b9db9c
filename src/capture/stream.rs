//! A camera's stream: its driver's buffers, queued and dequeued by one owner.
//!
//! Comes in: an open node and what is asked of it. Goes out: pictures in the
//! driver's own memory, each with the driver's stamp and number, and one word
//! for how it ended. Whatever fails, buffers and descriptors go with the
//! [`Stream`] or with the last reader of a picture (kernel V4L2 docs,
//! "Streaming I/O").

use std::io;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use gstreamer_allocators as gst_allocators;
use gstreamer_allocators::prelude::*;
use gstreamer_video as gst_video;
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::format::{self, Asked};
use super::ioctl::{self, Kernel, Node, Planes, Stamp, buffer_type, call, request_buffers, zeroed};
use super::lender;
use super::messages::Complaint;
use super::pix::{self, Pix, Places};
use super::returns::{Map, Out, Returns, Token, View};
use crate::model::Reason;

impl Kernel for sys::v4l2_control {}
impl Kernel for sys::v4l2_dv_timings {}
impl Kernel for sys::v4l2_event {}
impl Kernel for sys::v4l2_event_subscription {}
impl Kernel for sys::v4l2_streamparm {}

// Not among the crate's (kernel `videodev2.h`).
const VIDIOC_S_DV_TIMINGS: u64 = libc::_IOWR::<sys::v4l2_dv_timings>(b'V' as u32, 87) as u64;
const VIDIOC_QUERY_DV_TIMINGS: u64 = libc::_IOR::<sys::v4l2_dv_timings>(b'V' as u32, 99) as u64;
const VIDIOC_DQEVENT: u64 = libc::_IOR::<sys::v4l2_event>(b'V' as u32, 89) as u64;
const VIDIOC_SUBSCRIBE_EVENT: u64 =
    libc::_IOW::<sys::v4l2_event_subscription>(b'V' as u32, 90) as u64;

/// Pictures that may be on their way at once: the queue, those being decoded or
/// encoded where they are, and one in hand. So many buffers the driver has on
/// top, so that it never runs dry while the encoder is slow: pictures are to be
/// shed in the queue, where they are counted.
const ON_THE_WAY: u32 = 6;
/// What a driver fills while another is filled: two, unless it wants more.
const FILLED: u32 = 2;
/// Of its own making at most (`VIDEO_MAX_FRAME`).
const BUFFERS: u32 = 32;
/// A number further ahead of the one before is no count of lost pictures.
const AHEAD: u32 = 1 << 16;

/// One piece of a buffer's memory.
enum Piece {
    Mapped(Arc<Map>),
    Lent(gst::Memory),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Mapped(map) => map.len,
            Self::Lent(memory) => memory.size(),
        }
    }
}

/// A picture of a camera.
pub(super) struct Taken {
    /// Its bytes, where the driver put them; `None` if the driver marks it as
    /// damaged or gave less than a picture.
    pub buffer: Option<gst::Buffer>,
    /// When it was.
    pub stamp: Option<Stamp>,
    /// Pictures lost before it by the driver's numbers.
    pub lost: u32,
}

/// A stream. Stopped, and all that nobody reads given back, when dropped.
pub(super) struct Stream {
    node: Node,
    planes: Planes,
    caps: gst::Caps,
    /// Of raw pictures.
    raw: Option<(gst_video::VideoInfo, Places)>,
    buffers: Vec<Vec<Piece>>,
    returns: Arc<Returns>,
    /// So many the driver has.
    queued: usize,
    /// To be queued.
    owed: Vec<u32>,
    number: Option<u32>,
    /// The device was in error, and would not say which.
    doubted: bool,
}

fn fault(what: &'static str) -> impl Fn(io::Error) -> Complaint {
    move |error| Complaint::refused(what, &error)
}

fn silent(why: &'static str) -> Complaint {
    Complaint { kind: Reason::NoSignal, reason: anyhow!(why) }
}

fn misfit(reason: anyhow::Error) -> Complaint {
    Complaint { kind: Reason::WrongFormat, reason }
}

/// Prepares a bridge (HDMI, SDI) for what is plugged into it: takes its timings
/// over, for its formats are those of its timings, and has it say when they
/// change. Cameras know neither.
///
/// # Errors
/// Nothing is plugged in, or nothing that the bridge can take.
pub(super) fn prepare(node: &Node) -> Result<(), Complaint> {
    let mut wanted: sys::v4l2_event_subscription = zeroed();
    wanted.type_ = sys::V4L2_EVENT_SOURCE_CHANGE;
    let _ = call(node.fd(), VIDIOC_SUBSCRIBE_EVENT, &mut wanted);
    let mut timings: sys::v4l2_dv_timings = zeroed();
    if let Err(error) = call(node.fd(), VIDIOC_QUERY_DV_TIMINGS, &mut timings) {
        return match error.raw_os_error() {
            Some(libc::ENOLINK | libc::ENOLCK) => Err(silent("no signal at the camera's input")),
            Some(libc::ERANGE) => Err(misfit(anyhow!("the input's signal is out of range"))),
            _ => Ok(()), // not a bridge
        };
    }
    let _ = call(node.fd(), VIDIOC_S_DV_TIMINGS, &mut timings); // refused while somebody streams
    Ok(())
}

impl Stream {
    /// Sets the format and gets buffers, as dmabufs if the driver `lends` them; not started yet.
    ///
    /// # Errors
    /// Somebody else has the device, it is gone, or it does not give what it offers.
    pub fn open(node: Node, planes: Planes, asked: &Asked, lends: bool) -> Result<Self, Complaint> {
        let kind = buffer_type(planes);
        let pix = Pix::set(&node, kind, asked.code, asked.size).map_err(fault("set the format"))?;
        if (pix.fourcc, (pix.width, pix.height)) != (asked.code, asked.size) {
            return Err(misfit(anyhow!(
                "the camera gives {} in {}x{} where {} in {}x{} was asked for",
                format::name(&pix.fourcc),
                pix.width,
                pix.height,
                asked.fourcc,
                asked.size.0,
                asked.size.1
            )));
        }
        set_rate(&node, kind, asked.rate);
        let caps = asked.caps.parse().context("the camera's caps").and_then(|caps| pix.caps(&caps));
        let caps = caps.map_err(Complaint::failed)?;
        let returns = Returns::new().map_err(fault("wait for pictures"))?;
        let count = (least(&node).max(FILLED) + ON_THE_WAY).min(BUFFERS);
        let count = request_buffers(&node, kind, count).map_err(fault("get buffers"))?.min(BUFFERS);
        let mut stream = Self {
            node,
            planes,
            caps,
            raw: None,
            buffers: Vec::new(),
            returns,
            queued: 0,
            owed: (0..count).collect(),
            number: None,
            doubted: false,
        };
        let mut lengths = Vec::new();
        for index in 0..count {
            let (pieces, long) = stream.pieces(index, lends).map_err(fault("get buffers"))?;
            stream.buffers.push(pieces);
            lengths = long;
        }
        if let Some(info) = pix::raw_info(&stream.caps) {
            let places = pix.places(&info, &lengths).map_err(misfit)?;
            stream.raw = Some((info, places));
        }
        Ok(stream)
    }

    /// What its pictures are to GStreamer.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// How to stop who waits for the next picture.
    pub fn returns(&self) -> &Arc<Returns> {
        &self.returns
    }

    /// Starts it.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn start(&mut self) -> Result<(), Complaint> {
        self.requeue()?;
        let mut kind = buffer_type(self.planes);
        call(self.node.fd(), vidioc::VIDIOC_STREAMON, &mut kind)
            .map_err(fault("the stream does not start"))
    }

    /// Waits for the next picture; `None` when it is to stop.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn next(&mut self) -> Result<Option<Taken>, Complaint> {
        loop {
            self.requeue()?;
            if self.returns.stopped() {
                return Ok(None);
            }
            let ready = self.wait().map_err(fault("wait for pictures"))?;
            let broken = ready & (libc::POLLERR | libc::POLLHUP) != 0;
            if broken || ready & libc::POLLIN != 0 {
                if let Some(taken) = self.dequeue(broken)? {
                    return Ok(Some(taken));
                }
            } else if ready & libc::POLLPRI != 0 {
                let mut event: sys::v4l2_event = zeroed();
                call(self.node.fd(), VIDIOC_DQEVENT, &mut event).map_err(fault("read an event"))?;
                return Err(silent("the signal at the camera's input has changed"));
            }
        }
    }

    /// Queues what is back. What the driver does not take is offered again with
    /// the next picture, unless it has none to fill.
    fn requeue(&mut self) -> Result<(), Complaint> {
        self.owed.extend(self.returns.take());
        let mut refused = None;
        for index in std::mem::take(&mut self.owed) {
            match self.with(index, vidioc::VIDIOC_QBUF, |_, _| ()) {
                Ok(()) => self.queued += 1,
                Err(error) => {
                    self.owed.push(index);
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error)
                if error.raw_os_error() == Some(libc::ENODEV)
                    || self.owed.len() == self.buffers.len() =>
            {
                Err(fault("the driver takes no buffer")(error))
            }
            _ => Ok(()),
        }
    }

    /// Sleeps until there is something to do; what the device says, if anything.
    fn wait(&self) -> io::Result<i16> {
        let device = libc::POLLIN | libc::POLLPRI;
        let mut polled = [
            libc::pollfd { fd: self.returns.fd(), events: libc::POLLIN, revents: 0 },
            // A driver without buffers is in error to some kernels: it is not asked then.
            libc::pollfd { fd: self.node.fd(), events: device, revents: 0 },
        ];
        let count = if self.queued > 0 { 2 } else { 1 };
        // SAFETY: `count` structures of the array, valid for the call.
        let done = unsafe { libc::poll(polled.as_mut_ptr(), count, -1) };
        if done < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        }
        Ok(polled[1].revents)
    }

    /// The picture that is ready; `None` if it was not after all. A `broken` device
    /// has to say what is wrong.
    fn dequeue(&mut self, broken: bool) -> Result<Option<Taken>, Complaint> {
        let taken = self.with(0, vidioc::VIDIOC_DQBUF, |raw, parts| {
            let single = [(0, raw.bytesused as usize)];
            let used = match parts {
                [] => single.to_vec(),
                parts => {
                    parts.iter().map(|p| (p.data_offset as usize, p.bytesused as usize)).collect()
                }
            };
            (raw.index, raw.flags, raw.sequence, ioctl::stamp(raw), used)
        });
        let (index, flags, sequence, stamp, used) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                return match error.raw_os_error() {
                    // A poll that a signal broke off says "error" once.
                    Some(libc::EAGAIN)
                        if !broken || !std::mem::replace(&mut self.doubted, true) =>
                    {
                        Ok(None)
                    }
                    Some(libc::EPIPE) => Err(silent("the stream ended")),
                    _ => Err(fault("the stream broke")(error)),
                };
            }
        };
        self.doubted = false;
        self.queued = self.queued.saturating_sub(1);
        let lost = lost(self.number.replace(sequence), sequence);
        let out = Out::new(index, self.returns.clone());
        let marked = flags & sys::V4L2_BUF_FLAG_ERROR != 0;
        let whole = !marked && self.is_whole(index, &used);
        let buffer = match whole {
            true => Some(self.picture(&out, index, &used).map_err(Complaint::failed)?),
            false => None,
        };
        Ok(Some(Taken { buffer, stamp, lost }))
    }

    /// What the driver says that it wrote is in the buffer, and is a picture.
    fn is_whole(&self, index: u32, used: &[(usize, usize)]) -> bool {
        let Some(pieces) = self.buffers.get(index as usize) else { return false };
        let lengths: Vec<usize> = pieces.iter().map(Piece::len).collect();
        let inside = used.len() == lengths.len()
            && used.iter().zip(&lengths).all(|((begin, end), length)| begin < end && end <= length);
        inside && self.raw.as_ref().is_none_or(|(_, places)| places.hold(&lengths, used))
    }

    /// The bytes of a buffer that is out.
    fn picture(&self, out: &Arc<Out>, index: u32, used: &[(usize, usize)]) -> Result<gst::Buffer> {
        let pieces =
            self.buffers.get(index as usize).context("a buffer that the driver made up")?;
        let mut picture = gst::Buffer::new();
        let buffer = picture.get_mut().context("a new buffer is writable")?;
        for (piece, (begin, end)) in pieces.iter().zip(used) {
            match piece {
                Piece::Lent(memory) => buffer.append_memory(memory.clone()),
                Piece::Mapped(map) => {
                    let range = match self.raw {
                        Some(_) => 0..map.len,
                        None => *begin..*end,
                    };
                    let view = View { map: map.clone(), range, _out: out.clone() };
                    buffer.append_memory(gst::Memory::from_slice(view));
                }
            }
        }
        if matches!(pieces.first(), Some(Piece::Lent(_))) {
            // Whoever keeps the picture keeps this.
            gst::ParentBufferMeta::add(
                buffer,
                &gst::Buffer::from_slice(Token { _out: out.clone() }),
            );
        }
        if let Some((info, places)) = &self.raw {
            let mut offsets = places.offsets.clone();
            for (plane, offset) in offsets.iter_mut().enumerate() {
                let own = if pieces.len() > 1 { plane } else { 0 };
                *offset += used.get(own).map_or(0, |(begin, _)| *begin);
            }
            gst_video::VideoMeta::add_full(
                buffer,
                gst_video::VideoFrameFlags::empty(),
                info.format(),
                info.width(),
                info.height(),
                &offsets,
                &places.strides,
            )?;
        }
        Ok(picture)
    }

    /// A buffer's memory, and the bytes of each piece.
    fn pieces(&self, index: u32, lends: bool) -> io::Result<(Vec<Piece>, Vec<usize>)> {
        let spots: Vec<(u32, u32)> = self.with(index, vidioc::VIDIOC_QUERYBUF, |raw, parts| {
            // SAFETY: the driver was asked for mapped memory: these are offsets.
            match parts {
                [] => vec![(unsafe { raw.m.offset }, raw.length)],
                // SAFETY: as above.
                parts => parts.iter().map(|p| (unsafe { p.m.mem_offset }, p.length)).collect(),
            }
        })?;
        let kind = buffer_type(self.planes);
        let allocator = gst_allocators::DmaBufAllocator::new();
        let piece = |(part, (offset, length)): (usize, &(u32, u32))| {
            if !lends {
                return Map::new(&self.node, *offset, *length as usize).map(Piece::Mapped);
            }
            let fd = lender::export_part(&self.node, kind, index, part as u32)?.into_raw_fd();
            // SAFETY: the descriptor is ours to give, and its buffer has this size.
            let memory = unsafe { allocator.alloc_dmabuf(fd, *length as usize) };
            memory.map(Piece::Lent).map_err(io::Error::other)
        };
        let pieces = spots.iter().enumerate().map(piece).collect::<io::Result<_>>()?;
        Ok((pieces, spots.iter().map(|(_, length)| *length as usize).collect()))
    }

    /// A call about a buffer, and what is read of the driver's answer: itself
    /// and, of multi-planar nodes, its pieces.
    fn with<T>(
        &self,
        index: u32,
        request: vidioc::_IOC_TYPE,
        read: impl FnOnce(&sys::v4l2_buffer, &[sys::v4l2_plane]) -> T,
    ) -> io::Result<T> {
        let mut parts: [sys::v4l2_plane; 8] = [zeroed(); sys::VIDEO_MAX_PLANES as usize];
        let mut raw: sys::v4l2_buffer = zeroed();
        (raw.index, raw.type_) = (index, buffer_type(self.planes));
        raw.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let multi = self.planes == Planes::Multi;
        if multi {
            // As many as the buffer has; the driver says how many those are when it is asked.
            raw.length = self.buffers.first().map_or(sys::VIDEO_MAX_PLANES, |b| b.len() as u32);
            raw.m.planes = parts.as_mut_ptr();
        }
        call(self.node.fd(), request, &mut raw)?;
        let count = if multi { (raw.length as usize).min(parts.len()) } else { 0 };
        Ok(read(&raw, &parts[..count]))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut kind = buffer_type(self.planes);
        let _ = call(self.node.fd(), vidioc::VIDIOC_STREAMOFF, &mut kind);
        // Kernels before 5.0 give nothing up that is mapped.
        self.buffers.clear();
        let _ = request_buffers(&self.node, kind, 0);
    }
}

/// Pictures lost between two numbers; numbers that begin anew say nothing.
fn lost(before: Option<u32>, number: u32) -> u32 {
    let ahead = before.map_or(0, |before| number.wrapping_sub(before));
    if (1..=AHEAD).contains(&ahead) { ahead - 1 } else { 0 }
}

/// How many buffers the driver wants at least.
fn least(node: &Node) -> u32 {
    let mut control: sys::v4l2_control = zeroed();
    control.id = sys::V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
    let known = call(node.fd(), vidioc::VIDIOC_G_CTRL, &mut control).is_ok();
    if known { u32::try_from(control.value).unwrap_or(0) } else { 0 }
}

/// Drivers of one rate know no other: that they refuse is no fault.
fn set_rate(node: &Node, kind: u32, rate: Option<(u32, u32)>) {
    let Some((numerator, denominator)) = rate else { return };
    let mut raw: sys::v4l2_streamparm = zeroed();
    raw.type_ = kind;
    // SAFETY: all-zero is valid, and nothing else was written.
    let mut capture = unsafe { raw.parm.capture };
    capture.timeperframe = sys::v4l2_fract { numerator: denominator, denominator: numerator };
    raw.parm.capture = capture;
    let _ = call(node.fd(), vidioc::VIDIOC_S_PARM, &mut raw);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps are counted, also over the end of the numbers; numbers that begin
    /// anew, or jump, are no gap.
    #[test]
    fn numbers_tell_what_was_lost() {
        assert_eq!(lost(None, 7), 0);
        assert_eq!(lost(Some(7), 8), 0);
        assert_eq!(lost(Some(7), 11), 3);
        assert_eq!(lost(Some(u32::MAX), 1), 1);
        assert_eq!(lost(Some(500), 0), 0);
        assert_eq!(lost(Some(0), u32::MAX - 127), 0);
        assert_eq!(lost(Some(7), 7), 0);
    }
}
