//! From capture stamp to access unit in the ring, with and without the encoder.
//!
//! Pushed pictures of the demo line's size in real time, through the encoder
//! that the ladder chooses. `cargo bench --bench capture [-- SECONDS]`.
#![allow(clippy::print_stdout, missing_docs)]

mod film;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use film::pictures;
use floorcast::capture::{self, Look, Pixels, RawPicture, Source, Style};
use floorcast::clock;
use floorcast::config::Problems;
use floorcast::config::camera::CameraFile;
use floorcast::feed::ring::Ring;
use floorcast::model::Label;
use floorcast::status::Status;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Every value of every histogram and the sum of every counter, by name.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Series(Recorder, String);

impl metrics::HistogramFn for Series {
    fn record(&self, value: f64) {
        let mut all = self.0.0.lock().expect("recorder lock");
        all.entry(self.1.clone()).or_default().push(value);
    }
}

impl metrics::CounterFn for Series {
    fn increment(&self, value: u64) {
        let mut all = self.0.0.lock().expect("recorder lock");
        let sum = all.entry(self.1.clone()).or_insert_with(|| vec![0.0]);
        sum[0] += value as f64;
    }
    fn absolute(&self, _: u64) {}
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Series(self.clone(), key.name().into())))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Series(self.clone(), key.name().into())))
    }
}

fn row(name: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values[((values.len() - 1) as f64 * q) as usize] * 1000.0;
    println!(
        "  {name:<34} p50 {:6.2}  p95 {:6.2}  p99 {:6.2}  max {:6.2} ms",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

fn look() -> Look {
    let style = Style { brand: Label::default(), accent: "#d98a1f".into() };
    Look { style: watch::channel(style).1, wall: Arc::new(clock::WallClock::new()) }
}

async fn measure(recorder: &Recorder, width: u32, height: u32, seconds: u64) -> anyhow::Result<()> {
    let mut problems = Problems::default();
    let text = format!(
        "id = \"bench\"\nport = \"sim:line\"\nwidth = {width}\nheight = {height}\n\
         fps = 30\nbitrate_kbps = 2500"
    );
    let camera = toml::from_str::<CameraFile>(&text)?.check("camera", &mut problems);
    let (line, push) = capture::push::channel("bench", Pixels::I420, width, height, 30);
    let settings = tokio::sync::watch::Sender::new(camera.settings());
    let (ring, stop) = (Ring::new("bench".into()), CancellationToken::new());
    let run = tokio::spawn(capture::run(
        camera,
        settings.subscribe(),
        Source::Push(push),
        look(),
        ring.clone(),
        Status::new(),
        stop.clone(),
    ));
    let began = clock::now();
    let pictures = pictures(width, height);
    let mut tick = tokio::time::interval(Duration::from_micros(33_333));
    let mut pushed = 0u64;
    let mut first = None;
    for data in pictures.iter().cycle().take(30 * seconds as usize) {
        tick.tick().await;
        line.push(RawPicture { at: clock::now(), data: data.clone() });
        pushed += 1;
        if first.is_none() && ring.newest().is_some() {
            first = Some(clock::now().since(began));
            recorder.0.lock().expect("recorder lock").clear();
        }
    }
    stop.cancel();
    run.await??;
    let all = std::mem::take(&mut *recorder.0.lock().expect("recorder lock"));
    let sum = |name: &str| all.get(name).and_then(|v| v.first()).copied().unwrap_or(0.0);
    println!("{width}x{height}, 30 fps, 2500 kbit/s, {pushed} pictures in {seconds} s");
    println!(
        "  start to first frame               {:.0} ms",
        first.unwrap_or_default().as_secs_f64() * 1000.0
    );
    for (name, title) in [
        ("floorcast_capture_to_ring_seconds", "capture stamp to ring"),
        ("floorcast_capture_encode_seconds", "of that, the encoder"),
        ("floorcast_capture_own_seconds", "our own part"),
    ] {
        row(title, all.get(name).cloned().unwrap_or_default());
    }
    println!(
        "  shed {}, lost {}, {:.0} kbit/s",
        sum("floorcast_capture_shed_total"),
        sum("floorcast_capture_lost_total"),
        sum("floorcast_capture_bytes_total") * 8.0 / 1000.0 / seconds as f64
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(10);
    let recorder = Recorder::default();
    metrics::set_global_recorder(recorder.clone())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        for (width, height) in [(640, 360), (1280, 720)] {
            measure(&recorder, width, height, seconds).await?;
        }
        Ok(())
    })
}
