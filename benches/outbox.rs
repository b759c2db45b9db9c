//! A day of telemetry in the outbox, and its way out beside what is live.
//!
//!     cargo bench --bench outbox [-- --hours 24 --seconds 20]
//!
//! Goes out: one line per figure with its target, and exit code 1 if one is
//! missed. Filling, publishing and consuming are a process each; the broker is
//! mosquitto.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use floorcast::clock::{self, WallClock};
use floorcast::config;
use floorcast::config::mqtt::Filter;
use floorcast::control::outbox::Outbox;
use floorcast::control::tele::{self, batch::Batch};
use floorcast::feed::board::Board;
use floorcast::model::{Mono, Quality, Sample, Tag, TagId, UtcMicros, Value};
use floorcast::mqtt::{Link, Message, Publisher, Reader, Refused, Subscription};
use floorcast::status::Status;
use support::mosquitto::Mosquitto;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const UNITS: u32 = 4;
const TAGS: u32 = 50;
const MIB: u64 = 1 << 20;
const ROOT: &str = "floorcast/v1/plant/line";

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = |()| ExitCode::SUCCESS;
    match args.as_slice() {
        ["fill", dir, hours] => fill(Path::new(dir), hours.parse()?).map(done),
        ["publish", dir, port, seconds] => {
            publish(Path::new(dir), port.parse()?, seconds.parse()?).map(done)
        }
        ["consume", port, seconds] => consume(port.parse()?, seconds.parse()?).map(done),
        ["--hours", hours, "--seconds", seconds] => measure(hours.parse()?, seconds.parse()?),
        [] => measure(24, 20),
        _ => anyhow::bail!("usage: outbox [--hours 24 --seconds 20]"),
    }
}

/// One after the other.
fn measure(hours: u64, seconds: u64) -> anyhow::Result<ExitCode> {
    let mut missed = false;
    let mut report = |what: &str, value: f64, limit: f64, least: bool, unit: &str| {
        let bad = if least { value < limit } else { value > limit };
        missed |= bad;
        let (word, note) = (["at most", "at least"][usize::from(least)], ["", "   MISSED"]);
        println!("{what:<58} {value:9.2} {unit}   {word} {limit} {unit}{}", note[usize::from(bad)]);
    };
    let dir = tempfile::tempdir()?;
    let outbox = dir.path().to_str().context("a path in UTF-8")?;
    let filled = figures(&["fill", outbox, &hours.to_string()])?;
    let get = |of: &HashMap<String, f64>, name: &str| {
        of.get(name).copied().with_context(|| format!("no figure {name}"))
    };
    let what = |figure: &str| format!("{hours} h of 200 samples/s: {figure}");
    let whole = (256.0 * hours as f64 / 24.0).round();
    report(&what("on disk"), get(&filled, "bytes")? / MIB as f64, whole, false, "MiB");
    report(&what("bytes per sample"), get(&filled, "per_sample")?, 15.5, false, "B");
    report(&what("lost"), get(&filled, "lost")?, 0.0, false, "samples");
    report(&what("CPU to store"), get(&filled, "cpu_us")?, 20.0, false, "us per sample");
    let broker = Mosquitto::with(|_, _| {
        "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n".into()
    });
    let (port, seconds) = (broker.port.to_string(), seconds.to_string());
    let beside = session(outbox, &port, &seconds)?;
    let empty = dir.path().join("empty");
    let alone = session(empty.to_str().context("a path in UTF-8")?, &port, &seconds)?;
    report("replay to mosquitto", get(&beside, "late_per_s")?, 5000.0, true, "samples/s");
    // Most of it is the second for which samples are gathered.
    let alone_p99 = get(&alone, "p99")?;
    report("live, from its reply to the consumer, p99", alone_p99, 1250.0, false, "ms");
    let added = get(&beside, "p99")? - alone_p99;
    report("live, what the replay adds to that", added, 100.0, false, "ms");
    report("live samples missing", get(&beside, "missing")?, 0.0, false, "samples");
    report("memory of store and replay", get(&beside, "memory")?, 16.0, false, "MB over idle");
    report("CPU of store and replay", get(&beside, "cpu")?, 100.0, false, "% of a core");
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A box and a consumer for a while.
fn session(dir: &str, port: &str, seconds: &str) -> anyhow::Result<HashMap<String, f64>> {
    let consumer = start(&["consume", port, seconds])?;
    let mut all = figures(&["publish", dir, port, seconds])?;
    all.extend(read(consumer)?);
    Ok(all)
}

fn start(args: &[&str]) -> anyhow::Result<std::process::Child> {
    Ok(Command::new(std::env::current_exe()?).args(args).stdout(Stdio::piped()).spawn()?)
}

fn figures(args: &[&str]) -> anyhow::Result<HashMap<String, f64>> {
    read(start(args)?)
}

fn read(child: std::process::Child) -> anyhow::Result<HashMap<String, f64>> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "a part of the bench failed");
    let text = String::from_utf8(output.stdout)?;
    let line = |line: &str| {
        let (name, value) = line.split_once(' ').context("a figure")?;
        Ok((name.to_owned(), value.parse()?))
    };
    text.lines().map(line).collect()
}

