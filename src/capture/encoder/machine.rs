//! The ladder's rungs that this machine has.
//!
//! Comes in: the ladder, GStreamer's registry, the V4L2 nodes' own words. Goes
//! out: a [`Candidate`] for each way to use each rung, best first.

use std::path::PathBuf;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::ladder::{Rung, Way};
use crate::capture::controls;
use crate::capture::ioctl::Node;

/// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`, by its name.
pub const FORCE_KEY: &str = "force_key_frame";

/// A rung with the factory that stands for it on this machine, and a way to use it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Factory name as registered here.
    pub factory: String,
    /// Its row.
    pub rung: &'static Rung,
    /// The V4L2 node behind it, if it is one.
    pub device: Option<Device>,
    /// How pictures get into it.
    pub way: Way,
}

/// A V4L2 encoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Kernel driver.
    pub driver: String,
    /// Node of the moment.
    pub node: PathBuf,
    /// It has the control that asks for a key frame.
    pub force_key: bool,
}

/// How a key frame is had out of turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// GStreamer's event does it.
    Event,
    /// The driver has a control, and GStreamer does not use it.
    Press,
    /// Not at all: viewers wait for the next.
    Never,
}

impl Candidate {
    /// Kernel driver, or what stands in its place.
    pub fn driver(&self) -> &str {
        self.device.as_ref().map_or("none", |device| &device.driver)
    }

    /// How to have a key frame of it out of turn.
    pub fn keys(&self) -> Keys {
        match &self.device {
            // Another encoder makes what goes out.
            Some(_) if !self.rung.then.is_empty() => Keys::Event,
            Some(device) if !device.force_key => Keys::Never,
            // Since 1.22.4 (commit 8dd51501d0 of GStreamer).
            Some(_) if gst::version() < (1, 22, 4, 0) => Keys::Press,
            _ => Keys::Event,
        }
    }

    /// Node of the moment, empty if it has none.
    pub fn node(&self) -> String {
        self.device.as_ref().map_or_else(String::new, |device| device.node.display().to_string())
    }
}

/// The rungs that exist on this machine, in the ladder's order: only `name` if
/// given, else those that `auto` may take.
pub fn candidates(ladder: &'static [Rung], name: Option<&str>) -> Vec<Candidate> {
    let asked = |rung: &&Rung| name.map_or(rung.auto, |name| rung.name == name);
    let encoders = v4l2_encoders();
    ladder.iter().filter(asked).flat_map(|rung| of_rung(rung, &encoders)).collect()
}

/// An encoder that `name` may stand for could read pictures where they are.
pub fn imports(ladder: &'static [Rung], name: Option<&str>) -> bool {
    candidates(ladder, name).iter().any(|candidate| candidate.way == Way::Dmabuf)
}

/// Every rung with the ways to use it here: none where it is not on this machine.
pub fn all(ladder: &'static [Rung]) -> Vec<(&'static Rung, Vec<Candidate>)> {
    let encoders = v4l2_encoders();
    ladder.iter().map(|rung| (rung, of_rung(rung, &encoders))).collect()
}

/// V4L2 encoders are matched by driver: factory names change between boots.
fn of_rung(rung: &'static Rung, encoders: &[(String, Device)]) -> Vec<Candidate> {
    if rung.drivers.is_empty() {
        let found = gst::ElementFactory::find(rung.name).map(|factory| Candidate {
            factory: factory.name().to_string(),
            rung,
            device: None,
            way: Way::Memory,
        });
        return found.into_iter().collect();
    }
    // The second encoder of a kind is called v4l2video12h264enc.
    let codec = rung.name.trim_start_matches("v4l2");
    let fits = |(factory, device): &&(String, Device)| {
        factory.ends_with(codec) && rung.drivers.iter().any(|d| device.driver.starts_with(d))
    };
    let Some((factory, device)) = encoders.iter().find(fits) else { return Vec::new() };
    let used =
        |way| Candidate { factory: factory.clone(), rung, device: Some(device.clone()), way };
    [Way::Dmabuf, Way::Mmap].map(used).into()
}

