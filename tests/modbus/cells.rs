//! One value of every type in every order, each in a place of its own, for
//! servers that encode them by themselves.

use std::fmt::Write;

use floorcast::model::Value;

/// A value in a server, and the tag that reads it.
pub struct Cell {
    pub table: &'static str,
    pub address: u16,
    pub kind: &'static str,
    pub order: &'static str,
    /// As text, exact.
    pub typed: String,
    /// Further keys of the tag.
    keys: String,
    shown: Value,
}

const ORDERS: [&str; 4] = ["abcd", "badc", "cdab", "dcba"];

/// Every type in every order and table, at its ends and in between.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (t, table) in ["holding", "input"].into_iter().enumerate() {
        let mut address = 3 + t as u16;
        let mut add = |kind, order, typed: &dyn ToString, keys: &str, shown, width: u16| {
            let (typed, keys) = (typed.to_string(), keys.to_owned());
            cells.push(Cell { table, address, kind, order, typed, keys, shown });
            address += width + address % 3; // some gaps, some none
        };
        for order in ORDERS {
            for n in [0u16, 0x1234, u16::MAX] {
                add("u16", order, &n, "", Value::Int(n.into()), 1);
            }
            for n in [i16::MIN, -2, i16::MAX] {
                add("i16", order, &n, "", Value::Int(n.into()), 1);
            }
            for n in [0x0102_0304u32, u32::MAX] {
                add("u32", order, &n, "", Value::Int(n.into()), 2);
            }
            for n in [i32::MIN, -0x0102_0304, i32::MAX] {
                add("i32", order, &n, "", Value::Int(n.into()), 2);
            }
            for n in [0x0102_0304_0506_0708u64, u64::MAX] {
                add("u64", order, &n, "", Value::Int(n.into()), 4);
            }
            for n in [i64::MIN, -0x0102_0304_0506_0708, i64::MAX] {
                add("i64", order, &n, "", Value::Int(n.into()), 4);
            }
            for x in [0.1f32, -12345.678, f32::MIN_POSITIVE, f32::MAX] {
                add("f32", order, &x, "", Value::Real(x.into()), 2);
            }
            for x in [std::f64::consts::PI, -1e-300, f64::MAX] {
                add("f64", order, &x, "", Value::Real(x), 4);
            }
            let scaled = Value::Real(2500.0 * 0.01 - 40.0);
            add("i16", order, &2500, "scale = 0.01, offset = -40", scaled, 1);
            add("u16", order, &0xA5C3u16, "mask = 0x0ff0", Value::Int(0x5C), 1);
            add("u16", order, &0xA5C3u16, "mask = 0x0ff0, shift = 0", Value::Int(0x05C0), 1);
            add("u32", order, &0xDEAD_BEEFu32, "mask = 0x00ff0000", Value::Int(0xAD), 2);
            for bit in [0, 6, 15] {
                let on = 0xA5C3u16 >> bit & 1 == 1;
                add("bit", order, &0xA5C3u16, &format!("bit = {bit}"), Value::Bool(on), 1);
            }
        }
        for (order, text) in [("ab", "Lot 42/ß"), ("ba", "LOT-7"), ("ab", "灌装线")] {
            let (keys, width) = (format!("length = {}", text.len()), text.len().div_ceil(2));
            add("string", order, &text, &keys, Value::Text(text.into()), width as u16);
        }
    }
    for (table, step) in [("coil", 5), ("discrete", 7)] {
        for i in 0..40 {
            let on = i * i % 3 == 1;
            let (address, typed) = (i * step, u8::from(on).to_string());
            let shown = Value::Bool(on);
            cells.push(Cell {
                table,
                address,
                kind: "bit",
                order: "",
                typed,
                keys: String::new(),
                shown,
            });
        }
    }
    cells
}

/// A number of every type in every order, and a coil: all 0, and all may be written. With
/// each what to write.
pub fn writable() -> (Vec<Cell>, Vec<Value>) {
    let (mut cells, mut values, mut address) = (Vec::new(), Vec::new(), 5);
    let mut add = |table, kind, order, address, range: &str, value: Value| {
        let shown = match kind {
            "bit" => Value::Bool(false),
            "f32" | "f64" => Value::Real(0.0),
            _ => Value::Int(0),
        };
        let keys = format!("write = {{ every_ms = 100{range} }}");
        cells.push(Cell { table, address, kind, order, typed: "0".into(), keys, shown });
        values.push(value);
    };
    for order in ORDERS {
        for (kind, width, range, value) in [
            ("u16", 1, "[0, 65535]", Value::Int(0xA234)),
            ("i16", 1, "[-32768, 32767]", Value::Int(-2)),
            ("u32", 2, "[0, 4294967295]", Value::Int(0xF102_0304)),
            ("i32", 2, "[-2147483648, 2147483647]", Value::Int(-0x0102_0304)),
            ("u64", 4, "[0, 9e15]", Value::Int(0x0001_0203_0405_0607)),
            ("i64", 4, "[-9e15, 9e15]", Value::Int(-0x0001_0203_0405_0607)),
            ("f32", 2, "[-1e9, 1e9]", Value::Real(-12345.5)),
            ("f64", 4, "[-1e9, 1e9]", Value::Real(std::f64::consts::PI)),
        ] {
            add("holding", kind, order, address, &format!(", range = {range}"), value);
            address += width + 1;
        }
    }
    add("coil", "bit", "", 35, "", Value::Bool(true));
    (cells, values)
}

/// One line per cell, for a server.
pub fn lines(cells: &[Cell]) -> String {
    cells.iter().fold(String::new(), |mut lines, cell| {
        let order = if cell.order.is_empty() { "-" } else { cell.order };
        let Cell { table, address, kind, typed, .. } = cell;
        writeln!(lines, "{table}\t{address}\t{kind}\t{order}\t{typed}").expect("a string");
        lines
    })
}

/// The tags that read the cells, as a unit's `tag` value.
pub fn tags(cells: &[Cell]) -> String {
    let tag = |(i, cell): (usize, &Cell)| {
        let Cell { table, address, kind, keys, .. } = cell;
        let comma = if keys.is_empty() { "" } else { ", " };
        let order = match cell.order {
            "" => String::new(),
            order => format!(", order = \"{order}\""),
        };
        format!(
            "{{ name = \"c{i}\", table = \"{table}\", address = {address}, type = \"{kind}\"\
             {order}{comma}{keys} }},\n"
        )
    };
    cells.iter().enumerate().map(tag).collect()
}

/// Fails unless `value` is what the cell holds.
pub fn check(cell: &Cell, value: &Value, reason: Option<&str>) {
    let Cell { table, address, kind, order, typed, keys, shown } = cell;
    assert_eq!(
        value,
        shown,
        "{kind} {order} {typed} {keys} at {table} {address} ({})",
        reason.unwrap_or("good")
    );
}
