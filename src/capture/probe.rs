//! What there is to work with: `floorcast probe`.
//!
//! Comes in: nothing but the machine. Goes out: every camera with its port,
//! formats and controls, every rung of the encoder ladder with the result of a
//! real trial, and the lasting names of serial lines: as a table for people, or as
//! JSON for programs. More than [`LINES`] serial lines are left out.

mod table;

use std::path::Path;
use std::time::Duration;

use gstreamer as gst;
use serde::Serialize;

use super::controls::{self, Control};
use super::discovery::{self, Found};
use super::encoder::ladder::LADDER;
use super::encoder::{Wanted, machine, trial};
use super::format;
use super::ioctl::{Node, Planes, Size};

/// What a trial encodes.
const WANTED: Wanted =
    Wanted { width: 1280, height: 720, fps: 30, bitrate_kbps: 2500, gop_frames: 60 };

/// How long a trial may take: an emulated machine is slow.
const TRIAL: Duration = Duration::from_secs(10);

/// Where udev keeps names of serial lines that stay; the first that has any.
const SERIAL: [&str; 2] = ["/dev/serial/by-id", "/dev/serial/by-path"];

/// Serial lines that are listed.
const LINES: usize = 64;

/// Cameras, encoders and serial lines of this machine.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `GStreamer 1.22.0`
    pub gstreamer: String,
    /// By port.
    pub cameras: Vec<CameraReport>,
    /// In the ladder's order.
    pub encoders: Vec<trial::Trial>,
    /// For `serial` in the configuration.
    pub serial: Vec<String>,
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
    let serial = SERIAL.map(|dir| names(Path::new(dir))).into_iter().find(|all| !all.is_empty());
    let serial = serial.unwrap_or_default();
    let gstreamer = match gst::init() {
        Ok(()) => gst::version_string().to_string(),
        Err(error) => {
            let gstreamer = format!("GStreamer does not start: {error}");
            return Report { gstreamer, cameras: Vec::new(), encoders: Vec::new(), serial };
        }
    };
    Report {
        gstreamer,
        cameras: discovery::here().iter().map(camera).collect(),
        encoders: encoders(),
        serial,
    }
}

/// The paths in a directory, sorted; none where there is no such directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(LINES);
    let mut paths: Vec<_> = entries.map(|entry| entry.path().display().to_string()).collect();
    paths.sort();
    paths
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
    let mut trials = Vec::new();
    for (rung, ways) in machine::all(LADDER) {
        // A test driver that is not here is no news.
        if ways.is_empty() && rung.auto {
            trials.push(trial::Trial::absent(rung));
        }
        trials.extend(ways.iter().map(|candidate| trial::run(candidate, &WANTED, None, TRIAL)));
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serial lines are listed by their lasting names, as the configuration wants them.
    #[test]
    fn serial_lines_have_their_lasting_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["usb-b", "usb-a"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        assert_eq!(names(dir.path()), [path("usb-a"), path("usb-b")]);
        assert!(names(&dir.path().join("none")).is_empty());
    }

    /// Every rung is in the report with a figure or a reason, the software ones tried.
    #[test]
    fn every_rung_has_a_result() {
        let report = report();
        assert_eq!(report.encoders.len(), LADDER.iter().filter(|rung| rung.auto).count());
        let text = report.to_string();
        assert!(text.contains("+ x264enc"), "{text}");
        assert!(text.contains("- mpph264enc"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["encoders"][0]["outcome"]["Err"].is_string());
    }
}
