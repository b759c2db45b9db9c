//! What a box can encode, and whether a configuration asks for more.
//!
//! Comes in: what was found on the box when it started, and a checked configuration. Goes
//! out: the cameras that cannot be encoded here. Pure: no device is touched.

use super::Problems;
use super::camera::{Camera, Format};

/// Luma samples that one core encodes in a second, in software, at the very most: 300
/// pictures of 1920 x 1080. What is refused is what no box does, not what is unwise: a chip
/// takes the load where there is one, and a trial of the encoder tells the rest.
const PER_CORE: u64 = 300 * 1920 * 1080;

/// Encoders that take their work to the cores.
pub const SOFTWARE: [&str; 2] = ["x264enc", "openh264enc"];

/// What was found on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// Names of the encoders that are there, chips and software.
    pub encoders: Vec<&'static str>,
    /// Those that `auto` may take work on a chip.
    pub chip: bool,
    /// Processor cores.
    pub cores: u64,
}

impl Means {
    /// Reports the cameras that this box cannot encode.
    pub fn check(&self, cameras: &[Camera], problems: &mut Problems) {
        let all = || match self.encoders.is_empty() {
            true => "it has none at all: see `floorcast probe`".into(),
            false => format!("use auto or one of {}", self.encoders.join(", ")),
        };
        let (mut load, mut told) = (0, false);
        for (i, camera) in cameras.iter().enumerate() {
            let named = camera.encoder.as_deref();
            if let Some(name) = named.filter(|name| !self.encoders.contains(name)) {
                let message = format!("{name:?} is not on this box: {}", all());
                problems.add(format!("camera[{i}].encoder"), message);
                continue;
            }
            let on_chip = match named {
                Some(name) => !SOFTWARE.contains(&name),
                None => self.chip,
            };
            // Its pictures go out as they come.
            if on_chip || camera.format == Format::H264 {
                continue;
            }
            load += u64::from(camera.width) * u64::from(camera.height) * u64::from(camera.fps);
            let most = PER_CORE * self.cores;
            if load > most && !told {
                told = true;
                let message = format!(
                    "with this camera the box would encode {} million pixels a second in software; \
                     its {} cores do {} million at the very most: smaller or fewer pictures, or \
                     fewer cameras",
                    load / 1_000_000,
                    self.cores,
                    most / 1_000_000
                );
                problems.add(format!("camera[{i}]"), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn mistakes(means: &Means, cameras: &str) -> Vec<(String, String)> {
        let config = config::load(cameras).unwrap_or_else(|problems| panic!("{problems}"));
        let mut problems = Problems::default();
        means.check(&config.cameras, &mut problems);
        problems.iter().map(|p| (p.key.clone(), p.message.clone())).collect()
    }

    fn software() -> Means {
        Means { encoders: vec!["x264enc"], chip: false, cores: 2 }
    }

    fn camera(id: usize, keys: &str) -> String {
        format!("[[camera]]\nid = \"c{id}\"\nport = \"p{id}\"\n{keys}\n")
    }

    /// An encoder that is not there is named with those that are.
    #[test]
    fn an_encoder_has_to_be_there() {
        let found = mistakes(&software(), &camera(0, "encoder = \"mpph264enc\""));
        assert_eq!(found[0].0, "camera[0].encoder");
        assert!(found[0].1.contains("auto or one of x264enc"), "{found:?}");
        let none = Means { encoders: vec![], ..software() };
        assert!(mistakes(&none, &camera(0, "encoder = \"x264enc\""))[0].1.contains("probe"));
    }

    /// The camera that is one too many is named, once; a chip and cameras that encode by
    /// themselves take nothing from the cores.
    #[test]
    fn software_has_an_end() {
        let large = "width = 3840\nheight = 2160\nfps = 60";
        let four = |keys: &str| (0..4).map(|i| camera(i, keys)).collect::<String>();
        let found = mistakes(&software(), &four(large));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "camera[2]");
        assert!(found[0].1.contains("2 cores"), "{found:?}");
        assert_eq!(mistakes(&software(), &four("")), []);
        assert_eq!(mistakes(&software(), &four(&format!("{large}\nformat = \"h264\""))), []);
        assert_eq!(mistakes(&Means { chip: true, ..software() }, &four(large)), []);
    }
}
