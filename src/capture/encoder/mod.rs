//! Raw pictures to H.264: which encoder, and how it is set.
//!
//! The ladder ([`ladder::LADDER`]) is data: on-chip encoders first, then
//! software. A rung is taken because it just encoded pictures of the wanted
//! size in a trial ([`trial`]), never because its name is in a registry.

pub(super) mod choice;
pub mod ladder;
pub mod machine;
pub(super) mod retune;
mod shelf;
pub mod trial;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use tracing::warn;

use self::ladder::{Amount, Way};
use self::machine::{Candidate, FORCE_KEY, Keys};
use self::shelf::Shelf;
use super::controls;
use super::ioctl::Node;
use super::switch::{Memory, Shape};
use crate::config::camera::ControlValue;

/// What an encoder is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wanted {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Mean bit rate.
    pub bitrate_kbps: u32,
    /// Pictures from key frame to key frame.
    pub gop_frames: u32,
}

impl Wanted {
    /// A property's value as text.
    fn amount(&self, amount: Amount) -> String {
        let bps = u64::from(self.bitrate_kbps) * 1000;
        match amount {
            Amount::Is(text) => text.to_owned(),
            Amount::Kbps => self.bitrate_kbps.to_string(),
            Amount::Bps => bps.to_string(),
            Amount::BpsIn { step, max } => (bps.div_ceil(step) * step).clamp(step, max).to_string(),
            Amount::Gop => self.gop_frames.to_string(),
        }
    }

    /// The same, with key frames so near to each other that a viewer can wait for
    /// the next where none can be asked for.
    fn with(&self, keys: Keys) -> Self {
        let near = if keys == Keys::Never { self.fps.max(2) } else { u32::MAX };
        Self { gop_frames: self.gop_frames.min(near), ..*self }
    }

    /// Caps behind an encoder.
    fn output(&self, caps: &str) -> String {
        caps.replace("LEVEL", self.level())
            .replace("WIDTH", &self.width.to_string())
            .replace("HEIGHT", &self.height.to_string())
    }

    /// Macroblocks of a picture (ITU-T H.264, 7.4.2.1.1).
    fn macroblocks(&self) -> u32 {
        self.width.div_ceil(16) * self.height.div_ceil(16)
    }

    /// The lowest level that allows this size, rate and bit rate (ITU-T H.264,
    /// table A-1, Baseline and Main), as GStreamer writes it.
    pub fn level(&self) -> &'static str {
        let (blocks, rate) = (self.macroblocks(), self.macroblocks() * self.fps);
        // Level, macroblocks per second, per picture, kbit/s.
        const LEVELS: [(&str, u32, u32, u32); 11] = [
            ("1.3", 11_880, 396, 768),
            ("2", 11_880, 396, 2_000),
            ("2.1", 19_800, 792, 4_000),
            ("2.2", 20_250, 1_620, 4_000),
            ("3", 40_500, 1_620, 10_000),
            ("3.1", 108_000, 3_600, 14_000),
            ("3.2", 216_000, 5_120, 20_000),
            ("4", 245_760, 8_192, 20_000),
            ("4.1", 245_760, 8_192, 50_000),
            ("4.2", 522_240, 8_704, 50_000),
            ("5.1", 983_040, 36_864, 240_000),
        ];
        LEVELS
            .iter()
            .find(|(_, r, b, kbps)| rate <= *r && blocks <= *b && self.bitrate_kbps <= *kbps)
            .map_or("5.2", |(level, ..)| level)
    }
}

/// The elements from raw pictures to H.264: converter, its caps, encoder, its caps.
pub(super) struct Encoder {
    /// In order of flow.
    pub chain: Vec<gst::Element>,
    /// The encoder among them.
    pub encode: gst::Element,
    /// How pictures get into it.
    pub way: Way,
    /// Asks for a key frame with the next picture.
    keys: Keys,
    pressed: Arc<AtomicBool>,
    /// Layout that it takes.
    format: String,
    /// Its own buffers, if it reads pictures where they are.
    shelf: Option<Arc<Shelf>>,
}

/// Asks an encoder for key frames.
pub(super) struct Press {
    keys: Keys,
    pressed: Arc<AtomicBool>,
}

