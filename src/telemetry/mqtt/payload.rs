//! What a message says: topic and payload to a value. Pure; hostile bytes welcome.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::config::mqtt::MqttTag;
use crate::config::mqtt::tag::{Kind, Place};
use crate::model::Value;

/// Greatest text value, bytes.
pub const TEXT: usize = 256;

/// A message's content; JSON is parsed once, for the first tag that asks.
pub struct Content<'a> {
    topic: &'a str,
    payload: &'a [u8],
    json: OnceCell<Option<serde_json::Value>>,
}

impl<'a> Content<'a> {
    /// Of one message.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self { topic, payload, json: OnceCell::new() }
    }

    /// What stands at a JSON pointer (RFC 6901).
    pub fn at(&self, pointer: &str) -> Result<&serde_json::Value, &'static str> {
        let parsed = self.json.get_or_init(|| serde_json::from_slice(self.payload).ok());
        let document = parsed.as_ref().ok_or("not JSON")?;
        document.pointer(pointer).ok_or("nothing at the pointer")
    }

    /// The value of a tag, scaled; otherwise why there is none. `unit` may
    /// follow a number written as text.
    pub fn value(&self, tag: &MqttTag, unit: &str) -> Result<Value, &'static str> {
        match &tag.place {
            Place::Payload => {
                let text = std::str::from_utf8(self.payload).map_err(|_| "not UTF-8")?;
                from_text(tag.kind, text, unit)
            }
            Place::Segment(index) => {
                let level = self.topic.split('/').nth(*index).ok_or("topic too short")?;
                from_text(tag.kind, level, unit)
            }
            Place::Pointer(pointer) => from_json(tag.kind, self.at(pointer)?, unit),
        }
    }
}

/// A number times scale plus offset; anything else as it is.
pub fn scaled(value: Value, line: Option<(f64, f64)>) -> Result<Value, &'static str> {
    let (Some((scale, offset)), Some(number)) = (line, number(&value)) else { return Ok(value) };
    finite(number * scale + offset)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Real(x) => Some(*x),
        _ => None,
    }
}

fn finite(x: f64) -> Result<Value, &'static str> {
    if x.is_finite() { Ok(Value::Real(x)) } else { Err("not a finite number") }
}

fn from_text(kind: Kind, text: &str, unit: &str) -> Result<Value, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("empty");
    }
    match kind {
        Kind::Text | Kind::Any => short(text),
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "off" | "0" => Ok(Value::Bool(false)),
            _ => Err("not a boolean"),
        },
        Kind::Number => {
            let text = match text.strip_suffix(unit) {
                Some(rest) if !unit.is_empty() => rest.trim_end(),
                _ => text,
            };
            if let Ok(n) = text.parse() {
                return Ok(Value::Int(n));
            }
            finite(text.parse().map_err(|_| "not a number")?)
        }
    }
}

fn from_json(kind: Kind, found: &serde_json::Value, unit: &str) -> Result<Value, &'static str> {
    use serde_json::Value as Json;
    match (kind, found) {
        (_, Json::Null) => Err("null"),
        (_, Json::Array(_) | Json::Object(_)) => Err("not a single value"),
        (Kind::Number | Kind::Any, Json::Number(n)) => json_number(n),
        (Kind::Number, Json::String(text)) => from_text(Kind::Number, text, unit),
        (Kind::Number, Json::Bool(_)) => Err("not a number"),
        (Kind::Bool | Kind::Any, Json::Bool(bit)) => Ok(Value::Bool(*bit)),
        (Kind::Bool, Json::Number(n)) => from_text(Kind::Bool, &n.to_string(), unit),
        (Kind::Bool, Json::String(text)) => from_text(Kind::Bool, text, unit),
        (Kind::Text | Kind::Any, Json::String(text)) => short(text),
        (Kind::Text, Json::Number(n)) => short(&n.to_string()),
        (Kind::Text, Json::Bool(bit)) => short(if *bit { "true" } else { "false" }),
    }
}

/// Integers of 64 bits stay exact.
fn json_number(n: &serde_json::Number) -> Result<Value, &'static str> {
    if let Some(n) = n.as_i64() {
        return Ok(Value::Int(n.into()));
    }
    if let Some(n) = n.as_u64() {
        return Ok(Value::Int(n.into()));
    }
    finite(n.as_f64().ok_or("not a number")?)
}

fn short(text: &str) -> Result<Value, &'static str> {
    if text.len() > TEXT {
        return Err("longer than 256 bytes");
    }
    Ok(Value::Text(Arc::from(text)))
}

#[cfg(test)]
mod tests;
