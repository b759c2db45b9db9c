//! Where the stages meet: the ring of frames and the board of samples.
//!
//! Frames and samples come in from capture and telemetry; web, record and
//! output read them. Nothing here does I/O; both are bounded and a slow
//! reader never holds up a writer.

pub mod board;
pub mod join;
pub mod ring;
pub mod rtp;
