//! One viewer: a str0m session and its place in a feed.
//!
//! Comes in: frames of its feed by place, messages, datagrams, time. Goes out:
//! datagrams into the outbox. A viewer never waits in line: what it cannot
//! take now it finds in the track later, or skips to the next key frame.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use str0m::channel::ChannelId;
use str0m::media::{MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite};
use str0m::{Event, IceConnectionState, Input, Output, Reason, Rtc};
use tracing::{Span, debug, info_span};

use super::answer::Session;
use super::gate::SessionId;
use super::socket::{Datagram, Outbox};
use super::stun;
use super::telemetry::{Chunk, Kind};
use super::track::{Packed, Track};
use crate::clock::WallClock;
use crate::feed::ring::Watching;
use crate::model::Mono;

/// Packets sent to one viewer at once; more would overrun its socket.
pub const BURST: usize = 40;
/// Of these, packets written before the session is drained: it keeps room for
/// as many as it ever held at once.
const SLICE: usize = 12;
/// The rest of a burst follows after this.
pub const BURST_GAP: Duration = Duration::from_millis(1);
/// A viewer further behind than this skips to a newer key frame.
const BEHIND: Duration = Duration::from_secs(1);
/// Abs-capture-time goes with one frame per this (its specification), and
/// playout-delay with it, in case the viewer lost an earlier one.
const STAMP_EVERY: Duration = Duration::from_secs(1);
/// The first picture is shown at once: no playout delay before this, by when
/// the figures of the past have come.
const PROMPT: Duration = Duration::from_millis(400);
/// A new playout delay goes with every frame for this long.
const ANNOUNCE: Duration = Duration::from_secs(2);
/// More resent packets than this per second and a third of all: the way to
/// the viewer is too narrow.
const RESENT: u32 = 60;
/// More than this per second asks for an end.
const RESENT_MOST: u32 = 3000;
/// Data channels that a viewer may open.
const CHANNELS: u8 = 4;
/// Bytes that may wait on a channel before ticks are left out: what waits longer is old news.
const CHANNEL_WAITS: usize = 24 << 10;
/// While str0m only wants its pacer wound, the next frame does that.
const PACER_REST: Duration = Duration::from_millis(100);

/// How a viewer wants frames and figures to meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Frames wait for their figures.
    Exact,
    /// Frames wait for nothing.
    Fast,
}

impl Mode {
    /// As in URLs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }

    /// From URLs and messages.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Exact, Self::Fast].into_iter().find(|mode| mode.name() == name)
    }
}

/// Where a viewer is in its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the next key frame at or after this place.
    BeforeKey(u64),
    /// At a packet of a frame.
    At { frame: u64, packet: usize },
}

/// Why a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The viewer said good-bye.
    Left,
    /// Nothing was heard of it any more.
    Silent,
    /// It never connected.
    NeverCame,
    /// Another took its seat.
    Yielded,
    /// It asks for more than a viewer would.
    Abuse,
    /// Its session broke.
    Broken,
    /// Its feed is no longer in the studio.
    NoFeed,
    /// We stop.
    Stopping,
}

impl End {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Silent => "silent",
            Self::NeverCame => "never_came",
            Self::Yielded => "yielded",
            Self::Abuse => "abuse",
            Self::Broken => "broken",
            Self::NoFeed => "no_feed",
            Self::Stopping => "stopping",
        }
    }
}

/// What a turn brought to light; the engine acts on it and clears it.
#[derive(Default)]
pub struct News {
    /// It has just connected.
    pub connected: bool,
    /// Its telemetry channel has just opened.
    pub channel: bool,
    /// It asks for a key frame.
    pub key_wanted: bool,
    /// It is over.
    pub end: Option<End>,
}

/// One viewer.
pub struct Viewer {
    /// Its seat.
    pub session: SessionId,
    /// Index of its feed.
    pub feed: usize,
    /// Its user fragment, by which its checks are known.
    pub ufrag: String,
    /// Our password, until its first check has chosen a path.
    password: Option<String>,
    /// Addresses known to be its own.
    pub sources: Vec<SocketAddr>,
    /// Connected: gets frames.
    pub connected: bool,
    /// When it was opened.
    pub opened: Instant,
    /// When it was last heard.
    pub heard: Instant,
    /// Its mode.
    pub mode: Mode,
    /// What the engine has to act on.
    pub news: News,
    wake: Instant,
    /// When the rest of a burst goes on.
    resume: Option<Instant>,
    /// The note of that in the engine's queue.
    pub queued_for: Option<Instant>,
    /// Its log span.
    pub span: Span,
    /// Times it skipped to a key frame.
    pub skips: u64,
    /// From the first word on: the picture comes while the path is found.
    _watching: Watching,
    rtc: Rtc,
    mid: Mid,
    pt: Pt,
    rtx: Option<u32>,
    place: Place,
    sequence: u64,
    stamped: Option<Mono>,
    delay: Duration,
    announce_until: Instant,
    joined: Instant,
    channel: Option<ChannelId>,
    channels: u8,
    messages: u64,
    second: Instant,
    sent: u32,
    resent: u32,
}

