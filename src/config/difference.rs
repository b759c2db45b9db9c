//! What differs between two checked configurations, part by part. Pure.

use std::fmt;

use super::Config;
use super::camera::{Camera, Settings};
use super::mqtt::Broker;
use super::{modbus::Bus, studio::Studio};
use crate::model::FeedId;

/// From one configuration to another. Parts are named by their ids.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Cameras that get other settings while they run.
    pub settings: Vec<(FeedId, Settings)>,
    /// Cameras that are started anew, and the keys that make it so.
    pub cameras: Changes,
    /// Modbus endpoints that are started anew.
    pub buses: Changes,
    /// Brokers that are started anew.
    pub brokers: Changes,
    /// What the page tells has changed: names, figures, feeds, or what a tag means.
    pub studio: bool,
    /// The public listener is opened anew: every viewer comes back.
    pub web: bool,
    /// The metrics listener is opened anew.
    pub metrics: bool,
    /// The box has another name: everything that carries it is told.
    pub site: bool,
    /// The box is set up over other brokers, or publishes otherwise.
    pub control: bool,
}

/// What becomes of the parts of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Not there before.
    pub new: Vec<String>,
    /// No longer there.
    pub gone: Vec<String>,
    /// There before and after, but not the same; with the keys that differ, where known.
    pub changed: Vec<(String, Vec<&'static str>)>,
}

impl Changes {
    /// Nothing of this kind differs.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.changed.is_empty()
    }

    /// Runs before and will not, or not as it is.
    pub fn stops(&self) -> impl Iterator<Item = &str> {
        let changed = self.changed.iter().map(|(id, _)| id);
        self.gone.iter().chain(changed).map(String::as_str)
    }

    /// Will run and does not, or not as it will be.
    pub fn starts(&self, id: &str) -> bool {
        self.new.iter().any(|new| new == id) || self.changed.iter().any(|(of, _)| of == id)
    }

    fn of<T>(
        old: &[T],
        new: &[T],
        id: impl Fn(&T) -> &str,
        differs: impl Fn(&T, &T) -> Option<Vec<&'static str>>,
    ) -> Self {
        let find = |all: &'_ [T], part: &T| all.iter().position(|other| id(other) == id(part));
        let mut changes = Self::default();
        for after in new {
            match find(old, after) {
                None => changes.new.push(id(after).to_owned()),
                Some(at) => changes
                    .changed
                    .extend(differs(&old[at], after).map(|keys| (id(after).to_owned(), keys))),
            }
        }
        let gone = old.iter().filter(|part| find(new, part).is_none());
        changes.gone = gone.map(|part| id(part).to_owned()).collect();
        changes
    }

    fn words(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.new.iter().try_for_each(|id| writeln!(f, "{kind} {id}: new"))?;
        for (id, keys) in &self.changed {
            let keys = if keys.is_empty() { "changed".into() } else { keys.join(", ") };
            writeln!(f, "{kind} {id}: {keys}")?;
        }
        self.gone.iter().try_for_each(|id| writeln!(f, "{kind} {id}: gone"))
    }
}

impl Difference {
    /// From `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let settings = new.cameras.iter().filter_map(|after| {
            let before = old.cameras.iter().find(|c| c.id == after.id)?;
            let settings = after.settings();
            let runs_on = keys(before, after).is_empty();
            (runs_on && before.settings() != settings).then(|| (after.id.clone(), settings))
        });
        let whole = |same: bool| (!same).then(Vec::new);
        let cameras = Changes::of(&old.cameras, &new.cameras, camera_id, |a, b| {
            Some(keys(a, b)).filter(|keys| !keys.is_empty())
        });
        let site = old.site != new.site;
        let page = |studio: &Studio| Studio { logo: None, ..studio.clone() };
        let feed = |c: &Camera| (c.id.clone(), c.name.clone(), c.width, c.height, c.fps);
        Self {
            settings: settings.collect(),
            studio: site
                || page(&old.studio) != page(&new.studio)
                || old.tags[..] != new.tags[..]
                || !old.cameras.iter().map(feed).eq(new.cameras.iter().map(feed)),
            cameras,
            buses: Changes::of(&old.buses, &new.buses, bus_id, |a, b| whole(a == b)),
            brokers: Changes::of(&old.brokers, &new.brokers, broker_id, |a, b| whole(a == b)),
            // The logo's file is read when the listener opens.
            web: old.web != new.web || old.studio.logo != new.studio.logo,
            metrics: old.metrics != new.metrics,
            site,
            control: old.control != new.control,
        }
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A line for each part that differs.
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, _) in &self.settings {
            writeln!(f, "camera {id}: settings, while it runs")?;
        }
        self.cameras.words("camera", f)?;
        self.buses.words("modbus", f)?;
        self.brokers.words("mqtt", f)?;
        for (differs, words) in [
            (self.site, "box: another name"),
            (self.studio, "studio: what the page shows"),
            (self.web, "web: opened anew, viewers come back"),
            (self.metrics, "metrics: opened anew"),
            (self.control, "control: how the box is set up"),
        ] {
            if differs {
                writeln!(f, "{words}")?;
            }
        }
        Ok(())
    }
}

