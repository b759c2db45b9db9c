//! The trial: a candidate encodes a few pictures of the wanted size, now, with a deadline.
//!
//! It passes if coded pictures come out in time and in order, the first is a
//! key frame with its parameter sets, and the profile is one that browsers take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde::Serialize;

use super::ladder::{Rung, Way};
use super::machine::Candidate;
use super::{Encoder, Wanted, element, make};
use crate::capture::annexb::Head;

/// Coded pictures that a trial waits for.
const PICTURES: u64 = 6;

/// Pictures that an encoder may hold back: chips work on two or three at once.
/// One that holds more is looking ahead, and late.
const HELD: u64 = 3;

/// What a candidate did.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Factory name.
    pub encoder: String,
    /// The chip it stands for.
    pub chip: String,
    /// Kernel driver, if it has one.
    pub driver: Option<String>,
    /// V4L2 node, if it has one.
    pub node: Option<String>,
    /// How pictures got into it; `None` if it is not on this machine.
    pub io_mode: Option<Way>,
    /// What it is worth, or why it was refused.
    pub outcome: Result<Passed, String>,
}

/// A passed trial.
#[derive(Clone, Debug, Serialize)]
pub struct Passed {
    /// From the first picture in to the first coded picture out, milliseconds.
    pub first_ms: f64,
    /// Mean time of one picture after the first, milliseconds.
    pub each_ms: f64,
    /// Profile of the coded stream.
    pub profile: String,
}

/// Tries a candidate. Blocks for up to `deadline` and the time GStreamer takes to stop.
pub fn run(candidate: &Candidate, wanted: &Wanted, deadline: Duration) -> Trial {
    let outcome =
        encode(candidate, wanted, Instant::now() + deadline).map_err(|error| format!("{error:#}"));
    let device = candidate.device.as_ref();
    Trial {
        encoder: candidate.factory.clone(),
        chip: candidate.rung.chip.to_owned(),
        driver: device.map(|device| device.driver.clone()),
        node: device.map(|device| device.node.display().to_string()),
        io_mode: Some(candidate.way),
        outcome,
    }
}

impl Trial {
    /// A rung that this machine does not have.
    pub fn absent(rung: &Rung) -> Self {
        Self {
            encoder: rung.name.to_owned(),
            chip: rung.chip.to_owned(),
            driver: None,
            node: None,
            io_mode: None,
            outcome: Err("not on this machine".into()),
        }
    }
}

fn encode(candidate: &Candidate, wanted: &Wanted, until: Instant) -> Result<Passed> {
    let Encoder { chain, .. } = make(candidate, wanted, None)?;
    let raw = format!(
        "video/x-raw,format=I420,width={},height={},framerate={}/1",
        wanted.width, wanted.height, wanted.fps
    );
    let source = gst_app::AppSrc::builder()
        .caps(&raw.parse::<gst::Caps>()?)
        .format(gst::Format::Time)
        .build();
    let parse = element("h264parse")?;
    parse.set_property("config-interval", -1i32);
    let out = gst_app::AppSink::builder()
        .caps(&"video/x-h264,stream-format=byte-stream,alignment=au".parse::<gst::Caps>()?)
        .sync(false)
        .build();
    let pipeline = gst::Pipeline::new();
    let mut all = vec![source.clone().upcast()];
    all.extend(chain);
    all.extend([parse, out.clone().upcast()]);
    pipeline.add_many(&all)?;
    gst::Element::link_many(&all).context("its caps do not fit")?;
    // No end of stream: it would flush what an encoder holds back, and a live
    // stream has none.
    for picture in 0..PICTURES + HELD {
        source.push_buffer(test_picture(wanted, picture))?;
    }
    let result = watch(&pipeline, &out, until);
    // A driver may hang here too: then the thread is lost, not the daemon's main path.
    let _ = pipeline.set_state(gst::State::Null);
    result
}

/// A picture that moves, so that the encoder has work to do.
fn test_picture(wanted: &Wanted, n: u64) -> gst::Buffer {
    let (width, height) = (wanted.width as usize, wanted.height as usize);
    let mut data = vec![128u8; width * height * 3 / 2];
    for (y, row) in data[..width * height].chunks_exact_mut(width).enumerate() {
        let shift = y / 3 + 4 * n as usize;
        row.iter_mut().enumerate().for_each(|(x, luma)| *luma = (x / 2 + shift) as u8);
    }
    let mut buffer = gst::Buffer::from_mut_slice(data);
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(gst::ClockTime::from_nseconds(n * 1_000_000_000 / u64::from(wanted.fps)));
    }
    buffer
}