/// What viewers need of the engine.
pub struct Surroundings<'a> {
    /// For capture times on the wire.
    pub wall: &'a WallClock,
    /// The playout delay of exact viewers.
    pub exact_delay: Duration,
    /// Monotonic time and the same as `Instant`.
    pub line: TimeLine,
}

/// `Mono` to `Instant` and back: the same clock, another zero.
#[derive(Clone, Copy)]
pub struct TimeLine(pub Instant, pub Mono);

impl TimeLine {
    /// The `Instant` of a monotonic time.
    pub fn instant(self, at: Mono) -> Instant {
        let TimeLine(instant, mono) = self;
        if at >= mono {
            instant + at.since(mono)
        } else {
            instant.checked_sub(mono.since(at)).unwrap_or(instant)
        }
    }

    /// The monotonic time of an `Instant`.
    pub fn mono(self, at: Instant) -> Mono {
        let TimeLine(instant, mono) = self;
        mono + at.saturating_duration_since(instant)
    }
}

impl Viewer {
    /// A viewer that has not connected yet.
    pub fn new(
        session: SessionId,
        feed: (usize, &str),
        mode: Mode,
        made: Session,
        watching: Watching,
        now: Instant,
    ) -> Self {
        let short: String = session.chars().take(8).collect();
        let span = info_span!("viewer", session = short, feed = feed.1);
        Self {
            session,
            feed: feed.0,
            ufrag: made.ufrag,
            password: Some(made.password),
            sources: Vec::new(),
            connected: false,
            opened: now,
            heard: now,
            mode,
            news: News::default(),
            wake: now,
            resume: None,
            queued_for: None,
            span,
            skips: 0,
            _watching: watching,
            rtc: made.rtc,
            mid: made.mid,
            pt: made.pt,
            rtx: made.rtx,
            place: Place::BeforeKey(0),
            // Small, so that viewers and we agree on the roll-over count (RFC 3711, 3.3.1).
            sequence: u64::from(rand::random::<u16>() >> 2),
            stamped: None,
            delay: Duration::ZERO,
            announce_until: now,
            joined: now,
            channel: None,
            channels: 0,
            messages: 0,
            second: now,
            sent: 0,
            resent: 0,
        }
    }

    /// Whether its telemetry channel is open.
    pub fn listens(&self) -> bool {
        self.channel.is_some()
    }

    /// The playout delay it was told.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Whether the session takes this datagram as its own.
    pub fn accepts(&self, receive: Receive, now: Instant) -> bool {
        self.rtc.accepts(&Input::Receive(now, receive))
    }

    /// The first accepted check, as one that chooses its path; see [`stun::choosing`].
    pub fn choice(&mut self, check: &[u8]) -> Option<Vec<u8>> {
        stun::choosing(check, &self.password.take()?)
    }

    /// Takes a datagram.
    pub fn receive(&mut self, receive: Receive, now: Instant, outbox: &mut Outbox) {
        self.heard = now;
        let input = Input::Receive(now, receive);
        self.turn(input, now, outbox);
    }