impl Press {
    /// The encoder's next picture is to be a key frame, asked for through `out`
    /// where GStreamer can; false if it cannot be asked for.
    pub fn key(&self, out: &gst::Element) -> bool {
        match self.keys {
            Keys::Event => out.send_event(
                gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build(),
            ),
            Keys::Press => {
                self.pressed.store(true, Ordering::Relaxed);
                true
            }
            Keys::Never => false,
        }
    }
}

impl Encoder {
    /// For asking it for key frames.
    pub fn press(&self) -> Press {
        Press { keys: self.keys, pressed: self.pressed.clone() }
    }

    /// Why it cannot read such pictures where they are, if it is to do that.
    fn misfit(&self, shape: &Shape, picture: Option<&gst::BufferRef>) -> Option<String> {
        let shelf = self.shelf.as_ref()?;
        match shape.memory {
            // Slates are drawn: they have to be copied in any case.
            Memory::Drawn => None,
            Memory::Plain => Some("the camera does not lend its pictures".into()),
            Memory::Dmabuf if *shape.format != *self.format => {
                Some(format!("{} must be made of the camera's {}", self.format, shape.format))
            }
            Memory::Dmabuf => picture.and_then(|picture| shelf.misfit(picture)),
        }
    }
}

/// Makes a candidate's elements, set for `wanted` and for pictures of `shape`:
/// whatever pictures come, the encoder gets one kind, or it would begin anew.
///
/// # Errors
/// An element that is missing or refuses a setting; the reason names it.
pub(super) fn make(
    candidate: &Candidate,
    wanted: &Wanted,
    shape: Option<&Shape>,
) -> Result<Encoder> {
    let rung = candidate.rung;
    let keys = candidate.keys();
    let wanted = wanted.with(keys);
    rung.limits.check(&wanted)?;
    let convert = element(rung.convert)?;
    if convert.find_property("dither").is_some() {
        convert.set_property_from_str("dither", "none");
    }
    let raw = element("capsfilter")?;
    let caps = input(rung.input, &wanted, shape)?;
    raw.set_property("caps", &caps);
    one_kind(&raw)?;
    let made = |name: &str, sets: &[(&str, Amount)]| -> Result<gst::Element> {
        let element = element(name)?;
        for (name, amount) in sets {
            set(&element, name, &wanted.amount(*amount))?;
        }
        Ok(element)
    };
    let encode = made(&candidate.factory, rung.sets)?;
    let mut shelf = None;
    match (candidate.way, &candidate.device) {
        (Way::Dmabuf, Some(device)) => {
            set(&encode, "output-io-mode", "dmabuf-import")?;
            let own = Arc::new(Shelf::new(device, &caps)?);
            place(&raw, &own)?;
            shelf = Some(own);
        }
        (Way::Mmap, _) => set(&encode, "output-io-mode", "mmap")?,
        _ => {}
    }
    if !rung.controls.is_empty() {
        let mut controls = gst::Structure::builder("controls").build();
        for (name, amount) in rung.controls {
            let value = wanted.amount(*amount);
            let value: i32 = value.parse().with_context(|| format!("control {name} = {value}"))?;
            controls.set(*name, value);
        }
        ensure!(encode.find_property("extra-controls").is_some(), "it has no extra-controls");
        encode.set_property("extra-controls", controls);
    }
    let pressed = Arc::default();
    if keys == Keys::Press {
        press_before_picture(&encode, &pressed)?;
    }
    let format = caps.structure(0).and_then(|s| s.get::<String>("format").ok()).unwrap_or_default();
    let mut chain = vec![convert, raw, encode.clone()];
    for part in rung.then {
        chain.push(made(part.name, part.sets)?);
    }
    chain.push(filter(&wanted.output(rung.output))?);
    Ok(Encoder { chain, encode, way: candidate.way, keys, pressed, format, shelf })
}