fn tags() -> anyhow::Result<Arc<[Tag]>> {
    let mut text = String::from("[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:502\"\n");
    for unit in 1..=UNITS {
        write!(text, "[[modbus.unit]]\nid = {unit}\ntag = [\n")?;
        for n in 0..TAGS {
            let name = ["temperature", "pressure", "speed", "count", "running"][n as usize % 5];
            writeln!(
                text,
                "{{ name = \"press-{unit}.{name}-{n}\", table = \"holding\", address = {n}, \
                 type = \"u16\" }},"
            )?;
        }
        text += "]\n";
    }
    Ok(config::load(&text).map_err(|problems| anyhow::anyhow!("{problems}"))?.tags)
}

/// Values as a line has them: most walk, some count, some hardly change.
struct Line {
    walk: Vec<i64>,
    chance: u64,
}

impl Line {
    fn new() -> Self {
        Self { walk: (0..i64::from(UNITS * TAGS)).map(|n| 500 + n * 7).collect(), chance: 1 }
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % of
    }

    /// One second of all units, or one of `parts` of it; each unit is read at once.
    fn samples(&mut self, at: Mono, units: std::ops::Range<u32>) -> Vec<Sample> {
        let mut samples = Vec::new();
        for unit in units {
            let requested = at + Duration::from_nanos(self.chance(40_000_000));
            let trip = Duration::from_nanos(1_500_000 + self.chance(3_000_000));
            for n in 0..TAGS {
                let i = (unit * TAGS + n) as usize;
                let value = match n % 5 {
                    3 => {
                        self.walk[i] += self.chance(3) as i64;
                        Value::Int(self.walk[i].into())
                    }
                    4 => Value::Bool(self.chance(100) > 0),
                    _ => {
                        self.walk[i] += self.chance(7) as i64 - 3;
                        Value::Real(self.walk[i] as f64 / 10.0)
                    }
                };
                samples.push(Sample {
                    tag: TagId(i as u32),
                    value,
                    quality: Quality::Good,
                    reason: None,
                    taken: requested + trip / 2,
                    error: trip / 2,
                    requested,
                    received: requested + trip,
                });
            }
        }
        samples
    }
}

/// Fills an outbox as hours would, a minute at a time.
fn fill(dir: &Path, hours: u64) -> anyhow::Result<()> {
    let wall = WallClock::new();
    let tags = tags()?;
    let outbox = Outbox::open(dir, 65_536 * MIB, UtcMicros(1000), Status::new())?;
    let (mut line, mut batch) = (Line::new(), Batch::new(&tags, "0b0e3c6f"));
    let start = Mono(clock::now().0.saturating_sub(hours * 3_600_000_000_000));
    let (cpu, mut samples) = (cpu_seconds()?, 0);
    for minute in 0..hours * 60 {
        let mut entries = Vec::new();
        for second in minute * 60..minute * 60 + 60 {
            let at = start + Duration::from_secs(second);
            let some = line.samples(at, 0..UNITS);
            samples += some.len();
            batch.add(&some, &wall, at);
            entries.extend(batch.take(&wall, at));
        }
        outbox.append(entries);
    }
    let used = cpu_seconds()? - cpu;
    println!("bytes {}", outbox.bytes());
    println!("per_sample {}", outbox.bytes() as f64 / samples as f64);
    println!("cpu_us {}", used * 1e6 / samples as f64);
    let records = samples as u64 / u64::from(TAGS);
    println!("lost {}", (records - outbox.waiting()) * u64::from(TAGS));
    Ok(())
}

struct Sessions(watch::Sender<Option<Publisher>>);

impl Reader for Sessions {
    fn messages(&mut self, batch: &mut Vec<Message>, _: Duration) {
        batch.clear();
    }
    fn refused(&mut self, _: &[Refused]) {}
    fn up(&mut self, publisher: &Publisher) {
        self.0.send_replace(Some(publisher.clone()));
    }
    fn down(&mut self) {
        self.0.send_replace(None);
    }
}

