//! What is on a feed: its camera, or the slate that says why not.
//!
//! Comes in: the camera's pictures, the slate's, and who is to be on. Goes out:
//! pictures of one of them to the [`Line`] of the moment. The camera is on as
//! soon as it pictures; each turn forces one key frame. While there is no line
//! the newest picture waits for it; the others, and those of who is not on, go
//! no further and are counted.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use metrics::{Counter, counter};
use tokio::sync::{Notify, watch};

use super::annexb::Head;
use super::flow::Flow;
use super::line::Line;
use crate::model::{Mono, Reason};

/// Who is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum On {
    /// The camera.
    Camera,
    /// The slate, and why in words for technicians.
    Slate(Reason, Arc<str>),
}

/// What raw pictures are made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Shape {
    /// GStreamer's name of the layout.
    pub format: Arc<str>,
    /// GStreamer's name of what the numbers mean.
    pub colorimetry: Arc<str>,
    /// Where they lie.
    pub memory: Memory,
}

/// Where raw pictures lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Memory {
    /// A slate: in our own.
    Drawn,
    /// In the camera's, which it lends to other devices.
    Dmabuf,
    /// Where only we can read them.
    Plain,
}

impl Memory {
    /// Of a camera's picture.
    fn of(buffer: &gst::BufferRef) -> Self {
        let lent = buffer.n_memory() > 0 && buffer.peek_memory(0).is_type("dmabuf");
        if lent { Self::Dmabuf } else { Self::Plain }
    }
}

/// One feed's switch.
pub(super) struct Switch {
    flow: Arc<Flow>,
    on: watch::Sender<On>,
    /// Of the first raw pictures; the line keeps to it.
    shape: watch::Sender<Option<Shape>>,
    key_wanted: Notify,
    state: Mutex<State>,
    unused: Counter,
    slates: Counter,
}

#[derive(Default)]
struct State {
    line: Option<Arc<Line>>,
    /// The picture that waits for a line.
    waits: Option<(gst::Buffer, gst::Caps)>,
    /// The camera's caps as they came, and as the line gets them.
    caps: Option<(gst::Caps, gst::Caps)>,
    /// The camera encodes by itself: the line serves slates only.
    coded: bool,
}

impl Switch {
    /// The slate is on, saying that the camera starts.
    pub fn new(flow: Arc<Flow>, feed: &str) -> Arc<Self> {
        let count = |name: &'static str| counter!(name, "feed" => feed.to_owned());
        Arc::new(Self {
            flow,
            on: watch::Sender::new(On::Slate(Reason::Starting, "starting".into())),
            shape: watch::Sender::new(None),
            key_wanted: Notify::new(),
            state: Mutex::default(),
            unused: count("floorcast_capture_unused_total"),
            slates: count("floorcast_capture_slate_frames_total"),
        })
    }

    /// Who is on, and changes of it.
    pub fn on(&self) -> watch::Receiver<On> {
        self.on.subscribe()
    }

    /// What the line is to be made for, once raw pictures have come.
    pub fn shape(&self) -> watch::Receiver<Option<Shape>> {
        self.shape.subscribe()
    }

    /// The camera's picture that waits for a line, if one does.
    pub fn waiting(&self) -> Option<gst::Sample> {
        let state = self.state.lock().expect("switch lock");
        let (buffer, caps) = state.waits.as_ref()?;
        let camera = *self.on.borrow() == On::Camera;
        camera.then(|| gst::Sample::builder().buffer(buffer).caps(caps).build())
    }

    /// The camera encodes by itself.
    pub fn is_coded(&self) -> bool {
        self.state.lock().expect("switch lock").coded
    }

    /// Pictures go into this line from now on, or nowhere.
    pub fn set_line(&self, line: Option<Arc<Line>>) {
        let mut state = self.state.lock().expect("switch lock");
        if let (Some(line), Some((buffer, caps))) = (&line, state.waits.take()) {
            line.picture(&buffer, &caps);
        }
        state.line = line;
    }

    /// Takes the camera off: the slate says why.
    pub fn slate(&self, reason: Reason, why: &str) {
        let state = self.state.lock().expect("switch lock");
        self.turn(&state, On::Slate(reason, why.into()));
    }

