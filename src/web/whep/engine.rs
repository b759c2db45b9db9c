//! The engine: one thread that serves every viewer over one UDP port.
//!
//! Comes in: sessions to serve and to end, frames, samples, datagrams. Goes
//! out: datagrams. Its work is in turns: whatever woke it, it takes all frames
//! and datagrams there are, gives each viewer concerned one turn, and sends
//! everything in batches. When the network takes no more, viewers get no turns
//! until it does, and those who fell behind skip to a key frame. Commands wait
//! in a bounded queue, opens are refused before they get here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Showing;
use super::answer::Session;
use super::gate::{Gate, SessionId};
use super::socket::{Outbox, Received, Socket};
use super::stun;
use super::telemetry::Telemetry;
use super::track::Track;
use super::viewer::{BURST_GAP, End, Mode, Surroundings, TimeLine, Viewer, received};
use crate::clock::{self, WallClock};
use crate::feed::board::Board;
use crate::model::FeedId;
use crate::status::Status;

mod restage;

/// How long the engine waits for whom.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a session to connect.
    pub to_connect: Duration,
    /// For a sign of life from a viewer; they check the path every few seconds.
    pub for_life: Duration,
    /// For the last datagrams to leave when it stops.
    pub to_drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            to_connect: Duration::from_secs(10),
            for_life: Duration::from_secs(15),
            to_drain: Duration::from_millis(500),
        }
    }
}

/// What the HTTP side asks for.
pub enum Command {
    /// Serve this session.
    Open(Box<Open>),
    /// End this session; answers whether there was one.
    Close(SessionId, End, oneshot::Sender<bool>),
}

/// A session to serve.
pub struct Open {
    /// Its seat.
    pub session: SessionId,
    /// Its feed.
    pub feed: FeedId,
    /// Its first mode.
    pub mode: Mode,
    /// The machine.
    pub made: Session,
}

/// Addresses remembered per viewer.
const SOURCES: usize = 8;
/// Datagrams read per turn, in batches: others get their turn too.
const READS: usize = 16;
/// Datagrams that wait before they are sent in the middle of a turn.
const FLUSH_AT: usize = 512;
/// Viewers' reports are read together: a wake-up for each would cost more than reading it. They
/// wait so long for each viewer that there is, as each gets its share of the wake-ups …
const REST_EACH: Duration = Duration::from_micros(200);
/// … and so long at most: a lost packet is asked for in them.
const REST: Duration = Duration::from_millis(10);
/// How often the engine looks for viewers that are gone.
const SWEEP: Duration = Duration::from_millis(250);

/// What the engine runs with.
pub struct Engine {
    socket: Socket,
    showing: watch::Receiver<Arc<Showing>>,
    /// Notified when a feed has a new frame.
    frames: Arc<Notify>,
    figures: Telemetry,
    wall: Arc<WallClock>,
    status: Status,
    gate: Gate,
    patience: Patience,
    line: TimeLine,
    /// Of what the page tells.
    number: u32,
    /// In the order of the page.
    tracks: Vec<Track>,
    viewers: Vec<Option<Box<Viewer>>>,
    free: Vec<usize>,
    by_session: HashMap<SessionId, usize>,
    by_ufrag: HashMap<String, usize>,
    by_source: HashMap<SocketAddr, usize>,
    /// When which viewer wants a turn; at most one entry counts, `queued_for`.
    turns: BinaryHeap<Reverse<(Instant, usize)>>,
    outbox: Outbox,
    blocked: bool,
    exact_delay: Duration,
    /// Viewers whose channel is open, as of the last sweep or opening.
    listening: usize,
    swept: Instant,
    /// No datagram is waited for before this.
    rests_until: Instant,
    buffer: String,
}

/// What the engine is made of.
pub struct Parts {
    /// The port.
    pub socket: Socket,
    /// The feeds, and changes of them.
    pub showing: watch::Receiver<Arc<Showing>>,
    /// The figures.
    pub board: Arc<Board>,
    /// UTC.
    pub wall: Arc<WallClock>,
    /// The feeds' states.
    pub status: Status,
    /// Told who connects and leaves.
    pub gate: Gate,
    /// How long to wait.
    pub patience: Patience,
}

