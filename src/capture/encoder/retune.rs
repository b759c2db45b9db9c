//! Another bit rate for an encoder that runs.

use anyhow::{Context, Result, bail, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::ladder::{Retune, Rung};
use super::{Wanted, set};
use crate::capture::controls;
use crate::capture::ioctl::Node;
use crate::config::camera::ControlValue;

/// Gives a running encoder of `rung` the bit rate of `wanted`; blocks as long as
/// the driver takes. Nothing else changes, nor do its parameter sets.
///
/// # Errors
/// It cannot: another encoder has to take its place.
pub(in crate::capture) fn retune(
    encode: &gst::Element,
    rung: &Rung,
    wanted: &Wanted,
) -> Result<()> {
    match rung.retune {
        Retune::Properties => {
            for (name, amount) in rung.sets.iter().filter(|(_, amount)| amount.is_rate()) {
                set(encode, name, &wanted.amount(*amount))?;
            }
        }
        Retune::Controls => {
            ensure!(encode.find_property("device-fd").is_some(), "it has no device-fd");
            let fd: i32 = encode.property("device-fd");
            // Controls of an encoder belong to its opening, not to the device.
            let node = Node::of(fd).context("its device is not open")?;
            let known = controls::list(&node);
            for (name, amount) in rung.controls.iter().filter(|(_, amount)| amount.is_rate()) {
                let value = wanted.amount(*amount);
                let value = value.parse().with_context(|| format!("control {name} = {value}"))?;
                controls::set(&node, &known, name, &ControlValue::Number(value))?;
            }
        }
        Retune::Replace => bail!("{} has its bit rate from start to end", rung.name),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::element;
    use super::super::ladder::LADDER;
    use super::*;

    const WANTED: Wanted =
        Wanted { width: 320, height: 180, fps: 30, bitrate_kbps: 777, gop_frames: 30 };

    /// Software encoders take another bit rate, each in its unit, and GStreamer
    /// says that it does so while they play.
    #[test]
    fn software_encoders_are_retuned() {
        gst::init().unwrap();
        for (name, expected) in [("x264enc", 777u32), ("openh264enc", 777_000)] {
            let rung = LADDER.iter().find(|rung| rung.name == name).unwrap();
            let encode = element(name).unwrap();
            retune(&encode, rung, &WANTED).unwrap();
            assert_eq!(encode.property::<u32>("bitrate"), expected);
            let spec = encode.find_property("bitrate").unwrap();
            assert!(spec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING), "{name}");
        }
    }

    /// Every rung that is retuned has something that follows the bit rate.
    #[test]
    fn the_ladder_says_what_to_set() {
        for rung in LADDER {
            let set = match rung.retune {
                Retune::Properties => rung.sets,
                Retune::Controls => rung.controls,
                Retune::Replace => continue,
            };
            assert!(set.iter().any(|(_, amount)| amount.is_rate()), "{}", rung.chip);
        }
    }

    /// What cannot be done is an error, not a panic: another encoder takes its place.
    #[test]
    fn an_encoder_without_a_device_is_not_retuned() {
        gst::init().unwrap();
        let v4l2 = LADDER.iter().find(|rung| rung.retune == Retune::Controls).unwrap();
        let other = element("identity").unwrap();
        assert!(retune(&other, v4l2, &WANTED).is_err());
        let fixed = LADDER.iter().find(|rung| rung.retune == Retune::Replace).unwrap();
        assert!(retune(&other, fixed, &WANTED).is_err());
    }
}
