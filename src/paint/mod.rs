//! Drawing: shapes and text on a pixel map, and pixel maps as the planar YUV
//! that encoders take.
//!
//! Comes in: what to draw, in pixels of the caller's own design. Goes out:
//! I420 pictures, BT.709 limited range. Everything is drawn where it is asked
//! for and when; nothing waits here.

pub mod i420;
pub mod pen;
pub mod text;
