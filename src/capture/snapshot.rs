//! What a feed shows, as a JPEG for one person.
//!
//! Comes in: wishes, one at a time; one more waits, others are refused. Goes out: the
//! next picture that the encoder is given, camera or slate, in at most [`MOST`] bytes;
//! or why not, within [`DEADLINE`]. Of a camera that encodes, its newest key frame is
//! decoded. A feed that rests is woken for it. No picture of a camera that was closed
//! meanwhile is given away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::blocking::blocking;
use super::switch::{On, Switch, Tapped};
use crate::feed::ring::Ring;
use crate::model::Mono;

/// A JPEG's greatest size, bytes.
pub const MOST: usize = 200 << 10;
/// A snapshot is there within this, or has failed.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Tried in this order until it fits; then with half as many columns and rows.
const QUALITIES: [i32; 6] = [85, 70, 55, 40, 25, 12];
/// Below this it is no picture any more.
const WIDTH_MIN: u32 = 64;

/// Somebody wants to see what a feed shows.
pub struct Wish {
    /// At most this wide, pixels; as the feed is unless given.
    pub width: Option<u32>,
    /// The picture, or why not.
    pub reply: oneshot::Sender<Result<Picture, String>>,
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its bytes.
    pub jpeg: Bytes,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// When its light was captured, or the slate was drawn.
    pub taken: Mono,
    /// Of the camera; the slate's otherwise.
    pub filmed: bool,
}

/// Where snapshots of a feed are asked for.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<Wish>);

/// Where they are heard: by one running camera at a time.
#[derive(Clone)]
pub struct Wishes(Arc<Mutex<mpsc::Receiver<Wish>>>);

/// Both ends.
pub fn channel() -> (Asker, Wishes) {
    let (asker, wishes) = mpsc::channel(1);
    (Asker(asker), Wishes(Arc::new(Mutex::new(wishes))))
}

impl Asker {
    /// Asks; never waits.
    pub fn ask(&self, wish: Wish) {
        let why = match self.0.try_send(wish) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(wish)) => (wish, "others are being taken"),
            Err(mpsc::error::TrySendError::Closed(wish)) => (wish, "the camera does not run"),
        };
        // Who asked may have given up.
        let _ = why.0.reply.send(Err(why.1.into()));
    }
}

/// Takes them; never resolves.
pub(super) async fn run(wishes: &Wishes, ring: &Arc<Ring>, switch: &Switch) {
    let mut wishes = wishes.0.lock().await;
    while let Some(Wish { width, reply }) = wishes.recv().await {
        let until = Instant::now() + DEADLINE;
        let taken = match timeout(DEADLINE, take(width, ring, switch, until)).await {
            Ok(taken) => taken.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("no picture within {} s", DEADLINE.as_secs())),
        };
        let _ = reply.send(taken);
    }
    std::future::pending().await
}

async fn take(
    width: Option<u32>,
    ring: &Arc<Ring>,
    switch: &Switch,
    until: Instant,
) -> Result<Picture> {
    let _awake = ring.watch();
    let breaks = ring.breaks();
    let shown = switch.on().borrow().clone();
    let (sample, filmed) = if switch.is_coded() && shown == On::Camera {
        let frame = ring.reader().next().await.frame;
        (coded(&frame.data, frame.captured.at)?, true)
    } else {
        let Tapped { sample, filmed } = switch.tap().await.context("somebody else took it")?;
        (sample, filmed)
    };
    let taken = sample.buffer().and_then(|b| b.pts()).map_or(0, |pts| pts.nseconds());
    let made = blocking("make the JPEG", move || fitting(&sample, width, until));
    let (jpeg, width, height) = made.await??;
    let kept = !filmed || ring.breaks() == breaks;
    ensure!(kept, "the camera was closed meanwhile");
    Ok(Picture { jpeg, width, height, taken: Mono(taken), filmed })
}

