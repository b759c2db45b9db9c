//! Modbus telemetry: its configuration, a PLC with every fault, and servers
//! nobody here wrote.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod cells;
mod config;
mod faults;
mod peers;
mod plc;
mod rig;
mod serial;
mod siblings;
mod writes;