/// Encoders that GStreamer found on V4L2 nodes.
fn v4l2_encoders() -> Vec<(String, Device)> {
    gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::VIDEO_ENCODER,
        gst::Rank::NONE,
    )
    .iter()
    .filter(|factory| factory.name().starts_with("v4l2"))
    .filter_map(|factory| {
        let element = factory.create().build().ok()?;
        element.find_property("device")?;
        let node = PathBuf::from(element.property::<Option<String>>("device")?);
        let open = Node::open(&node).ok()?;
        let driver = open.identity().ok()?.driver;
        let force_key = controls::list(&open).iter().any(|control| control.name == FORCE_KEY);
        Some((factory.name().to_string(), Device { driver, node, force_key }))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ladder::LADDER;
    use super::*;

    fn encoder(factory: &str, driver: &str) -> (String, Device) {
        let node = "/dev/video9".into();
        (factory.into(), Device { driver: driver.into(), node, force_key: true })
    }

    fn rung(chip: &str) -> &'static Rung {
        LADDER.iter().find(|rung| rung.chip.starts_with(chip)).unwrap()
    }

    /// This machine's software encoder is found, and only what was asked for.
    #[test]
    fn named_encoder_is_the_only_candidate() {
        gst::init().unwrap();
        let found = candidates(LADDER, Some("x264enc"));
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].factory, found[0].way), ("x264enc", Way::Memory));
    }

    /// A chip is known by its kernel driver, whatever its factory is called here.
    #[test]
    fn chips_are_known_by_their_driver() {
        let here = [
            encoder("v4l2jpegenc", "bcm2835-codec"),
            encoder("v4l2video11h264enc", "bcm2835-codec"),
            encoder("v4l2h264enc", "wave5-enc"),
        ];
        let factory = |chip| of_rung(rung(chip), &here).first().map(|c| c.factory.clone());
        assert_eq!(factory("Raspberry"), Some("v4l2video11h264enc".into()));
        assert_eq!(factory("TI"), Some("v4l2h264enc".into()));
        assert_eq!(factory("Qualcomm"), None);
        assert_eq!(factory("vicodec"), None);
    }

    /// An encoder of a driver is tried without copies first.
    #[test]
    fn dmabuf_comes_before_mmap() {
        let here = [encoder("v4l2h264enc", "amphion-vpu")];
        let ways: Vec<_> = of_rung(rung("i.MX8QM"), &here).iter().map(|c| c.way).collect();
        assert_eq!(ways, [Way::Dmabuf, Way::Mmap]);
    }

    /// A driver without the control is not asked for key frames; what stands behind
    /// such a chip may be.
    #[test]
    fn keys_are_asked_of_who_can_make_them() {
        let (factory, device) = encoder("v4l2h264enc", "wave5-enc");
        let with = [(factory.clone(), device.clone())];
        let without = [(factory, Device { force_key: false, ..device })];
        assert_eq!(of_rung(rung("TI"), &without)[0].keys(), Keys::Never);
        assert_ne!(of_rung(rung("TI"), &with)[0].keys(), Keys::Never);
        let (factory, device) = encoder("v4l2fwhtenc", "vicodec");
        let vicodec = [(factory, Device { force_key: false, ..device })];
        assert_eq!(of_rung(rung("vicodec"), &vicodec)[0].keys(), Keys::Event);
    }

    /// What is only there for tests is never taken by itself.
    #[test]
    fn auto_leaves_the_test_driver_alone() {
        let here = [encoder("v4l2fwhtenc", "vicodec")];
        let rung = rung("vicodec");
        assert_eq!(of_rung(rung, &here).len(), 2);
        assert!(!rung.auto);
        gst::init().unwrap();
        assert!(candidates(LADDER, None).iter().all(|candidate| candidate.rung.auto));
    }
}
