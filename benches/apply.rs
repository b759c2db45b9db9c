//! A change of one tag on a box with four cameras: how soon it is reported, and what the
//! viewers of all four miss of it.
//!
//!     cargo bench --bench apply [-- --changes 20]
//!
//! Goes out: one line per figure with its target, and exit code 1 if one is missed. Each
//! change goes through mosquitto with mosquitto's tools, whose start is in the figure, and is
//! confirmed before the next. Two cameras are the demo line's, two show a slate.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "whep_load/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/technician/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Ask, Notice, Viewer};
use rig::{ROOT, Site};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pictures of a camera in a second.
const FPS: u32 = 25;
/// Of a slate.
const SLATE_FPS: u32 = 10;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let changes: usize = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--changes", changes] => changes.parse()?,
        [] => 20,
        _ => anyhow::bail!("usage: apply [--changes 20]"),
    };
    let mut site = Site::with(|document| {
        let cameras = document["camera"].as_array_mut().expect("cameras");
        for port in ["usb-nothing-1", "usb-nothing-2"] {
            let mut camera = cameras[0].clone();
            (camera["id"], camera["port"]) = (json!(port), json!(port));
            cameras.push(camera);
        }
    });
    let document = site.document();
    let feeds = document["camera"].as_array().context("cameras")?;
    let (stop, stopped) = watch::channel(());
    let mut viewers = Vec::new();
    for feed in feeds.iter().filter_map(|camera| camera["id"].as_str()) {
        let page = &site.daemon.as_ref().context("a box")?.page;
        let ask = Ask { telemetry: true, resend: true, gro: false };
        let viewer = Viewer::open(&format!("{page}whep/{feed}"), ask).await?;
        viewers.push((feed, look(viewer, stopped.clone())));
    }
    let times: anyhow::Result<Vec<_>> =
        (0..changes).map(|i| tokio::task::block_in_place(|| change(&mut site, i))).collect();
    let mut times = times?;
    stop.send(())?;
    let mut steps = Vec::new();
    for (feed, viewer) in viewers {
        steps.push((feed, viewer.await?));
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let mut missed = false;
    let mut report = |what: &str, value: f64, limit: f64, unit: &str| {
        missed |= value > limit;
        let note = if value > limit { "   MISSED" } else { "" };
        println!("{what:<58} {value:9.2} {unit}   at most {limit} {unit}{note}");
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    report("one tag changed, four cameras: on trial, median", ms(median), 1000.0, "ms");
    report(&format!("the same, the slowest of {changes}"), ms(worst), 1000.0, "ms");
    for (feed, longest) in steps {
        let fps = if feed.starts_with("usb-") { SLATE_FPS } else { FPS };
        let gap = f64::from(longest) / f64::from(90_000 / fps);
        report(&format!("{feed}: longest step from frame to frame"), gap, 1.9, "periods");
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Changes one tag's label, and keeps it. Until the box has reported it.
fn change(site: &mut Site, i: usize) -> anyhow::Result<Duration> {
    let base = i as u64 + 1;
    let mut document = site.document();
    let tag = &mut document["modbus"][0]["unit"][0]["tag"][0];
    tag["label"] = json!({ "en": format!("Tick {i}") });
    let (mark, began) = (site.ear.mark(), Instant::now());
    let txid = site.apply(base, &document, 60);
    let reported = |topic: &str, payload: &Value| {
        topic == format!("{ROOT}/cfg/reported")
            && payload["status"] == "trial"
            && payload["trial"]["revision"] == base + 1
    };
    site.ear.wait("the report of the trial", reported);
    let took = began.elapsed();
    site.ear.rewind(mark);
    site.ear.reply(&txid, "trial");
    site.confirm(base + 1);
    site.ear.reply(&txid, "confirmed");
    Ok(took)
}

/// Watches until `stopped`; the longest step from frame to frame, in 90 kHz.
fn look(mut viewer: Viewer, mut stopped: watch::Receiver<()>) -> JoinHandle<u32> {
    tokio::spawn(async move {
        let (mut before, mut longest) = (None, 0);
        loop {
            tokio::select! {
                _ = stopped.changed() => return longest,
                notice = viewer.next() => {
                    let Ok(Notice::Packet(packet)) = notice else { continue };
                    if packet.header.marker {
                        let at: u32 = packet.header.timestamp;
                        let step = before.map_or(0, |before| at.wrapping_sub(before));
                        longest = longest.max(step);
                        before = Some(at);
                    }
                }
            }
        }
    })
}
