//! A technician with plain `mosquitto_pub` and `mosquitto_sub`, and a box on air.

mod changes;
#[path = "../../benches/whep_load/client.rs"]
#[allow(dead_code)]
mod client;
mod commands;
mod ctl;
mod kills;
// Shared with the clusters.
#[allow(dead_code)]
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod updates;
mod writes;