/// The caps that left `raw` first are those that leave it for ever: what else a converter
/// adds to them for some pictures (where chroma lies) would have the encoder begin anew.
fn one_kind(raw: &gst::Element) -> Result<()> {
    let pad = raw.static_pad("src").context("capsfilter has no src pad")?;
    let first = Mutex::new(None::<gst::Event>);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &mut info.data
            && event.type_() == gst::EventType::Caps
        {
            let mut first = first.lock().expect("caps lock");
            *event = first.get_or_insert_with(|| event.clone()).clone();
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Pictures that leave `raw` are put where the encoder can read them.
fn place(raw: &gst::Element, shelf: &Arc<Shelf>) -> Result<()> {
    let shelf = shelf.clone();
    let pad = raw.static_pad("src").context("capsfilter has no src pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            match shelf.place(buffer) {
                Ok(Some(placed)) => *buffer = placed,
                // All are on their way: raw pictures are what may be shed.
                Ok(None) => return gst::PadProbeReturn::Drop,
                Err(error) => {
                    warn!("picture for the encoder: {error:#}");
                    return gst::PadProbeReturn::Drop;
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Presses the driver's button before the next picture goes in, when it was asked
/// for, on the encoder's own thread: controls belong to the descriptor that streams.
fn press_before_picture(encode: &gst::Element, pressed: &Arc<AtomicBool>) -> Result<()> {
    let pad = encode.static_pad("sink").context("the encoder has no sink pad")?;
    let (weak, pressed) = (encode.downgrade(), pressed.clone());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if pressed.swap(false, Ordering::Relaxed)
            && let Some(encode) = weak.upgrade()
            && let Ok(node) = Node::of(encode.property("device-fd"))
            && let Err(error) =
                controls::set(&node, &controls::list(&node), FORCE_KEY, &ControlValue::Switch(true))
        {
            warn!("key frame: {error:#}");
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// What goes into an encoder, one layout: the pictures' own if it takes that.
fn input(takes: &str, wanted: &Wanted, shape: Option<&Shape>) -> Result<gst::Caps> {
    let text = format!("{takes},width={},height={}", wanted.width, wanted.height);
    let mut caps: gst::Caps = text.parse().with_context(|| format!("caps {text}"))?;
    // A slate's layout says nothing about the camera that will come.
    if let Some(shape) = shape.filter(|shape| shape.memory != Memory::Drawn) {
        let mut own = caps.clone();
        if let Some(fields) = own.make_mut().structure_mut(0) {
            fields.set("format", &*shape.format);
        }
        if own.can_intersect(&caps) {
            caps = own;
        }
    }
    if let Some(fields) = caps.make_mut().structure_mut(0) {
        fields.fixate_field("format");
        if let Some(shape) = shape {
            fields.set("colorimetry", &*shape.colorimetry);
        }
    }
    Ok(caps)
}

/// Makes an element.
///
/// # Errors
/// It is not installed.
pub(super) fn element(factory: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(factory)
        .build()
        .with_context(|| format!("GStreamer has no {factory} here"))
}

/// A caps filter.
pub(super) fn filter(caps: &str) -> Result<gst::Element> {
    let caps: gst::Caps = caps.parse().with_context(|| format!("caps {caps}"))?;
    let filter = element("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}

/// Sets a property from text, whatever its type.
///
/// # Errors
/// No such property, or not such a value: `set_property_from_str` would panic.
pub(super) fn set(element: &gst::Element, name: &str, value: &str) -> Result<()> {
    let spec = element.find_property(name).with_context(|| format!("it has no {name}"))?;
    let parsed = gst::glib::Value::deserialize(value, spec.value_type())
        .with_context(|| format!("its {name} does not take {value}"))?;
    element.set_property_from_value(name, &parsed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(width: u32, height: u32, fps: u32, bitrate_kbps: u32) -> Wanted {
        Wanted { width, height, fps, bitrate_kbps, gop_frames: 60 }
    }

    /// Size, rate and bit rate each raise the level (H.264 table A-1).
    #[test]
    fn level_covers_size_rate_and_bitrate() {
        assert_eq!(wanted(640, 360, 30, 1000).level(), "3");
        assert_eq!(wanted(1280, 720, 30, 2500).level(), "3.1");
        assert_eq!(wanted(1280, 720, 60, 2500).level(), "3.2");
        assert_eq!(wanted(1920, 1080, 30, 5000).level(), "4");
        assert_eq!(wanted(1920, 1080, 30, 25_000).level(), "4.1");
        assert_eq!(wanted(1920, 1080, 60, 5000).level(), "4.2");
        assert_eq!(wanted(3840, 2160, 30, 9000).level(), "5.1");
    }

    /// Units follow the encoder: kbit/s, bit/s, or steps of the chip.
    #[test]
    fn amounts_have_the_encoders_unit() {
        let wanted = wanted(1280, 720, 30, 2510);
        assert_eq!(wanted.amount(Amount::Kbps), "2510");
        assert_eq!(wanted.amount(Amount::Bps), "2510000");
        assert_eq!(wanted.amount(Amount::BpsIn { step: 25_000, max: 25_000_000 }), "2525000");
        assert_eq!(wanted.amount(Amount::Gop), "60");
    }

    /// Where no key frame can be asked for, one comes every second, or sooner if so wanted.
    #[test]
    fn key_frames_that_cannot_be_asked_for_come_every_second() {
        let wanted = wanted(1280, 720, 25, 2500);
        assert_eq!(wanted.with(Keys::Never).gop_frames, 25);
        assert_eq!(wanted.with(Keys::Press).gop_frames, 60);
        let near = Wanted { gop_frames: 10, ..wanted };
        assert_eq!(near.with(Keys::Never).gop_frames, 10);
    }

    /// An encoder is given the camera's layout if it takes that, and no slate's.
    #[test]
    fn input_is_the_cameras_layout_where_possible() {
        gst::init().unwrap();
        let shape = |format: &str, memory| Shape {
            format: format.into(),
            colorimetry: "bt709".into(),
            memory,
        };
        let taken = |shape: &Shape| {
            let caps = "video/x-raw,format=(string){NV12,I420}";
            let caps = input(caps, &wanted(640, 360, 25, 1000), Some(shape)).unwrap();
            caps.structure(0).unwrap().get::<String>("format").unwrap()
        };
        assert_eq!(taken(&shape("I420", Memory::Plain)), "I420");
        assert_eq!(taken(&shape("YUY2", Memory::Dmabuf)), "NV12");
        assert_eq!(taken(&shape("I420", Memory::Drawn)), "NV12");
    }

    /// What comes in other caps later, but goes out in the same layout, does not have the
    /// encoder begin anew.
    #[test]
    fn an_encoder_sees_one_kind_of_picture() {
        gst::init().unwrap();
        let raw = filter("video/x-raw,format=NV12").unwrap();
        one_kind(&raw).unwrap();
        let (source, sink) = (raw.static_pad("sink").unwrap(), raw.static_pad("src").unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let end = gst::Pad::builder(gst::PadDirection::Sink)
            .event_function(move |_, _, event| {
                if let gst::EventView::Caps(caps) = event.view() {
                    noted.lock().unwrap().push(caps.caps_owned());
                }
                true
            })
            .build();
        end.set_active(true).unwrap();
        sink.link(&end).unwrap();
        raw.set_state(gst::State::Playing).unwrap();
        assert!(source.send_event(gst::event::StreamStart::new("t")));
        let base = "video/x-raw,format=NV12,width=64,height=32,framerate=5/1";
        for more in ["", ",chroma-site=mpeg2", ""] {
            let caps: gst::Caps = format!("{base}{more}").parse().unwrap();
            assert!(source.send_event(gst::event::Caps::new(&caps)));
        }
        raw.set_state(gst::State::Null).unwrap();
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|caps| caps == &seen[0]), "{seen:?}");
    }

    /// A wrong setting is an error with its name, not a panic.
    #[test]
    fn unknown_settings_are_errors() {
        gst::init().unwrap();
        let queue = element("queue").unwrap();
        assert!(set(&queue, "leaky", "downstream").is_ok());
        assert!(format!("{:#}", set(&queue, "leaky", "sideways").unwrap_err()).contains("leaky"));
        assert!(format!("{:#}", set(&queue, "colour", "red").unwrap_err()).contains("colour"));
        assert!(format!("{:#}", element("no-such").unwrap_err()).contains("no-such"));
    }
}
