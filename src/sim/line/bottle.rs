//! One bottle on its way.

use super::plan::{CAPPER_X, GATE_X};

/// How far a bottle has come; each stage has its own gate ahead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Empty, on its way to a nozzle or under it.
    Empty,
    /// Released by the filler.
    Filled,
    /// Released by the capper.
    Capped,
    /// Looked at, and good.
    Good,
    /// Looked at, and bad.
    Bad,
    /// Counted as good; no longer on the line, but still in the picture.
    Counted,
}

impl Stage {
    /// The gate that holds a bottle of this stage.
    pub fn gate(self) -> f64 {
        match self {
            Stage::Empty => GATE_X,
            Stage::Filled => CAPPER_X,
            _ => f64::INFINITY,
        }
    }
}

/// What will be wrong with a bottle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// Its nozzle closes early.
    Underfill,
    /// It gets no cap.
    NoCap,
    /// Its cap does not seal: nothing to see, the leak test finds it.
    Leak,
}

/// One bottle.
#[derive(Clone, PartialEq, Debug)]
pub struct Bottle {
    /// Counts up from one.
    pub id: u32,
    /// Its middle, design pixels.
    pub x: f64,
    /// How far it has come.
    pub stage: Stage,
    /// What is in it, 0 to 1.
    pub level: f64,
    /// What its nozzle will stop at.
    pub target: f64,
    /// It has its cap.
    pub cap: bool,
    /// The lot it belongs to.
    pub lot: u32,
    /// What is wrong with it.
    pub defect: Option<Defect>,
}

/// A bottle that was pushed off and falls.
#[derive(Clone, PartialEq, Debug)]
pub struct Kicked {
    /// As it was when it was pushed.
    pub bottle: Bottle,
    /// Seconds since the push.
    pub age: f64,
}
