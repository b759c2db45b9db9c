//! What Modbus telemetry costs, and how well it keeps time.
//!
//!     cargo bench --bench telemetry [-- --seconds 20]
//!
//! Goes out: one line per figure with its target, and exit code 1 if one is
//! missed. The devices are a process of their own; what they cost is not
//! counted. Each scenario polls in a fresh process.
#![allow(missing_docs, clippy::print_stdout)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use floorcast::clock;
use floorcast::config;
use floorcast::feed::board::Board;
use floorcast::model::Quality;
use floorcast::status::Status;
use floorcast::telemetry::modbus;
use tokio_util::sync::CancellationToken;

/// Before the figures are taken.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["serve", endpoints] => serve(endpoints.parse()?).map(|()| ExitCode::SUCCESS),
        ["poll", what, seconds, ports @ ..] => {
            poll(what, seconds.parse()?, ports).map(|()| ExitCode::SUCCESS)
        }
        ["--seconds", seconds] => measure(seconds.parse()?),
        [] => measure(20),
        _ => anyhow::bail!("usage: telemetry [--seconds 20]"),
    }
}

/// All scenarios, one after the other.
fn measure(seconds: u64) -> anyhow::Result<ExitCode> {
    let mut missed = false;
    let mut report = |what: &str, value: f64, most: f64, unit: &str| {
        missed |= value > most;
        let note = if value > most { "   MISSED" } else { "" };
        println!("{what:<58} {value:8.2} {unit}   at most {most} {unit}{note}");
    };
    for (endpoints, name) in [(1, "one endpoint"), (50, "50 endpoints")] {
        let seen = scenario("many", endpoints, seconds)?;
        let what = |figure: &str| format!("10,000 f32 at 1 s, 50 units, {name}: {figure}");
        report(&what("CPU"), seen.get("cpu")?, 15.0, "% of a core");
        report(&what("memory"), seen.get("memory")?, 32.0, "MB over idle");
        report(&what("requests"), seen.get("requests")?, 5.0, "% over the fewest");
        report(&what("lost"), seen.get("lost")?, 0.0, "samples");
    }
    let seen = scenario("fast", 1, seconds)?;
    let what = |figure: &str| format!("1,000 u16 at 100 ms, 10 units: {figure}");
    report(&what("schedule, p99"), seen.get("late")?, 10.0, "ms");
    report(&what("lost"), seen.get("lost")?, 0.0, "samples");
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Figures(HashMap<String, f64>);

impl Figures {
    fn get(&self, name: &str) -> anyhow::Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the poller told no {name}"))
    }
}

fn scenario(what: &str, endpoints: usize, seconds: u64) -> anyhow::Result<Figures> {
    let program = std::env::current_exe()?;
    let mut server = Server::start(&program, endpoints)?;
    let ports: Vec<String> = server.ports.iter().map(u16::to_string).collect();
    let output = Command::new(&program)
        .args(["poll", what, &seconds.to_string()])
        .args(&ports)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the poller failed");
    let text = String::from_utf8(output.stdout)?;
    let mut figures = HashMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(' ').context("a figure")?;
        figures.insert(name.to_owned(), value.parse()?);
    }
    let asked = server.stop()? as f64;
    let mut figures = Figures(figures);
    // What was answered needed `fewest` requests; what was under way at the end is no waste.
    let fewest = figures.get("fewest")?;
    figures.0.insert("requests".into(), (asked / fewest - 1.0).max(0.0) * 100.0);
    Ok(figures)
}

/// The devices, as a process.
struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    ports: Vec<u16>,
}

impl Server {
    fn start(program: &std::path::Path, endpoints: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", &endpoints.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("stdout")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let ports = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { child, out, ports })
    }

    /// Ends it; how many requests it had.
    fn stop(&mut self) -> anyhow::Result<u64> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        self.child.wait()?;
        Ok(line.trim().parse()?)
    }
}

/// Serves any unit and register until its standard input ends.
fn serve(endpoints: usize) -> anyhow::Result<()> {
    let asked = Arc::new(AtomicU64::new(0));
    let mut ports = String::new();
    for _ in 0..endpoints {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        write!(ports, "{} ", listener.local_addr()?.port())?;
        let asked = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asked = asked.clone();
                std::thread::spawn(move || answer(stream, &asked));
            }
        });
    }
    println!("{ports}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", asked.load(Ordering::Relaxed));
    Ok(())
}