/// An access unit as GStreamer takes it.
fn coded(data: &Bytes, at: Mono) -> Result<gst::Sample> {
    let caps: gst::Caps = "video/x-h264,stream-format=byte-stream,alignment=au".parse()?;
    let mut buffer = gst::Buffer::from_slice(data.clone());
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(gst::ClockTime::from_nseconds(at.0));
    }
    Ok(gst::Sample::builder().buffer(&buffer).caps(&caps).build())
}

/// The best JPEG of at most [`MOST`] bytes with its width and height.
fn fitting(sample: &gst::Sample, width: Option<u32>, until: Instant) -> Result<(Bytes, u32, u32)> {
    let mut most = width;
    loop {
        let mut made = (0, 0);
        for quality in QUALITIES {
            let (jpeg, width, height) = encode(sample, most, quality, until)?;
            if jpeg.len() <= MOST {
                return Ok((jpeg, width, height));
            }
            made = (width, jpeg.len());
        }
        let (width, bytes) = made;
        ensure!(width / 2 >= WIDTH_MIN, "{bytes} bytes at {width} pixels: more than {MOST}");
        most = Some(width / 2);
    }
}

fn make(name: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(name).build().with_context(|| format!("GStreamer has no {name}"))
}

/// The first decoder of H.264 that there is.
fn decoder(caps: &gst::Caps) -> Result<gst::Element> {
    let kinds = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    let mut all: Vec<_> =
        gst::ElementFactory::factories_with_type(kinds, gst::Rank::MARGINAL).into_iter().collect();
    all.sort_by_key(|factory| std::cmp::Reverse(factory.rank()));
    let mut fit = all.into_iter().filter(|factory| factory.can_sink_any_caps(caps));
    let first = fit.next().context("the camera sends H.264, and there is no decoder")?;
    first.create().build().with_context(|| format!("make {}", first.name()))
}

fn encode(
    sample: &gst::Sample,
    most: Option<u32>,
    quality: i32,
    until: Instant,
) -> Result<(Bytes, u32, u32)> {
    let (buffer, caps) = (sample.buffer_owned(), sample.caps_owned());
    let (buffer, caps) = (buffer.context("no picture")?, caps.context("no caps")?);
    let source = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    let jpeg = make("jpegenc")?;
    jpeg.set_property("quality", quality);
    let (scale, convert, size) = (make("videoscale")?, make("videoconvert")?, make("capsfilter")?);
    let coded = caps.structure(0).is_some_and(|s| s.name() == "video/x-h264");
    let mut chain = vec![source.clone().upcast::<gst::Element>()];
    if coded {
        chain.extend([make("h264parse")?, decoder(&caps)?]);
    }
    size.set_property("caps", sized(most)?);
    chain.extend([scale, convert, size, jpeg, sink.clone().upcast()]);
    let pipeline = gst::Pipeline::new();
    pipeline.add_many(&chain)?;
    gst::Element::link_many(&chain).context("link")?;
    let pulled = (|| {
        pipeline.set_state(gst::State::Playing).context("start")?;
        source.push_buffer(buffer).context("give it the picture")?;
        source.end_of_stream().context("end")?;
        let left = until.saturating_duration_since(Instant::now());
        sink.try_pull_sample(gst::ClockTime::try_from(left).unwrap_or_default())
            .with_context(|| trouble(&pipeline))
    })();
    pipeline.set_state(gst::State::Null).context("stop")?;
    let pulled = pulled?;
    let side = |name| {
        let of = pulled.caps()?.structure(0)?.get::<i32>(name).ok()?;
        u32::try_from(of).ok()
    };
    let (width, height) = side("width").zip(side("height")).context("a JPEG without a size")?;
    let map = pulled.buffer().context("no JPEG")?.map_readable()?;
    Ok((Bytes::copy_from_slice(&map), width, height))
}

/// What goes into the JPEG: at most so many columns, and rows in proportion.
fn sized(most: Option<u32>) -> Result<gst::Caps> {
    let mut sized = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("colorimetry", "1:4:0:0") // what readers of JPEG take for granted (JFIF)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1));
    if let Some(most) = most {
        sized = sized.field("width", gst::IntRange::new(1, i32::try_from(most)?));
    }
    Ok(sized.build())
}

