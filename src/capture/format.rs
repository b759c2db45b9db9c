//! What to ask a camera for: from what it offers and what the configuration wants.
//!
//! Pure, but for the question which rates a size has.

use super::ioctl::{Offer, Rates};
use crate::config::camera::{Camera, Format};

/// What is asked of a camera's driver.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// `V4L2_PIX_FMT_*`.
    pub code: [u8; 4],
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Pictures in so many seconds, where the driver has a choice.
    pub rate: Option<(u32, u32)>,
    /// What that is to GStreamer.
    pub caps: String,
    /// How it comes.
    pub coding: Coding,
    /// The camera's name of the format, for the log.
    pub fourcc: String,
}

/// How pictures come from a camera.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// Raw.
    Raw,
    /// JPEG pictures, decoded and encoded again.
    Jpeg,
    /// H.264, passed through.
    H264,
}

/// Kernel formats in the order of liking: those an encoder takes as they are
/// first. Name, GStreamer's caps, coding, the configuration's word.
const FORMATS: &[(&[u8; 4], &str, Coding, Option<Format>)] = &[
    (b"NV12", "video/x-raw,format=NV12", Coding::Raw, Some(Format::Nv12)),
    (b"NM12", "video/x-raw,format=NV12", Coding::Raw, Some(Format::Nv12)),
    (b"YU12", "video/x-raw,format=I420", Coding::Raw, Some(Format::I420)),
    (b"YM12", "video/x-raw,format=I420", Coding::Raw, Some(Format::I420)),
    (b"YUYV", "video/x-raw,format=YUY2", Coding::Raw, Some(Format::Yuyv)),
    (b"UYVY", "video/x-raw,format=UYVY", Coding::Raw, Some(Format::Uyvy)),
    (b"NV21", "video/x-raw,format=NV21", Coding::Raw, None),
    (b"NM21", "video/x-raw,format=NV21", Coding::Raw, None),
    (b"YV12", "video/x-raw,format=YV12", Coding::Raw, None),
    (b"YM21", "video/x-raw,format=YV12", Coding::Raw, None),
    (b"NV16", "video/x-raw,format=NV16", Coding::Raw, None),
    (b"NM16", "video/x-raw,format=NV16", Coding::Raw, None),
    (b"YVYU", "video/x-raw,format=YVYU", Coding::Raw, None),
    (b"GREY", "video/x-raw,format=GRAY8", Coding::Raw, Some(Format::Gray8)),
    (b"RGB3", "video/x-raw,format=RGB", Coding::Raw, Some(Format::Rgb)),
    (b"BGR3", "video/x-raw,format=BGR", Coding::Raw, Some(Format::Bgr)),
    (b"MJPG", "image/jpeg", Coding::Jpeg, Some(Format::Mjpeg)),
    (b"JPEG", "image/jpeg", Coding::Jpeg, Some(Format::Mjpeg)),
    (
        b"H264",
        "video/x-h264,stream-format=byte-stream,alignment=au",
        Coding::H264,
        Some(Format::H264),
    ),
];

/// Chooses among a camera's offers; `rates` tells the rates of a format at the
/// wanted size, if the driver does.
///
/// # Errors
/// `camera offers only …, we need …`.
pub fn choose(
    offers: &[Offer],
    rates: impl Fn([u8; 4]) -> Option<Rates>,
    camera: &Camera,
) -> Result<Asked, String> {
    let Camera { format, width, height, fps, .. } = *camera;
    let wanted = |word: &Option<Format>| format == Format::Auto || *word == Some(format);
    let mut near = Vec::new();
    for (fourcc, caps, coding, word) in FORMATS {
        let Some(offer) = offers.iter().find(|o| o.fourcc == **fourcc) else { continue };
        if !wanted(word) {
            continue;
        }
        let sized = offer.sizes.is_empty() || offer.sizes.iter().any(|s| s.covers(width, height));
        if !sized {
            near.push(format!("{} in {}", name(fourcc), sizes(offer)));
            continue;
        }
        let offered = rates(**fourcc);
        let rate = offered.as_ref().and_then(|rates| rate(rates, fps));
        if let (Some(rates), None) = (&offered, rate) {
            near.push(format!("{} at {} fps", name(fourcc), list(rates)));
            continue;
        }
        let each = rate.map_or_else(String::new, |(n, d)| format!(",framerate={n}/{d}"));
        return Ok(Asked {
            code: **fourcc,
            size: (width, height),
            rate,
            caps: format!("{caps},width={width},height={height}{each}"),
            coding: *coding,
            fourcc: name(fourcc),
        });
    }
    if near.is_empty() {
        near = offers.iter().map(|o| name(&o.fourcc)).collect();
        near.dedup();
    }
    if near.is_empty() {
        near.push("nothing".into());
    }
    near.truncate(6);
    let need = match format {
        Format::Auto => String::new(),
        format => format!("{format:?} ").to_lowercase(),
    };
    let useless = !offers.is_empty() && !offers.iter().any(|offer| usable(&offer.fourcc));
    let hint = if useless { format!("; these would work: {}", known()) } else { String::new() };
    Err(format!(
        "camera offers only {}; we need {need}{width}x{height} at {fps} fps{hint}",
        near.join(", ")
    ))
}

/// The offered rate that is `fps` within 1 % (29.97 is 30).
fn rate(rates: &Rates, fps: u32) -> Option<(u32, u32)> {
    let value = |(n, d): (u32, u32)| f64::from(n) / f64::from(d.max(1));
    let wanted = f64::from(fps);
    match rates {
        Rates::Each(each) => each
            .iter()
            .copied()
            .map(|r| ((value(r) - wanted).abs(), r))
            .filter(|(off, _)| *off <= wanted * 0.01)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, r)| r),
        Rates::Range(least, most) => {
            (value(*least) <= wanted && wanted <= value(*most)).then_some((fps, 1))
        }
    }
}

