//! MQTT telemetry against mosquitto, published by `mosquitto_pub`.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod hostile;
mod limits;
mod rig;
mod security;
mod values;
mod versions;
