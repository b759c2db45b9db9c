//! What is on air, and how it becomes what another revision wants.
//!
//! Comes in: a checked configuration. Goes out: by difference, the fewest parts
//! that end and begin. A camera that stays keeps its ring, its encoder and every
//! viewer; a tag that stays keeps its newest sample. Only what comes before the first
//! part is touched can fail: then nothing has changed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::listeners::{Bound, Doors};
use super::sources::{Floor, Sources};
use super::stage::Stage;
use crate::capture;
use crate::config::Config;
use crate::config::difference::{Changes, Difference};
use crate::config::studio::Studio;
use crate::model::Label;
use crate::web::{Showing, StudioInfo};

/// What is on air.
pub(super) struct OnAir {
    config: Config,
    sources: Sources,
    showing: watch::Sender<Arc<Showing>>,
    doors: Doors,
}

impl OnAir {
    /// Starts everything that a configuration wants, the listeners last: who comes in
    /// finds the feeds there.
    ///
    /// # Errors
    /// A camera of the demo line where there is none.
    pub(super) async fn start(
        mut sources: Sources,
        config: Config,
        bound: Bound,
        viewers: Stage,
        metrics: PrometheusHandle,
    ) -> Result<Self> {
        let nothing = config.without_sources();
        let difference = Difference::between(&nothing, &config);
        let origins = sources.origins(&config, &difference).await?;
        sources.change(&config, &difference, origins).await;
        let showing = watch::Sender::new(Arc::new(shown(1, &config, &sources)));
        let floor = sources.floor();
        let info = Arc::new(StudioInfo {
            showing: showing.subscribe(),
            board: floor.board.clone(),
            wall: floor.wall.clone(),
            status: floor.status.clone(),
        });
        let doors = Doors::open(viewers, bound, &config.web, &config.metrics, info, metrics);
        Ok(Self { config, sources, showing, doors })
    }

    /// What is on air.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What its sources write to.
    pub(super) fn floor(&self) -> &Floor {
        self.sources.floor()
    }

    /// Turns what is on air into `new`, whose tags were numbered after those on air.
    ///
    /// # Errors
    /// A listener that cannot be opened, a camera of the demo line where there is none;
    /// nothing has changed then.
    pub(super) async fn turn_into(&mut self, new: Config) -> Result<Difference> {
        let difference = Difference::between(&self.config, &new);
        let origins = self.sources.origins(&new, &difference).await?;
        if difference.metrics {
            self.doors.move_metrics(&new.metrics).await?;
        }
        if difference.web
            && let Err(error) = self.doors.reopen(&new.web, &new.studio).await
        {
            if difference.metrics {
                self.doors.return_metrics(&self.config.metrics).await;
            }
            return Err(error);
        }
        self.sources.change(&new, &difference, origins).await;
        self.sources.floor().style.send_if_modified(|style| {
            let other = style_of(&new.studio);
            std::mem::replace(style, other.clone()) != other
        });
        self.config = new;
        if difference.studio {
            let number = self.showing.borrow().number.wrapping_add(1);
            self.showing.send_replace(Arc::new(shown(number, &self.config, &self.sources)));
        }
        Ok(difference)
    }

    /// Ends one part and begins it anew, as it is configured: `camera line`.
    ///
    /// # Errors
    /// There is no such part, or no demo line for it.
    pub(super) async fn begin_anew(&mut self, part: &str) -> Result<()> {
        let (kind, id) = part.split_once(' ').context("a kind and an id")?;
        let one = || Changes { changed: vec![(id.to_owned(), Vec::new())], ..Changes::default() };
        let mut difference = Difference::default();
        match kind {
            "camera" => difference.cameras = one(),
            "modbus" => difference.buses = one(),
            "mqtt" => difference.brokers = one(),
            _ => bail!("{part}: no such part"),
        }
        let origins = self.sources.origins(&self.config, &difference).await?;
        self.sources.change(&self.config, &difference, origins).await;
        Ok(())
    }

    /// The name of a feed that somebody watches now.
    pub(super) fn watched(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let showing = self.showing.subscribe();
        move || {
            let showing = showing.borrow().clone();
            let watched = showing.feeds.iter().find(|feed| *feed.ring.watched().borrow() > 0);
            watched.map(|feed| feed.id.to_string())
        }
    }

    /// What delivers.
    pub(super) fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// Ends everything: viewers first, then cameras and buses.
    pub(super) async fn end(self, viewers: Duration, sources: Duration) {
        self.doors.close(viewers).await;
        self.sources.end(sources).await;
    }
}

/// What the page tells.
fn shown(number: u32, config: &Config, sources: &Sources) -> Showing {
    let feeds = sources.feeds(config);
    Showing { number, site: config.site.clone(), studio: config.studio.clone(), feeds }
}

/// What a slate calls the house: the line's name where it has none.
pub(super) fn style_of(studio: &Studio) -> capture::Style {
    let own = |brand: &str, name: &str| (if brand.is_empty() { name } else { brand }).to_owned();
    let (brand, name) = (&studio.brand, &studio.name);
    let brand = Label { zh: own(&brand.zh, &name.zh), en: own(&brand.en, &name.en) };
    capture::Style { brand, accent: studio.accent.clone() }
}
