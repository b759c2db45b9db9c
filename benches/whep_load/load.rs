//! Many WHEP viewers in one process, to load a server with.
//!
//! `whep-load http://host:port/whep/cam1 --viewers 50 --seconds 20`
//!
//! Opens the viewers, waits until all see pictures, then counts for the given
//! time and prints packets, loss by sequence gaps, frames, bit rate, and click
//! to first frame. Exits with 1 if a viewer did not get in, lost packets, or
//! saw no frames. Plain WHEP: it can be pointed at any server.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)] // The tests use more of it.
mod client;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use client::{Ask, Notice, Refused, Tally, Viewer};

/// Many WHEP viewers in one process.
#[derive(Parser, Clone)]
struct Args {
    /// The WHEP URL.
    url: String,
    /// Viewers at once.
    #[arg(long, default_value_t = 10)]
    viewers: usize,
    /// Time to count, after all have their first frame.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Opens per second.
    #[arg(long, default_value_t = 15)]
    per_second: u32,
    /// Opens the telemetry channel too.
    #[arg(long)]
    telemetry: bool,
    /// Takes datagrams one by one, as browsers do; over loopback the server
    /// then pays for cutting bursts up.
    #[arg(long)]
    one_by_one: bool,
    /// Packets that may be lost before it counts as failure.
    #[arg(long, default_value_t = 0)]
    loss_allowed: u64,
    /// Waits for a line on standard input before counting ends.
    #[arg(long)]
    until_stdin: bool,
}

/// What one viewer saw.
struct Seen {
    first_frame: Duration,
    tally: Tally,
    messages: u64,
}

/// When to count.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Joining,
    Counting,
    Done,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = runtime.context("start").and_then(|runtime| runtime.block_on(run(args)));
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("whep-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<bool> {
    let (phase, watch) = watch::channel(Phase::Joining);
    let (joined, mut joins) = tokio::sync::mpsc::channel(args.viewers.max(1));
    let mut tasks = JoinSet::new();
    for i in 0..args.viewers {
        let (args, watch, joined) = (args.clone(), watch.clone(), joined.clone());
        tasks.spawn(async move {
            sleep(Duration::from_secs_f64(i as f64 / f64::from(args.per_second.max(1)))).await;
            view(&args, watch, joined).await
        });
    }
    drop(joined);
    let patience = Duration::from_secs(30) + Duration::from_secs((args.viewers as u64) / 5);
    let deadline = tokio::time::Instant::now() + patience;
    let mut in_house = 0;
    while in_house < args.viewers
        && let Ok(Some(())) = timeout_at(deadline, joins.recv()).await
    {
        in_house += 1;
    }
    println!("joined {in_house}");
    phase.send_replace(Phase::Counting);
    let began = Instant::now();
    if args.until_stdin {
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    } else {
        sleep(Duration::from_secs(args.seconds)).await;
    }
    let counted = began.elapsed();
    phase.send_replace(Phase::Done);
    let mut seen = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended.context("a viewer died")? {
            Ok(one) => seen.push(one),
            Err(error) => eprintln!("viewer: {error:#}"),
        }
    }
    Ok(report(&args, counted, seen))
}

fn report(args: &Args, counted: Duration, mut seen: Vec<Seen>) -> bool {
    let sum = |of: fn(&Tally) -> u64| seen.iter().map(|s| of(&s.tally)).sum::<u64>();
    let (packets, bytes, gaps) = (sum(|t| t.packets), sum(|t| t.bytes), sum(|t| t.gaps));
    let (frames, lost) = (sum(|t| t.frames), sum(Tally::lost));
    let messages: u64 = seen.iter().map(|s| s.messages).sum();
    let blind = seen.iter().filter(|s| s.tally.frames == 0).count();
    let viewers = seen.len();
    let per = |n: u64| n as f64 / counted.as_secs_f64() / viewers.max(1) as f64;
    seen.sort_by_key(|s| s.first_frame);
    let first = |p: usize| {
        let at = (viewers * p / 100).min(viewers.saturating_sub(1));
        seen.get(at).map_or(0, |s| s.first_frame.as_millis())
    };
    println!(
        "viewers {viewers} of {}  packets {packets}  gaps {gaps}  lost {lost}  frames {frames}  \
         fps {:.1}  kbit/s {:.0}  messages/s {:.1}  first frame p50 {} ms  p95 {} ms  without frames {blind}",
        args.viewers,
        per(frames),
        per(bytes) * 8.0 / 1000.0,
        per(messages),
        first(50),
        first(95),
    );
    viewers == args.viewers && blind == 0 && gaps <= args.loss_allowed
}

async fn view(
    args: &Args,
    mut phase: watch::Receiver<Phase>,
    joined: tokio::sync::mpsc::Sender<()>,
) -> anyhow::Result<Seen> {
    let (clicked, mut viewer) = loop {
        let clicked = Instant::now();
        match Viewer::open(
            &args.url,
            Ask { telemetry: args.telemetry, resend: true, gro: !args.one_by_one },
        )
        .await
        {
            Ok(viewer) => break (clicked, viewer),
            Err(error) => match error.downcast_ref::<Refused>().and_then(|r| r.retry_after) {
                Some(seconds) if *phase.borrow() == Phase::Joining => {
                    sleep(Duration::from_secs(seconds)).await;
                }
                _ => return Err(error),
            },
        }
    };
    let (mut first_frame, mut tally, mut messages) = (None, Tally::default(), 0);
    let mut counting = false;
    loop {
        let notice = tokio::select! {
            notice = viewer.next() => notice?,
            changed = phase.changed() => {
                changed.context("the conductor left")?;
                match *phase.borrow() {
                    Phase::Counting => (counting, tally, messages) = (true, Tally::default(), 0),
                    _ => break,
                }
                continue;
            }
        };
        match notice {
            Notice::Packet(packet) => {
                if packet.header.marker && first_frame.is_none() {
                    first_frame = Some(clicked.elapsed());
                    let _ = joined.send(()).await;
                }
                if counting {
                    tally.add(&packet);
                }
            }
            Notice::Message(_) => messages += u64::from(counting),
            Notice::Gone => anyhow::bail!("the server ended the session"),
            Notice::Connected | Notice::Channel => {}
        }
    }
    let _ = viewer.delete().await;
    Ok(Seen { first_frame: first_frame.unwrap_or(Duration::MAX), tally, messages })
}
