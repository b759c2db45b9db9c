//! A serial line: its settings, its timing, and whether it can carry its load.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Bus;
use super::plan::Read;
use crate::config::Problems;

/// As typed. Characters always have 8 bits (Modbus over Serial Line V1.02, 2.5.1).
#[derive(Debug, Deserialize, JsonSchema)]
pub struct LineFile {
    /// Modbus RTU: the tty, best by a lasting name such as `/dev/serial/by-id/…`.
    pub serial: Option<PathBuf>,
    /// Bits per second; 19200 if left out.
    #[schemars(range(min = 300, max = 4_000_000))]
    pub baud: Option<u32>,
    /// Parity; even if left out.
    pub parity: Option<Parity>,
    /// Stop bits; 1 if left out.
    #[schemars(range(min = 1, max = 2))]
    pub stop_bits: Option<u8>,
    /// The kernel switches the RS-485 direction with RTS; off if left out. For
    /// ports whose driver can (`TIOCSRS485`); converters that do it by
    /// themselves do not need it.
    pub rs485: Option<bool>,
}

/// The parity bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The tty.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// The kernel switches the direction.
    pub rs485: bool,
}

/// A line busier than this leaves the devices no time to think.
const FULL: f64 = 0.9;

impl LineFile {
    /// Raw to checked; without `wanted` (the bus is TCP) every key is a mistake.
    pub fn check(self, at: &str, wanted: bool, problems: &mut Problems) -> Line {
        let typed = [
            ("serial", self.serial.is_some()),
            ("baud", self.baud.is_some()),
            ("parity", self.parity.is_some()),
            ("stop_bits", self.stop_bits.is_some()),
            ("rs485", self.rs485.is_some()),
        ];
        for (key, _) in typed.into_iter().filter(|(_, typed)| *typed && !wanted) {
            problems.add(format!("{at}.{key}"), "the bus is tcp: leave it out");
        }
        Line {
            path: self.serial.unwrap_or_default(),
            baud: self.baud.unwrap_or(19_200),
            parity: self.parity.unwrap_or(Parity::Even),
            stop_bits: self.stop_bits.unwrap_or(1),
            rs485: self.rs485.unwrap_or(false),
        }
    }
}

impl Line {
    /// The time of `n` characters on the wire.
    pub fn chars(&self, n: u32) -> Duration {
        let bits = 1 + 8 + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits);
        Duration::from_secs_f64(f64::from(bits * n) / f64::from(self.baud))
    }

    /// The silence between frames: 3.5 characters, and 1.75 ms above 19,200
    /// baud (Modbus over Serial Line V1.02, 2.5.1.1).
    pub fn silence(&self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1750) } else { self.chars(7) / 2 }
    }

    /// The shortest time in which a read can be done: a device that answers at once.
    pub fn turn(&self, read: &Read) -> Duration {
        self.chars(8) + self.chars(5 + read.bytes() as u32) + self.silence() * 2
    }

    /// Reports a line that could not carry its reads even if devices took no time.
    pub fn check_load(&self, at: &str, bus: &Bus, problems: &mut Problems) {
        let (mut load, mut rate) = (0.0, 0.0);
        for unit in &bus.units {
            for read in &unit.reads {
                let pause = bus.pause.max(unit.pause);
                let period = read.period.as_secs_f64().max(1e-3);
                load += (self.turn(read) + pause).as_secs_f64() / period;
                rate += 1.0 / period;
            }
        }
        if load > FULL {
            problems.add(
                format!("{at}.baud"),
                format!(
                    "{} baud: {rate:.1} requests a second would fill {:.0} % of the line; at most {:.0} % \
                     leaves devices time to answer: poll more slowly, or raise baud",
                    self.baud,
                    load * 100.0,
                    FULL * 100.0
                ),
            );
        }
    }
}
