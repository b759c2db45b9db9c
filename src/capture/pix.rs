//! How a driver lays out its pictures, and what their numbers mean.
//!
//! Comes in: what `VIDIOC_S_FMT` made of a wish. Goes out: caps with
//! colorimetry, and where each plane begins (kernel V4L2 docs, "Image Formats",
//! "Colorspaces"). Pure, but for the asking.

use std::io;

use anyhow::{Context, Result, ensure};
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::{
    VideoColorMatrix as Matrix, VideoColorPrimaries as Primaries, VideoColorRange as Range,
    VideoColorimetry, VideoFormat, VideoTransferFunction as Transfer,
};
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::ioctl::{Kernel, Node, call, zeroed};

impl Kernel for sys::v4l2_format {}

/// A format as a driver has set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pix {
    /// `NV12`.
    pub fourcc: [u8; 4],
    /// In pixels.
    pub width: u32,
    /// Rows, those with them that it adds below the picture.
    pub height: u32,
    /// Meaning of the numbers.
    pub colour: Colour,
    /// One for each piece of memory a picture is in.
    pub parts: Vec<Part>,
}

/// A picture's piece of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    /// Bytes from row to row of its first plane; zero where there are no rows.
    pub stride: u32,
    /// Bytes.
    pub size: u32,
}

/// Where a raw picture's planes are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Places {
    /// Bytes from the picture's begin.
    pub offsets: Vec<usize>,
    /// Bytes from row to row.
    pub strides: Vec<i32>,
    /// Of each: bytes of its rows without what pads them, and to its last row's end.
    bytes: Vec<(usize, usize)>,
}

impl Places {
    /// All planes are in pieces of `lengths` bytes of which the driver wrote `used`
    /// (from, to), and each piece has a picture's bytes at least.
    pub fn hold(&self, lengths: &[usize], used: &[(usize, usize)]) -> bool {
        let own = lengths.len() > 1;
        let mut filled = vec![0; lengths.len()];
        for (plane, (bare, padded)) in self.bytes.iter().enumerate() {
            let (piece, within) = if own { (plane, 0) } else { (0, self.offsets[plane]) };
            let (Some(length), Some((begin, _))) = (lengths.get(piece), used.get(piece)) else {
                return false;
            };
            if begin + within + padded > *length {
                return false;
            }
            filled[piece] += bare;
        }
        used.iter().zip(filled).all(|((begin, end), bytes)| end.saturating_sub(*begin) >= bytes)
    }
}

/// What raw caps say; `None` for those of compressed pictures, which GStreamer takes for video too.
pub(super) fn raw_info(caps: &gst::Caps) -> Option<gst_video::VideoInfo> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    (info.format() != VideoFormat::Encoded).then_some(info)
}

/// `V4L2_COLORSPACE_*`, `_XFER_FUNC_*`, `_YCBCR_ENC_*`, `_QUANTIZATION_*`; zero is the default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Colour {
    space: u32,
    transfer: u32,
    matrix: u32,
    range: u32,
}

impl Pix {
    /// Asks the driver for a format of its queue `kind`; it gives what is nearest.
    ///
    /// # Errors
    /// As `VIDIOC_S_FMT`: EBUSY while somebody has buffers.
    pub fn set(
        node: &Node,
        kind: u32,
        fourcc: [u8; 4],
        (width, height): (u32, u32),
    ) -> io::Result<Self> {
        let mut raw: sys::v4l2_format = zeroed();
        raw.type_ = kind;
        let (format, field) = (u32::from_le_bytes(fourcc), sys::v4l2_field_V4L2_FIELD_NONE);
        if of_planes(kind) {
            // SAFETY: all-zero is valid, and nothing else was written.
            let mut pix = unsafe { raw.fmt.pix_mp };
            (pix.width, pix.height, pix.pixelformat, pix.field) = (width, height, format, field);
            raw.fmt.pix_mp = pix;
        } else {
            // SAFETY: as above.
            let mut pix = unsafe { raw.fmt.pix };
            (pix.width, pix.height, pix.pixelformat, pix.field) = (width, height, format, field);
            raw.fmt.pix = pix;
        }
        call(node.fd(), vidioc::VIDIOC_S_FMT, &mut raw)?;
        Ok(Self::read(&raw))
    }

