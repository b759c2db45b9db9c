//! The ladder's rungs that this machine has.
//!
//! Comes in: the ladder, GStreamer's registry, the V4L2 nodes' own words. Goes
//! out: a [`Candidate`] for each way to use each rung, best first.

use std::path::PathBuf;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::ladder::{Rung, Way};
use crate::capture::ioctl::Node;

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
}

impl Candidate {
    /// Kernel driver, or what stands in its place.
    pub fn driver(&self) -> &str {
        self.device.as_ref().map_or("none", |device| &device.driver)
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
    let found = encoders.iter().find(fits).map(|(factory, device)| Candidate {
        factory: factory.clone(),
        rung,
        device: Some(device.clone()),
        way: Way::Mmap,
    });
    found.into_iter().collect()
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
        let driver = Node::open(&node).ok()?.identity().ok()?.driver;
        Some((factory.name().to_string(), Device { driver, node }))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ladder::LADDER;
    use super::*;

    fn encoder(factory: &str, driver: &str) -> (String, Device) {
        (factory.into(), Device { driver: driver.into(), node: "/dev/video9".into() })
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

    /// What is only there for tests is never taken by itself.
    #[test]
    fn auto_leaves_the_test_driver_alone() {
        let here = [encoder("v4l2fwhtenc", "vicodec")];
        let rung = rung("vicodec");
        assert_eq!(of_rung(rung, &here).len(), 1);
        assert!(!rung.auto);
        gst::init().unwrap();
        assert!(candidates(LADDER, None).iter().all(|candidate| candidate.rung.auto));
    }
}
