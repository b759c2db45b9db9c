//! Another configuration for a box on air.
//!
//! Comes in: SIGHUP, and then the file. Goes out: new settings to the parts
//! that take them while they run; in the log, what changed and what waits for a
//! restart. A file with a mistake changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::camera::{Camera, Settings};
use crate::config::{self, Config};
use crate::model::FeedId;

/// What is on air, and where its settings go.
pub(super) struct OnAir {
    config: Config,
    settings: BTreeMap<FeedId, watch::Sender<Settings>>,
}

impl OnAir {
    /// With the configuration that it starts from.
    pub(super) fn new(config: &Config) -> Self {
        let each = |c: &Camera| (c.id.clone(), watch::Sender::new(c.settings()));
        Self { settings: config.cameras.iter().map(each).collect(), config: config.clone() }
    }

    /// A camera's settings, and changes of them.
    pub(super) fn settings(&self, camera: &Camera) -> watch::Receiver<Settings> {
        self.settings
            .get(&camera.id)
            .map_or_else(|| watch::channel(camera.settings()).1, watch::Sender::subscribe)
    }

    /// Applies what may change on air; says what does not.
    pub(super) fn apply(&mut self, new: &Config) -> Difference {
        let difference = difference(&self.config, new);
        for (id, settings) in &difference.settings {
            let camera = self.config.cameras.iter_mut().find(|c| c.id == *id);
            if let (Some(camera), Some(live)) = (camera, self.settings.get(id)) {
                *camera = camera.with(settings.clone());
                live.send_replace(settings.clone());
            }
        }
        difference
    }
}

/// From one configuration to another.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// Cameras that get other settings while they run.
    pub settings: Vec<(FeedId, Settings)>,
    /// What else differs, by section and key: it takes a restart.
    pub restart: Vec<String>,
}

/// The difference of two checked configurations. Pure.
pub(super) fn difference(old: &Config, new: &Config) -> Difference {
    let sections = [
        ("box", old.site != new.site),
        ("studio", old.studio != new.studio),
        ("web", old.web != new.web),
        ("metrics", old.metrics != new.metrics),
        ("control", old.control != new.control),
    ];
    let mut restart: Vec<_> = differing(sections).map(str::to_owned).collect();
    restart.extend(others("camera", &old.cameras, &new.cameras, |c| &c.id.0, keys));
    restart.extend(others("modbus", &old.buses, &new.buses, |b| &b.id, |a, b| whole(a != b)));
    restart.extend(others("mqtt", &old.brokers, &new.brokers, |b| &b.id, |a, b| whole(a != b)));
    let settings = new.cameras.iter().filter_map(|after| {
        let before = old.cameras.iter().find(|c| c.id == after.id)?;
        let settings = after.settings();
        (before.settings() != settings).then(|| (after.id.clone(), settings))
    });
    Difference { settings: settings.collect(), restart }
}

/// What differs of a kind of part: `camera hall: port, fps`, `modbus plc: new`.
fn others<T>(
    kind: &str,
    old: &[T],
    new: &[T],
    id: impl Fn(&T) -> &str,
    differ: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Vec<String> {
    let named = |part: &T, what: &str| format!("{kind} {}: {what}", id(part));
    let find = |all: &'_ [T], part: &T| all.iter().position(|other| id(other) == id(part));
    let of_new = new.iter().filter_map(|after| match find(old, after) {
        None => Some(named(after, "new")),
        Some(at) => {
            let keys = differ(&old[at], after);
            (!keys.is_empty()).then(|| named(after, &keys.join(", ")))
        }
    });
    let gone = old.iter().filter(|part| find(new, part).is_none()).map(|part| named(part, "gone"));
    of_new.chain(gone).collect()
}

fn whole(differs: bool) -> Vec<&'static str> {
    differing([("changed", differs)]).collect()
}

fn differing<const N: usize>(all: [(&'static str, bool); N]) -> impl Iterator<Item = &'static str> {
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name)
}

/// Keys of a camera that differ and do not change on air.
fn keys(old: &Camera, new: &Camera) -> Vec<&'static str> {
    // In full, so that a new key is not forgotten here.
    let Camera {
        id: _,
        name,
        port,
        format,
        width,
        height,
        fps,
        frame_deadline,
        frozen_after,
        bitrate_kbps: _,
        gop_frames,
        encoder,
        on_demand: _,
        privacy: _,
        controls: _,
    } = old;
    differing([
        ("name", *name != new.name),
        ("port", *port != new.port),
        ("format", *format != new.format),
        ("width", *width != new.width),
        ("height", *height != new.height),
        ("fps", *fps != new.fps),
        ("frame_deadline_ms", *frame_deadline != new.frame_deadline),
        ("frozen_after_ms", *frozen_after != new.frozen_after),
        ("gop_ms", *gop_frames != new.gop_frames),
        ("encoder", *encoder != new.encoder),
    ])
    .collect()
}

/// Reads the file again at every SIGHUP, until `stop`.
pub(super) async fn at_hangup(
    mut hangup: Signal,
    file: Option<PathBuf>,
    mut on_air: OnAir,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            got = hangup.recv() => if got.is_none() { return },
        }
        match &file {
            Some(file) => reload(file, &mut on_air).await,
            None => warn!("SIGHUP: the built-in configuration has no file to read again"),
        }
    }
}