    fn read(raw: &sys::v4l2_format) -> Self {
        if of_planes(raw.type_) {
            // SAFETY: the type says which variant the kernel wrote; all are plain integers.
            let (pix, matrix) =
                unsafe { (raw.fmt.pix_mp, raw.fmt.pix_mp.__bindgen_anon_1.ycbcr_enc) };
            let planes = { pix.plane_fmt };
            let part = |plane: sys::v4l2_plane_pix_format| Part {
                stride: plane.bytesperline,
                size: plane.sizeimage,
            };
            return Self {
                fourcc: { pix.pixelformat }.to_le_bytes(),
                width: pix.width,
                height: pix.height,
                colour: Colour {
                    space: pix.colorspace,
                    transfer: pix.xfer_func.into(),
                    matrix: matrix.into(),
                    range: pix.quantization.into(),
                },
                parts: planes.into_iter().take(pix.num_planes.into()).map(part).collect(),
            };
        }
        // SAFETY: as above.
        let (pix, matrix) = unsafe { (raw.fmt.pix, raw.fmt.pix.__bindgen_anon_1.ycbcr_enc) };
        Self {
            fourcc: pix.pixelformat.to_le_bytes(),
            width: pix.width,
            height: pix.height,
            colour: Colour {
                space: pix.colorspace,
                transfer: pix.xfer_func,
                matrix,
                range: pix.quantization,
            },
            parts: vec![Part { stride: pix.bytesperline, size: pix.sizeimage }],
        }
    }

    /// `caps` of a raw picture with its colorimetry; those of coded ones as they are.
    ///
    /// # Errors
    /// They are no video's.
    pub fn caps(&self, caps: &gst::Caps) -> Result<gst::Caps> {
        let Some(info) = raw_info(caps) else { return Ok(caps.clone()) };
        let colorimetry = self.colour.colorimetry(info.is_rgb());
        let info = gst_video::VideoInfo::builder(info.format(), info.width(), info.height())
            .fps(info.fps())
            .colorimetry(&colorimetry)
            .build()
            .context("what the camera says of its colours")?;
        Ok(info.to_caps()?)
    }

    /// Where the planes of a raw picture are, its pieces of `lengths` bytes behind one another.
    ///
    /// # Errors
    /// The driver's layout does not hold the picture.
    pub fn places(&self, info: &gst_video::VideoInfo, lengths: &[usize]) -> Result<Places> {
        let mut places = Places::default();
        let mut at = 0;
        for plane in 0..info.n_planes() as usize {
            let own = lengths.len() > 1;
            let part = self.parts.get(if own { plane } else { 0 });
            let given = part.map_or(0, |part| part.stride as usize);
            let least = info.comp_pstride(0).max(1) as usize * info.width() as usize;
            let (stride, least) = match (plane, info.format()) {
                // Where the driver counts its rows in luma's.
                (1.., VideoFormat::I420 | VideoFormat::Yv12) => {
                    (if own { given } else { given / 2 }, least.div_ceil(2))
                }
                _ => (given, least),
            };
            let stride = if given == 0 { info.stride()[plane] as usize } else { stride };
            let rows = match (plane, info.format()) {
                (0, _) | (_, VideoFormat::Nv16) => self.height,
                _ => self.height.div_ceil(2),
            };
            let bytes = stride * rows as usize;
            let (begin, room) = if own {
                let length = *lengths.get(plane).context("the driver gives too few planes")?;
                (lengths[..plane].iter().sum(), length)
            } else {
                (at, lengths.first().map_or(0, |length| length.saturating_sub(at)))
            };
            at += bytes;
            ensure!(
                stride >= least && bytes <= room,
                "the driver gives an impossible layout: plane {plane} has {rows} rows of {stride} \
                 bytes in {room}"
            );
            places.offsets.push(begin);
            places.strides.push(i32::try_from(stride).context("rows of the driver's layout")?);
            let rows = rows as usize;
            places.bytes.push((least * rows, stride * rows.saturating_sub(1) + least));
        }
        Ok(places)
    }
}

