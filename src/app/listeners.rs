//! The two listeners, which can be opened anew under another configuration.
//!
//! Comes in: `[web]` and `[metrics]`. Goes out: the page, WHEP and `/metrics`.
//! When an address cannot be bound, the old one is opened again. One that is not the box's
//! yet is tried again, and the status says so meanwhile.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::stage::{Running, Stage};
use crate::config::studio::{Metrics, Studio, Web};
use crate::observe;
use crate::status::{State, Status};
use crate::web::{self, Listeners, StudioInfo};

/// Who reads metrics may take this long to be done.
const READERS: Duration = Duration::from_millis(300);
/// Viewers may take this long to be told good-bye.
pub(super) const VIEWERS: Duration = Duration::from_secs(2);

/// The listeners in the status.
const WEB: &str = "web";
const METRICS: &str = "metrics";
/// The code of one whose address is not the box's yet: the health gate excuses it.
const NO_ADDRESS: &str = "no_address";

/// What is open.
pub(super) struct Doors {
    stage: Stage,
    info: Arc<StudioInfo>,
    handle: PrometheusHandle,
    web: (Web, Option<Running>),
    metrics: Option<Running>,
}

/// Both, bound before any device is touched, as far as they can be.
pub(super) struct Bound {
    web: Result<Listeners>,
    metrics: Result<TcpListener>,
}

impl Bound {
    /// Tries both.
    pub(super) async fn bind(web: &Web, metrics: &Metrics) -> Self {
        let metrics = observe::bind("metrics.listen", metrics.listen).await;
        Self { web: Listeners::bind(web), metrics }
    }

    /// What is bound, where the rest only lacks an address that the site has yet to give.
    ///
    /// # Errors
    /// An address that cannot be bound for another reason, with its key.
    pub(super) fn both_or_late(self) -> Result<Self> {
        let due = |error: &anyhow::Error| !lacks_address(error);
        let (web, metrics) = (self.web.as_ref().err(), self.metrics.as_ref().err());
        if web.is_some_and(due) || metrics.is_some_and(due) { self.both() } else { Ok(self) }
    }

    /// Only what is whole.
    ///
    /// # Errors
    /// An address that cannot be bound, with its key.
    pub(super) fn both(self) -> Result<Self> {
        let (metrics, web) = (self.metrics?, self.web?);
        Ok(Self { web: Ok(web), metrics: Ok(metrics) })
    }

    /// Where the page is, and where the metrics are.
    pub(super) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let page = self.web.as_ref().ok().and_then(|web| web.tcp().ok());
        (page, self.metrics.as_ref().ok().and_then(|metrics| metrics.local_addr().ok()))
    }
}

impl Doors {
    /// Opens both.
    pub(super) fn open(
        stage: Stage,
        Bound { web: bound, metrics: numbers }: Bound,
        web: &Web,
        metrics: &Metrics,
        info: Arc<StudioInfo>,
        handle: PrometheusHandle,
    ) -> Self {
        let mut doors = Self { stage, info, handle, web: (web.clone(), None), metrics: None };
        doors.metrics = Some(doors.serve_metrics(metrics.listen, numbers.ok()));
        doors.web.1 = Some(doors.serve(web, bound.ok()));
        doors
    }

    /// Binds by itself, again and again, where nothing is bound yet.
    fn serve(&self, web: &Web, mut bound: Option<Listeners>) -> Running {
        let (web, info, stop) = (web.clone(), self.info.clone(), self.stage.stop.child_token());
        let until = stop.clone();
        self.stage.spawn("web".into(), stop, move || {
            let bound = bound.take().map_or_else(|| Listeners::bind(&web), Ok);
            let status = &info.status;
            tell(status, WEB, bound.as_ref().err());
            let (web, info, until) = (web.clone(), info.clone(), until.clone());
            async move { web::serve(bound?, web, info, web::Tuning::default(), until).await }
        })
    }

    /// Binds by itself, again and again, where nothing is bound yet.
    fn serve_metrics(&self, at: SocketAddr, mut bound: Option<TcpListener>) -> Running {
        let (handle, stop) = (self.handle.clone(), self.stage.stop.child_token());
        let (until, info) = (stop.clone(), self.info.clone());
        self.stage.spawn("metrics".into(), stop, move || {
            let (bound, handle, until) = (bound.take(), handle.clone(), until.clone());
            let info = info.clone();
            async move {
                let bound = match bound {
                    Some(bound) => Ok(bound),
                    None => observe::bind("metrics.listen", at).await,
                };
                tell(&info.status, METRICS, bound.as_ref().err());
                observe::serve_metrics(bound?, handle, until).await
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
        self.metrics = Some(self.serve_metrics(metrics.listen, Some(listener)));
        Ok(())
    }

    /// Opens the metrics where they were: at once, or as soon as that can be.
    pub(super) async fn return_metrics(&mut self, metrics: &Metrics) {
        if let Some(open) = self.metrics.take() {
            open.end(READERS).await;
        }
        self.metrics = Some(self.serve_metrics(metrics.listen, None));
    }

    /// Says good-bye to viewers, and closes both.
    pub(super) async fn close(self, within: Duration) {
        self.stage.drain("viewers", within).await;
    }
}

/// The address is none of the box's (`bind(2)`, EADDRNOTAVAIL).
fn lacks_address(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    kinds.map(io::Error::kind).any(|kind| kind == io::ErrorKind::AddrNotAvailable)
}

fn tell(status: &Status, part: &str, error: Option<&anyhow::Error>) {
    match error {
        None => status.set(part, State::Live, ""),
        Some(error) if lacks_address(error) => {
            let why = format!("{error:#}: not this box's address; tried again until it is");
            status.set_coded(part, State::NoSignal, NO_ADDRESS, &why);
        }
        Some(error) => status.set(part, State::NoSignal, &format!("{error:#}")),
    }
}
