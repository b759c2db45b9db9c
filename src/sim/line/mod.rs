//! The line itself: a pure state machine that time is passed to.
//!
//! In comes a seed and the time since the start; out goes the state, read by
//! the picture, the PLC and the sensors. Two lines of one seed agree at every
//! instant, so each reader keeps its own and no lock is held while drawing.
//! Bounded: the belt holds as many bottles as fit between its ends.

pub mod bottle;
mod chance;
pub mod figures;
mod fill;
pub mod plan;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use bottle::{Bottle, Defect, Kicked, Stage};
use chance::Chance;
use figures::Figures;
pub use fill::{Capper, Filler};
use plan::*;

/// The state at `t` is the state after the last whole step before `t`. At full
/// speed the belt moves half a pixel in it.
pub const STEP: Duration = Duration::from_millis(2);
const DT: f64 = 0.002;

/// What the line as a whole is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Mode {
    /// Filling.
    Running = 1,
    /// The filler waits for bottles.
    Starved = 2,
    /// The belt stands.
    Stopped = 3,
    /// The filler waits for the next lot.
    Changeover = 4,
}

/// Why no bottles come in.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Infeed {
    Open,
    /// For so many seconds more, because there are none.
    Short(f64),
    /// For so many seconds more, because the lot is complete.
    Change(f64),
}

/// Counts since the start; they never go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bottles that came in.
    pub bottles: u32,
    /// Good ones that left.
    pub good: u32,
    /// Bad ones pushed off.
    pub rejected: u32,
    /// Of these, not full.
    pub underfilled: u32,
    /// Of these, without cap.
    pub uncapped: u32,
    /// Of these, leaking.
    pub leaking: u32,
    /// Times the line stopped.
    pub stops: u32,
}

/// The demo line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    steps: u64,
    chance: Chance,
    /// Bottles in the picture, rightmost first.
    pub bottles: VecDeque<Bottle>,
    /// Bottles that fall.
    pub kicked: Vec<Kicked>,
    /// Belt speed, 0 to 1 of [`BELT`].
    pub belt: f64,
    /// How far the belt has come, design pixels.
    pub belt_x: f64,
    /// The filling station.
    pub filler: Filler,
    /// The capping station.
    pub capper: Capper,
    /// The last verdict of the inspection and its age in seconds.
    pub verdict: Option<(bool, f64)>,
    /// Counts.
    pub counts: Counts,
    /// The lot now being filled.
    pub lot: u32,
    /// Process values.
    pub figures: Figures,
    infeed: Infeed,
    infeed_lot: u32,
    infeed_gap: f64,
    until_short: f64,
    until_stop: f64,
    stopped_for: f64,
    until_defect: f64,
    waited: f64,
}