fn camera_id(camera: &Camera) -> &str {
    &camera.id.0
}

fn bus_id(bus: &Bus) -> &str {
    &bus.id
}

fn broker_id(broker: &Broker) -> &str {
    &broker.id
}

/// Keys of a camera that differ and do not change on air.
fn keys(old: &Camera, new: &Camera) -> Vec<&'static str> {
    // In full, so that a new key is not forgotten here.
    let Camera {
        id: _,
        name: _,
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
    let all = [
        ("port", *port != new.port),
        ("format", *format != new.format),
        ("width", *width != new.width),
        ("height", *height != new.height),
        ("fps", *fps != new.fps),
        ("frame_deadline_ms", *frame_deadline != new.frame_deadline),
        ("frozen_after_ms", *frozen_after != new.frozen_after),
        ("gop_ms", *gop_frames != new.gop_frames),
        ("encoder", *encoder != new.encoder),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const LINE: &str = "[[camera]]\nid = \"a\"\nport = \"p1\"\n\
                        [[camera]]\nid = \"b\"\nport = \"p2\"\n\
                        [[mqtt]]\nid = \"plc\"\nurl = \"mqtt://127.0.0.1:1883\"\n\
                        [[mqtt.tag]]\nname = \"t\"\nunit = \"bar\"\ntopic = \"t\"\n";

    fn load(text: &str, before: &[crate::model::Tag]) -> Config {
        let doc = config::parse(text).unwrap_or_else(|problems| panic!("{problems}"));
        config::check(doc, before).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What may change on air starts nothing anew.
    #[test]
    fn settings_start_nothing_anew() {
        let old = load(LINE, &[]);
        let text = LINE.replace("port = \"p1\"", "port = \"p1\"\nprivacy = true");
        let difference = Difference::between(&old, &load(&text, &old.tags));
        let settings = old.cameras[0].settings();
        let expected = Difference {
            settings: vec![("a".into(), Settings { privacy: true, ..settings })],
            ..Difference::default()
        };
        assert_eq!(difference, expected);
    }

    /// Every part that differs is named with its keys, and no other.
    #[test]
    fn parts_that_differ_are_named() {
        let old = load(LINE, &[]);
        let text = "[web]\nviewers_max = 7\n[[camera]]\nid = \"a\"\nport = \"p9\"\nfps = 10\n\
                    bitrate_kbps = 900\n[[camera]]\nid = \"c\"\nport = \"p2\"\n\
                    [[mqtt]]\nid = \"plc\"\nurl = \"mqtt://127.0.0.1:1884\"\n";
        let difference = Difference::between(&old, &load(text, &old.tags));
        let expected = [
            "camera c: new",
            "camera a: port, fps, gop_ms",
            "camera b: gone",
            "mqtt plc: changed",
            "studio: what the page shows",
            "web: opened anew, viewers come back",
        ];
        assert_eq!(difference.lines(), expected);
        assert!(Difference::between(&old, &load(LINE, &old.tags)).is_empty());
    }

    /// A tag keeps its id as long as name and unit are the same, wherever it stands; an
    /// id that meant something else is not given again.
    #[test]
    fn ids_mean_one_tag() {
        let old = load(LINE, &[]);
        let tag = |name: &str, unit: &str| {
            format!("[[mqtt.tag]]\nname = \"{name}\"\nunit = \"{unit}\"\ntopic = \"{name}\"\n")
        };
        let (head, _) = LINE.split_once("[[mqtt.tag]]").unwrap();
        let id = |config: &Config, name: &str| {
            config.tags.iter().find(|t| &*t.name == name).map(|t| t.id.0)
        };
        let moved = load(&format!("{head}{}{}", tag("u", ""), tag("t", "bar")), &old.tags);
        assert_eq!((id(&moved, "t"), id(&moved, "u")), (Some(0), Some(1)));
        let gone = load(&format!("{head}{}", tag("u", "")), &moved.tags);
        assert_eq!((id(&gone, "t"), id(&gone, "u"), gone.tags.len()), (None, Some(1), 2));
        let other = load(&format!("{head}{}", tag("t", "psi")), &moved.tags);
        assert_eq!(id(&other, "t"), Some(2));
        assert!(other.tags.iter().enumerate().all(|(i, t)| t.id.0 as usize == i));
    }
}
