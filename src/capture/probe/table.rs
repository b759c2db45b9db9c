//! The report as a table that a technician can read out over a phone.
//!
//! Plain words, no line longer than [`WIDE`]: longer ones go on below their
//! own column.

use std::fmt;

use super::{CameraReport, FormatReport, Report, WANTED};
use crate::capture::encoder::Wanted;
use crate::capture::encoder::ladder::Way;
use crate::capture::encoder::trial::{Passed, Trial};
use crate::capture::format;

/// Columns of a terminal that nobody has resized, and some.
const WIDE: usize = 100;

/// Writes `text` behind `before`; what does not fit goes on below where it began.
fn entry(f: &mut fmt::Formatter<'_>, before: &str, text: &str) -> fmt::Result {
    let indent = before.chars().count();
    let mut line = before.to_owned();
    let mut begun = false;
    for word in text.split_whitespace() {
        let room = line.chars().count() + word.chars().count() < WIDE;
        if begun && !room {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    writeln!(f, "{}", line.trim_end())
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
        writeln!(
            f,
            "\nEncoders, each tried with {width}x{height} at {fps} fps; + works, - does not"
        )?;
        entry(f, &columns(' ', "encoder", "driver", "io-mode"), "result")?;
        self.encoders.iter().try_for_each(|trial| trial.fmt(f))?;
        writeln!(f, "\nSerial lines")?;
        if self.serial.is_empty() {
            writeln!(f, "  none")?;
        }
        self.serial.iter().try_for_each(|path| writeln!(f, "  serial = {path:?}"))
    }
}

/// The columns of an encoder before the result.
fn columns(mark: char, encoder: &str, driver: &str, way: &str) -> String {
    format!("{mark} {encoder:<18} {driver:<15} {way:<7} ")
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, result) = match &self.outcome {
            Ok(Passed { first_ms, each_ms, profile }) => {
                ('+', format!("{each_ms:.1} ms each, first after {first_ms:.0} ms, {profile}"))
            }
            Err(reason) if self.io_mode.is_none() => ('-', format!("{reason}: {}", self.chip)),
            Err(reason) => ('-', reason.clone()),
        };
        let driver = self.driver.as_deref().unwrap_or("none");
        let way = self.io_mode.map_or("none", Way::name);
        entry(f, &columns(mark, &self.encoder, driver, way), &result)
    }
}

impl fmt::Display for CameraReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planes = if self.multi_planar { ", multi-planar" } else { "" };
        writeln!(f, "  port = {:?}", self.port)?;
        let about = format!("{} ({}{planes}), now {}", self.card, self.driver, self.node);
        entry(f, "    ", &about)?;
        if let Some(error) = &self.error {
            entry(f, "    ", error)?;
        }
        // Most cameras offer the same sizes in every format: once is enough.
        let mut rest: Vec<_> = self.formats.iter().filter(|format| format.usable).collect();
        while let Some(first) = rest.first().copied() {
            let (same, others) = rest.into_iter().partition(|f| f.sizes == first.sizes);
            entry(f, "    ", &names(same))?;
            for size in &first.sizes {
                entry(f, "        ", size)?;
            }
            rest = others;
        }
        self.unused(f)?;
        for control in &self.controls {
            let value = control.value.map_or_else(|| "-".into(), |value| value.to_string());
            let range = if control.menu.is_empty() {
                format!("({} to {})", control.min, control.max)
            } else {
                let menu = control.menu.iter().map(|(n, text)| format!("{n} {text}"));
                format!("({})", menu.collect::<Vec<_>>().join(", "))
            };
            entry(f, &format!("    {} = {value} ", control.name), &range)?;
        }
        Ok(())
    }
}

impl CameraReport {
    /// Formats of no use: counted, or named with what would be of use if there is nothing else.
    fn unused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unused: Vec<_> = self.formats.iter().filter(|format| !format.usable).collect();
        match (unused.len(), self.formats.len()) {
            (0, _) => Ok(()),
            (all, of) if all == of => {
                let text = format!("none of its formats can be used: {}", names(unused));
                entry(f, "    ", &text)?;
                entry(f, "    ", &format!("these would work: {}", format::known()))
            }
            (1, _) => entry(f, "    ", "and 1 format that is not used"),
            (some, _) => entry(f, "    ", &format!("and {some} formats that are not used")),
        }
    }
}

fn names(formats: Vec<&FormatReport>) -> String {
    formats.iter().map(|format| &*format.fourcc).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Control, controls::Kind};
    use super::*;

    fn format(fourcc: &str, usable: bool, size: &str) -> FormatReport {
        let sizes = vec![size.into()];
        FormatReport { fourcc: fourcc.into(), name: String::new(), usable, sizes }
    }

    fn camera(formats: Vec<FormatReport>) -> CameraReport {
        CameraReport {
            port: "usb-1".into(),
            node: "/dev/video0".into(),
            card: "Cam".into(),
            driver: "uvcvideo".into(),
            multi_planar: false,
            formats,
            controls: Vec::new(),
            error: None,
        }
    }

    /// Formats with the same sizes share a line; those of no use are only counted.
    #[test]
    fn formats_with_the_same_sizes_share_a_line() {
        let camera = camera(vec![
            format("YUYV", true, "640x480"),
            format("MJPG", true, "1280x720"),
            format("NV12", true, "640x480"),
            format("Y16", false, "640x480"),
        ]);
        assert_eq!(
            camera.to_string(),
            "  port = \"usb-1\"\n    Cam (uvcvideo), now /dev/video0\n    YUYV, NV12\n        \
             640x480\n    MJPG\n        1280x720\n    and 1 format that is not used\n"
        );
    }

    /// A camera without a single usable format names them, and what would be one.
    #[test]
    fn useless_formats_are_named_with_what_would_work() {
        let text = camera(vec![format("Y16", false, ""), format("BA81", false, "")]).to_string();
        assert!(text.contains("none of its formats can be used: Y16, BA81\n"), "{text}");
        assert!(text.contains("these would work: NV12, "), "{text}");
    }

    /// No line is longer than the table is wide, and none loses a word.
    #[test]
    fn long_entries_go_on_below_their_column() {
        let menu = (0..40).map(|n| (n, format!("Pattern number {n}"))).collect();
        let mut camera = camera(Vec::new());
        camera.controls.push(Control::example("test_pattern", Kind::Menu, menu));
        let reason = "the driver says no in very many words ".repeat(5);
        let trial = Trial {
            encoder: "v4l2video12h264enc".into(),
            driver: Some("bcm2835-codec".into()),
            node: Some("/dev/video11".into()),
            io_mode: Some(Way::Mmap),
            chip: "Raspberry Pi 4, CM4".into(),
            outcome: Err(reason.clone()),
        };
        for text in [camera.to_string(), trial.to_string()] {
            assert!(text.lines().all(|line| line.chars().count() <= WIDE), "{text}");
            assert!(text.lines().count() > 2, "{text}");
        }
        let said: Vec<_> = trial.to_string().split_whitespace().map(str::to_owned).collect();
        assert_eq!(said[4..].join(" "), reason.trim());
        assert_eq!(said[..4], ["-", "v4l2video12h264enc", "bcm2835-codec", "mmap"]);
    }
}
