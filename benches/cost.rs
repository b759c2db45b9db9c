//! What a camera costs: beside the encoder, and while its feed rests.
//!
//! `cargo bench --bench cost [-- PAIRS]`. Comes in: gst-launch-1.0. Goes out: a
//! line per figure with its target, and exit code 1 if one is missed.
//!
//! The same pictures go through the same encoder with the same settings, once
//! here and once in a bare gst-launch-1.0, in real time and in turns; what one
//! picture costs is compared, and the share is the median of the pairs. There
//! the pictures come from files that the kernel holds in memory, here from
//! memory: neither draws.
#![allow(clippy::print_stdout, missing_docs)]

mod film;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use film::pictures;
use floorcast::capture::encoder::ladder::{Amount, LADDER};
use floorcast::capture::{self, Look, Pixels, RawPicture, Source, Style};
use floorcast::clock;
use floorcast::config::Problems;
use floorcast::config::camera::{CameraFile, Settings};
use floorcast::feed::ring::Ring;
use floorcast::model::Label;
use floorcast::status::{State, Status};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u32 = 30;
const KBPS: u32 = 2500;
const GOP: u32 = 60;
const ENCODER: &str = "x264enc";

/// Until everything has started.
const WARM: Duration = Duration::from_secs(2);
/// Processor time is taken over this.
const SPAN: Duration = Duration::from_secs(6);

/// The most of each figure; a resting feed is there within the join time.
const SHARE: f64 = 1.15;
const RESTING: f64 = 0.15;
const JOIN_MS: f64 = 300.0;

/// Processor seconds of a process so far, kernel time included.
fn used(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read its stat")?;
    let rest = stat.rsplit(") ").next().context("no name in its stat")?;
    let field = |n: usize| rest.split(' ').nth(n).and_then(|f| f.parse::<f64>().ok());
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    // SAFETY: takes a number, returns a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(ticks.context("no times in its stat")? / per_second)
}

/// Share of one core that a process uses over [`SPAN`].
async fn rate(pid: u32) -> Result<f64> {
    let (before, began) = (used(pid)?, clock::now());
    sleep(SPAN).await;
    Ok((used(pid)? - before) / clock::now().since(began).as_secs_f64())
}

/// A camera that is filmed in real time.
struct Filmed {
    ring: Arc<Ring>,
    status: Status,
    _settings: watch::Sender<Settings>,
    stop: CancellationToken,
    run: JoinHandle<Result<()>>,
    film: JoinHandle<()>,
}

impl Filmed {
    fn start(pictures: &[Bytes], on_demand: bool) -> Result<Self> {
        let mut problems = Problems::default();
        let text = format!(
            "id = \"cost\"\nport = \"sim:line\"\nwidth = {WIDTH}\nheight = {HEIGHT}\n\
             fps = {FPS}\nbitrate_kbps = {KBPS}\ngop_frames = {GOP}\n\
             encoder = \"{ENCODER}\"\non_demand = {on_demand}"
        );
        let camera = toml::from_str::<CameraFile>(&text)?.check("camera", &mut problems);
        ensure!(problems.is_empty(), "{problems}");
        let (line, push) = capture::push::channel("cost", Pixels::I420, WIDTH, HEIGHT, FPS);
        let (ring, status) = (Ring::new("cost".into()), Status::new());
        let (settings, stop) = (watch::Sender::new(camera.settings()), CancellationToken::new());
        let wall = Arc::new(clock::WallClock::new());
        let style = Style { brand: Label::default(), accent: "#d98a1f".into() };
        let run = tokio::spawn(capture::run(
            camera,
            settings.subscribe(),
            Source::Push(push),
            Look { style: watch::channel(style).1, wall },
            ring.clone(),
            status.clone(),
            stop.clone(),
        ));
        let pictures = pictures.to_vec();
        let film = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / FPS);
            for data in pictures.iter().cycle() {
                tick.tick().await;
                line.push(RawPicture { at: clock::now(), data: data.clone() });
            }
        });
        Ok(Self { ring, status, _settings: settings, stop, run, film })
    }

    /// Waits for a state, at most 20 s.
    async fn becomes(&self, state: State) -> Result<()> {
        let mut changes = self.status.changes();
        let wait = async {
            while self.status.get("feed/cost").is_none_or(|health| health.state != state) {
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .with_context(|| format!("the feed was not {state:?} in 20 s"))
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.film.abort();
        self.run.await?
    }
}

/// The bare pipeline: the ladder's own settings of the encoder, nothing else.
/// Processor seconds for so many pictures.
fn gst_launch(files: &std::path::Path, pictures: u32) -> Result<f64> {
    let rung = LADDER.iter().find(|rung| rung.name == ENCODER).context("no such rung")?;
    let sets = rung.sets.iter().map(|(name, amount)| match amount {
        Amount::Is(text) => format!("{name}={text}"),
        Amount::Kbps => format!("{name}={KBPS}"),
        Amount::Bps | Amount::BpsIn { .. } => format!("{name}={}", KBPS * 1000),
        Amount::Gop => format!("{name}={GOP}"),
    });
    let location = format!("location={}", files.join("%02d.raw").display());
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "multifilesrc", &location, "loop=true", "stop-index=29"]);
    command.arg(format!("num-buffers={pictures}"));
    command.args(["!", "rawvideoparse", "format=i420", "colorimetry=bt709"]);
    command.args([format!("width={WIDTH}"), format!("height={HEIGHT}")]);
    command.arg(format!("framerate={FPS}/1"));
    command.args(["!", "identity", "sync=true", "!", ENCODER]).args(sets);
    command.args(["!", rung.output, "!", "fakesink", "sync=false"]);
    command.stdout(Stdio::null()).stdin(Stdio::null());
    let child = command.spawn().context("start gst-launch-1.0 (package gstreamer1.0-tools)")?;
    let mut status = 0;
    // SAFETY: all-zero is valid for plain integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, waited for only here; both are valid for the call.
    let ended = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    ensure!(ended > 0 && status == 0, "gst-launch-1.0 failed: {status}");
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// Processor seconds of one picture, without the start.
fn bare(files: &std::path::Path) -> Result<f64> {
    let (start, more) = (FPS, FPS * SPAN.as_secs() as u32);
    let whole = gst_launch(files, start + more)?;
    Ok((whole - gst_launch(files, start)?) / f64::from(more))
}