impl Line {
    /// An empty line at rest time zero.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let lot = 24_170;
        Self {
            steps: 0,
            bottles: VecDeque::with_capacity(32),
            kicked: Vec::new(),
            belt: 0.0,
            belt_x: 0.0,
            filler: Filler::default(),
            capper: Capper::default(),
            verdict: None,
            counts: Counts::default(),
            lot,
            figures: Figures::new(&mut chance),
            infeed: Infeed::Open,
            infeed_lot: lot,
            infeed_gap: PITCH,
            until_short: chance.between(60.0, 80.0),
            until_stop: chance.between(150.0, 190.0),
            stopped_for: 0.0,
            until_defect: chance.between(6.0, 12.0),
            waited: 0.0,
            chance,
        }
    }

    /// Time since the start of the state that is shown.
    pub fn time(&self) -> Duration {
        Duration::from_millis(2 * self.steps)
    }

    /// Goes on to `time`; an earlier time changes nothing.
    pub fn advance(&mut self, time: Duration) {
        let steps = (time.as_micros() / STEP.as_micros()) as u64;
        while self.steps < steps {
            self.step();
        }
    }

    /// What the line as a whole is doing.
    pub fn mode(&self) -> Mode {
        if self.stopped_for > 0.0 {
            Mode::Stopped
        } else if self.waited <= PATIENCE_S {
            Mode::Running
        } else if self.lot != self.infeed_lot {
            Mode::Changeover
        } else {
            Mode::Starved
        }
    }

    /// The lot as printed.
    pub fn lot_text(&self) -> String {
        format!("AM{:05}", self.lot % 100_000)
    }

    /// Bottles that came in and are neither counted nor pushed off.
    pub fn on_line(&self) -> u32 {
        self.bottles.iter().filter(|b| b.stage != Stage::Counted).count() as u32
    }

    fn step(&mut self) {
        self.steps += 1;
        let running = self.stop_and_start();
        self.feed_in();
        self.transport();
        if running {
            self.fill();
            self.cap();
        }
        self.inspect();
        self.figures.step(DT, self.steps, running, self.belt, &self.filler);
    }

    /// The belt stops now and then, for a while; true while it is meant to run.
    fn stop_and_start(&mut self) -> bool {
        if self.stopped_for > 0.0 {
            self.stopped_for -= DT;
        } else {
            self.until_stop -= DT;
            if self.until_stop <= 0.0 {
                self.until_stop = self.chance.between(160.0, 260.0);
                self.stopped_for = self.chance.between(8.0, 11.0);
                self.counts.stops += 1;
            }
        }
        let running = self.stopped_for <= 0.0;
        let to = if running { 1.0 } else { 0.0 };
        self.belt += (to - self.belt).clamp(-BELT_RAMP * DT, BELT_RAMP * DT);
        self.belt_x += BELT * self.belt * DT;
        running
    }

    /// Lets bottles in: none while they are short, none while the lot changes.
    fn feed_in(&mut self) {
        self.infeed = match self.infeed {
            Infeed::Open => {
                self.until_short -= DT;
                if self.until_short <= 0.0 {
                    self.until_short = self.chance.between(75.0, 115.0);
                    Infeed::Short(self.chance.between(10.0, 13.0))
                } else {
                    Infeed::Open
                }
            }
            Infeed::Short(left) if left > 0.0 => Infeed::Short(left - DT),
            Infeed::Change(left) if left > 0.0 => Infeed::Change(left - DT),
            Infeed::Short(_) | Infeed::Change(_) => Infeed::Open,
        };
        let room = self.bottles.back().is_none_or(|b| b.x >= INFEED_X + self.infeed_gap);
        if self.infeed != Infeed::Open || !room || self.belt < 1.0 {
            return;
        }
        self.counts.bottles += 1;
        self.until_defect -= 1.0;
        let defect = (self.until_defect <= 0.0).then(|| {
            self.until_defect = self.chance.between(11.0, 22.0);
            match self.chance.between(0.0, 1.0) {
                p if p < 0.55 => Defect::Underfill,
                p if p < 0.85 => Defect::NoCap,
                _ => Defect::Leak,
            }
        });
        let target = match defect {
            Some(Defect::Underfill) => self.chance.between(0.58, 0.76),
            _ => self.chance.around(0.999, 0.0012),
        };
        self.bottles.push_back(Bottle {
            id: self.counts.bottles,
            x: INFEED_X,
            stage: Stage::Empty,
            level: 0.0,
            target,
            cap: false,
            lot: self.infeed_lot,
            defect,
        });
        self.infeed_gap = PITCH * self.chance.between(1.02, 1.5);
        if self.counts.bottles.is_multiple_of(LOT_BOTTLES) {
            self.infeed_lot += 1;
            self.infeed = Infeed::Change(11.0);
        }
    }

    /// Moves every bottle with the belt, up to its gate and the bottle ahead.
    fn transport(&mut self) {
        let mut ahead = f64::INFINITY;
        for bottle in &mut self.bottles {
            let free = bottle.x + BELT * self.belt * DT;
            bottle.x = free.min(bottle.stage.gate()).min(ahead - PITCH).max(bottle.x);
            ahead = bottle.x;
        }
        while self.bottles.front().is_some_and(|b| b.x > EXIT_X) {
            self.bottles.pop_front();
        }
    }

    /// Looks at bottles, pushes the bad ones off and counts the good ones.
    fn inspect(&mut self) {
        for fallen in &mut self.kicked {
            fallen.age += DT;
        }
        self.kicked.retain(|k| k.age < FALL_S);
        if let Some((_, age)) = &mut self.verdict {
            *age += DT;
        }
        let mut pushed = None;
        for (i, bottle) in self.bottles.iter_mut().enumerate() {
            match bottle.stage {
                Stage::Capped if bottle.x >= CHECK_X => {
                    let good = bottle.defect.is_none();
                    bottle.stage = if good { Stage::Good } else { Stage::Bad };
                    self.verdict = Some((good, 0.0));
                    self.figures.checked(bottle, &mut self.chance);
                }
                Stage::Bad if bottle.x >= REJECT_X => pushed = Some(i),
                Stage::Good if bottle.x >= COUNT_X => {
                    bottle.stage = Stage::Counted;
                    self.counts.good += 1;
                    self.figures.finished();
                }
                _ => {}
            }
        }
        if let Some(bottle) = pushed.and_then(|i| self.bottles.remove(i)) {
            self.counts.rejected += 1;
            match bottle.defect {
                Some(Defect::NoCap) => self.counts.uncapped += 1,
                Some(Defect::Leak) => self.counts.leaking += 1,
                _ => self.counts.underfilled += 1,
            }
            self.figures.pushed();
            self.kicked.push(Kicked { bottle, age: 0.0 });
        }
    }
}
