//! The two listeners, which can be opened anew under another configuration.
//!
//! Comes in: `[web]` and `[metrics]`. Goes out: the page, WHEP and `/metrics`.
//! When an address cannot be bound, the old one is opened again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;

use super::stage::{Running, Stage};
use crate::config::studio::{Metrics, Studio, Web};
use crate::observe;
use crate::web::{self, Listeners, StudioInfo};

/// Who reads metrics may take this long to be done.
const READERS: Duration = Duration::from_millis(300);
/// Viewers may take this long to be told good-bye.
pub(super) const VIEWERS: Duration = Duration::from_secs(2);

/// What is open.
pub(super) struct Doors {
    stage: Stage,
    info: Arc<StudioInfo>,
    handle: PrometheusHandle,
    web: (Web, Option<Running>),
    metrics: Option<Running>,
}

/// Both, bound before any device is touched.
pub(super) struct Bound {
    web: Listeners,
    metrics: tokio::net::TcpListener,
}

impl Bound {
    /// # Errors
    /// An address that cannot be bound, with its key.
    pub(super) async fn bind(web: &Web, metrics: &Metrics) -> Result<Self> {
        let metrics = observe::bind("metrics.listen", metrics.listen).await?;
        Ok(Self { web: Listeners::bind(web)?, metrics })
    }

    /// Where the page is, and where the metrics are.
    pub(super) fn addresses(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((self.web.tcp()?, self.metrics.local_addr()?))
    }
}

impl Doors {
    /// Opens both.
    pub(super) fn open(
        stage: Stage,
        bound: Bound,
        web: &Web,
        info: Arc<StudioInfo>,
        handle: PrometheusHandle,
    ) -> Self {
        let mut doors = Self { stage, info, handle, web: (web.clone(), None), metrics: None };
        doors.metrics = Some(doors.serve_metrics(bound.metrics));
        doors.web.1 = Some(doors.serve(web, Some(bound.web)));
        doors
    }

    /// Binds by itself, again and again, where nothing is bound yet.
    fn serve(&self, web: &Web, mut bound: Option<Listeners>) -> Running {
        let (web, info, stop) = (web.clone(), self.info.clone(), self.stage.stop.child_token());
        let until = stop.clone();
        self.stage.spawn("web".into(), stop, move || {
            let bound = bound.take().map_or_else(|| Listeners::bind(&web), Ok);
            let (web, info, until) = (web.clone(), info.clone(), until.clone());
            async move { web::serve(bound?, web, info, web::Tuning::default(), until).await }
        })
    }

    fn serve_metrics(&self, listener: tokio::net::TcpListener) -> Running {
        let (handle, stop) = (self.handle.clone(), self.stage.stop.child_token());
        let address = listener.local_addr();
        let (until, mut listener) = (stop.clone(), Some(listener));
        self.stage.spawn("metrics".into(), stop, move || {
            let (bound, address) = (listener.take(), address.as_ref().ok().copied());
            let (handle, until) = (handle.clone(), until.clone());
            async move {
                let listener = match (bound, address) {
                    (Some(bound), _) => bound,
                    (None, Some(address)) => observe::bind("metrics.listen", address).await?,
                    (None, None) => anyhow::bail!("metrics.listen: its address"),
                };
                observe::serve_metrics(listener, handle, until).await
            }
        })
    }

    /// Opens the public listener as `web` says: viewers come back to it.
    ///
    /// # Errors
    /// An address that cannot be bound; what was open is open again.
    pub(super) async fn reopen(&mut self, web: &Web, studio: &Studio) -> Result<()> {
        if let Some(path) = &studio.logo {
            web::page::check_logo(path)?;
        }
        if let Some(open) = self.web.1.take() {
            open.end(VIEWERS).await;
        }
        match Listeners::bind(web) {
            Ok(bound) => {
                self.web = (web.clone(), Some(self.serve(web, Some(bound))));
                Ok(())
            }
            Err(error) => {
                let before = self.web.0.clone();
                self.web.1 = Some(self.serve(&before, None));
                Err(error)
            }
        }
    }

    /// Opens the metrics where `metrics` says.
    ///
    /// # Errors
    /// An address that cannot be bound; what was open still is.
    pub(super) async fn move_metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let listener = observe::bind("metrics.listen", metrics.listen).await.context("metrics")?;
        if let Some(open) = self.metrics.take() {
            open.end(READERS).await;
        }
        self.metrics = Some(self.serve_metrics(listener));
        Ok(())
    }

    /// Says good-bye to viewers, and closes both.
    pub(super) async fn close(self, within: Duration) {
        self.stage.drain("viewers", within).await;
    }
}
