//! Pictures pushed by the application instead of read from a camera: the demo line.
//!
//! Comes in: raw pictures, each with its capture time. Goes out: the same
//! pictures, in order, to the pipeline of the moment. When full, the oldest
//! picture goes and is counted: the newest is always worth more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use bytes::Bytes;
use gstreamer as gst;
use tokio::sync::Notify;

use crate::model::Mono;

/// Pictures that wait for the pipeline at most.
pub const WAITING: usize = 2;

/// How the bytes of a picture are laid out; rows without padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pixels {
    /// 4:2:0, planes Y, U, V: 12 bits a pixel.
    I420,
    /// 4:2:0, planes Y, UV: 12 bits a pixel.
    Nv12,
    /// Red, green, blue, one byte unused: 32 bits a pixel.
    Rgbx,
}

impl Pixels {
    /// Bytes of one picture; width and height are even.
    pub fn size(self, width: u32, height: u32) -> usize {
        let pixels = width as usize * height as usize;
        match self {
            Self::I420 | Self::Nv12 => pixels * 3 / 2,
            Self::Rgbx => pixels * 4,
        }
    }

    /// What its numbers mean, in GStreamer's words: YUV is BT.709, limited
    /// range, at every size (the usual guess by size would tint small ones).
    fn colorimetry(self) -> &'static str {
        match self {
            Self::I420 | Self::Nv12 => "bt709",
            Self::Rgbx => "sRGB",
        }
    }

    /// What such pictures are to GStreamer.
    ///
    /// # Errors
    /// GStreamer is not started.
    pub(super) fn caps(self, width: u32, height: u32, fps: u32) -> Result<gst::Caps> {
        let (name, colorimetry) = (self.caps_name(), self.colorimetry());
        let caps = format!(
            "video/x-raw,format={name},width={width},height={height},framerate={fps}/1,\
             colorimetry={colorimetry}"
        );
        Ok(caps.parse()?)
    }

    /// GStreamer's name of it.
    fn caps_name(self) -> &'static str {
        match self {
            Self::I420 => "I420",
            Self::Nv12 => "NV12",
            Self::Rgbx => "RGBx",
        }
    }
}

/// One picture.
#[derive(Clone, Debug)]
pub struct RawPicture {
    /// When its light was captured.
    pub at: Mono,
    /// As [`Pixels`] says.
    pub data: Bytes,
}

/// The pipeline's end. Clones share it, so that it outlives a restart.
#[derive(Clone)]
pub struct PushSource {
    /// Layout of every picture.
    pub pixels: Pixels,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Pictures per second, nominal.
    pub fps: u32,
    slot: Arc<Slot>,
}

/// The application's end.
#[derive(Clone)]
pub struct Pictures {
    slot: Arc<Slot>,
    size: usize,
}

struct Slot {
    waiting: Mutex<VecDeque<RawPicture>>,
    filled: Notify,
    shed: metrics::Counter,
}

/// A source for `feed` and the end to push its pictures into.
pub fn channel(
    feed: &str,
    pixels: Pixels,
    width: u32,
    height: u32,
    fps: u32,
) -> (Pictures, PushSource) {
    let slot = Arc::new(Slot {
        waiting: Mutex::default(),
        filled: Notify::new(),
        shed: metrics::counter!("floorcast_capture_shed_total",
            "feed" => feed.to_owned(), "where" => "push"),
    });
    let pictures = Pictures { slot: slot.clone(), size: pixels.size(width, height) };
    (pictures, PushSource { pixels, width, height, fps, slot })
}

impl Pictures {
    /// Hands a picture on; never waits. Returns how many older ones were shed for it.
    ///
    /// A picture of the wrong size is refused: `None`.
    pub fn push(&self, picture: RawPicture) -> Option<usize> {
        if picture.data.len() != self.size {
            return None;
        }
        let mut waiting = self.slot.waiting.lock().expect("push lock");
        waiting.push_back(picture);
        let shed = waiting.len().saturating_sub(WAITING);
        waiting.drain(..shed);
        drop(waiting);
        self.slot.shed.increment(shed as u64);
        self.slot.filled.notify_one();
        Some(shed)
    }
}

impl PushSource {
    /// The oldest waiting picture, when there is one.
    pub(super) async fn next(&self) -> RawPicture {
        loop {
            if let Some(picture) = self.slot.waiting.lock().expect("push lock").pop_front() {
                return picture;
            }
            self.slot.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(at: u64) -> RawPicture {
        RawPicture { at: Mono(at), data: Bytes::from_static(&[0; 6]) }
    }

    /// The newest pictures win, and the lost ones are told.
    #[tokio::test]
    async fn full_slot_sheds_the_oldest() {
        let (pictures, source) = channel("t", Pixels::I420, 2, 2, 30);
        assert_eq!(pictures.push(picture(1)), Some(0));
        assert_eq!(pictures.push(picture(2)), Some(0));
        assert_eq!(pictures.push(picture(3)), Some(1));
        assert_eq!(source.next().await.at, Mono(2));
        assert_eq!(source.clone().next().await.at, Mono(3));
    }

    /// A picture that is not what was announced never reaches the encoder.
    #[test]
    fn wrong_size_is_refused() {
        let (pictures, _source) = channel("t", Pixels::Rgbx, 2, 2, 30);
        assert_eq!(pictures.push(picture(1)), None);
    }
}
