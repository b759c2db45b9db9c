//! What is on a feed: its camera, or the slate that says why not.
//!
//! Comes in: the camera's pictures, the slate's, and who is to be on. Goes out:
//! pictures of one of them to the [`Line`] of the moment. The camera is on as
//! soon as it pictures; each turn forces one key frame. While there is no line
//! the newest picture waits for it; the others, and those of who is not on, go
//! no further and are counted.
//!
//! While the camera is closed (privacy), none of its pictures leaves, not even
//! one that was in the encoder by then; while the feed rests, nothing leaves.
//! Either breaks with what was: what leaves next is a key frame of a picture
//! that was handed over since.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use metrics::{Counter, counter};
use tokio::sync::{Notify, oneshot, watch};

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

/// Who closes a camera.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closer {
    /// The configuration.
    House,
    /// The shutter of the camera itself.
    Shutter,
    /// People at the line, over the configuration.
    Hand,
    /// The house, for a while.
    Pause,
}

impl Closer {
    /// Every one.
    const ALL: [Closer; 4] = [Self::House, Self::Shutter, Self::Hand, Self::Pause];

    /// What the slate says, and technicians read; where there are several, the first.
    fn slate(self) -> On {
        match self {
            Self::House | Self::Shutter => On::Slate(Reason::Privacy, "privacy".into()),
            Self::Hand => On::Slate(Reason::Privacy, "privacy, by command".into()),
            Self::Pause => On::Slate(Reason::Paused, "paused by the house, by command".into()),
        }
    }
}

/// A picture taken for a snapshot.
pub(super) struct Tapped {
    /// As it goes to the encoder.
    pub sample: gst::Sample,
    /// Of the camera; the slate's otherwise.
    pub filmed: bool,
}

/// Which of the camera's pictures are of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wants {
    /// Every one.
    All,
    /// Some, to know how the camera is.
    Looks,
    /// None; they are not even to be looked at.
    Nothing,
}

/// From where on access units leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Gate {
    /// As they come.
    #[default]
    Open,
    /// From the key frame of the next picture that is handed over.
    Next,
    /// From a key frame of this picture or a later one.
    From(Mono),
}

/// An encoder's clock may count microseconds.
const ROUNDED: Duration = Duration::from_micros(1);

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
    resting: watch::Sender<bool>,
    /// Of the first raw pictures; the line keeps to it.
    shape: watch::Sender<Option<Shape>>,
    key_wanted: Notify,
    state: Mutex<State>,
    unused: Counter,
    slates: Counter,
}

struct State {
    line: Option<Arc<Line>>,
    /// The picture that waits for a line.
    waits: Option<(gst::Buffer, gst::Caps)>,
    /// The camera's caps as they came, and as the line gets them.
    caps: Option<(gst::Caps, gst::Caps)>,
    /// The camera encodes by itself: the line serves slates only.
    coded: bool,
    /// Who is on where nobody closed the camera.
    beneath: On,
    /// By whom.
    closed: [bool; Closer::ALL.len()],
    /// Shown in place of the camera to who looks for it.
    name: Option<Arc<str>>,
    /// Who wants the next picture.
    tap: Option<oneshot::Sender<Tapped>>,
    /// The next picture is to be a key frame.
    turned: bool,
    gate: Gate,
    /// Time of the newest picture handed over.
    handed: Mono,
}

impl State {
    fn closed(&self) -> bool {
        self.covered().is_some()
    }

    /// What is shown in place of a camera that may not be seen.
    fn covered(&self) -> Option<On> {
        let name = self.name.clone().map(|name| On::Slate(Reason::Identify, name));
        name.or_else(|| {
            Closer::ALL.into_iter().find(|who| self.closed[*who as usize]).map(Closer::slate)
        })
    }

    /// The picture of this time goes into a line: whether it is to be a key frame.
    fn begins(&mut self, at: Mono) -> bool {
        let breaks = self.gate == Gate::Next;
        if breaks {
            self.gate = Gate::From(at);
        }
        std::mem::take(&mut self.turned) || breaks
    }
}

impl Switch {
    /// The slate is on, saying that the camera starts.
    pub fn new(flow: Arc<Flow>, feed: &str) -> Arc<Self> {
        let count = |name: &'static str| counter!(name, "feed" => feed.to_owned());
        let starting = On::Slate(Reason::Starting, "starting".into());
        Arc::new(Self {
            flow,
            on: watch::Sender::new(starting.clone()),
            resting: watch::Sender::new(false),
            shape: watch::Sender::new(None),
            key_wanted: Notify::new(),
            state: Mutex::new(State {
                line: None,
                waits: None,
                caps: None,
                coded: false,
                beneath: starting,
                closed: [false; Closer::ALL.len()],
                name: None,
                tap: None,
                turned: false,
                gate: Gate::Open,
                handed: Mono(0),
            }),
            unused: count("floorcast_capture_unused_total"),
            slates: count("floorcast_capture_slate_frames_total"),
        })
    }