/// The same of ours; also how many pictures of 100 were encoded.
async fn ours(pictures: &[Bytes]) -> Result<(f64, f64)> {
    let filmed = Filmed::start(pictures, false)?;
    sleep(WARM).await;
    filmed.becomes(State::Live).await?;
    let newest = || filmed.ring.newest().map_or(0, |frame| frame.seq);
    let (before, began) = (newest(), clock::now());
    let rate = rate(std::process::id()).await?;
    let (frames, span) = ((newest() - before) as f64, clock::now().since(began).as_secs_f64());
    filmed.end().await?;
    Ok((rate * span / frames, frames / span / f64::from(FPS) * 100.0))
}

/// Prints a figure beside its target; whether it is met.
fn figure(what: &str, seen: f64, most: f64, unit: &str) -> bool {
    let missed = if seen > most { "   MISSED" } else { "" };
    println!("{what:<58} {seen:8.2} {unit}   at most {most} {unit}{missed}");
    seen <= most
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn share(pictures: &[Bytes], pairs: usize) -> Result<bool> {
    let files = tempfile::tempdir()?;
    for (n, data) in pictures.iter().enumerate() {
        std::fs::write(files.path().join(format!("{n:02}.raw")), data)?;
    }
    let mut shares = Vec::new();
    for _ in 0..pairs {
        let at = files.path().to_owned();
        let bare = tokio::task::spawn_blocking(move || bare(&at)).await??;
        let (ours, encoded) = ours(pictures).await?;
        println!(
            "  a picture: gst-launch {:.2} ms, floorcast {:.2} ms ({encoded:.0} of 100 encoded)",
            bare * 1000.0,
            ours * 1000.0
        );
        shares.push(ours / bare);
    }
    Ok(figure("CPU of a camera, share of a bare gst-launch-1.0", median(shares), SHARE, ""))
}

async fn resting(pictures: &[Bytes]) -> Result<bool> {
    let filmed = Filmed::start(pictures, true)?;
    let watching = filmed.ring.watch();
    sleep(WARM).await;
    filmed.becomes(State::Live).await?;
    let active = rate(std::process::id()).await?;
    drop(watching);
    filmed.becomes(State::Resting).await?;
    let rest = rate(std::process::id()).await?;
    println!("  active {:.1} % of a core, resting {:.1} %", active * 100.0, rest * 100.0);
    let mut joins = Vec::new();
    for _ in 0..5 {
        let mut reader = filmed.ring.reader();
        let asked = clock::now();
        let watching = filmed.ring.watch();
        reader.next().await;
        joins.push(clock::now().since(asked).as_secs_f64() * 1000.0);
        drop(watching);
        filmed.becomes(State::Live).await?;
        filmed.becomes(State::Resting).await?;
    }
    filmed.end().await?;
    let worst = joins.into_iter().fold(0.0, f64::max);
    let cheap = figure("CPU of a resting feed, share of an active one", rest / active, RESTING, "");
    let prompt = figure("asked to first frame of a resting feed, worst of 5", worst, JOIN_MS, "ms");
    Ok(cheap && prompt)
}

fn main() -> Result<ExitCode> {
    let pairs = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(5);
    let met =
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let pictures = pictures(WIDTH, HEIGHT);
            println!("{WIDTH}x{HEIGHT}, {FPS} fps, {KBPS} kbit/s, {ENCODER}");
            let share = share(&pictures, pairs).await?;
            Ok::<_, anyhow::Error>(resting(&pictures).await? && share)
        })?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