impl Colour {
    /// In GStreamer's words. Where the driver leaves something open, the kernel's
    /// defaults hold (`V4L2_MAP_*_DEFAULT`).
    fn colorimetry(self, rgb: bool) -> VideoColorimetry {
        let jpeg = self.space == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG;
        let (matrix, transfer, primaries) = match self.space {
            sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE240M => {
                (Matrix::Smpte240m, Transfer::Smpte240m, Primaries::Smpte240m)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_REC709 => {
                (Matrix::Bt709, Transfer::Bt709, Primaries::Bt709)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_470_SYSTEM_M => {
                (Matrix::Bt601, Transfer::Bt709, Primaries::Bt470m)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_470_SYSTEM_BG => {
                (Matrix::Bt601, Transfer::Bt709, Primaries::Bt470bg)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG
            | sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB => {
                (Matrix::Bt601, Transfer::Srgb, Primaries::Bt709)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_OPRGB => {
                (Matrix::Bt601, Transfer::Adobergb, Primaries::Adobergb)
            }
            sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020 => {
                (Matrix::Bt2020, Transfer::Bt202012, Primaries::Bt2020)
            }
            // SMPTE 170M, and what says nothing: as analogue signals are.
            _ => (Matrix::Bt601, bt601(), Primaries::Smpte170m),
        };
        let matrix = match self.matrix {
            _ if rgb => Matrix::Rgb,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SYCC => Matrix::Bt601,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709 => Matrix::Bt709,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM => Matrix::Bt2020,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SMPTE240M => Matrix::Smpte240m,
            _ => matrix,
        };
        let transfer = match self.transfer {
            // BT.601's is the same curve. GStreamer's encoders ask for it by its own name.
            sys::v4l2_xfer_func_V4L2_XFER_FUNC_709 if primaries != Primaries::Smpte170m => {
                Transfer::Bt709
            }
            sys::v4l2_xfer_func_V4L2_XFER_FUNC_SRGB => Transfer::Srgb,
            sys::v4l2_xfer_func_V4L2_XFER_FUNC_OPRGB => Transfer::Adobergb,
            sys::v4l2_xfer_func_V4L2_XFER_FUNC_SMPTE240M => Transfer::Smpte240m,
            sys::v4l2_xfer_func_V4L2_XFER_FUNC_NONE => Transfer::Gamma10,
            _ => transfer,
        };
        let range = match self.range {
            sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => Range::Range0_255,
            sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE => Range::Range16_235,
            _ if rgb || jpeg => Range::Range0_255,
            _ => Range::Range16_235,
        };
        VideoColorimetry::new(range, matrix, transfer, primaries)
    }
}

/// The crate names it from GStreamer 1.18 on only; older ones do not know it.
fn bt601() -> Transfer {
    "bt601".parse::<VideoColorimetry>().map_or(Transfer::Bt709, |known| known.transfer())
}

fn of_planes(kind: u32) -> bool {
    kind == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        || kind == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pix(fourcc: &[u8; 4], size: (u32, u32), parts: &[(u32, u32)]) -> Pix {
        let part = |&(stride, size): &(u32, u32)| Part { stride, size };
        let (width, height) = size;
        let parts = parts.iter().map(part).collect();
        Pix { fourcc: *fourcc, width, height, colour: Colour::default(), parts }
    }

    fn info(format: VideoFormat, width: u32, height: u32) -> gst_video::VideoInfo {
        gst::init().unwrap();
        gst_video::VideoInfo::builder(format, width, height).build().unwrap()
    }

    /// Padded rows and rows below the picture move what is behind them.
    #[test]
    fn planes_in_one_piece_follow_the_drivers_rows() {
        let nv12 = pix(b"NV12", (640, 368), &[(672, 672 * 368 * 3 / 2)]);
        let found = nv12.places(&info(VideoFormat::Nv12, 640, 360), &[672 * 368 * 3 / 2]).unwrap();
        assert_eq!((found.offsets, found.strides), (vec![0, 672 * 368], vec![672, 672]));
        let i420 = pix(b"YU12", (64, 32), &[(96, 96 * 32 * 3 / 2)]);
        let found = i420.places(&info(VideoFormat::I420, 64, 32), &[96 * 32 * 3 / 2]).unwrap();
        assert_eq!(
            (found.offsets, found.strides),
            (vec![0, 96 * 32, 96 * 32 + 48 * 16], vec![96, 48, 48])
        );
        let yuyv = pix(b"YUYV", (64, 32), &[(128, 128 * 32)]);
        let found = yuyv.places(&info(VideoFormat::Yuy2, 64, 32), &[128 * 32]).unwrap();
        assert_eq!((found.offsets, found.strides), (vec![0], vec![128]));
    }

    /// Planes in pieces of their own begin where their pieces do.
    #[test]
    fn planes_in_pieces_of_their_own_begin_with_them() {
        let nm12 = pix(b"NM12", (64, 32), &[(64, 64 * 32), (64, 64 * 16)]);
        let found = nm12.places(&info(VideoFormat::Nv12, 64, 32), &[4096, 4096]).unwrap();
        assert_eq!((found.offsets, found.strides), (vec![0, 4096], vec![64, 64]));
        let ym12 = pix(b"YM12", (64, 32), &[(64, 2048), (32, 512), (32, 512)]);
        let found = ym12.places(&info(VideoFormat::I420, 64, 32), &[4096, 4096, 4096]).unwrap();
        assert_eq!((found.offsets, found.strides), (vec![0, 4096, 8192], vec![64, 32, 32]));
    }

    /// A layout that does not hold the picture is refused, not read past its end.
    #[test]
    fn impossible_layouts_are_refused() {
        let nv12 = info(VideoFormat::Nv12, 640, 360);
        let narrow = pix(b"NV12", (640, 360), &[(600, 1 << 20)]);
        assert!(narrow.places(&nv12, &[1 << 20]).is_err());
        let short = pix(b"NV12", (640, 360), &[(640, 1000)]);
        let told = short.places(&nv12, &[640 * 360 * 3 / 2 - 1]).unwrap_err().to_string();
        assert!(told.contains("impossible layout: plane 1"), "{told}");
        let lacking = pix(b"YM12", (640, 360), &[(640, 1 << 20), (320, 1 << 20)]);
        assert!(lacking.places(&info(VideoFormat::I420, 640, 360), &[1 << 20, 1 << 20]).is_err());
    }

    /// A picture that begins late in its buffer must still end in it, and no piece
    /// may be short, whatever the others have too much of.
    #[test]
    fn short_and_shifted_pictures_do_not_hold() {
        let nv12 = info(VideoFormat::Nv12, 64, 32);
        let one = pix(b"NV12", (64, 32), &[(64, 3072)]).places(&nv12, &[3072]).unwrap();
        assert!(one.hold(&[3072], &[(0, 3072)]));
        assert!(!one.hold(&[3072], &[(0, 3071)]));
        assert!(!one.hold(&[3072], &[(64, 3136)]));
        let two = pix(b"NM12", (64, 32), &[(64, 2048), (64, 1024)]);
        let two = two.places(&nv12, &[4096, 4096]).unwrap();
        assert!(two.hold(&[4096, 4096], &[(64, 2112), (0, 1024)]));
        assert!(!two.hold(&[4096, 4096], &[(0, 4096), (0, 0)]));
        assert!(!two.hold(&[4096, 4096], &[(0, 4096)]));
        assert!(!two.hold(&[4096, 4096], &[(0, 2048), (4000, 5024)]));
        // Drivers that leave the padding of their rows out of what they count are believed.
        let padded = pix(b"NV12", (64, 32), &[(128, 6144)]).places(&nv12, &[6144]).unwrap();
        assert!(padded.hold(&[6144], &[(0, 3072)]));
    }

    /// What the driver says of its colours goes with the picture, and its silence
    /// means what the kernel says that it means.
    #[test]
    fn colours_are_the_drivers_or_the_kernels_defaults() {
        let text = |space, transfer, matrix, range, rgb| {
            Colour { space, transfer, matrix, range }.colorimetry(rgb).to_string()
        };
        use sys::*;
        gst::init().unwrap();
        assert_eq!(text(v4l2_colorspace_V4L2_COLORSPACE_REC709, 0, 0, 0, false), "bt709");
        let analogue = v4l2_colorspace_V4L2_COLORSPACE_SMPTE170M;
        assert_eq!(text(analogue, 0, 0, 0, false), "bt601");
        assert_eq!(text(analogue, v4l2_xfer_func_V4L2_XFER_FUNC_709, 0, 0, false), "bt601");
        assert_eq!(text(0, 0, 0, 0, false), "bt601");
        assert_eq!(text(v4l2_colorspace_V4L2_COLORSPACE_SRGB, 0, 0, 0, true), "sRGB");
        // A webcam: sRGB's primaries, 601's matrix.
        let webcam = text(v4l2_colorspace_V4L2_COLORSPACE_SRGB, 0, 0, 0, false);
        assert_eq!(webcam, "2:4:7:1");
        let full = v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE;
        assert_eq!(text(v4l2_colorspace_V4L2_COLORSPACE_REC709, 0, 0, full, false), "1:3:5:1");
        let jpeg = text(v4l2_colorspace_V4L2_COLORSPACE_JPEG, 0, 0, 0, false);
        assert_eq!(jpeg, "1:4:7:1");
    }

    /// Coded pictures have no colorimetry of the driver's.
    #[test]
    fn raw_caps_have_colours_and_coded_ones_stay() {
        gst::init().unwrap();
        let raw: gst::Caps =
            "video/x-raw,format=NV12,width=64,height=32,framerate=5/1".parse().unwrap();
        let caps = pix(b"NV12", (64, 32), &[]).caps(&raw).unwrap();
        let said = caps.structure(0).unwrap();
        assert!(said.get::<&str>("colorimetry").is_ok(), "{caps}");
        assert_eq!(said.get::<gst::Fraction>("framerate"), Ok(gst::Fraction::new(5, 1)));
        let jpeg: gst::Caps = "image/jpeg,width=64,height=32".parse().unwrap();
        assert_eq!(pix(b"MJPG", (64, 32), &[]).caps(&jpeg).unwrap(), jpeg);
    }
}
