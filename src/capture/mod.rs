//! Cameras to frames.
