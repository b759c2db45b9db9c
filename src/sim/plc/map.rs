//! What is where in the PLC. Addresses count from 0 as the protocol does;
//! numbers wider than a register lie big end first, text two bytes a register.
//! Input registers mirror the holding registers, inputs mirror the coils.
//!
//! | unit | holding | value |
//! |---|---|---|
//! | 1 filler | 0 | tick, u16, 25 Hz |
//! | | 1 | state, u16: 1 running, 2 starved, 3 stopped, 4 lot change |
//! | | 2 | speed, f32, bottles/min |
//! | | 4 | fill level of the group under the nozzles, f32, % |
//! | | 6 | poured by the first nozzle, f32, ml |
//! | | 8 | product temperature, f32, °C |
//! | | 10 | pressure before the nozzles, f32, bar |
//! | | 12 | product in the tank, f32, % |
//! | | 14 | good bottles, u32 |
//! | | 16 | rejected bottles, u32 |
//! | | 18 | bottles in, u32 |
//! | | 20 | bottles on the line, u16 |
//! | | 21 | stops, u16 |
//! | | 22 | lot, text, 16 bytes |
//! | | 30 | bits: 0 running, 1 nozzles down, 2 product flows, 3 pump |
//! | 2 capper, inspection | 0 | tick, u16 |
//! | | 1 | last verdict, u16: 0 good, 1 not full, 2 no cap, 3 leaks |
//! | | 2 | torque of the last cap, f32, Nm |
//! | | 4 | leak rate of the last bottle, f32, mbar/s |
//! | | 6 | bottles looked at, u32 |
//! | | 8, 10, 12 | rejected: not full, no cap, leaking, u32 each |
//! | 3 energy meter | 0 | tick, u16 |
//! | | 1 | power, u16, 0.1 W |
//! | | 2 | energy, u64, Wh |
//! | | 6 | belt speed, i16, 0.1 mm/s |
//!
//! Coils of unit 1: 0 running, 1 nozzles down, 2 product flows, 3 pump on,
//! 4 starved, 5 stopped, 6 lot change.

use crate::sim::line::{Filler, Line, Mode, Stage};

/// A design pixel on the belt, millimetres: a bottle is 68 mm wide.
const PIXEL_MM: f64 = 68.0 / 50.0;

/// The registers of `unit` from address 0; `None` if there is no such unit.
pub fn registers(unit: u8, line: &Line, tick: u16) -> Option<Vec<u16>> {
    let mut to = vec![tick];
    let (figures, counts) = (&line.figures, &line.counts);
    match unit {
        1 => {
            to.push(line.mode() as u16);
            for value in [
                figures.speed,
                fill_percent(line),
                figures.volume,
                figures.temperature,
                figures.pressure,
                figures.tank,
            ] {
                push_real(&mut to, value);
            }
            for count in [counts.good, counts.rejected, counts.bottles] {
                push_u32(&mut to, count);
            }
            to.extend([line.on_line() as u16, counts.stops as u16]);
            push_text(&mut to, &line.lot_text(), 8);
            let coils = coils(unit, line);
            let word = coils.iter().take(4).enumerate();
            to.push(word.fold(0, |word, (i, bit)| word | u16::from(*bit) << i));
        }
        2 => {
            to.push(figures.verdict);
            push_real(&mut to, figures.torque);
            push_real(&mut to, figures.leak);
            let kinds = [counts.underfilled, counts.uncapped, counts.leaking];
            push_u32(&mut to, figures.inspected);
            for count in kinds {
                push_u32(&mut to, count);
            }
        }
        3 => {
            to.push((figures.power * 10.0) as u16);
            let energy = figures.energy as u64;
            to.extend([48, 32, 16, 0].map(|shift| (energy >> shift) as u16));
            let belt = crate::sim::line::plan::BELT * PIXEL_MM * line.belt;
            to.push((belt * 10.0) as i16 as u16);
        }
        _ => return None,
    }
    Some(to)
}

/// The coils of `unit` from address 0; none if it has none.
pub fn coils(unit: u8, line: &Line) -> Vec<bool> {
    if unit != 1 {
        return Vec::new();
    }
    let mode = line.mode();
    vec![
        mode == Mode::Running,
        line.filler.depth() > 0.5,
        mode != Mode::Stopped && matches!(line.filler, Filler::Filling(_)),
        line.figures.pump,
        mode == Mode::Starved,
        mode == Mode::Stopped,
        mode == Mode::Changeover,
    ]
}

/// How full the bottles under the nozzles are, percent; 0 while none is there.
fn fill_percent(line: &Line) -> f64 {
    let first = line.bottles.iter().find(|b| b.stage == Stage::Empty);
    100.0 * first.map_or(0.0, |b| b.level.min(1.0))
}

fn push_real(to: &mut Vec<u16>, value: f64) {
    push_u32(to, (value as f32).to_bits());
}

fn push_u32(to: &mut Vec<u16>, value: u32) {
    to.extend([(value >> 16) as u16, value as u16]);
}

fn push_text(to: &mut Vec<u16>, text: &str, registers: usize) {
    let mut bytes = text.bytes().chain(std::iter::repeat(0));
    let mut next = || u16::from(bytes.next().unwrap_or(0));
    to.extend((0..registers).map(|_| next() << 8 | next()));
}
