//! What a viewer costs: CPU time and memory of the serving process, and loss.
//!
//! `cargo bench --bench fanout [-- VIEWERS … [one-by-one]]`, by default 50 and 200.
//!
//! This process serves a made-up feed of 1 Mbit/s at 30 fps, a key frame of
//! 40 kB every two seconds, over real HTTP and UDP; the viewers are another
//! process, `whep-load`. They take bursts in one piece (UDP GRO), so that the
//! server is not charged for the receiving half of loopback; `one-by-one`
//! measures with viewers that do not. Fails when the targets are missed.
#![allow(clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use floorcast::clock::{self, WallClock};
use floorcast::config::studio::{Site, Studio, Web};
use floorcast::feed::board::Board;
use floorcast::feed::ring::Ring;
use floorcast::model::{Captured, Frame, Label, Mono};
use floorcast::status::Status;
use floorcast::web::whep::gate;
use floorcast::web::{self, FeedInfo, Listeners, Showing, StudioInfo, Tuning};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FPS: u32 = 30;
const GOP: u64 = 60;
const KEY: usize = 40_000;
/// 1 Mbit/s in all.
const DELTA: usize = (125_000 * GOP as usize / FPS as usize - KEY) / (GOP as usize - 1);
const SECONDS: u64 = 20;
const CPU_MS: f64 = 1.0;
const MEMORY_KB: f64 = 250.0;

fn main() -> ExitCode {
    let one_by_one = std::env::args().any(|a| a == "one-by-one");
    let wanted: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let wanted = if wanted.is_empty() { vec![50, 200] } else { wanted };
    println!("1 Mbit/s, {FPS} fps, {SECONDS} s each");
    println!("viewers  CPU ms per viewer-second  kB per viewer");
    let mut ok = true;
    for viewers in wanted {
        match measure(viewers, one_by_one) {
            Ok(good) => ok &= good,
            Err(error) => {
                println!("{viewers:>7}  {error:#}");
                ok = false;
            }
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// User and system time of this process.
fn cpu() -> Duration {
    // SAFETY: all-zero is valid for this struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writes.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn rss_kb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("kB")?.parse()?)
}

fn access_unit(seq: u64) -> Vec<u8> {
    let key = seq.is_multiple_of(GOP);
    let mut data = Vec::with_capacity(KEY + 64);
    if key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0xaa]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    let len = if key { KEY } else { DELTA };
    data.extend((0..len).map(|i| 1 + ((seq as usize * 31 + i * 7) % 250) as u8));
    data
}

fn measure(viewers: usize, one_by_one: bool) -> anyhow::Result<bool> {
    let ring = Ring::new("cam".into());
    let web = Web {
        listen: ([127, 0, 0, 1], 0).into(),
        media: ([127, 0, 0, 1], 0).into(),
        extra_addresses: Vec::new(),
        viewers_max: viewers as u32,
        cors_origins: vec!["*".into()],
    };
    let listeners = Listeners::bind(&web)?;
    let url = format!("http://{}/whep/cam", listeners.tcp()?);
    let stop = CancellationToken::new();
    let (info, until) = (Arc::new(studio(&ring)), stop.clone());
    let unlimited = gate::Limits {
        per_source: (1000.0, 1000.0),
        overall: (1000.0, 1000.0),
        ..gate::Limits::new(viewers)
    };
    let tuning = Tuning { gate: Some(unlimited), ..Tuning::default() };
    let server = std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(web::serve(listeners, web, info, tuning, until))
    });
    let (camera, until) = (ring.clone(), stop.clone());
    let camera = std::thread::spawn(move || film(&camera, &until));
    std::thread::sleep(Duration::from_secs(1));
    let before = rss_kb()?;
    let mut load = Load::start(&url, viewers, one_by_one)?;
    load.joined(viewers)?;
    std::thread::sleep(Duration::from_secs(3));
    let (began, used) = (Instant::now(), cpu());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let (took, used) = (began.elapsed(), cpu() - used);
    let memory = (rss_kb()? - before) / viewers as f64;
    let (report, clean) = load.finish()?;
    stop.cancel();
    camera.join().map_err(|_| anyhow::anyhow!("the camera died"))?;
    server.join().map_err(|_| anyhow::anyhow!("the server died"))??;
    let cost = used.as_secs_f64() * 1000.0 / took.as_secs_f64() / viewers as f64;
    let good = clean && cost <= CPU_MS && memory <= MEMORY_KB;
    let verdict = if good { "" } else { "  MISSED" };
    println!("{viewers:>7}  {cost:>24.2}  {memory:>13.0}{verdict}");
    println!("         {report}");
    Ok(good)
}

fn film(ring: &Ring, stop: &CancellationToken) {
    // Made before it counts: making them up is no part of serving them.
    let units: Vec<Bytes> = (0..GOP).map(|seq| access_unit(seq).into()).collect();
    let push = |seq: u64, at: Mono| {
        let captured = Captured { at, error: Duration::ZERO };
        let (key, data) = (seq.is_multiple_of(GOP), units[(seq % GOP) as usize].clone());
        ring.push(Frame { seq, captured, encoded: at, key, data });
    };
    // As if it had run for a while: the ring is full before memory is measured.
    let past = 10 * GOP;
    for seq in 0..past {
        push(seq, clock::now() - Duration::from_secs(1) * (past - seq) as u32 / FPS);
    }
    let began = Instant::now();
    let mut seq = past;
    while !stop.is_cancelled() {
        let due = began + Duration::from_secs(1) * (seq - past) as u32 / FPS;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        push(seq, clock::now());
        seq += 1;
    }
}

fn studio(ring: &Arc<Ring>) -> StudioInfo {
    let feed = FeedInfo {
        id: "cam".into(),
        name: Label::default(),
        width: 640,
        height: 360,
        fps: f64::from(FPS),
        ring: ring.clone(),
        profile: Arc::default(),
    };
    let showing = Showing {
        number: 1,
        site: Site { site: "site".into(), id: "box".into() },
        studio: Studio {
            name: Label::default(),
            brand: Label::default(),
            accent: "#d98a1f".into(),
            logo: None,
            figures: Vec::new(),
        },
        feeds: vec![feed],
    };
    StudioInfo {
        showing: watch::Sender::new(Arc::new(showing)).subscribe(),
        board: Board::new([].into()),
        wall: Arc::new(WallClock::new()),
        status: Status::new(),
    }
}

/// The viewers' process.
struct Load {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Load {
    fn start(url: &str, viewers: usize, one_by_one: bool) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whep-load"))
            .args([url, "--viewers", &viewers.to_string(), "--until-stdin"])
            .args(["--per-second", "20"])
            .args(one_by_one.then_some("--one-by-one"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start whep-load")?;
        let out = child.stdout.take().context("its output")?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    fn joined(&mut self, viewers: usize) -> anyhow::Result<()> {
        let line = self.lines.next().context("whep-load ended")??;
        ensure!(line == format!("joined {viewers}"), "{line} of {viewers}");
        Ok(())
    }

    /// Its report, and whether nothing was lost.
    fn finish(mut self) -> anyhow::Result<(String, bool)> {
        self.child.stdin.take().context("its input")?.write_all(b"\n")?;
        let report = self.lines.next().context("whep-load ended")??;
        Ok((report, self.child.wait()?.success()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