fn watch(pipeline: &gst::Pipeline, out: &gst_app::AppSink, until: Instant) -> Result<Passed> {
    let began = Instant::now();
    if pipeline.set_state(gst::State::Playing).is_err() {
        bail!(complaint(pipeline).unwrap_or_else(|| "it does not start".into()));
    }
    let (mut first, mut last, mut profile) = (None, None, String::new());
    for picture in 0..PICTURES {
        let sample = loop {
            let slice = gst::ClockTime::from_mseconds(20);
            if let Some(sample) = out.try_pull_sample(slice) {
                break sample;
            }
            if let Some(complaint) = complaint(pipeline) {
                bail!(complaint);
            }
            ensure!(
                Instant::now() < until,
                "nothing came of picture {picture} for {:.1} s",
                began.elapsed().as_secs_f64()
            );
        };
        let buffer = sample.buffer().context("empty sample")?;
        ensure!(buffer.pts() > last, "pictures come out of order: it makes B-frames");
        last = buffer.pts();
        if first.is_none() {
            first = Some(Instant::now());
            profile = check_key(&sample)?;
        }
    }
    let first = first.unwrap_or(began);
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let each = first.elapsed() / (PICTURES as u32 - 1);
    Ok(Passed { first_ms: ms(first - began), each_ms: ms(each), profile })
}

/// The first coded picture must start a decoder by itself; returns its profile.
fn check_key(sample: &gst::Sample) -> Result<String> {
    let data = sample.buffer().context("empty sample")?.map_readable()?;
    let head = Head::of(&data);
    ensure!(head.idr, "its first picture is no key frame");
    ensure!(head.sps && head.pps, "its key frame has no parameter sets");
    let profile: String = sample
        .caps()
        .and_then(|caps| caps.structure(0))
        .and_then(|s| s.get("profile").ok())
        .context("its profile is unknown")?;
    let taken = ["constrained-baseline", "baseline", "main", "constrained-high", "high"];
    ensure!(taken.contains(&&*profile), "browsers do not take profile {profile}");
    Ok(profile)
}

/// The first error on the bus, in words.
fn complaint(pipeline: &gst::Pipeline) -> Option<String> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(crate::capture::messages::in_words(error).1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::{Amount, LADDER, Rung};
    use super::super::machine::candidates;
    use super::*;

    const WANTED: Wanted =
        Wanted { width: 320, height: 180, fps: 30, bitrate_kbps: 500, gop_frames: 30 };

    const BROKEN: Rung =
        Rung { name: "identity", chip: "test", input: "video/x-raw,format=I420", ..Rung::BASE };

    fn refused(rung: &'static Rung, deadline: Duration) -> String {
        gst::init().unwrap();
        let candidate =
            Candidate { factory: rung.name.to_owned(), rung, device: None, way: Way::Memory };
        run(&candidate, &WANTED, deadline).outcome.unwrap_err()
    }

    /// Both software encoders are here and make what browsers take.
    #[test]
    fn software_encoders_pass() {
        gst::init().unwrap();
        for name in ["x264enc", "openh264enc"] {
            let candidates = candidates(LADDER, Some(name));
            let trial = run(&candidates[0], &WANTED, Duration::from_secs(10));
            let passed = trial.outcome.unwrap();
            assert_eq!(passed.profile, "constrained-baseline", "{name}");
            assert!(passed.each_ms > 0.0);
        }
    }

    /// A name in the registry is not enough.
    #[test]
    fn what_does_not_encode_is_refused_with_its_reason() {
        static PASSES_RAW: Rung = BROKEN;
        let reason = refused(&PASSES_RAW, Duration::from_secs(5));
        assert!(reason.contains("caps") || reason.contains("negotiat"), "{reason}");
        static MISSING: Rung = Rung { name: "no-such-encoder", ..BROKEN };
        let reason = refused(&MISSING, Duration::from_secs(5));
        assert!(reason.contains("no no-such-encoder here"), "{reason}");
        static WRONG: Rung =
            Rung { name: "x264enc", sets: &[("bit-rate", Amount::Kbps)], ..BROKEN };
        let reason = refused(&WRONG, Duration::from_secs(5));
        assert!(reason.contains("it has no bit-rate"), "{reason}");
    }

    /// An encoder that takes pictures and gives nothing is refused at the deadline.
    #[test]
    fn silent_encoder_is_refused_at_its_deadline() {
        // Without zero latency x264 looks further ahead than the trial is long.
        static SILENT: Rung =
            Rung { name: "x264enc", sets: &[("rc-lookahead", Amount::Is("40"))], ..BROKEN };
        let began = Instant::now();
        let reason = refused(&SILENT, Duration::from_millis(400));
        assert!(reason.contains("nothing came of picture 0"), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    /// B-frames are seen by their order.
    #[test]
    fn b_frames_are_refused() {
        static REORDERS: Rung = Rung {
            name: "x264enc",
            sets: &[
                ("bframes", Amount::Is("1")),
                ("b-adapt", Amount::Is("false")),
                ("rc-lookahead", Amount::Is("0")),
                ("sync-lookahead", Amount::Is("0")),
                ("threads", Amount::Is("1")),
            ],
            output: "video/x-h264,profile=main",
            ..BROKEN
        };
        let reason = refused(&REORDERS, Duration::from_secs(10));
        assert!(reason.contains("B-frames"), "{reason}");
    }
}
