//! Tags that count, and the rate derived from them; the same keys for every source.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use super::tag::{TagFile, Tags};
use crate::model::{Source, TagId};

/// The keys of a counting tag; sources flatten this into their own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct CountFile {
    /// The tag counts on where the device's own count rolls over or is reset.
    /// Without it the tag shows what the device holds, and `rate` still works.
    #[serde(default)]
    pub counter: bool,
    /// The device's greatest count, after which comes 0; by default what the type holds.
    #[schemars(range(min = 1))]
    pub counter_max: Option<u64>,
    /// One more tag: how fast this one counts, per minute.
    pub rate: Option<RateFile>,
}

/// A derived tag: counts per minute.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RateFile {
    /// Its tag keys.
    #[serde(flatten)]
    pub tag: TagFile,
    /// Measured over this many seconds.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 3600))]
    pub window_s: u32,
}

fn a_minute() -> u32 {
    60
}

/// How a tag counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// The tag's value counts on through roll-over and reset.
    pub goes_on: bool,
    /// After `modulus - 1` the device counts from 0 again; `None`: it never rolls over.
    pub modulus: Option<u128>,
    /// The derived tag, counts per minute.
    pub rate: Option<TagId>,
    /// What the rate is measured over.
    pub window: Duration,
}

impl CountFile {
    /// Raw to checked: `None` for a tag that does not count. `at` is the
    /// counting tag's key, `modulus` what its type holds, `None` if that is
    /// not known; `source` and `period` are the counting tag's.
    pub fn check(
        self,
        at: &str,
        modulus: Option<u128>,
        source: &Source,
        period: Duration,
        tags: &mut Tags,
        problems: &mut Problems,
    ) -> Option<Count> {
        if !self.counter && self.rate.is_none() {
            if self.counter_max.is_some() {
                problems.add(
                    format!("{at}.counter_max"),
                    "the tag does not count: set counter = true or add rate",
                );
            }
            return None;
        }
        if let (Some(max), Some(holds)) = (self.counter_max, modulus)
            && u128::from(max) >= holds
        {
            problems.add(
                format!("{at}.counter_max"),
                format!("{max}: the type holds at most {}", holds - 1),
            );
        }
        let modulus = self.counter_max.map(|max| u128::from(max) + 1).or(modulus);
        let mut window = Duration::from_secs(60);
        let rate = self.rate.map(|rate| {
            window = Duration::from_secs(rate.window_s.into());
            if window < period * 2 {
                problems.add(
                    format!("{at}.rate.window_s"),
                    format!("{}: a rate needs two periods of its counter", rate.window_s),
                );
            }
            tags.add(&format!("{at}.rate"), rate.tag, source, period, problems)
        });
        Some(Count { goes_on: self.counter, modulus, rate, window })
    }
}