/// The daemon can take this format.
pub fn usable(fourcc: &[u8; 4]) -> bool {
    FORMATS.iter().any(|(known, ..)| *known == fourcc)
}

/// The names of all formats that the daemon can take.
pub fn known() -> String {
    FORMATS.iter().map(|(fourcc, ..)| name(fourcc)).collect::<Vec<_>>().join(", ")
}

/// `YUYV`, without what cannot be printed.
pub fn name(fourcc: &[u8; 4]) -> String {
    fourcc.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect()
}

/// `30, 25, 12.5`
pub fn list(rates: &Rates) -> String {
    let value = |(n, d): &(u32, u32)| {
        let x = f64::from(*n) / f64::from((*d).max(1));
        if x.fract().abs() < 0.005 { format!("{x:.0}") } else { format!("{x:.2}") }
    };
    match rates {
        Rates::Each(each) => each.iter().map(value).collect::<Vec<_>>().join(", "),
        Rates::Range(least, most) => format!("{} to {}", value(least), value(most)),
    }
}

fn sizes(offer: &Offer) -> String {
    let mut all: Vec<_> = offer.sizes.iter().map(ToString::to_string).collect();
    all.truncate(8);
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::ioctl::Size;
    use super::*;

    /// A webcam: raw is slow at 720p, JPEG and H.264 are not.
    fn webcam() -> Vec<Offer> {
        [b"YUYV", b"MJPG", b"H264"]
            .map(|fourcc| Offer {
                fourcc: *fourcc,
                name: String::new(),
                sizes: vec![Size::Exact(640, 480), Size::Exact(1280, 720)],
            })
            .into()
    }

    fn rates(fourcc: [u8; 4]) -> Option<Rates> {
        Some(Rates::Each(match &fourcc {
            b"YUYV" => vec![(10, 1), (5, 1)],
            _ => vec![(30_000, 1001), (15, 1)],
        }))
    }

    fn camera(format: Format, width: u32, height: u32, fps: u32) -> Camera {
        let file = toml::from_str::<crate::config::camera::CameraFile>("id='c'\nport='p'").unwrap();
        let checked = file.check("c", &mut crate::config::Problems::default());
        Camera { format, width, height, fps, ..checked }
    }

    /// Raw where it is fast enough, else JPEG; 29.97 counts as 30.
    #[test]
    fn auto_takes_what_reaches_size_and_rate() {
        let asked = choose(&webcam(), rates, &camera(Format::Auto, 1280, 720, 10)).unwrap();
        assert_eq!(asked.caps, "video/x-raw,format=YUY2,width=1280,height=720,framerate=10/1");
        let asked = choose(&webcam(), rates, &camera(Format::Auto, 1280, 720, 30)).unwrap();
        assert_eq!(asked.caps, "image/jpeg,width=1280,height=720,framerate=30000/1001");
        assert_eq!(asked.coding, Coding::Jpeg);
    }

    /// A format by name is taken, or refused; nothing else is taken for it.
    #[test]
    fn named_format_is_the_only_choice() {
        let asked = choose(&webcam(), rates, &camera(Format::H264, 1280, 720, 30)).unwrap();
        assert_eq!(asked.coding, Coding::H264);
        let refused = choose(&webcam(), rates, &camera(Format::Yuyv, 1280, 720, 30));
        assert_eq!(
            refused.unwrap_err(),
            "camera offers only YUYV at 10, 5 fps; we need yuyv 1280x720 at 30 fps"
        );
        let refused = choose(&webcam(), rates, &camera(Format::Nv12, 1280, 720, 30));
        assert_eq!(
            refused.unwrap_err(),
            "camera offers only YUYV, MJPG, H264; we need nv12 1280x720 at 30 fps"
        );
    }

    /// Formats of which none can be used are named, and so is what would work.
    #[test]
    fn useless_formats_are_named_with_what_would_work() {
        let offers =
            [b"Y16 ", b"BA81"].map(|fourcc| Offer { fourcc: *fourcc, ..webcam().remove(0) });
        let refused = choose(&offers, rates, &camera(Format::Auto, 1280, 720, 30)).unwrap_err();
        let start =
            "camera offers only Y16, BA81; we need 1280x720 at 30 fps; these would work: NV12, ";
        assert!(refused.starts_with(start) && refused.ends_with("MJPG, JPEG, H264"), "{refused}");
        let named = choose(&offers, rates, &camera(Format::Mjpeg, 1280, 720, 30)).unwrap_err();
        assert!(named.contains("these would work"), "{named}");
    }

    /// A size that is not offered is named with those that are.
    #[test]
    fn missing_size_names_the_sizes_there_are() {
        let offers = vec![Offer { sizes: vec![Size::Exact(640, 480)], ..webcam().remove(0) }];
        let refused = choose(&offers, rates, &camera(Format::Auto, 1280, 720, 30));
        assert_eq!(
            refused.unwrap_err(),
            "camera offers only YUYV in 640x480; we need 1280x720 at 30 fps"
        );
    }

    /// Sensors behind a chip often list neither sizes nor rates: ask and see.
    #[test]
    fn silent_drivers_are_asked_without_a_rate() {
        let offers = vec![Offer { fourcc: *b"NM12", name: String::new(), sizes: vec![] }];
        let asked = choose(&offers, |_| None, &camera(Format::Auto, 1280, 720, 30)).unwrap();
        assert_eq!(asked.caps, "video/x-raw,format=NV12,width=1280,height=720");
    }
}