fn broker(port: u16) -> anyhow::Result<config::control::Control> {
    let text = format!("[[control.broker]]\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    Ok(config::load(&text).map_err(|problems| anyhow::anyhow!("{problems}"))?.control)
}

/// A box with 200 live samples a second, and whatever its outbox holds.
fn publish(dir: &Path, port: u16, seconds: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let board = Board::new(tags()?);
        let (wall, status) = (Arc::new(WallClock::new()), Status::new());
        let stop = CancellationToken::new();
        let idle = memory_kb()?;
        let outbox = Outbox::open(dir, 65_536 * MIB, UtcMicros(1000), status.clone())?;
        let outbox = Arc::new(outbox);
        let (up, sessions) = watch::channel(None);
        let way = tele::Way { outbox, root: ROOT.into(), boot: "b".into(), sessions };
        tokio::spawn(tele::run(way, board.clone(), wall, status.clone(), stop.clone()));
        let link = Link::new("control", broker(port)?.brokers, [], status);
        let until = stop.clone();
        tokio::spawn(async move { link.run(&mut Sessions(up), &until).await });
        let (mut line, cpu) = (Line::new(), cpu_seconds()?);
        let began = clock::now();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / UNITS);
        for i in 0..seconds * u64::from(UNITS) {
            tick.tick().await;
            let unit = (i % u64::from(UNITS)) as u32;
            let now = clock::now();
            let mut samples = line.samples(now, unit..unit + 1);
            samples.iter_mut().for_each(|s| s.received = now);
            board.publish(samples);
        }
        // The last second is on its way.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let passed = clock::now().since(began).as_secs_f64();
        println!("memory {}", (memory_kb()? - idle) / 1000.0);
        println!("cpu {}", (cpu_seconds()? - cpu) / passed * 100.0);
        stop.cancel();
        Ok(())
    })
}

/// Counts late samples, and how long after their reply live ones come.
#[derive(Default)]
struct Consumer {
    late: u64,
    live: u64,
    delays: Vec<f64>,
    wall: Option<WallClock>,
    span: Option<(Instant, Instant)>,
}

impl Reader for Consumer {
    fn messages(&mut self, batch: &mut Vec<Message>, _: Duration) {
        let wall = self.wall.get_or_insert_with(WallClock::new);
        for message in batch.drain(..) {
            // Without a parse: the consumer must not be what is measured.
            let text = String::from_utf8_lossy(&message.payload);
            let many = text.matches("{\"tag\"").count() as u64;
            if text.contains("\"late\":true") {
                self.late += many;
                let now = Instant::now();
                self.span = Some((self.span.map_or(now, |(from, _)| from), now));
                continue;
            }
            self.live += many;
            let newest = text.rsplit("\"rcv_us\":").next().unwrap_or("");
            let end = newest.find(',').unwrap_or(0);
            if let Ok(at) = newest[..end].parse::<i64>() {
                self.delays.push((wall.utc(message.received).0 - at) as f64 / 1000.0);
            }
        }
    }
    fn refused(&mut self, _: &[Refused]) {}
}

fn consume(port: u16, seconds: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = Filter::parse(&format!("{ROOT}/tele/#")).map_err(anyhow::Error::msg)?;
        let wanted = Subscription { filter: all, qos: 1 };
        let link = Link::new("consumer", broker(port)?.brokers, [wanted], Status::new());
        let (mut consumer, stop) = (Consumer::default(), CancellationToken::new());
        let until = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds + 2)).await;
            until.cancel();
        });
        link.run(&mut consumer, &stop).await;
        let Consumer { late, live, mut delays, span, .. } = consumer;
        delays.sort_by(f64::total_cmp);
        let nth = |of: usize| delays.get(delays.len() * of / 100).copied().unwrap_or(f64::MAX);
        let passed = span.map_or(1.0, |(from, to)| (to - from).as_secs_f64());
        println!("late_per_s {}", late as f64 / passed.max(0.001));
        println!("p50 {}\np99 {}", nth(50), nth(99));
        println!("missing {}", (seconds * u64::from(UNITS * TAGS)).saturating_sub(live));
        Ok(())
    })
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    // SAFETY: all-zero is a valid rusage, and it is valid for writes.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        ensure!(libc::getrusage(libc::RUSAGE_SELF, &mut usage) == 0, "getrusage");
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// The most memory this process ever had, RSS.
fn memory_kb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
