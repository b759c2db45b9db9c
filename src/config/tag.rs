//! What every tag has, whatever its source.

use std::collections::{HashMap, HashSet};
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

/// So many ids stay unused after their tags have gone; then the lowest are given again.
const RETIRED: usize = 10_000;

/// Collects the tags of all sources and numbers them.
#[derive(Debug, Default)]
pub struct Tags {
    /// By id; retired where the id is nobody's.
    tags: Vec<Tag>,
    names: HashMap<Arc<str>, String>,
    /// Ids by what they have meant: name and unit.
    before: HashMap<(Arc<str>, String), TagId>,
}

impl Tags {
    /// Numbers go on from those of another configuration. Whoever knows a tag by its
    /// id must not see another's value under it, so an id means one name and unit.
    pub fn after(before: &[Tag]) -> Self {
        let known = before.iter().filter(|tag| !tag.is_retired());
        let known = known.map(|tag| ((tag.name.clone(), tag.unit.clone()), tag.id)).collect();
        let tags = (0..before.len()).map(|i| Tag::retired(TagId(i as u32))).collect();
        Self { tags, names: HashMap::new(), before: known }
    }

    /// The id that this tag had before, or one that nobody has.
    fn id(&mut self, name: &Arc<str>, unit: &str) -> TagId {
        if let Some(id) = self.before.remove(&(name.clone(), unit.to_owned())) {
            return id;
        }
        if self.tags.len() >= 2 * RETIRED {
            let taken: HashSet<TagId> = self.before.values().copied().collect();
            let free = |tag: &&Tag| tag.is_retired() && !taken.contains(&tag.id);
            let mut free = self.tags.iter().filter(free);
            if let Some(lowest) = free.next()
                && free.count() >= RETIRED
            {
                return lowest.id;
            }
        }
        let id = TagId(self.tags.len() as u32);
        self.tags.push(Tag::retired(id));
        id
    }

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
        let name: Arc<str> = file.name.as_str().into();
        let id = self.id(&name, &file.unit);
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
        self.tags[id.0 as usize] = Tag {
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
        };
        id
    }

    /// The list, numbered; what was before and is no more is retired.
    pub fn finish(self) -> Arc<[Tag]> {
        self.tags.into()
    }
}
