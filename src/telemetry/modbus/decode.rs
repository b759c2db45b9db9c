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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::form::{Order, Swap};
    use crate::config::modbus::point::Table;
    use crate::model::TagId;
    use proptest::prelude::*;
    use std::time::Duration;

    fn point(table: Table, address: u16, form: Form) -> Point {
        let period = Duration::from_secs(1);
        Point {
            tag: TagId(0),
            table,
            address,
            form,
            linear: None,
            period,
            count: None,
            write: None,
        }
    }

    /// The bytes of a number as a device with this order would send them.
    fn wire(bytes: &[u8], swap: Swap) -> Vec<u8> {
        let mut words: Vec<[u8; 2]> = bytes.chunks(2).map(|w| [w[0], w[1]]).collect();
        if matches!(swap, Swap::Cdab | Swap::Dcba) {
            words.reverse();
        }
        if matches!(swap, Swap::Badc | Swap::Dcba) {
            words.iter_mut().for_each(|w| w.swap(0, 1));
        }
        words.concat()
    }

    fn swaps() -> impl Strategy<Value = Swap> {
        prop::sample::select(vec![Swap::Abcd, Swap::Badc, Swap::Cdab, Swap::Dcba])
    }

    fn int(wire: &[u8], signed: bool, swap: Swap) -> Value {
        let order = Order::of(swap, wire.len());
        let form = Form::Int { order, signed, field: None };
        raw(&point(Table::Input, 7, form), 7, wire).unwrap()
    }

    fn real(wire: &[u8], swap: Swap) -> Result<Value, &'static str> {
        let form = Form::Real { order: Order::of(swap, wire.len()) };
        raw(&point(Table::Input, 0, form), 0, wire)
    }

    proptest! {
        /// Every integer comes back from every width and order.
        #[test]
        fn integers_come_back(n in any::<i64>(), swap in swaps()) {
            let at = |bytes: &[u8]| wire(bytes, swap);
            let (n16, n32) = (n as i16, n as i32);
            prop_assert_eq!(int(&at(&n16.to_be_bytes()), true, swap), Value::Int(n16.into()));
            prop_assert_eq!(int(&at(&n32.to_be_bytes()), true, swap), Value::Int(n32.into()));
            prop_assert_eq!(int(&at(&n.to_be_bytes()), true, swap), Value::Int(n.into()));
            let unsigned = int(&at(&n.to_be_bytes()), false, swap);
            prop_assert_eq!(unsigned, Value::Int((n as u64).into()));
            let unsigned = int(&at(&n32.to_be_bytes()), false, swap);
            prop_assert_eq!(unsigned, Value::Int((n32 as u32).into()));
        }

        /// Every real number comes back; what is none is bad.
        #[test]
        fn reals_come_back(bits in any::<u64>(), swap in swaps()) {
            let (x, y) = (f64::from_bits(bits), f32::from_bits(bits as u32));
            let good = |x: f64| if x.is_finite() { Ok(Value::Real(x)) } else { Err("not a finite number") };
            prop_assert_eq!(real(&wire(&x.to_be_bytes(), swap), swap), good(x));
            prop_assert_eq!(real(&wire(&y.to_be_bytes(), swap), swap), good(y.into()));
        }

        /// Nothing that a device sends makes decoding fail otherwise than by an error.
        #[test]
        fn any_bytes_are_decoded_or_refused(
            data in prop::collection::vec(any::<u8>(), 0..252),
            first in any::<u16>(),
            apart in 0u16..200,
            length in 1u16..250,
        ) {
            let address = first.saturating_add(apart);
            for layout in [Layout::HighLow, Layout::LowHigh, Layout::High, Layout::Low] {
                let text = point(Table::Holding, address, Form::Text { layout, length });
                if let Ok(Value::Text(text)) = raw(&text, first, &data) {
                    prop_assert!(text.len() <= usize::from(length));
                }
            }
            let bit = raw(&point(Table::Coil, address, Form::Bit), first, &data);
            prop_assert_eq!(bit.is_ok(), usize::from(address - first) < data.len() * 8);
        }
    }

    /// Coils are packed from the least significant bit on (V1.1b3, 6.1: CD 6B 05).
    #[test]
    fn coils_of_the_standards_example() {
        let on: Vec<u16> = (20..39)
            .filter(|a| {
                let coil = point(Table::Coil, *a, Form::Bit);
                raw(&coil, 20, &[0xCD, 0x6B, 0x05]) == Ok(Value::Bool(true))
            })
            .collect();
        assert_eq!(on, [20, 22, 23, 26, 27, 28, 29, 31, 33, 34, 36, 38]);
    }

    /// Scaling makes real numbers; without it a 64-bit count stays exact.
    #[test]
    fn unscaled_integers_stay_exact() {
        let form = Form::Int { order: Order::of(Swap::Abcd, 8), signed: false, field: None };
        let mut point = point(Table::Input, 0, form);
        let most = Value::Int(u64::MAX.into());
        assert_eq!(scaled(&point, most.clone()), Ok(most.clone()));
        point.linear = Some((0.5, 1.0));
        assert_eq!(scaled(&point, Value::Int(7)), Ok(Value::Real(4.5)));
        point.linear = Some((f64::MAX, 0.0));
        assert_eq!(scaled(&point, most), Err("not a finite number"));
    }
}