async fn reload(file: &Path, on_air: &mut OnAir) {
    let path = file.display();
    let new = match tokio::fs::read_to_string(file).await {
        Ok(text) => config::load(&text),
        Err(error) => return error!(%path, "configuration not read, nothing changes: {error}"),
    };
    let new = match new {
        Ok(new) => new,
        Err(problems) => {
            error!(%path, mistakes = problems.iter().count(), "nothing changes");
            return problems.iter().for_each(|p| error!("{}: {}", p.key, p.message));
        }
    };
    let Difference { settings, restart } = on_air.apply(&new);
    let changed: Vec<_> = settings.iter().map(|(id, _)| &*id.0).collect();
    info!(%path, cameras = ?changed, "configuration read again");
    restart.iter().for_each(|what| warn!("{what}: takes a restart"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[[camera]]\nid = \"a\"\nport = \"p1\"\n\
                        [[camera]]\nid = \"b\"\nport = \"p2\"\n\
                        [[mqtt]]\nid = \"plc\"\nurl = \"mqtt://127.0.0.1:1883\"\n";

    fn load(text: &str) -> Config {
        config::load(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What may change on air goes to its own camera only, and nothing takes a restart.
    #[test]
    fn settings_reach_their_camera() {
        let old = load(LINE);
        let mut on_air = OnAir::new(&old);
        let [mut a, b] = [0, 1].map(|i: usize| on_air.settings(&old.cameras[i]));
        let text = LINE.replace(
            "port = \"p1\"",
            "port = \"p1\"\nbitrate_kbps = 900\nprivacy = true\non_demand = true",
        );
        assert_eq!(on_air.apply(&load(&text)).restart, [""; 0]);
        assert!(a.has_changed().unwrap() && !b.has_changed().unwrap());
        let settings = a.borrow_and_update().clone();
        assert_eq!(
            (settings.bitrate_kbps, settings.privacy, settings.on_demand),
            (900, true, true)
        );
        // The same again is no change.
        assert_eq!(on_air.apply(&load(&text)), Difference::default());
        assert!(!a.has_changed().unwrap());
    }

    /// What does not change on air is named, every time until the restart, and
    /// what can is applied beside it.
    #[test]
    fn what_takes_a_restart_is_named() {
        let mut on_air = OnAir::new(&load(LINE));
        let text = "[web]\nviewers_max = 7\n[[camera]]\nid = \"a\"\nport = \"p9\"\nfps = 10\n\
                    bitrate_kbps = 900\n[[camera]]\nid = \"c\"\nport = \"p2\"\n\
                    [[mqtt]]\nid = \"plc\"\nurl = \"mqtt://127.0.0.1:1884\"\n";
        let expected = [
            "web",
            "camera a: port, fps, gop_ms",
            "camera c: new",
            "camera b: gone",
            "mqtt plc: changed",
        ];
        let first = on_air.apply(&load(text));
        assert_eq!(first.restart, expected);
        assert_eq!(first.settings.len(), 1);
        let second = on_air.apply(&load(text));
        assert_eq!((second.restart.len(), second.settings.len()), (expected.len(), 0));
    }

    /// A file with a mistake changes nothing, however right the rest is.
    #[tokio::test]
    async fn a_mistake_changes_nothing() {
        let old = load(LINE);
        let mut on_air = OnAir::new(&old);
        let settings = on_air.settings(&old.cameras[0]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = LINE.replace("port = \"p1\"", "port = \"p1\"\nbitrate_kbps = 900\nfsp = 3");
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        reload(file.path(), &mut on_air).await;
        assert!(!settings.has_changed().unwrap());
        let text = text.replace("fsp = 3", "");
        std::fs::write(file.path(), text).unwrap();
        reload(file.path(), &mut on_air).await;
        assert_eq!(settings.borrow().bitrate_kbps, 900);
    }
}