impl Engine {
    /// An engine without viewers.
    pub fn new(parts: Parts) -> Self {
        let Parts { socket, showing, board, wall, status, gate, patience } = parts;
        let now = Instant::now();
        let mut engine = Self {
            socket,
            figures: Telemetry::new(board, wall.clone(), now),
            showing,
            frames: Arc::default(),
            wall,
            status,
            gate,
            patience,
            line: TimeLine(now, clock::now()),
            number: 0,
            tracks: Vec::new(),
            viewers: Vec::new(),
            free: Vec::new(),
            by_session: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_source: HashMap::new(),
            turns: BinaryHeap::new(),
            outbox: Outbox::default(),
            blocked: false,
            exact_delay: Duration::ZERO,
            listening: 0,
            swept: now,
            rests_until: now,
            buffer: String::new(),
        };
        engine.restage();
        engine
    }

    /// Serves until `stop`, then says good-bye to everyone.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let (frames, mut showing) = (self.frames.clone(), self.showing.clone());
        showing.mark_changed();
        while !stop.is_cancelled() {
            let wake = tokio::time::Instant::from_std(self.wake());
            let (listeners, rests) = (self.listeners(), self.rests_until > Instant::now());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = frames.notified() => {}
                ready = self.socket.readable(), if !rests => {
                    ready.context("media port: wait for datagrams")?;
                }
                ready = self.socket.writable(), if self.blocked => {
                    ready.context("media port: wait for room")?;
                }
                () = self.figures.take(listeners) => {}
                // An error is the end of who could change it.
                Ok(()) = showing.changed() => self.restage(),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            // Before anything is read: whoever has an answer is known when its first check comes.
            while let Ok(command) = commands.try_recv() {
                self.command(command);
            }
            self.turn()?;
        }
        self.good_bye().await;
        Ok(())
    }

    /// When something is due even if nothing happens.
    fn wake(&self) -> Instant {
        let sweep = self.swept + SWEEP;
        if self.blocked {
            return sweep;
        }
        let turn = self.turns.peek().map_or(sweep, |Reverse((at, _))| *at);
        let now = Instant::now();
        let figures = match self.listeners() {
            true => self.figures.due(now),
            false => sweep,
        };
        let rested = if self.rests_until > now { self.rests_until } else { sweep };
        sweep.min(turn).min(figures).min(rested)
    }

    fn listeners(&self) -> bool {
        self.listening > 0
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.read()?;
        if self.blocked {
            self.flush();
        }
        let now = Instant::now();
        if !self.blocked {
            self.figures_and_frames(now);
            self.due(now);
        } else {
            self.tracks.iter_mut().for_each(|track| _ = track.take_new());
        }
        if now.duration_since(self.swept) >= SWEEP {
            self.sweep(now);
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        self.blocked = !self.socket.flush(&mut self.outbox);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(open) => {
                let Open { session, feed, mode, made } = *open;
                let now = Instant::now();
                let Some(feed) = self.tracks.iter().position(|track| track.id == feed) else {
                    // It went while the answer was made.
                    return self.gate.left(&session);
                };
                let watching = self.tracks[feed].watch();
                // Fresh by the time it connects. Browsers learn from the first frames
                // how RTP time runs against theirs: a long GOP all at once teaches them
                // wrong, and for a minute they keep no playout delay.
                self.tracks[feed].want_key(now);
                let name = &*self.tracks[feed].id.0;
                let viewer = Viewer::new(session.clone(), (feed, name), mode, made, watching, now);
                let at = self.free.pop().unwrap_or_else(|| {
                    self.viewers.push(None);
                    self.viewers.len() - 1
                });
                self.by_session.insert(session, at);
                self.by_ufrag.insert(viewer.ufrag.clone(), at);
                self.viewers[at] = Some(Box::new(viewer));
                // Its first check is not to wait with the others' reports.
                self.rests_until = now;
                self.after(at, now);
            }
            Command::Close(session, end, reply) => {
                let found = self.by_session.get(&session).copied();
                if let Some(at) = found {
                    self.end(at, end);
                }
                // The asker may have gone away.
                let _ = reply.send(found.is_some());
            }
        }
    }

    /// Reads what there is and gives it to whom it belongs.
    fn read(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut any = false;
        for _ in 0..READS {
            let mut touched = Vec::new();
            let Self { socket, viewers, by_ufrag, by_source, outbox, .. } = self;
            let more = socket.read(|datagram| {
                let Received { from, to, data } = datagram;
                let ufrag = stun::ufrag(data);
                let at = match ufrag {
                    Some(ufrag) => by_ufrag.get(ufrag),
                    None => by_source.get(&from),
                };
                let Some(viewer) = at.and_then(|at| viewers.get_mut(*at)?.as_mut()) else { return };
                let mut choice = None;
                if ufrag.is_some() {
                    // Whoever knows the password: an address of this viewer.
                    let check = received(from, to, data);
                    if !check.is_some_and(|check| viewer.accepts(check, now)) {
                        return;
                    }
                    let at = by_ufrag[&viewer.ufrag];
                    if !viewer.sources.contains(&from) {
                        if viewer.sources.len() == SOURCES {
                            let oldest = viewer.sources.remove(0);
                            by_source.remove(&oldest);
                        }
                        viewer.sources.push(from);
                    }
                    by_source.insert(from, at);
                    choice = viewer.choice(data);
                }
                let Some(receive) = received(from, to, choice.as_deref().unwrap_or(data)) else {
                    return;
                };
                viewer.receive(receive, now, outbox);
                if let Some(at) = by_ufrag.get(&viewer.ufrag) {
                    touched.push(*at);
                }
            });
            let more = more.context("media port: read")?;
            any |= !touched.is_empty();
            touched.sort_unstable();
            touched.dedup();
            for at in touched {
                self.after(at, now);
            }
            if !more {
                break;
            }
        }
        if any {
            self.rests_until = now + self.rest();
        }
        Ok(())
    }

    /// How long datagrams may wait; not at all while somebody is coming in.
    fn rest(&self) -> Duration {
        match self.viewers.iter().flatten().all(|viewer| viewer.connected) {
            true => (REST_EACH * self.by_session.len() as u32).min(REST),
            false => Duration::ZERO,
        }
    }

    /// Messages and frames go together where both are there: one turn for both.
    fn figures_and_frames(&mut self, now: Instant) {
        let new: Vec<bool> = self.tracks.iter_mut().map(Track::take_new).collect();
        let listeners = self.listeners();
        let mono = self.line.mono(now);
        let figures = listeners && self.figures.due(now) <= now;
        let chunks = match figures {
            true => self.figures.tick(now, mono),
            false => Vec::new(),
        };
        if !listeners {
            self.figures.idle();
        }
        if !figures && !new.contains(&true) {
            return;
        }
        self.exact_delay = self.figures.lag.delay(now);
        let heads: Vec<String> = match figures {
            true => (0..self.tracks.len()).map(|feed| self.head(feed)).collect(),
            false => Vec::new(),
        };
        for at in 0..self.viewers.len() {
            let Some(viewer) = self.viewers[at].as_mut() else { continue };
            if !viewer.connected {
                continue;
            }
            let speaks = figures && viewer.listens();
            if speaks {
                for chunk in &chunks {
                    viewer.message(&heads[viewer.feed], chunk, false, &mut self.buffer);
                }
            }
            if new[viewer.feed] {
                self.pump(at, now);
            } else if speaks {
                viewer.timeout(now, &mut self.outbox);
                self.after(at, now);
            }
            if self.outbox.len() >= FLUSH_AT {
                self.flush();
                if self.blocked {
                    // The others find these frames in the track when there is room.
                    return;
                }
            }
        }
    }

    /// The part of a message that all viewers of a feed share.
    fn head(&self, feed: usize) -> String {
        let captured = self.tracks[feed].newest().map(|frame| frame.captured);
        let at = captured.unwrap_or_else(clock::now);
        let (rtp, utc) = (at.rtp(), self.wall.utc(at).0);
        let lock = serde_json::json!(self.wall.lock());
        let state = crate::web::state_json(&self.status, &self.tracks[feed].id, &self.wall);
        let viewers = self.gate.viewers();
        // By this the page knows its clock from ours, and so the true latency.
        let sent = self.wall.utc(clock::now()).0;
        format!(
            "\"studio\":{},\"rtp\":{rtp},\"utc_us\":{utc},\"sent_utc_us\":{sent},\"clock\":{lock},\"state\":{state},\"viewers\":{viewers},",
            self.number,
        )
    }

    /// One viewer's turn with its track.
    fn pump(&mut self, at: usize, now: Instant) {
        let Some(viewer) = self.viewers[at].as_mut() else { return };
        let track = &mut self.tracks[viewer.feed];
        let about =
            Surroundings { wall: &self.wall, exact_delay: self.exact_delay, line: self.line };
        viewer.pump(track, now, &about, &mut self.outbox);
        viewer.judge(track);
        self.after(at, now);
    }

    /// Those whose time has come.
    fn due(&mut self, now: Instant) {
        while let Some(Reverse((at, index))) = self.turns.peek().copied()
            && at <= now
            && !self.blocked
        {
            self.turns.pop();
            let Some(viewer) = self.viewers[index].as_mut() else { continue };
            if viewer.queued_for != Some(at) {
                continue;
            }
            viewer.queued_for = None;
            if viewer.due() > now {
                self.queue(index, now);
                continue;
            }
            if viewer.connected {
                self.pump(index, now);
            } else {
                viewer.timeout(now, &mut self.outbox);
                self.after(index, now);
            }
            if self.outbox.len() >= FLUSH_AT {
                self.flush();
            }
        }
    }

    /// Acts on what a viewer's turn brought, and notes when it wants the next.
    fn after(&mut self, at: usize, now: Instant) {
        let Some(viewer) = self.viewers[at].as_mut() else { return };
        let news = std::mem::take(&mut viewer.news);
        if let Some(end) = news.end {
            self.end(at, end);
            return;
        }
        if news.connected {
            viewer.span.in_scope(|| info!(after = ?now.duration_since(viewer.opened), "connected"));
            self.gate.connected(&viewer.session);
            let track = &mut self.tracks[viewer.feed];
            if viewer.join(track, now) {
                track.want_key(now);
            }
            metrics::gauge!("floorcast_web_viewers").set(self.gate.viewers() as f64);
        }
        if news.key_wanted {
            self.tracks[viewer.feed].want_key(now);
        }
        if news.channel {
            self.listening += 1;
            let opening = self.figures.opening(self.line.mono(now));
            let feed = viewer.feed;
            let head = self.head(feed);
            if let Some(viewer) = self.viewers[at].as_mut() {
                for chunk in &opening {
                    viewer.message(&head, chunk, true, &mut self.buffer);
                }
            }
        }
        if news.connected || news.channel {
            self.pump(at, now);
            return;
        }
        self.queue(at, now);
    }

    /// Notes when a viewer wants its next turn, unless an earlier note stands:
    /// that one finds out and notes again.
    fn queue(&mut self, at: usize, now: Instant) {
        let Some(viewer) = self.viewers[at].as_mut() else { return };
        let due = viewer.due().max(now + BURST_GAP);
        if viewer.queued_for.is_none_or(|queued| due < queued) {
            viewer.queued_for = Some(due);
            self.turns.push(Reverse((due, at)));
        }
    }

    /// Ends a session.
    fn end(&mut self, at: usize, end: End) {
        let Some(mut viewer) = self.viewers[at].take() else { return };
        viewer.close(Instant::now(), &mut self.outbox);
        let (reason, seen) = (end.name(), viewer.opened.elapsed());
        viewer.span.in_scope(|| match viewer.connected {
            true => info!(reason, ?seen, skips = viewer.skips, "gone"),
            false => debug!(reason, ?seen, "gone before it connected"),
        });
        metrics::counter!("floorcast_web_sessions_ended_total", "reason" => reason).increment(1);
        self.gate.left(&viewer.session);
        self.by_session.remove(&viewer.session);
        self.by_ufrag.remove(&viewer.ufrag);
        for source in &viewer.sources {
            if self.by_source.get(source) == Some(&at) {
                self.by_source.remove(source);
            }
        }
        self.free.push(at);
        metrics::gauge!("floorcast_web_viewers").set(self.gate.viewers() as f64);
    }

    /// Ends sessions of which nothing is heard.
    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        self.listening = self.viewers.iter().flatten().filter(|v| v.listens()).count();
        for at in 0..self.viewers.len() {
            let Some(viewer) = self.viewers[at].as_ref() else { continue };
            let never =
                !viewer.connected && now.duration_since(viewer.opened) >= self.patience.to_connect;
            let silent =
                viewer.connected && now.duration_since(viewer.heard) >= self.patience.for_life;
            if never {
                self.end(at, End::NeverCame);
            } else if silent {
                self.end(at, End::Silent);
            }
        }
    }

    /// Ends all sessions and waits for the last datagrams to leave.
    async fn good_bye(&mut self) {
        let count = self.viewers.iter().flatten().count();
        (0..self.viewers.len()).for_each(|at| self.end(at, End::Stopping));
        self.flush();
        let patience = self.patience.to_drain;
        let drained = async {
            while self.blocked && self.socket.writable().await.is_ok() {
                self.flush();
            }
        };
        let _ = tokio::time::timeout(patience, drained).await;
        info!(viewers = count, "said good-bye");
    }
}
