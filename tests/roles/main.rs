//! The rights of every role: the shipped broker with keys of the real
//! `floorcast pki`, attacked by an MQTT client that nobody here wrote.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../../benches/whep_load/client.rs"]
#[allow(dead_code)]
mod client;

mod adopt;
mod attack;
mod ctl;
mod door;
mod keys;
mod readme;
mod sealed;
mod site;
mod table;
