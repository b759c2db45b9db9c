//! Where things stand and how fast they go. Lengths are design pixels of a
//! 1280x720 picture, x to the right; times are seconds.

/// From one bottle's middle to the next when they touch; also the nozzles' pitch.
pub const PITCH: f64 = 60.0;
/// The belt at full speed, pixels per second.
pub const BELT: f64 = 240.0;
/// How much of its full speed the belt gains or loses in a second.
pub const BELT_RAMP: f64 = 1.6;
/// Bottles filled at once.
pub const NOZZLES: usize = 5;

/// Bottles come in here, left of the picture.
pub const INFEED_X: f64 = -115.0;
/// The filler's gate: the first bottle of a group stands here.
pub const GATE_X: f64 = 500.0;
/// Bottles stop here for their cap.
pub const CAPPER_X: f64 = 778.0;
/// The inspection camera looks here, at passing bottles.
pub const CHECK_X: f64 = 934.0;
/// Bad bottles are pushed off here.
pub const REJECT_X: f64 = 1056.0;
/// Good bottles are counted here.
pub const COUNT_X: f64 = 1160.0;
/// Right of the picture.
pub const EXIT_X: f64 = 1330.0;

/// Nozzles go down, fill, go up.
pub const DIVE_S: f64 = 0.35;
/// Filling one group.
pub const FILL_S: f64 = 2.4;
/// The capper's head goes down.
pub const CAP_DOWN_S: f64 = 0.14;
/// It turns the cap.
pub const CAP_TURN_S: f64 = 0.28;
/// It goes up.
pub const CAP_UP_S: f64 = 0.12;
/// A pushed bottle falls this long.
pub const FALL_S: f64 = 0.75;
/// The inspection lamp shows a verdict this long.
pub const VERDICT_S: f64 = 0.6;

/// What a full bottle holds, millilitres.
pub const VOLUME_ML: f64 = 500.0;
/// Bottles per lot: whole groups.
pub const LOT_BOTTLES: u32 = 120;
/// The filler waits this long for a full group before it calls itself starved.
pub const PATIENCE_S: f64 = 2.3;