    /// Its time has come.
    pub fn timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        self.turn(Input::Timeout(now), now, outbox);
    }

    fn turn(&mut self, input: Input, now: Instant, outbox: &mut Outbox) {
        let result = match self.rtc.handle_input(input) {
            Ok(()) => self.drain(now, outbox),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.span.in_scope(|| debug!("session broke: {error}"));
            self.news.end.get_or_insert(End::Broken);
        }
    }

    fn drain(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), str0m::RtcError> {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.sent, self.resent) = (now, 0, 0);
        }
        loop {
            match self.rtc.poll_output()? {
                Output::Transmit(transmit) => {
                    let data: Vec<u8> = transmit.contents.into();
                    self.account(&data);
                    if self.resent > RESENT_MOST {
                        // It will be told to leave; what it asked for stays here.
                        self.news.end.get_or_insert(End::Abuse);
                        continue;
                    }
                    let (to, from) = (transmit.destination, transmit.source.ip());
                    outbox.push(Datagram { to, from, data });
                }
                Output::Event(event) => self.event(event),
                Output::Timeout(at) => {
                    let pacer = matches!(self.rtc.last_timeout_reason(), Reason::Pacer(_));
                    self.wake = if pacer { now + PACER_REST } else { at };
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.news.end.get_or_insert(End::Left);
        }
        Ok(())
    }

    fn account(&mut self, data: &[u8]) {
        // RTP (RFC 7983) with its SSRC in the clear.
        if let [128..=191, pt, ..] = data
            && !(64..96).contains(&(pt & 0x7f))
            && let Some(ssrc) = data.get(8..12)
        {
            let ssrc = u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]);
            if Some(ssrc) == self.rtx {
                self.resent += 1;
            } else {
                self.sent += 1;
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.news.connected = true;
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.news.end.get_or_insert(End::Silent);
            }
            Event::Closed => _ = self.news.end.get_or_insert(End::Left),
            Event::ChannelOpen(id, label) => {
                self.channels = self.channels.saturating_add(1);
                if self.channels > CHANNELS {
                    self.news.end.get_or_insert(End::Abuse);
                } else if label == "telemetry" {
                    self.channel = Some(id);
                    self.news.channel = true;
                }
            }
            Event::ChannelClose(id) if self.channel == Some(id) => self.channel = None,
            Event::ChannelData(data) => match mode_wish(&data.data) {
                Some(mode) => self.mode = mode,
                None => metrics::counter!("floorcast_web_messages_ignored_total").increment(1),
            },
            Event::KeyframeRequest(_) => self.news.key_wanted = true,
            _ => {}
        }
    }

    /// Starts at the cached GOP, or waits for the next key frame; true if it waits.
    pub fn join(&mut self, track: &Track, now: Instant) -> bool {
        self.joined = now;
        self.place = match track.replay_from() {
            Some(frame) => Place::At { frame, packet: 0 },
            None => Place::BeforeKey(track.end()),
        };
        track.replay_from().is_none()
    }

    /// When it wants its next turn.
    pub fn due(&self) -> Instant {
        self.resume.map_or(self.wake, |at| at.min(self.wake))
    }

    /// Sends what the track has for it, at most [`BURST`] packets; the rest at
    /// [`Self::due`]. The session has had its turn either way.
    pub fn pump(&mut self, track: &Track, now: Instant, about: &Surroundings, outbox: &mut Outbox) {
        self.fall_back_if_behind(track);
        let mut left = BURST;
        loop {
            let written = self.write_slice(track, left.min(SLICE), now, about);
            self.timeout(now, outbox);
            left -= written;
            if written < SLICE || left == 0 || self.news.end.is_some() {
                break;
            }
        }
        let more =
            left == 0 && matches!(self.place, Place::At { frame, .. } if frame < track.end());
        self.resume = more.then(|| now + BURST_GAP);
    }

    /// Writes at most `most` packets from its place on; how many.
    fn write_slice(
        &mut self,
        track: &Track,
        most: usize,
        now: Instant,
        about: &Surroundings,
    ) -> usize {
        let mut left = most;
        while left > 0 {
            let (frame, packet) = match self.place {
                Place::At { frame, packet } => (frame, packet),
                Place::BeforeKey(from) => match track.newest_key(from) {
                    Some(frame) => (frame, 0),
                    None => break,
                },
            };
            self.place = Place::At { frame, packet };
            let Some(packed) = track.get(frame) else { break };
            let until = packed.payloads.len().min(packet + left);
            self.write(packed, packet..until, now, about);
            left -= until - packet;
            self.place = if until == packed.payloads.len() {
                Place::At { frame: frame + 1, packet: 0 }
            } else {
                Place::At { frame, packet: until }
            };
        }
        most - left
    }

    /// A place that is gone or too old becomes that of a newer key frame.
    fn fall_back_if_behind(&mut self, track: &Track) {
        let Place::At { frame, packet } = self.place else { return };
        let gone = frame < track.end() && track.get(frame).is_none();
        let old = |packed: &Packed| {
            let newest = track.newest().map_or(packed.captured, |p| p.captured);
            newest.since(packed.captured) > BEHIND
        };
        let joining = packet == 0 && track.replay_from() == Some(frame);
        let newer = track.newest_key(frame + 1).is_some();
        let behind = newer && !joining && track.get(frame).is_some_and(|p| old(p));
        if gone || behind {
            self.skip(frame + 1, "behind");
        }
    }

    /// Leaves out everything before the next key frame at or after `from`.
    fn skip(&mut self, from: u64, cause: &'static str) {
        self.place = Place::BeforeKey(from);
        self.skips += 1;
        metrics::counter!("floorcast_web_viewer_skips_total", "cause" => cause).increment(1);
        self.span.in_scope(|| debug!(cause, "skips to the next key frame"));
    }

    /// Looks at the last second: a viewer that has too much sent again skips.
    pub fn judge(&mut self, track: &Track) {
        if self.resent > RESENT && self.resent * 2 > self.sent {
            self.resent = 0;
            if let Place::At { .. } = self.place {
                self.skip(track.end(), "loss");
            }
        }
    }

    fn write(
        &mut self,
        frame: &Packed,
        packets: std::ops::Range<usize>,
        now: Instant,
        about: &Surroundings,
    ) {
        let delay = match self.mode {
            Mode::Exact if now.duration_since(self.joined) >= PROMPT => about.exact_delay,
            Mode::Exact | Mode::Fast => Duration::ZERO,
        };
        if delay != self.delay || self.stamped.is_none() {
            self.delay = delay;
            self.announce_until = now + ANNOUNCE;
        }
        // All packets of a frame carry the same extensions: equal sizes for GSO.
        let stamp = match self.stamped {
            Some(at) => at == frame.captured || frame.captured.since(at) >= STAMP_EVERY,
            None => true,
        };
        let mut extensions = ExtensionValues::default();
        if stamp {
            self.stamped = Some(frame.captured);
            let utc = about.wall.utc(frame.captured).0.max(0) as u64;
            let capture_time = SystemTime::UNIX_EPOCH + Duration::from_micros(utc);
            extensions.abs_capture_time = Some(AbsCaptureTime { capture_time, clock_offset: None });
        }
        if stamp || now < self.announce_until {
            let delay = MediaTime::from_millis(self.delay.as_millis() as u64);
            extensions.play_delay_min = Some(delay);
            extensions.play_delay_max = Some(delay);
        }
        let wallclock = about.line.instant(frame.captured).min(now);
        let last = frame.payloads.len() - 1;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.mid, None) else { return };
        for i in packets {
            self.sequence += 1;
            let time = frame.captured.rtp();
            let payload = frame.payloads[i].clone();
            let rtp = RtpWrite::new(self.pt, self.sequence.into(), time, wallclock, payload)
                .marker(i == last)
                .ext_vals(extensions.clone())
                .nackable(true);
            stream.write_rtp(rtp);
        }
    }

    /// Writes a message to its channel. When the channel is full the message
    /// is left out and counted: later ones repeat what it said. The `first`
    /// messages, which tell the past, may fill it.
    pub fn message(&mut self, feed: &str, chunk: &Chunk, first: bool, buffer: &mut String) {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return };
        let kind = match chunk.kind {
            Kind::Delta => "delta",
            Kind::Snapshot => "snapshot",
        };
        let (mode, delay) = (self.mode.name(), self.delay.as_millis());
        buffer.clear();
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = write!(
            buffer,
            "{{\"v\":1,\"seq\":{},\"kind\":\"{kind}\",{feed}\"mode\":\"{mode}\",\
             \"delay_ms\":{delay},\"tags\":[{}]}}",
            self.messages, chunk.tags
        );
        self.messages += 1;
        let full = !first && channel.buffered_amount() > CHANNEL_WAITS;
        if full || !matches!(channel.write(false, buffer.as_bytes()), Ok(true)) {
            metrics::counter!("floorcast_web_messages_skipped_total").increment(1);
        }
    }

    /// Says good-bye: RTCP BYE and DTLS close_notify.
    pub fn close(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.rtc.close().is_ok() {
            let _ = self.drain(now, outbox);
        }
    }
}

/// `{"mode":"exact"|"fast"}`; everything else is no wish.
fn mode_wish(data: &[u8]) -> Option<Mode> {
    if data.len() > 256 {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    Mode::parse(value.get("mode")?.as_str()?)
}

/// A datagram as str0m takes it; nothing if it is none of WebRTC's (RFC 7983)
/// or RTP, which viewers do not send.
pub fn received<'a>(from: SocketAddr, to: SocketAddr, data: &'a [u8]) -> Option<Receive<'a>> {
    if let [128..=191, second, ..] = data
        && !(64..96).contains(&(second & 0x7f))
    {
        return None;
    }
    Receive::new(Protocol::Udp, from, to, data).ok()
}