fn answer(mut stream: TcpStream, asked: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 12];
    loop {
        stream.read_exact(&mut request)?;
        asked.fetch_add(1, Ordering::Relaxed);
        let words = u16::from_be_bytes([request[10], request[11]]);
        let bytes = words as u8 * 2;
        let mut reply = request[..4].to_vec();
        reply.extend((u16::from(bytes) + 3).to_be_bytes());
        reply.extend([request[6], request[7], bytes]);
        // 1.5 as f32 in every pair; any number does for u16.
        (0..words).for_each(|i| reply.extend(if i % 2 == 0 { [0x3F, 0xC0] } else { [0, 0] }));
        stream.write_all(&reply)?;
    }
}

/// Polls in this process and prints its figures.
fn poll(what: &str, seconds: u64, ports: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    runtime.block_on(async {
        let (units, tags, kind, period_ms) = match what {
            "many" => (50, 200, "f32", 1000),
            _ => (10, 100, "u16", 100),
        };
        let idle = memory_kb()?;
        let text = buses(ports, units, tags, kind, period_ms);
        let config = config::load(&text).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        drop(text);
        let reads =
            config.buses.iter().flat_map(|b| &b.units).map(|u| u.reads.len()).sum::<usize>();
        let board = Board::new(config.tags.clone());
        let mut batches = board.subscribe();
        let (status, stop) = (Status::new(), CancellationToken::new());
        for bus in config.buses {
            let (board, status) = (board.clone(), status.clone());
            tokio::spawn(modbus::run(
                Arc::new(bus),
                board,
                status,
                modbus::write::channel().1,
                stop.clone(),
            ));
        }
        // The board's backlog is read meanwhile too: it is not the poller's memory.
        let warm = tokio::time::Instant::now() + WARM_UP;
        let mut all = 0;
        while let Ok(batch) = tokio::time::timeout_at(warm, batches.recv()).await {
            all += batch.context("the board")?.len() as u64;
        }
        let (began, cpu) = (clock::now(), cpu_seconds()?);
        let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let mut times: Vec<Vec<u64>> = vec![Vec::new(); units * tags];
        let mut bad = 0u64;
        while let Ok(batch) = tokio::time::timeout_at(until, batches.recv()).await {
            for sample in batch.context("the board")?.iter() {
                all += 1;
                bad += u64::from(sample.quality == Quality::Bad);
                if sample.requested >= began {
                    times[sample.tag.0 as usize].push(sample.requested.0);
                }
            }
        }
        let passed = clock::now().since(began).as_secs_f64();
        let used = cpu_seconds()? - cpu;
        stop.cancel();
        let (late, lost) = lateness(&times, period_ms * 1_000_000);
        println!("cpu {}", used / passed * 100.0);
        println!("memory {}", (memory_kb()? - idle) / 1000.0);
        println!("late {late}");
        println!("lost {}", lost + bad);
        println!("fewest {}", all as f64 / (units * tags) as f64 * reads as f64);
        Ok(())
    })
}

fn buses(ports: &[&str], units: usize, tags: usize, kind: &str, period_ms: u64) -> String {
    let mut text = String::new();
    for unit in 0..units {
        if unit * ports.len() % units < ports.len() {
            let bus = unit * ports.len() / units;
            let port = ports[bus];
            text += &format!("[[modbus]]\nid = \"b{bus}\"\ntcp = \"127.0.0.1:{port}\"\n");
        }
        text += &format!("[[modbus.unit]]\nid = {}\nperiod_ms = {period_ms}\ntag = [\n", unit + 1);
        for tag in 0..tags {
            let address = if kind == "f32" { tag * 2 } else { tag };
            text += &format!(
                "{{ name = \"u{unit}.t{tag}\", table = \"holding\", address = {address}, \
                 type = \"{kind}\" }},\n"
            );
        }
        text += "]\n";
    }
    text
}

/// The 99th percentile of how late a slot was asked for, ms, against the grid
/// of its tag's earliest; and how many slots have no sample.
fn lateness(times: &[Vec<u64>], period: u64) -> (f64, u64) {
    let (mut late, mut lost) = (Vec::new(), 0);
    for times in times {
        let Some(&first) = times.first() else {
            lost += 1;
            continue;
        };
        let slot = |t: u64| (t - first + period / 2) / period;
        let phase = |t: &u64| (*t - first) as i64 - (slot(*t) * period) as i64;
        let earliest = times.iter().map(phase).min().unwrap_or(0);
        late.extend(times.iter().map(|t| phase(t) - earliest));
        lost += slot(times[times.len() - 1]) + 1 - times.len() as u64;
    }
    late.sort_unstable();
    let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or(i64::MAX);
    (p99 as f64 / 1e6, lost)
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
