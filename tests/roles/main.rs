//! The rights of every role: the shipped broker with keys of the real
//! `floorcast pki`, attacked by an MQTT client that nobody here wrote.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod ctl;
mod door;
mod keys;
mod readme;
mod site;
mod table;