    /// Who is on, and changes of it.
    pub fn on(&self) -> watch::Receiver<On> {
        self.on.subscribe()
    }

    /// Whether the feed rests, and changes of it.
    pub fn resting(&self) -> watch::Receiver<bool> {
        self.resting.subscribe()
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

    /// Which pictures of the camera are of use now.
    pub fn wants(&self) -> Wants {
        let state = self.state.lock().expect("switch lock");
        match (state.closed(), *self.resting.borrow()) {
            (true, _) => Wants::Nothing,
            (false, true) => Wants::Looks,
            (false, false) => Wants::All,
        }
    }

    /// Pictures go into this line from now on, or nowhere.
    pub fn set_line(&self, line: Option<Arc<Line>>) {
        let mut state = self.state.lock().expect("switch lock");
        state.line = line;
        if state.line.is_some()
            && let Some((buffer, caps)) = state.waits.take()
        {
            self.to_line(&mut state, &buffer, &caps);
        }
    }

    /// Takes the camera off: the slate says why.
    pub fn slate(&self, reason: Reason, why: &str) {
        let mut state = self.state.lock().expect("switch lock");
        if state.beneath == On::Camera
            && let Some((buffer, _)) = state.waits.take()
        {
            // It would come on late, and keeps the camera's driver open till then.
            self.refuse(&buffer);
        }
        state.beneath = On::Slate(reason, why.into());
        self.turn(&mut state);
    }

    /// Closes or opens the camera. When this returns from closing, no picture
    /// of it leaves until it is opened.
    pub fn close(&self, who: Closer, closed: bool) {
        self.cover(|state| state.closed[who as usize] = closed);
    }

    /// The same for all that settings say; at once, so that nothing slips through
    /// from one to the other. `name` is shown in the camera's place.
    pub fn close_as(&self, closed: &[(Closer, bool)], name: Option<Arc<str>>) {
        self.cover(|state| {
            closed.iter().for_each(|(who, closed)| state.closed[*who as usize] = *closed);
            state.name = name;
        });
    }

    fn cover(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().expect("switch lock");
        let before = state.closed();
        change(&mut state);
        match (before, state.closed()) {
            (false, true) => {
                if state.coded && state.beneath == On::Camera {
                    // It comes back with a key frame, like any camera that encodes.
                    state.beneath = On::Slate(Reason::Starting, "the camera was opened".into());
                }
                self.break_off(&mut state);
            }
            (true, false) if state.coded => self.key_wanted.notify_one(),
            _ => {}
        }
        self.turn(&mut state);
    }

    /// The next picture that goes to the encoder, the camera's or the slate's. One at
    /// a time: who asked before is given nothing.
    pub fn tap(&self) -> oneshot::Receiver<Tapped> {
        let (tap, taken) = oneshot::channel();
        self.state.lock().expect("switch lock").tap = Some(tap);
        taken
    }

    /// Nobody watches: nothing leaves until [`Self::wake`].
    pub fn rest(&self) {
        let mut state = self.state.lock().expect("switch lock");
        if state.coded || self.resting.send_replace(true) {
            // Its camera encodes whether we rest or not.
            return;
        }
        self.break_off(&mut state);
    }

    /// Somebody watches: the next picture leaves, as a key frame.
    pub fn wake(&self) {
        let _state = self.state.lock().expect("switch lock");
        self.resting.send_if_modified(std::mem::take);
    }

    /// Asks whoever encodes for a key frame; false if that cannot be asked for. A line
    /// that is not there yet begins with one.
    pub fn force_key(&self) -> bool {
        let state = self.state.lock().expect("switch lock");
        if state.coded && *self.on.borrow() == On::Camera {
            self.key_wanted.notify_one();
            return true;
        }
        if state.turned || state.gate != Gate::Open {
            // One is on its way.
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

    /// Whether a key frame was asked of the line for a picture of before `at`,
    /// and has not come.
    pub fn waits_for_key(&self, at: Mono) -> bool {
        let gate = self.state.lock().expect("switch lock").gate;
        matches!(gate, Gate::From(from) if from < at)
    }

    /// A raw picture of the camera, its PTS the capture time; never waits.
    pub fn picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        let mut state = self.state.lock().expect("switch lock");
        state.beneath = On::Camera;
        if state.closed() {
            return self.refuse(buffer);
        }
        let known = state.caps.as_ref().filter(|(came, _)| came == caps).map(|(_, go)| go.clone());
        let caps = known.unwrap_or_else(|| {
            let go = self.steady(caps, Memory::of(buffer));
            state.caps = Some((caps.clone(), go.clone()));
            go
        });
        self.turn(&mut state);
        self.hand(&mut state, buffer, &caps);
    }

    /// The slate's picture; not taken while the camera is on.
    pub fn slate_picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        let mut state = self.state.lock().expect("switch lock");
        if *self.on.borrow() == On::Camera {
            return self.flow.unused(time(buffer));
        }
        self.slates.increment(1);
        self.hand(&mut state, buffer, &self.steady(caps, Memory::Drawn));
    }

    /// An access unit of a camera that encodes. With a key frame it comes on.
    pub fn coded(&self, at: Mono, data: &[u8], now: Mono) {
        // Held while the unit goes into the ring: units of two encoders never mix.
        let mut state = self.state.lock().expect("switch lock");
        state.coded = true;
        self.resting.send_if_modified(std::mem::take);
        let key = Head::of(data).idr;
        if state.closed() {
            return self.unused(at);
        }
        if key {
            state.beneath = On::Camera;
            self.turn(&mut state);
            // Begins at the camera's own key frame, whatever was asked of the line.
            (state.turned, state.gate) = (false, Gate::Open);
        }
        match state.beneath == On::Camera {
            true => self.flow.coded(at, data, now),
            false => self.unused(at),
        }
    }

    /// An access unit of the line.
    pub fn line_coded(&self, at: Mono, data: &[u8], now: Mono) {
        let mut state = self.state.lock().expect("switch lock");
        if let Gate::From(from) = state.gate
            && at + ROUNDED > from
            && Head::of(data).idr
        {
            state.gate = Gate::Open;
        }
        let on = !state.coded || *self.on.borrow() != On::Camera;
        match on && state.gate == Gate::Open && !*self.resting.borrow() {
            true => self.flow.coded(at, data, now),
            false => self.unused(at),
        }
    }

    fn unused(&self, at: Mono) {
        self.unused.increment(1);
        self.flow.unused(at);
    }

    fn refuse(&self, buffer: &gst::Buffer) {
        self.unused(time(buffer));
    }

    /// Lets go of what is of before.
    fn break_off(&self, state: &mut State) {
        state.gate = Gate::Next;
        state.waits = None;
        self.flow.break_off();
    }

    fn hand(&self, state: &mut State, buffer: &gst::Buffer, caps: &gst::Caps) {
        // Older than one before: it was overtaken, and would come out out of order.
        if *self.resting.borrow() || time(buffer) <= state.handed {
            return self.refuse(buffer);
        }
        state.handed = time(buffer);
        if let Some(tap) = state.tap.take() {
            let sample = gst::Sample::builder().buffer(buffer).caps(caps).build();
            // Who asked may have given up.
            let _ = tap.send(Tapped { sample, filmed: *self.on.borrow() == On::Camera });
        }
        if state.line.is_some() {
            self.to_line(state, buffer, caps);
        } else if let Some((before, _)) = state.waits.replace((buffer.clone(), caps.clone())) {
            self.refuse(&before);
        }
    }

    /// As if a line had taken the picture that waits.
    #[cfg(test)]
    fn taken(&self) {
        let mut state = self.state.lock().expect("switch lock");
        if let Some((buffer, _)) = state.waits.take() {
            state.begins(time(&buffer));
        }
    }

    fn to_line(&self, state: &mut State, buffer: &gst::Buffer, caps: &gst::Caps) {
        let begins = state.begins(time(buffer));
        let Some(line) = &state.line else { return };
        match begins {
            true => line.key_picture(buffer, caps),
            false => line.picture(buffer, caps),
        }
    }

    /// Turns to who is to be on, if that is a change; a key frame marks it.
    fn turn(&self, state: &mut State) {
        let to = state.covered().unwrap_or_else(|| state.beneath.clone());
        self.on.send_if_modified(|on| {
            let changes = *on != to;
            if changes {
                state.turned |= (*on == On::Camera) != (to == On::Camera);
                *on = to;
            }
            changes
        });
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

/// A picture's capture time.
fn time(buffer: &gst::BufferRef) -> Mono {
    Mono(buffer.pts().map_or(0, |pts| pts.nseconds()))
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
