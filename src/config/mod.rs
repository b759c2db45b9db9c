//! Configuration: text to checked values.
//!
//! Every section has a raw `…File` struct (what is typed; the JSON Schema is
//! made from it) and a checked struct (what is usable). A section's `check`
//! reports every mistake it finds to [`Problems`] and goes on.

pub mod camera;
pub mod control;
pub mod count;
pub mod difference;
pub mod means;
pub mod modbus;
pub mod mqtt;
pub mod problems;
pub mod schema;
pub mod studio;
pub mod tag;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use problems::Problems;

use crate::model::Tag;

/// The whole file as typed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct ConfigFile {
    /// The box and its site.
    #[serde(default, rename = "box")]
    pub site: studio::SiteFile,
    /// The page that viewers open.
    #[serde(default)]
    pub studio: studio::StudioFile,
    /// The public listener: page and WHEP.
    #[serde(default)]
    pub web: studio::WebFile,
    /// The metrics listener.
    #[serde(default)]
    pub metrics: studio::MetricsFile,
    /// Cameras.
    #[serde(default, rename = "camera")]
    pub cameras: Vec<camera::CameraFile>,
    /// Modbus endpoints: a TCP address or a serial line each.
    #[serde(default, rename = "modbus")]
    pub buses: Vec<modbus::BusFile>,
    /// MQTT brokers that publish telemetry.
    #[serde(default, rename = "mqtt")]
    pub brokers: Vec<mqtt::BrokerFile>,
    /// How the box is set up, and what it publishes.
    #[serde(default)]
    pub control: control::ControlFile,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The box and its site.
    pub site: studio::Site,
    /// The page.
    pub studio: studio::Studio,
    /// The public listener.
    pub web: studio::Web,
    /// The metrics listener.
    pub metrics: studio::Metrics,
    /// Cameras, ids unique.
    pub cameras: Vec<camera::Camera>,
    /// Modbus endpoints, ids unique.
    pub buses: Vec<modbus::Bus>,
    /// MQTT brokers, ids unique.
    pub brokers: Vec<mqtt::Broker>,
    /// How the box is set up, and what it publishes.
    pub control: control::Control,
    /// All tags of all sources; `tags[i].id` is `TagId(i)`. Some may be retired.
    pub tags: Arc<[Tag]>,
}

impl Config {
    /// The same without cameras, buses and brokers: what is on air before they start.
    pub fn without_sources(&self) -> Self {
        let (cameras, buses, brokers) = Default::default();
        Self { cameras, buses, brokers, ..self.clone() }
    }
}

/// Reads a configuration file: TOML text to checked values, or every mistake in it.
pub fn load(text: &str) -> Result<Config, Problems> {
    check(parse(text)?, &[])
}

/// TOML text to the document that it stands for, not checked yet.
pub fn parse(text: &str) -> Result<Value, Problems> {
    // Straight to the walker's type: a plant's file has ten thousand tags.
    toml::from_str(text).map_err(|error| {
        let mut problems = Problems::default();
        problems.add(place(text, error.span()), format!("not TOML: {}", error.message()));
        problems
    })
}

/// A document to checked values, or every mistake in it.
///
/// A tag that means the same as in `before`, the tags of the configuration that is
/// on air, keeps its id: what is not touched need not know that there was a change.
pub fn check(mut doc: Value, before: &[Tag]) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let stand_ins = schema::mend(&schema::schema(), &mut doc, &mut problems);
    let file = match serde_json::from_value(doc) {
        Ok(file) => file,
        Err(error) => {
            problems.add("configuration", error.to_string());
            return Err(problems);
        }
    };
    let mut meaning = Problems::default();
    let config = check_file(file, tag::Tags::after(before), &mut meaning);
    for problem in meaning.iter().filter(|p| !stand_ins.explains(p)) {
        problems.add(&problem.key, &problem.message);
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// `line 3, column 7` of a byte range.
fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = text.get(..span.map_or(0, |s| s.start)).unwrap_or("");
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {}, column {column}", before.matches('\n').count() + 1)
}

/// Checks raw values: everything that is wrong is in `problems`.
fn check_file(file: ConfigFile, mut tags: tag::Tags, problems: &mut Problems) -> Config {
    let site = file.site.check(problems);
    let web = file.web.check(problems);
    let metrics = file.metrics.check(problems);
    let each = |kind: &str, i: usize| format!("{kind}[{i}]");
    let cameras = (file.cameras.into_iter().enumerate())
        .map(|(i, c)| c.check(&each("camera", i), problems))
        .collect::<Vec<_>>();
    camera::check_all(&cameras, problems);
    let buses = (file.buses.into_iter().enumerate())
        .map(|(i, b)| b.check(&each("modbus", i), &mut tags, problems))
        .collect::<Vec<_>>();
    modbus::check_distinct(&buses, problems);
    let brokers = (file.brokers.into_iter().enumerate())
        .map(|(i, b)| b.check(&each("mqtt", i), &mut tags, problems))
        .collect::<Vec<_>>();
    mqtt::check_all(&brokers, problems);
    let control = file.control.check(problems);
    let tags = tags.finish();
    let studio = file.studio.check(&tags, problems);
    Config { site, studio, web, metrics, cameras, buses, brokers, control, tags }
}

/// Checks that `id` names a part: it appears in topics, URLs and metrics.
pub fn check_id(at: &str, id: &str, problems: &mut Problems) {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if id.is_empty() || id.len() > 40 || !id.chars().all(legal) {
        problems.add(at, format!("{id:?}: use 1 to 40 of a-z, 0-9, - and _"));
    }
}
