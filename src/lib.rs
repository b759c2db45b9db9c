//! Floorcast puts a production line on air: cameras and telemetry, joined to
//! the very frame, in a browser. `docs/design.md` has the picture.
//!
//! Imports point one way: `app > {capture telemetry web sim} > feed >
//! {config task status} > {clock model}`; siblings never import each other.

pub mod capture;
pub mod clock;
pub mod config;
pub mod feed;
pub mod model;
pub mod mqtt;
#[cfg(feature = "sim")]
pub mod sim;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod web;
