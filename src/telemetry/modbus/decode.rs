//! The bytes of a reply to values.
//!
//! Comes in: a reply's data and where each point lies in it. Goes out: a
//! value, or why there is none. Pure.

use crate::config::modbus::form::{Form, Layout};
use crate::config::modbus::plan::Read;
use crate::config::modbus::point::Point;
use crate::model::Value;

/// What `point` shows in `data`, the reply to a request for `read` that began
/// at address `first`; before scaling.
pub fn raw(point: &Point, first: u16, data: &[u8]) -> Result<Value, &'static str> {
    let offset = usize::from(point.address.wrapping_sub(first));
    if point.table.bits() {
        let byte = data.get(offset / 8).ok_or("reply too short")?;
        return Ok(Value::Bool(byte >> (offset % 8) & 1 == 1));
    }
    let (start, len) = (offset * 2, usize::from(point.form.width()) * 2);
    let wire = data.get(start..start + len).ok_or("reply too short")?;
    match point.form {
        Form::Bit => Err("not a table of bits"),
        Form::RegisterBit { order, bit } => Ok(Value::Bool(order.number(wire) >> bit & 1 == 1)),
        Form::Int { order, signed, field } => {
            let n = order.number(wire);
            let n = field.map_or(n, |f| (n & f.mask) >> f.shift);
            let unused = 64 - order.bytes() * 8;
            Ok(Value::Int(match signed {
                true => ((n << unused) as i64 >> unused).into(),
                false => n.into(),
            }))
        }
        Form::Real { order } => {
            let n = order.number(wire);
            let x = match order.bytes() {
                4 => f64::from(f32::from_bits(n as u32)),
                _ => f64::from_bits(n),
            };
            if x.is_finite() { Ok(Value::Real(x)) } else { Err("not a finite number") }
        }
        Form::Text { layout, length } => text(layout, length.into(), wire),
    }
}

/// Scales a raw number: integers stay exact where nothing scales them.
pub fn scaled(point: &Point, raw: Value) -> Result<Value, &'static str> {
    let Some((scale, offset)) = point.linear else { return Ok(raw) };
    let x = match raw {
        Value::Int(n) => n as f64,
        Value::Real(x) => x,
        Value::None | Value::Bool(_) | Value::Text(_) => return Ok(raw),
    };
    let x = x * scale + offset;
    if x.is_finite() { Ok(Value::Real(x)) } else { Err("not a finite number") }
}

fn text(layout: Layout, length: usize, wire: &[u8]) -> Result<Value, &'static str> {
    let mut bytes: Vec<u8> = match layout {
        Layout::HighLow => wire.to_vec(),
        Layout::LowHigh => wire.chunks_exact(2).flat_map(|r| [r[1], r[0]]).collect(),
        Layout::High => wire.iter().step_by(2).copied().collect(),
        Layout::Low => wire.iter().skip(1).step_by(2).copied().collect(),
    };
    bytes.truncate(length);
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    let text = str::from_utf8(&bytes).map_err(|_| "not UTF-8 text")?;
    Ok(Value::Text(text.trim_end().into()))
}

/// The points of `read` that one request for `range` of them brings, and the
/// request's address and count.
pub fn span(read: &Read, range: std::ops::Range<usize>) -> (u16, u16) {
    let points = read.points.get(range).unwrap_or_default();
    let first = points.first().map_or(read.address, |p| p.address);
    let end = points.iter().map(Point::end).max().unwrap_or(0);
    (first, u16::try_from(end.saturating_sub(first.into())).unwrap_or(read.count))
}
