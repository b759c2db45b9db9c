//! The box's own session against mosquitto: what it publishes, and what it never loses.
#![allow(clippy::print_stdout, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod outage;
mod refusals;
mod rig;
mod session;
