//! The demo line as the application sees it; without the feature `sim` there is none.

#[cfg(feature = "sim")]
use anyhow::Context;
use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use crate::capture::Source;
use crate::clock::WallClock;
use crate::config::Config;
use crate::config::camera::Camera;

/// How the demo line is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demo {
    /// Draw the calibration strip.
    pub strip: bool,
}

/// The demo line, which runs once it is wanted.
pub(super) struct DemoLine {
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "there is none to start"))]
    wanted: Option<Demo>,
    running: Option<Running>,
}

#[cfg(feature = "sim")]
type Running = crate::sim::Sim;
#[cfg(not(feature = "sim"))]
type Running = std::convert::Infallible;

/// Ports that only the demo line has.
const PORT: &str = "sim:";

impl DemoLine {
    /// Not running yet.
    pub(super) fn new(wanted: Option<Demo>) -> Self {
        Self { wanted, running: None }
    }

    /// Starts the line, if it is wanted and does not run, where the configuration looks
    /// for it: its PLC at the first Modbus TCP endpoint, its sensors at the first broker.
    ///
    /// # Errors
    /// The PLC's address cannot be bound.
    #[cfg(feature = "sim")]
    pub(super) async fn start(
        &mut self,
        config: &Config,
        wall: &WallClock,
        stage: &Stage,
    ) -> Result<()> {
        use crate::config::modbus::Link;
        use crate::sim::{self, SimOptions};

        let filmed = config.cameras.iter().any(|c| c.port.starts_with(PORT));
        if self.running.is_some() || self.wanted.is_none() && !filmed {
            return Ok(());
        }
        let plc = config.buses.iter().find_map(|bus| match &bus.link {
            Link::Tcp { host, port } => Some((host.clone(), *port)),
            Link::Serial(_) => None,
        });
        let (host, port) = plc.unwrap_or_else(|| ("127.0.0.1".into(), 0));
        let modbus_listen = tokio::net::lookup_host((host.as_str(), port))
            .await
            .with_context(|| format!("demo line: look up {host}"))?
            .next()
            .with_context(|| format!("demo line: {host} has no address"))?;
        let broker = config
            .brokers
            .first()
            .map(|b| sim::Address { host: b.connection.host.clone(), port: b.connection.port });
        let options = SimOptions {
            strip: self.wanted.unwrap_or_default().strip,
            modbus_listen,
            mqtt: broker,
            seed: sim::SEED,
        };
        self.running = Some(sim::start(options, wall, stage.stop.clone(), &stage.tasks).await?);
        Ok(())
    }

    /// There is no demo line in this build.
    #[cfg(not(feature = "sim"))]
    pub(super) async fn start(
        &mut self,
        _config: &Config,
        _wall: &WallClock,
        _stage: &Stage,
    ) -> Result<()> {
        Ok(())
    }

    /// Where a camera's pictures come from.
    pub(super) fn source(&self, camera: &Camera, stop: &CancellationToken) -> Result<Source> {
        if !camera.port.starts_with(PORT) {
            return Ok(Source::V4l2);
        }
        let Some(line) = &self.running else {
            bail!(
                "camera {}: {} is the demo line, which this build leaves out",
                camera.id,
                camera.port
            )
        };
        draw(line, camera, stop)
    }
}

#[cfg(feature = "sim")]
fn draw(line: &Running, camera: &Camera, stop: &CancellationToken) -> Result<Source> {
    use crate::capture::{Pixels, RawPicture, push};

    let (width, height, fps) = (camera.width, camera.height, camera.fps);
    let (pictures, source) = push::channel(&camera.id.0, Pixels::I420, width, height, fps);
    line.camera(&camera.port, (width, height), fps, stop.clone(), move |at, data| {
        pictures.push(RawPicture { at, data });
    })
    .with_context(|| format!("camera {}", camera.id))?;
    Ok(Source::Push(source))
}

#[cfg(not(feature = "sim"))]
fn draw(line: &Running, _camera: &Camera, _stop: &CancellationToken) -> Result<Source> {
    match *line {}
}
