//! What there is to work with: `floorcast probe`.
//!
//! Comes in: nothing but the machine. Goes out: every camera with its port,
//! formats and controls, and every rung of the encoder ladder with the result
//! of a real trial.

use std::fmt;
use std::time::Duration;

use gstreamer as gst;
use serde::Serialize;

use super::controls::{self, Control};
use super::discovery::{self, Found};
use super::encoder::ladder::{LADDER, candidates};
use super::encoder::{Wanted, trial};
use super::format;
use super::ioctl::{Node, Planes, Size};

/// What a trial encodes.
const WANTED: Wanted =
    Wanted { width: 1280, height: 720, fps: 30, bitrate_kbps: 2500, gop_frames: 60 };

/// How long a trial may take: an emulated machine is slow.
const TRIAL: Duration = Duration::from_secs(10);

/// Cameras and encoders of this machine.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `GStreamer 1.22.0`
    pub gstreamer: String,
    /// By port.
    pub cameras: Vec<CameraReport>,
    /// In the ladder's order.
    pub encoders: Vec<trial::Trial>,
}

/// One camera.
#[derive(Debug, Serialize)]
pub struct CameraReport {
    /// For `port` in the configuration.
    pub port: String,
    /// Node of the moment.
    pub node: String,
    /// In its maker's words.
    pub card: String,
    /// Kernel driver.
    pub driver: String,
    /// Buffers have several planes.
    pub multi_planar: bool,
    /// Pixel formats.
    pub formats: Vec<FormatReport>,
    /// Controls by name.
    pub controls: Vec<Control>,
    /// Why nothing more is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One pixel format of a camera.
#[derive(Debug, Serialize)]
pub struct FormatReport {
    /// `YUYV`
    pub fourcc: String,
    /// In the driver's words.
    pub name: String,
    /// The daemon can take it.
    pub usable: bool,
    /// `1280x720 at 30, 25 fps`
    pub sizes: Vec<String>,
}

/// Looks at the machine. Blocks for seconds: every encoder is tried.
pub fn report() -> Report {
    let gstreamer = match gst::init() {
        Ok(()) => gst::version_string().to_string(),
        Err(error) => {
            let gstreamer = format!("GStreamer does not start: {error}");
            return Report { gstreamer, cameras: Vec::new(), encoders: Vec::new() };
        }
    };
    Report {
        gstreamer,
        cameras: discovery::here().iter().map(camera).collect(),
        encoders: encoders(),
    }
}

fn camera(found: &Found) -> CameraReport {
    let mut report = CameraReport {
        port: found.port.clone(),
        node: found.node.display().to_string(),
        card: found.identity.card.clone(),
        driver: found.identity.driver.clone(),
        multi_planar: found.planes == Planes::Multi,
        formats: Vec::new(),
        controls: Vec::new(),
        error: None,
    };
    let node = match Node::open(&found.node) {
        Ok(node) => node,
        Err(error) => {
            report.error = Some(format!("open: {error}"));
            return report;
        }
    };
    for offer in node.offers(found.planes) {
        let sizes = offer.sizes.iter().map(|size| match *size {
            Size::Exact(w, h) => match node.rates(offer.fourcc, w, h) {
                Some(rates) => format!("{size} at {} fps", format::list(&rates)),
                None => size.to_string(),
            },
            Size::Range(..) => size.to_string(),
        });
        report.formats.push(FormatReport {
            fourcc: format::name(&offer.fourcc),
            sizes: sizes.collect(),
            usable: format::usable(&offer.fourcc),
            name: offer.name,
        });
    }
    report.controls = controls::list(&node);
    report
}

fn encoders() -> Vec<trial::Trial> {
    let here = candidates(LADDER, None);
    let rungs = LADDER.iter().map(|rung| {
        match here.iter().find(|candidate| std::ptr::eq(candidate.rung, rung)) {
            Some(candidate) => trial::run(candidate, &WANTED, TRIAL),
            None => trial::Trial {
                encoder: rung.name.to_owned(),
                chip: rung.chip.to_owned(),
                outcome: Err("not on this machine".into()),
            },
        }
    });
    rungs.collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\nCameras", self.gstreamer)?;
        if self.cameras.is_empty() {
            writeln!(f, "  none")?;
        }
        for camera in &self.cameras {
            camera.fmt(f)?;
        }
        let Wanted { width, height, fps, .. } = WANTED;
        writeln!(f, "\nEncoders, each tried with {width}x{height} at {fps} fps")?;
        for trial in &self.encoders {
            let (mark, result) = match &trial.outcome {
                Ok(p) => (
                    "+",
                    format!(
                        "{:.1} ms a picture, first after {:.0} ms, {}",
                        p.each_ms, p.first_ms, p.profile
                    ),
                ),
                Err(reason) => ("-", reason.clone()),
            };
            writeln!(f, "{mark} {:<16} {:<34} {result}", trial.encoder, trial.chip)?;
        }
        Ok(())
    }
}