    /// Asks whoever encodes for a key frame; false if that cannot be asked for. A line
    /// that is not there yet begins with one.
    pub fn force_key(&self) -> bool {
        let state = self.state.lock().expect("switch lock");
        if state.coded && *self.on.borrow() == On::Camera {
            self.key_wanted.notify_one();
            return true;
        }
        let line = state.line.clone();
        drop(state);
        line.is_none_or(|line| line.force_key())
    }

    /// Resolves when a key frame is wanted of a camera that encodes.
    pub async fn key_wanted(&self) {
        self.key_wanted.notified().await;
    }

    /// A raw picture of the camera, its PTS the capture time; never waits.
    pub fn picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        let mut state = self.state.lock().expect("switch lock");
        let known = state.caps.as_ref().filter(|(came, _)| came == caps).map(|(_, go)| go.clone());
        let caps = known.unwrap_or_else(|| {
            let go = self.steady(caps, Memory::of(buffer));
            state.caps = Some((caps.clone(), go.clone()));
            go
        });
        self.turn(&state, On::Camera);
        self.hand(&mut state, buffer, &caps);
    }

    /// The slate's picture; not taken while the camera is on.
    pub fn slate_picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        let mut state = self.state.lock().expect("switch lock");
        if *self.on.borrow() == On::Camera {
            return;
        }
        self.slates.increment(1);
        self.hand(&mut state, buffer, &self.steady(caps, Memory::Drawn));
    }

    /// An access unit of a camera that encodes. With a key frame it comes on.
    pub fn coded(&self, at: Mono, data: &[u8], now: Mono) {
        // Held while the unit goes into the ring: units of two encoders never mix.
        let mut state = self.state.lock().expect("switch lock");
        state.coded = true;
        if Head::of(data).idr {
            self.turn(&state, On::Camera);
        }
        self.access_unit(On::Camera == *self.on.borrow(), at, data, now);
    }

    /// An access unit of the line.
    pub fn line_coded(&self, at: Mono, data: &[u8], now: Mono) {
        let state = self.state.lock().expect("switch lock");
        let on = !state.coded || *self.on.borrow() != On::Camera;
        self.access_unit(on, at, data, now);
    }

    fn access_unit(&self, on: bool, at: Mono, data: &[u8], now: Mono) {
        match on {
            true => self.flow.coded(at, data, now),
            false => self.unused.increment(1),
        }
    }

    fn hand(&self, state: &mut State, buffer: &gst::Buffer, caps: &gst::Caps) {
        if let Some(line) = &state.line {
            line.picture(buffer, caps);
        } else if state.waits.replace((buffer.clone(), caps.clone())).is_some() {
            self.unused.increment(1);
        }
    }

    /// Turns, if that is a change; a key frame marks it.
    fn turn(&self, state: &State, to: On) {
        let mut turned = false;
        self.on.send_if_modified(|on| {
            let changes = *on != to;
            if changes {
                turned = (*on == On::Camera) != (to == On::Camera);
                *on = to;
            }
            changes
        });
        if turned && let Some(line) = &state.line {
            line.force_key();
        }
    }

    /// The same caps without what may differ from picture to picture and means
    /// nothing to an encoder: it would begin anew. 30000/1001 is the 30 asked for.
    fn steady(&self, caps: &gst::Caps, memory: Memory) -> gst::Caps {
        let mut caps = caps.clone();
        if let Some(s) = caps.make_mut().structure_mut(0) {
            s.set("framerate", gst::Fraction::new(self.flow.fps() as i32, 1));
            s.set("pixel-aspect-ratio", gst::Fraction::new(1, 1));
            s.set("interlace-mode", "progressive");
            s.remove_field("chroma-site");
            let text = |name| s.get::<&str>(name).ok().map(Arc::<str>::from);
            let shape = text("format").zip(text("colorimetry"));
            self.shape.send_if_modified(|known| {
                let first = known.is_none();
                if first {
                    *known =
                        shape.map(|(format, colorimetry)| Shape { format, colorimetry, memory });
                }
                first
            });
        }
        caps
    }
}
