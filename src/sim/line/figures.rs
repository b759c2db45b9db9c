//! Process values: what the PLC and the sensors measure beside the counts.

use std::f64::consts::TAU;

use super::chance::Chance;
use super::plan::VOLUME_ML;
use super::{Bottle, Defect, Filler};

/// Process values, each in its unit.
#[derive(Clone, PartialEq, Debug)]
pub struct Figures {
    /// Bottles per minute: good ones that left, smoothed over some seconds.
    pub speed: f64,
    /// What the first nozzle has poured into its bottle, ml.
    pub volume: f64,
    /// Product in the tank, percent.
    pub tank: f64,
    /// The tank is being filled up.
    pub pump: bool,
    /// Product temperature, °C.
    pub temperature: f64,
    /// Pressure before the nozzles, bar.
    pub pressure: f64,
    /// Torque of the last cap, Nm.
    pub torque: f64,
    /// Leak rate of the last bottle, mbar/s.
    pub leak: f64,
    /// Why the last bottle was bad: 0 good, 1 not full, 2 no cap, 3 leaks.
    pub verdict: u16,
    /// Bottles looked at.
    pub inspected: u32,
    /// Hall temperature, °C.
    pub hall: f64,
    /// Relative humidity of the hall, percent.
    pub humidity: f64,
    /// Compressed air, bar.
    pub air: f64,
    /// Power drawn, W.
    pub power: f64,
    /// Energy drawn, Wh.
    pub energy: f64,
    arriving: f64,
    phase: f64,
}

/// The two smoothing stages of `speed` take this long each, seconds.
const SMOOTH_S: f64 = 5.0;

impl Figures {
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            speed: 0.0,
            volume: 0.0,
            tank: 78.0,
            pump: false,
            temperature: 42.0,
            pressure: 2.1,
            torque: 1.8,
            leak: 0.1,
            verdict: 0,
            inspected: 0,
            hall: 24.0,
            humidity: 41.0,
            air: 6.2,
            power: 900.0,
            energy: 184_000.0,
            arriving: 0.0,
            phase: chance.between(0.0, TAU),
        }
    }

    pub(super) fn step(&mut self, dt: f64, steps: u64, running: bool, belt: f64, filler: &Filler) {
        let t = steps as f64 * dt;
        let wave = |period: f64| (t * TAU / period + self.phase).sin();
        let flowing = running && matches!(filler, Filler::Filling(_));
        self.arriving -= self.arriving * dt / SMOOTH_S;
        self.speed += (self.arriving - self.speed) * dt / SMOOTH_S;
        self.temperature = 42.0 + 0.55 * wave(127.0) + 0.2 * wave(31.0) + 0.04 * wave(1.7);
        let pressure = if flowing { 1.82 } else { 2.12 } + 0.015 * wave(0.9);
        self.pressure += (pressure - self.pressure) * dt / 0.18;
        self.pump = if self.pump { self.tank < 86.0 } else { self.tank < 52.0 };
        self.tank += dt * (if self.pump { 3.1 } else { 0.0 } - if flowing { 1.6 } else { 0.0 });
        self.hall = 24.2 + 0.4 * wave(310.0) + 0.05 * wave(23.0);
        self.humidity = 41.5 - 1.6 * wave(310.0) + 0.2 * wave(17.0);
        self.air += (6.25 + 0.05 * wave(9.0) - self.air) * dt / 1.8;
        let load = 620.0 + 1150.0 * belt + if flowing { 480.0 } else { 0.0 } + 25.0 * wave(0.7);
        self.power += (load - self.power) * dt / 0.25;
        self.energy += self.power * dt / 3600.0;
    }

    pub(super) fn poured(&mut self, level: f64) {
        self.volume = level * VOLUME_ML;
    }

    pub(super) fn capped(&mut self, bottle: &Bottle, chance: &mut Chance) {
        self.torque = match bottle.defect {
            Some(Defect::NoCap) => 0.0,
            Some(Defect::Leak) => chance.around(1.12, 0.05),
            _ => chance.around(1.8, 0.05),
        };
    }

    pub(super) fn checked(&mut self, bottle: &Bottle, chance: &mut Chance) {
        self.inspected += 1;
        (self.verdict, self.leak) = match bottle.defect {
            None => (0, chance.around(0.1, 0.015)),
            Some(Defect::Underfill) => (1, chance.around(0.1, 0.015)),
            Some(Defect::NoCap) => (2, 9.99),
            Some(Defect::Leak) => (3, chance.around(1.3, 0.2)),
        };
    }

    /// The pusher takes a breath of air.
    pub(super) fn pushed(&mut self) {
        self.air -= 0.35;
        self.finished();
    }

    pub(super) fn finished(&mut self) {
        self.arriving += 60.0 / SMOOTH_S;
    }
}
