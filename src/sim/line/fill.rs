//! The two stations that hold bottles: the filler and the capper.

use super::plan::*;
use super::{DT, Defect, Line, Stage};

/// What the nozzles do; the number goes from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Filler {
    /// Waits for a full group under the nozzles.
    #[default]
    Waiting,
    /// Nozzles go down.
    Down(f64),
    /// Product flows.
    Filling(f64),
    /// Nozzles go up.
    Up(f64),
}

impl Filler {
    /// How deep the nozzles are, 0 to 1, eased.
    pub fn depth(self) -> f64 {
        let p = match self {
            Filler::Waiting => 0.0,
            Filler::Down(p) => p,
            Filler::Filling(_) => 1.0,
            Filler::Up(p) => 1.0 - p,
        };
        p * p * (3.0 - 2.0 * p)
    }
}

/// What the capping head does; the number goes from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Capper {
    /// Waits for a bottle.
    #[default]
    Waiting,
    /// Goes down with a cap.
    Down(f64),
    /// Turns it tight.
    Turning(f64),
    /// Goes up.
    Up(f64),
}

impl Capper {
    /// How low the head is, 0 to 1.
    pub fn depth(self) -> f64 {
        match self {
            Capper::Waiting => 0.0,
            Capper::Down(p) => p * p,
            Capper::Turning(_) => 1.0,
            Capper::Up(p) => 1.0 - p,
        }
    }
}

impl Line {
    /// The bottles under the nozzles, the one at the gate first.
    fn group(&self) -> Option<usize> {
        let first = self.bottles.iter().position(|b| b.stage == Stage::Empty)?;
        let stands = |n: usize| {
            let at = GATE_X - n as f64 * PITCH;
            self.bottles.get(first + n).is_some_and(|b| (b.x - at).abs() < 0.01)
        };
        (0..NOZZLES).all(stands).then_some(first)
    }

    pub(super) fn fill(&mut self) {
        let group = self.group();
        self.waited = if self.filler == Filler::Waiting { self.waited + DT } else { 0.0 };
        self.filler = match (self.filler, group) {
            (Filler::Waiting, Some(first)) => {
                self.waited = 0.0;
                self.lot = self.bottles[first].lot;
                Filler::Down(0.0)
            }
            (Filler::Down(p), _) if p < 1.0 => Filler::Down(p + DT / DIVE_S),
            (Filler::Down(_), _) => Filler::Filling(0.0),
            (Filler::Filling(p), Some(first)) if p < 1.0 => {
                for bottle in self.bottles.range_mut(first..first + NOZZLES) {
                    bottle.level = (bottle.level + DT / FILL_S).min(bottle.target);
                }
                self.figures.poured(self.bottles[first].level);
                Filler::Filling(p + DT / FILL_S)
            }
            (Filler::Filling(_), _) => Filler::Up(0.0),
            (Filler::Up(p), _) if p < 1.0 => Filler::Up(p + DT / DIVE_S),
            (Filler::Up(_), Some(first)) => {
                for bottle in self.bottles.range_mut(first..first + NOZZLES) {
                    bottle.stage = Stage::Filled;
                }
                Filler::Waiting
            }
            (_, None) => Filler::Waiting,
        };
    }

    pub(super) fn cap(&mut self) {
        let first = self.bottles.iter_mut().find(|b| b.stage == Stage::Filled);
        let Some(bottle) = first.filter(|b| b.x >= CAPPER_X - 0.01) else {
            return;
        };
        self.capper = match self.capper {
            Capper::Waiting => Capper::Down(0.0),
            Capper::Down(p) if p < 1.0 => Capper::Down(p + DT / CAP_DOWN_S),
            Capper::Down(_) => {
                bottle.cap = bottle.defect != Some(Defect::NoCap);
                Capper::Turning(0.0)
            }
            Capper::Turning(p) if p < 1.0 => Capper::Turning(p + DT / CAP_TURN_S),
            Capper::Turning(_) => {
                self.figures.capped(bottle, &mut self.chance);
                Capper::Up(0.0)
            }
            Capper::Up(p) if p < 1.0 => Capper::Up(p + DT / CAP_UP_S),
            Capper::Up(_) => {
                bottle.stage = Stage::Capped;
                Capper::Waiting
            }
        };
    }
}
