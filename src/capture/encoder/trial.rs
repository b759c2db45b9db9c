//! The trial: a candidate encodes a few pictures of the wanted size, now, with a deadline.
//!
//! It passes if coded pictures come out in time and in order, the first is a
//! key frame with its parameter sets, and the profile is one that browsers take.
//! What goes in is what will really come where that is known: the camera's own
//! picture, then slates.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde::Serialize;

use super::ladder::{Rung, Way};
use super::machine::Candidate;
use super::{Wanted, element, make};
use crate::capture::annexb::Head;
use crate::capture::switch::Shape;

/// Coded pictures that a trial waits for.
const PICTURES: u64 = 6;

/// So many of them are the camera's; slates follow.
const CAMERA: u64 = 4;

/// A trial whose driver hangs is left behind so long after its deadline.
const HANGS: Duration = Duration::from_secs(1);

/// What is known of the pictures that will come.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Example {
    /// What they are made of.
    pub shape: Shape,
    /// One of the camera's.
    pub picture: Option<gst::Sample>,
}

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

/// Tries a candidate. Blocks until `deadline`, and no longer than [`HANGS`] after it.
pub(in crate::capture) fn run(
    candidate: &Candidate,
    wanted: &Wanted,
    example: Option<&Example>,
    deadline: Duration,
) -> Trial {
    let device = candidate.device.as_ref();
    Trial {
        encoder: candidate.factory.clone(),
        chip: candidate.rung.chip.to_owned(),
        driver: device.map(|device| device.driver.clone()),
        node: device.map(|device| device.node.display().to_string()),
        io_mode: Some(candidate.way),
        outcome: aside(candidate, wanted, example, deadline).map_err(|error| format!("{error:#}")),
    }
}

/// On a thread of its own, for a driver may never come back: then that is lost, and only that.
fn aside(
    candidate: &Candidate,
    wanted: &Wanted,
    example: Option<&Example>,
    deadline: Duration,
) -> Result<Passed> {
    let (candidate, wanted, example) = (candidate.clone(), *wanted, example.cloned());
    let (tell, told) = mpsc::channel();
    let trial = move || {
        // Nobody listens any more if it took too long.
        let _ = tell.send(encode(&candidate, &wanted, example.as_ref(), Instant::now() + deadline));
    };
    std::thread::Builder::new().name("trial".into()).spawn(trial).context("start a trial")?;
    told.recv_timeout(deadline + HANGS).unwrap_or_else(|_| {
        metrics::counter!("floorcast_capture_stuck_total").increment(1);
        bail!("its driver hangs")
    })
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

fn encode(
    candidate: &Candidate,
    wanted: &Wanted,
    example: Option<&Example>,
    until: Instant,
) -> Result<Passed> {
    let encoder = make(candidate, wanted, example.map(|example| &example.shape))?;
    let camera = example.and_then(|example| example.picture.as_ref());
    if let Some(example) = example {
        let picture = camera.and_then(|sample| sample.buffer());
        if let Some(why) = encoder.misfit(&example.shape, picture) {
            bail!("{why}");
        }
    }
    let source = gst_app::AppSrc::builder().format(gst::Format::Time).build();
    let parse = element("h264parse")?;
    parse.set_property("config-interval", -1i32);
    let out = gst_app::AppSink::builder()
        .caps(&"video/x-h264,stream-format=byte-stream,alignment=au".parse::<gst::Caps>()?)
        .sync(false)
        .build();
    let pipeline = gst::Pipeline::new();
    let slates = raw_caps(wanted, if example.is_some() { "I420" } else { &encoder.format })?;
    let mut all = vec![source.clone().upcast()];
    all.extend(encoder.chain);
    all.extend([parse, out.clone().upcast()]);
    pipeline.add_many(&all)?;
    gst::Element::link_many(&all).context("its caps do not fit")?;
    let push = |n: u64| -> Result<()> {
        let (mut buffer, caps) = match camera.and_then(|s| s.buffer().zip(s.caps())) {
            // The same picture again, as far as memory goes.
            Some((buffer, caps)) if n < CAMERA => (buffer.copy(), caps.to_owned()),
            _ => (test_picture(wanted, n), slates.clone()),
        };
        if let Some(buffer) = buffer.get_mut() {
            let at = n * 1_000_000_000 / u64::from(wanted.fps);
            buffer.set_pts(gst::ClockTime::from_nseconds(at));
        }
        source.push_sample(&gst::Sample::builder().buffer(&buffer).caps(&caps).build())?;
        Ok(())
    };
    let result = watch(&pipeline, &out, u64::from(candidate.rung.holds), push, until);
    let _ = pipeline.set_state(gst::State::Null);
    result
}

fn raw_caps(wanted: &Wanted, format: &str) -> Result<gst::Caps> {
    let Wanted { width, height, fps, .. } = wanted;
    // As the switch hands pictures on: other caps than the camera's would begin anew.
    let caps = format!(
        "video/x-raw,format={format},width={width},height={height},framerate={fps}/1,\
         pixel-aspect-ratio=1/1,interlace-mode=progressive,colorimetry=bt709"
    );
    Ok(caps.parse()?)
}

/// A picture that moves, so that the encoder has work to do; without colour, so that it
/// is the same in every 4:2:0 layout.
fn test_picture(wanted: &Wanted, n: u64) -> gst::Buffer {
    let (width, height) = (wanted.width as usize, wanted.height as usize);
    let mut data = vec![128u8; width * height * 3 / 2];
    for (y, row) in data[..width * height].chunks_exact_mut(width).enumerate() {
        let shift = y / 3 + 4 * n as usize;
        row.iter_mut().enumerate().for_each(|(x, luma)| *luma = (x / 2 + shift) as u8);
    }
    gst::Buffer::from_mut_slice(data)
}

/// Pushes pictures, as many ahead as the encoder may hold back, and waits for what comes of
/// them. No end of stream: it would flush what an encoder keeps, and a live stream has none.
fn watch(
    pipeline: &gst::Pipeline,
    out: &gst_app::AppSink,
    ahead: u64,
    push: impl Fn(u64) -> Result<()>,
    until: Instant,
) -> Result<Passed> {
    let began = Instant::now();
    (0..ahead).try_for_each(&push)?;
    if pipeline.set_state(gst::State::Playing).is_err() {
        bail!(complaint(pipeline).unwrap_or_else(|| "it does not start".into()));
    }
    let (mut first, mut last, mut profile) = (None, None, String::new());
    for picture in 0..PICTURES {
        push(picture + ahead)?;
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
        run(&candidate, &WANTED, None, deadline).outcome.unwrap_err()
    }

    /// Both software encoders are here and make what browsers take.
    #[test]
    fn software_encoders_pass() {
        gst::init().unwrap();
        for name in ["x264enc", "openh264enc"] {
            let candidates = candidates(LADDER, Some(name));
            let trial = run(&candidates[0], &WANTED, None, Duration::from_secs(10));
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
