//! `[[modbus]]`: an endpoint, the units behind it, and their tags.
//!
//! The requests are planned here too ([`plan`]): whether a serial line can
//! carry them is something that only the plan tells.

pub mod form;
pub mod line;
pub mod plan;
pub mod point;
pub mod unit;
pub mod write;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use super::tag::Tags;
use line::{Line, LineFile};
use unit::{Unit, UnitFile};

/// As typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct BusFile {
    /// Its name in logs and metrics.
    pub id: String,
    /// Modbus TCP: `address:port` of the device or gateway; port 502 if left out.
    pub tcp: Option<String>,
    /// Modbus RTU: the tty and its settings.
    #[serde(flatten)]
    pub line: LineFile,
    /// How long a unit may take to answer.
    #[serde(default = "half_a_second")]
    #[schemars(range(min = 10, max = 60_000))]
    pub timeout_ms: u64,
    /// Rest between any reply and the next request, on the whole endpoint.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub pause_ms: u64,
    /// Rest between connecting and the first request.
    #[serde(default)]
    #[schemars(range(max = 60_000))]
    pub connect_pause_ms: u64,
    /// Requests under way at once, to different units; a unit has one at most.
    /// 1 gives the best sample times; gateways with several lines want more.
    /// A unit that keeps its answer waiting holds nobody up either way.
    #[schemars(range(min = 1, max = 16))]
    pub in_flight: Option<u8>,
    /// The units behind it.
    #[serde(default, rename = "unit")]
    pub units: Vec<UnitFile>,
}

fn half_a_second() -> u64 {
    500
}

/// Checked: one TCP endpoint or one tty, with exactly one owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Its name in logs and metrics.
    pub id: Arc<str>,
    /// Where it is.
    pub link: Link,
    /// Rest between any reply and the next request.
    pub pause: Duration,
    /// Rest between connecting and the first request.
    pub connect_pause: Duration,
    /// Requests under way at once, besides those that are overdue.
    pub in_flight: usize,
    /// Its units, ids unique.
    pub units: Vec<Unit>,
}

/// Where a bus is.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// Modbus TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Modbus RTU.
    Serial(Line),
}

impl BusFile {
    /// Raw to checked.
    pub fn check(self, at: &str, tags: &mut Tags, problems: &mut Problems) -> Bus {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        let tcp = self.tcp.map(|text| tcp(&format!("{at}.tcp"), &text, problems));
        let serial = tcp.is_none();
        if serial && self.line.serial.is_none() {
            problems.add(at, "says neither tcp nor serial: where is it?");
        }
        if serial && self.in_flight.is_some_and(|n| n > 1) {
            problems.add(format!("{at}.in_flight"), "a serial line carries one request at a time");
        }
        let line = self.line.check(at, serial, problems);
        let timeout = Duration::from_millis(self.timeout_ms);
        let mut seen: HashMap<u8, usize> = HashMap::new();
        let mut units = Vec::new();
        for (i, unit) in self.units.into_iter().enumerate() {
            let at = format!("{at}.unit[{i}]");
            if let Some(first) = seen.insert(unit.id, i) {
                let id = unit.id;
                problems
                    .add(format!("{at}.id"), format!("{id} is already the id of unit[{first}]"));
            }
            units.push(unit.check(&at, &self.id, timeout, serial, tags, problems));
        }
        if units.is_empty() {
            problems.add(format!("{at}.unit"), "no unit: add [[modbus.unit]] with its tags");
        }
        let bus = Bus {
            id: self.id.into(),
            link: tcp.unwrap_or(Link::Serial(line)),
            pause: Duration::from_millis(self.pause_ms),
            connect_pause: Duration::from_millis(self.connect_pause_ms),
            in_flight: self.in_flight.unwrap_or(1).into(),
            units,
        };
        if let Link::Serial(line) = &bus.link {
            line.check_load(at, &bus, problems);
        }
        bus
    }
}

/// `host`, `host:port`, `[v6]:port`; port 502 is IANA's `mbap`.
fn tcp(at: &str, text: &str, problems: &mut Problems) -> Link {
    if let Ok(address) = text.parse::<SocketAddr>()
        && address.port() > 0
    {
        return Link::Tcp { host: address.ip().to_string(), port: address.port() };
    }
    if text.parse::<IpAddr>().is_ok() {
        return Link::Tcp { host: text.into(), port: 502 };
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)),
        None => (text, Some(502)),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) || port.is_none() {
        problems.add(at, format!("{text:?}: write it as 10.0.0.7:502 or plc.example:502"));
    }
    Link::Tcp { host: host.into(), port: port.unwrap_or(502) }
}

/// Reports buses that share an id or an endpoint: two owners would talk at once.
pub fn check_distinct(buses: &[Bus], problems: &mut Problems) {
    for (i, bus) in buses.iter().enumerate() {
        for (j, earlier) in buses[..i].iter().enumerate() {
            if bus.id == earlier.id {
                problems.add(
                    format!("modbus[{i}].id"),
                    format!("{:?} is already the id of modbus[{j}]", &*bus.id),
                );
            }
            let (key, same) = match (&bus.link, &earlier.link) {
                (Link::Tcp { .. }, _) => ("tcp", bus.link == earlier.link),
                (Link::Serial(a), Link::Serial(b)) => ("serial", a.path == b.path),
                (Link::Serial(_), Link::Tcp { .. }) => ("serial", false),
            };
            if same {
                problems.add(
                    format!("modbus[{i}].{key}"),
                    format!("is the endpoint of modbus[{j}] too: put its units there"),
                );
            }
        }
    }
}
