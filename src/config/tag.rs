//! What every tag has, whatever its source.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use crate::model::{Label, Source, Tag, TagId};

/// The keys that every tag shares; sources flatten this into their own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct TagFile {
    /// Unique name over all sources: a-z, 0-9, `_`, `-` and `.`.
    pub name: String,
    /// Name for viewers; the tag's own name where a language is missing.
    #[serde(default)]
    pub label: Label,
    /// Unit as printed.
    #[serde(default)]
    pub unit: String,
    /// Digits after the point.
    #[serde(default)]
    #[schemars(range(max = 9))]
    pub decimals: u8,
    /// Least and greatest plausible value; beyond it a sample is bad.
    pub range: Option<[f64; 2]>,
    /// Below this the figure is coloured.
    pub warn_below: Option<f64>,
    /// Above this the figure is coloured.
    pub warn_above: Option<f64>,
    /// An older sample shows as stale; default three periods, at least 2 s.
    #[schemars(range(min = 100))]
    pub stale_after_ms: Option<u64>,
    /// Viewers may see it. Off by default.
    #[serde(default)]
    pub public: bool,
}

/// Collects the tags of all sources and numbers them.
#[derive(Debug, Default)]
pub struct Tags {
    tags: Vec<Tag>,
    names: HashMap<Arc<str>, String>,
}

impl Tags {
    /// Checks one tag and gives it its number. `at` is its key, `source` names
    /// where it comes from, `period` is how often it is expected.
    pub fn add(
        &mut self,
        at: &str,
        file: TagFile,
        source: &Source,
        period: Duration,
        problems: &mut Problems,
    ) -> TagId {
        let id = TagId(self.tags.len() as u32);
        let name: Arc<str> = file.name.as_str().into();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > 80 || !name.chars().all(legal) {
            problems.add(format!("{at}.name"), format!("{name:?}: use 1 to 80 of a-z, 0-9, _ - ."));
        }
        if let Some(first) = self.names.insert(name.clone(), at.to_owned()) {
            problems.add(format!("{at}.name"), format!("{name:?} is already the name of {first}"));
        }
        let range = file.range.map(|[low, high]| (low, high));
        if let Some((low, high)) = range
            && (low.is_nan() || high.is_nan() || low >= high)
        {
            problems.add(format!("{at}.range"), format!("[{low}, {high}]: least before greatest"));
        }
        if let (Some(low), Some(high)) = (file.warn_below, file.warn_above)
            && low >= high
        {
            problems.add(
                format!("{at}.warn_below"),
                format!("{low} is not below warn_above = {high}: every value would warn"),
            );
        }
        let fallback = |text: &str| if text.is_empty() { file.name.clone() } else { text.into() };
        self.tags.push(Tag {
            id,
            label: Label { zh: fallback(&file.label.zh), en: fallback(&file.label.en) },
            name,
            unit: file.unit,
            decimals: file.decimals,
            range,
            warn: (file.warn_below, file.warn_above),
            stale_after: file
                .stale_after_ms
                .map_or((period * 3).max(Duration::from_secs(2)), Duration::from_millis),
            public: file.public,
            source: source.clone(),
        });
        id
    }

    /// The list, numbered.
    pub fn finish(self) -> Arc<[Tag]> {
        self.tags.into()
    }
}
