//! The demo line: a picture, a Modbus PLC and MQTT sensors that agree with each other.
//!
//! Comes in: the time and a seed. Goes out: pictures to whoever asks for a
//! camera, Modbus replies, MQTT publications, each the state of its own
//! instant. Nothing is queued here; every reader steps its own copy of the
//! line, and lines of one seed agree.

mod camera;
pub mod line;
mod picture;
mod plc;
mod sensors;
mod truth;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::clock::{self, WallClock};
use crate::model::Mono;
use crate::task::{Backoff, supervise};
use picture::{Painter, Shot};
use plc::Plc;
pub use sensors::Address;
use truth::Truth;

/// What a camera's port begins with when it looks at the demo line.
pub const PORT: &str = "sim:";

/// A line with a lively first minute.
pub const SEED: u64 = 1;

/// How the demo line runs.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Pictures carry the calibration strip: 16 squares of 32 pixels from the
    /// upper left corner, the Gray code of the 25 Hz tick at the picture's
    /// capture time, most significant bit first, white for one.
    pub strip: bool,
    /// Where the PLC listens; port 0 takes a free one.
    pub modbus_listen: SocketAddr,
    /// The broker that the sensors publish to.
    pub mqtt: Option<Address>,
    /// What happens when.
    pub seed: u64,
}

/// The running line.
pub struct Sim {
    truth: Truth,
    strip: bool,
    plc: SocketAddr,
    tasks: TaskTracker,
}

/// Starts the line with its PLC and sensors; they run in `tasks` until `stop`.
///
/// # Errors
/// The PLC's address cannot be bound.
pub async fn start(
    options: SimOptions,
    wall: &WallClock,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<Sim> {
    let truth = Truth::new(options.seed, wall, clock::now());
    let server = Arc::new(Plc::bind(options.modbus_listen, &truth).await?);
    let plc = server.address();
    info!(%plc, strip = options.strip, "demo line running");
    let until = stop.clone();
    tasks.spawn(supervise("demo plc".into(), stop.clone(), Backoff::DEVICE, move || {
        let (server, until) = (server.clone(), until.clone());
        async move { server.serve(&until).await }
    }));
    if let Some(broker) = options.mqtt {
        let until = stop.clone();
        tasks.spawn(supervise("demo sensors".into(), stop.clone(), Backoff::DEVICE, move || {
            let (broker, until) = (broker.clone(), until.clone());
            async move { sensors::publish(&broker, &truth, &until).await }
        }));
    }
    Ok(Sim { truth, strip: options.strip, plc, tasks: tasks.clone() })
}

impl Sim {
    /// Where the PLC listens.
    pub fn plc(&self) -> SocketAddr {
        self.plc
    }

    /// Starts a camera on a thread of its own, until `stop`. `port`
    /// is `sim:line` for the whole line or `sim:check` for the inspection.
    ///
    /// `sink` gets `fps` pictures a second: I420, tightly packed, BT.709
    /// limited range, each with its capture time. It must not wait. Buffers are
    /// used again once the bytes are dropped.
    ///
    /// # Errors
    /// An unknown port, a size that is odd or out of 64 to 4096, or no rate.
    pub fn camera(
        &self,
        port: &str,
        (width, height): (u32, u32),
        fps: u32,
        stop: CancellationToken,
        sink: impl Fn(Mono, Bytes) + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let shot = port.strip_prefix(PORT).and_then(Shot::named).with_context(|| {
            format!("demo line: no camera {port:?}: there are sim:line and sim:check")
        })?;
        ensure!(fps > 0, "demo line: camera {port}: no pictures per second");
        Painter::check(width as usize, height as usize)?;
        let spec = camera::Spec { shot, width, height, fps, strip: self.strip };
        let (truth, sink) = (self.truth, Arc::new(sink));
        let name = format!("demo camera {port}");
        self.tasks.spawn(supervise(name, stop.clone(), Backoff::DEVICE, move || {
            let (stop, sink) = (stop.clone(), sink.clone());
            let drawn =
                tokio::task::spawn_blocking(move || camera::run(spec, &truth, &*sink, &stop));
            async move { drawn.await.context("demo line: the painter's thread")? }
        }));
        Ok(())
    }
}
