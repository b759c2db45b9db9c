//! `[[modbus.unit]]`: one device on a bus, its limits and its tags.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::Swap;
use super::plan::{Limits, Read, plan};
use super::point::{Defaults, PointFile};
use crate::config::Problems;
use crate::config::tag::Tags;
use crate::model::Source;

/// As typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct UnitFile {
    /// Its Modbus unit id: 1 to 247 on a serial line, to 255 over TCP.
    pub id: u8,
    /// How long it may take to answer; the bus's `timeout_ms` if left out.
    #[schemars(range(min = 10, max = 60_000))]
    pub timeout_ms: Option<u64>,
    /// Most registers it gives in one reply.
    #[serde(default = "registers")]
    #[schemars(range(min = 1, max = 125))]
    pub max_registers: u16,
    /// Most coils or inputs it gives in one reply.
    #[serde(default = "bits")]
    #[schemars(range(min = 1, max = 2000))]
    pub max_bits: u16,
    /// Read up to this many unused registers in a row to save a request.
    #[serde(default = "gap_registers")]
    #[schemars(range(max = 124))]
    pub gap_registers: u16,
    /// Read up to this many unused coils or inputs in a row to save a request.
    #[serde(default = "gap_bits")]
    #[schemars(range(max = 1999))]
    pub gap_bits: u16,
    /// Rest between its reply and its next request.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub pause_ms: u64,
    /// How often its tags are read, where they do not say themselves.
    #[serde(default = "a_second")]
    #[schemars(range(min = 10, max = 86_400_000))]
    pub period_ms: u64,
    /// Byte and word order of its values, where its tags do not say themselves.
    #[serde(default)]
    pub order: Swap,
    /// Its tags.
    #[serde(default, rename = "tag")]
    pub tags: Vec<PointFile>,
}

fn registers() -> u16 {
    125
}

fn bits() -> u16 {
    2000
}

/// What a request costs on the wire besides its registers is about 8 registers.
fn gap_registers() -> u16 {
    8
}

fn gap_bits() -> u16 {
    128
}

fn a_second() -> u64 {
    1000
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Its Modbus unit id, never 0.
    pub id: u8,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// Rest between its reply and its next request.
    pub pause: Duration,
    /// What is read from it, planned.
    pub reads: Vec<Read>,
}

impl UnitFile {
    /// Raw to checked. `timeout` is the bus's.
    pub fn check(
        self,
        at: &str,
        bus: &str,
        timeout: Duration,
        serial: bool,
        tags: &mut Tags,
        problems: &mut Problems,
    ) -> Unit {
        let last = if serial { 247 } else { 255 };
        if self.id == 0 || self.id > last {
            let why = if self.id == 0 { "a broadcast, which nobody answers" } else { "reserved" };
            problems.add(format!("{at}.id"), format!("{} is {why}: use 1 to {last}", self.id));
        }
        let source = Source::Unit { bus: bus.into(), unit: self.id };
        let limits = Limits {
            max_registers: self.max_registers,
            max_bits: self.max_bits,
            gap_registers: self.gap_registers,
            gap_bits: self.gap_bits,
        };
        let defaults = Defaults { order: self.order, period_ms: self.period_ms, limits };
        if self.tags.is_empty() {
            problems.add(format!("{at}.tag"), "no tag: add [[modbus.unit.tag]]");
        }
        let points = (self.tags.into_iter().enumerate())
            .map(|(i, tag)| {
                tag.check(&format!("{at}.tag[{i}]"), &defaults, &source, tags, problems)
            })
            .collect();
        Unit {
            id: self.id,
            timeout: self.timeout_ms.map_or(timeout, Duration::from_millis),
            pause: Duration::from_millis(self.pause_ms),
            reads: plan(points, &limits),
        }
    }
}
