//! Modbus and MQTT to samples.
//!
//! Comes in: replies and messages from devices. Goes out: samples on the
//! board, each with its times and its quality. Each source says for itself
//! what happens when it is overrun.

pub mod counter;
pub mod modbus;
pub mod mqtt;

use crate::model::{Tag, Value};

/// `value`, or why it cannot be true: it lies outside the tag's `range`.
///
/// Text has no range, and a bit is always in it.
pub fn plausible(tag: &Tag, value: Value) -> Result<Value, &'static str> {
    let Some((least, greatest)) = tag.range else { return Ok(value) };
    let number = match value {
        Value::Int(n) => n as f64,
        Value::Real(x) => x,
        Value::None | Value::Bool(_) | Value::Text(_) => return Ok(value),
    };
    if (least..=greatest).contains(&number) { Ok(value) } else { Err("out of range") }
}