impl fmt::Display for CameraReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planes = if self.multi_planar { ", multi-planar" } else { "" };
        writeln!(f, "  port = {:?}", self.port)?;
        writeln!(f, "    {} ({}{planes}), now {}", self.card, self.driver, self.node)?;
        if let Some(error) = &self.error {
            writeln!(f, "    {error}")?;
        }
        // Most cameras offer the same sizes in every format: once is enough.
        let mut rest: Vec<_> = self.formats.iter().filter(|format| format.usable).collect();
        while let Some(first) = rest.first().copied() {
            let (same, others) = rest.into_iter().partition(|f| f.sizes == first.sizes);
            let same: Vec<&FormatReport> = same;
            let names: Vec<_> = same.iter().map(|format| &*format.fourcc).collect();
            writeln!(f, "    {}", names.join(", "))?;
            for size in &first.sizes {
                writeln!(f, "        {size}")?;
            }
            rest = others;
        }
        let unused: Vec<_> = self.formats.iter().filter(|format| !format.usable).collect();
        if !unused.is_empty() {
            writeln!(f, "    and {} formats that are not used", unused.len())?;
        }
        for control in &self.controls {
            let value = control.value.map_or_else(|| "-".into(), |value| value.to_string());
            write!(f, "    {} = {value}", control.name)?;
            if control.menu.is_empty() {
                writeln!(f, " ({} to {})", control.min, control.max)?;
            } else {
                let entries = control.menu.iter().map(|(n, text)| format!("{n} {text}"));
                let menu: Vec<_> = entries.collect();
                writeln!(f, " ({})", menu.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats with the same sizes share a line; those of no use are only counted.
    #[test]
    fn formats_with_the_same_sizes_share_a_line() {
        let format = |fourcc: &str, usable, size: &str| FormatReport {
            fourcc: fourcc.into(),
            name: String::new(),
            usable,
            sizes: vec![size.into()],
        };
        let camera = CameraReport {
            port: "usb-1".into(),
            node: "/dev/video0".into(),
            card: "Cam".into(),
            driver: "uvcvideo".into(),
            multi_planar: false,
            formats: vec![
                format("YUYV", true, "640x480"),
                format("MJPG", true, "1280x720"),
                format("NV12", true, "640x480"),
                format("Y16", false, "640x480"),
            ],
            controls: Vec::new(),
            error: None,
        };
        assert_eq!(
            camera.to_string(),
            "  port = \"usb-1\"\n    Cam (uvcvideo), now /dev/video0\n    YUYV, NV12\n        \
             640x480\n    MJPG\n        1280x720\n    and 1 formats that are not used\n"
        );
    }

    /// Every rung is in the report with a figure or a reason, the software ones tried.
    #[test]
    fn every_rung_has_a_result() {
        let report = report();
        assert_eq!(report.encoders.len(), LADDER.len());
        let text = report.to_string();
        assert!(text.contains("+ x264enc"), "{text}");
        assert!(text.contains("- mpph264enc"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["encoders"][0]["outcome"]["Err"].is_string());
    }
}
