//! Floorcast puts a production line on air: cameras and telemetry, joined to
//! the very frame, in a browser. `docs/design.md` has the picture.
//!
//! Imports point one way: `cli > app > {capture telemetry web sim control update} >
//! {feed mqtt paint} > {config task status} > {clock disk model sealed}`; siblings never import each other.
//! `pki` and `ctl` stand apart: only `cli` knows them. `pki` knows none of these; `ctl`, the
//! technician's tool, has `mqtt`, `config` and what is said over the wire from `control`.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod ctl;
pub mod disk;
pub mod failpoint;
pub mod feed;
pub mod model;
pub mod mqtt;
pub mod observe;
pub mod paint;
pub mod pki;
pub mod sealed;
#[cfg(feature = "sim")]
pub mod sim;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod update;
pub mod web;