/// What a pipeline complains about.
fn trouble(pipeline: &gst::Pipeline) -> String {
    let bus = pipeline.bus();
    let told = bus.and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    match told.as_ref().map(|told| told.view()) {
        Some(gst::MessageView::Error(error)) => format!("no JPEG: {}", error.error()),
        _ => "no JPEG in time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::flow::Flow;
    use crate::capture::switch::Closer;
    use crate::clock;
    use crate::model::Reason;

    /// Noise: what costs most.
    fn picture(width: u32, height: u32, at: Mono) -> (gst::Buffer, gst::Caps) {
        let caps = format!(
            "video/x-raw,format=I420,width={width},height={height},framerate=25/1,colorimetry=bt709"
        );
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let data: Vec<u8> = noise.take((width * height * 3 / 2) as usize).collect();
        let mut buffer = gst::Buffer::from_slice(data);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
        (buffer, caps.parse().unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// However noisy a picture is, its JPEG fits; columns and rows stay in proportion.
    #[test]
    fn a_noisy_picture_is_made_to_fit() {
        gst::init().unwrap();
        let (buffer, caps) = picture(1280, 720, Mono(1));
        let sample = gst::Sample::builder().buffer(&buffer).caps(&caps).build();
        let (jpeg, width, height) = fitting(&sample, None, soon()).unwrap();
        assert!(jpeg.len() <= MOST && jpeg.starts_with(&[0xff, 0xd8]), "{}", jpeg.len());
        assert_eq!(width * 9, height * 16);
        let (jpeg, width, height) = fitting(&sample, Some(320), soon()).unwrap();
        assert!(jpeg.len() <= MOST);
        assert_eq!((width, height), (320, 180));
        let (_, width, _) = fitting(&sample, Some(4000), soon()).unwrap();
        assert!(width <= 1280, "{width}");
    }

    /// What a camera encoded is decoded, and never made larger.
    #[test]
    fn a_coded_picture_is_decoded() {
        gst::init().unwrap();
        let line = "videotestsrc num-buffers=1 ! video/x-raw,width=320,height=180 ! x264enc ! \
                    video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let unit = out.pull_sample().unwrap();
        let data = Bytes::copy_from_slice(&unit.buffer().unwrap().map_readable().unwrap());
        pipeline.set_state(gst::State::Null).unwrap();
        let sample = coded(&data, Mono(5)).unwrap();
        for (most, size) in [(None, (320, 180)), (Some(160), (160, 90)), (Some(640), (320, 180))] {
            let (jpeg, width, height) = fitting(&sample, most, soon()).unwrap();
            assert!(jpeg.starts_with(&[0xff, 0xd8]));
            assert_eq!((width, height), size);
        }
    }

    /// What is tapped is what the encoder is given: of a closed camera, the slate.
    #[test]
    fn a_closed_camera_is_not_tapped() {
        gst::init().unwrap();
        let flow = Flow::new(Ring::new("t".into()), 25);
        let switch = Switch::new(flow, "t");
        switch.close(Closer::Hand, true);
        let mut tap = switch.tap();
        let now = clock::now();
        let (buffer, caps) = picture(64, 64, now);
        switch.picture(&buffer, &caps);
        assert!(tap.try_recv().is_err());
        assert!(matches!(&*switch.on().borrow(), On::Slate(Reason::Privacy, _)));
        let (slate, caps) = picture(64, 64, now + Duration::from_millis(1));
        switch.slate_picture(&slate, &caps);
        assert!(!tap.try_recv().unwrap().filmed);
        switch.close(Closer::Hand, false);
        let mut tap = switch.tap();
        let (buffer, caps) = picture(64, 64, now + Duration::from_millis(2));
        switch.picture(&buffer, &caps);
        assert!(tap.try_recv().unwrap().filmed);
    }
}
