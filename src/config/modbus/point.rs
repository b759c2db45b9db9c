//! `[[modbus.unit.tag]]`: where a tag's value lies and what it means.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{Field, Form, Layout, Order, Swap, Type};
use super::plan::Limits;
use super::write::{Guard, WriteFile};
use crate::config::Problems;
use crate::config::count::{Count, CountFile};
use crate::config::tag::{TagFile, Tags};
use crate::model::{Source, TagId};

/// As typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PointFile {
    /// The tag.
    #[serde(flatten)]
    pub tag: TagFile,
    /// Which of the unit's four tables.
    pub table: Table,
    /// Its address in the table as the protocol counts, from 0: what a PLC's
    /// manual calls 40001 is address 0 of `holding`.
    pub address: u16,
    /// Its type; `bit` in the tables of bits and `u16` in those of registers if left out.
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    /// Byte and word order where it differs from the unit's: `abcd`, `badc`,
    /// `cdab` or `dcba` for any number; or each byte by its letter as it comes,
    /// such as `efghabcd`. For text `ab`, `ba`, and `a` or `b` where only the high
    /// or the low byte of each register is used.
    pub order: Option<String>,
    /// For `bit` in a register: which, 0 the least significant.
    #[schemars(range(max = 15))]
    pub bit: Option<u8>,
    /// Only these bits of an unsigned integer, such as 0x0ff0, moved down to bit 0.
    #[schemars(range(min = 1))]
    pub mask: Option<u64>,
    /// Move masked bits down by this many instead.
    #[schemars(range(max = 63))]
    pub shift: Option<u8>,
    /// For `string`: its bytes at most.
    #[schemars(range(min = 1, max = 250))]
    pub length: Option<u16>,
    /// The value is `raw * scale + offset`.
    pub scale: Option<f64>,
    /// The value is `raw * scale + offset`.
    pub offset: Option<f64>,
    /// How often it is read; the unit's `period_ms` if left out.
    #[schemars(range(min = 10, max = 86_400_000))]
    pub period_ms: Option<u64>,
    /// Whether it counts.
    #[serde(flatten)]
    pub count: CountFile,
    /// It may be written, within these limits; nobody may unless this is here.
    pub write: Option<WriteFile>,
}

/// One of the four tables (Modbus Application Protocol V1.1b3, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Coils: bits, read by function 1.
    Coil,
    /// Discrete inputs: bits, read by function 2.
    Discrete,
    /// Holding registers, read by function 3.
    Holding,
    /// Input registers, read by function 4.
    Input,
}

impl Table {
    /// A table of bits.
    pub fn bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The function code that reads it.
    pub fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Whose value.
    pub tag: TagId,
    /// Which table.
    pub table: Table,
    /// Protocol address, from 0.
    pub address: u16,
    /// How it lies there.
    pub form: Form,
    /// `raw * scale + offset`; `None`: as it is.
    pub linear: Option<(f64, f64)>,
    /// How often it is read.
    pub period: Duration,
    /// Whether it counts.
    pub count: Option<Count>,
    /// How it may be written; `None`: not at all.
    pub write: Option<Guard>,
}

impl Point {
    /// The address after its last.
    pub fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.form.width())
    }
}

/// What a tag takes from its unit.
pub struct Defaults {
    /// Byte and word order.
    pub order: Swap,
    /// Milliseconds.
    pub period_ms: u64,
    /// What the unit gives in one reply.
    pub limits: Limits,
}

impl PointFile {
    /// Raw to checked.
    pub fn check(
        mut self,
        at: &str,
        unit: &Defaults,
        source: &Source,
        tags: &mut Tags,
        problems: &mut Problems,
    ) -> Point {
        let (write, range) = (self.write.take(), self.tag.range);
        let period = Duration::from_millis(self.period_ms.unwrap_or(unit.period_ms));
        let form = self.form(at, unit, problems);
        let linear = self.linear(at, &form, problems);
        let point = Point {
            tag: tags.add(at, self.tag, source, period, problems),
            table: self.table,
            address: self.address,
            form,
            linear,
            period,
            count: None,
            write: None,
        };
        if point.end() > 65_536 {
            problems.add(format!("{at}.address"), "the value ends behind address 65535");
        }
        let (width, most) = (form.width(), unit.limits.most(self.table));
        if width > most {
            let message = format!("{width} registers: the unit's max_registers is {most}");
            problems.add(format!("{at}.type"), message);
        }
        let counts = self.count.counter || self.count.rate.is_some();
        if counts && !matches!(form, Form::Int { .. } | Form::Real { .. }) {
            problems.add(format!("{at}.type"), "bits and text do not count: use a number");
        }
        let count = self.count.check(at, form.modulus(), source, period, tags, problems);
        let point = Point { count, ..point };
        let write = write.map(|w| w.check(&format!("{at}.write"), &point, range, problems));
        Point { write, ..point }
    }

    fn form(&self, at: &str, unit: &Defaults, problems: &mut Problems) -> Form {
        let bits = self.table.bits();
        let kind = self.kind.unwrap_or(if bits { Type::Bit } else { Type::U16 });
        let mut extra = |key: &str, typed: bool, needs: &str| {
            if typed {
                problems.add(format!("{at}.{key}"), format!("only for {needs}: leave it out"));
            }
        };
        let register_bit = kind == Type::Bit && !bits;
        let unsigned = matches!(kind, Type::U16 | Type::U32 | Type::U64);
        extra("bit", self.bit.is_some() && !register_bit, "type = \"bit\" in a register");
        extra("mask", self.mask.is_some() && !unsigned, "u16, u32 and u64");
        extra("shift", self.shift.is_some() && self.mask.is_none(), "tags with a mask");
        extra("length", self.length.is_some() && kind != Type::String, "type = \"string\"");
        extra("order", self.order.is_some() && bits, "registers");
        if bits {
            if kind != Type::Bit {
                let message = "coils and inputs are bits: use \"bit\", or holding or input";
                problems.add(format!("{at}.type"), message);
            }
            return Form::Bit;
        }
        if kind == Type::String {
            let layout = self.order.as_deref().map(|text| {
                Layout::parse(text).unwrap_or_else(|| {
                    problems.add(format!("{at}.order"), format!("{text:?}: use ab, ba, a or b"));
                    Layout::HighLow
                })
            });
            if self.length.is_none() {
                problems.add(format!("{at}.length"), "missing: how many bytes the text has");
            }
            let layout = layout.unwrap_or(Layout::of(unit.order));
            return Form::Text { layout, length: self.length.unwrap_or(1) };
        }
        let order = self.order(at, kind.bytes(), unit.order, problems);
        match kind {
            Type::Bit => {
                if self.bit.is_none() {
                    problems
                        .add(format!("{at}.bit"), "missing: which bit of the register, 0 to 15");
                }
                Form::RegisterBit { order, bit: self.bit.unwrap_or(0) }
            }
            Type::F32 | Type::F64 => Form::Real { order },
            _ => {
                let signed = matches!(kind, Type::I16 | Type::I32 | Type::I64);
                Form::Int { order, signed, field: self.field(at, kind.bytes(), problems) }
            }
        }
    }

    fn order(&self, at: &str, bytes: usize, unit: Swap, problems: &mut Problems) -> Order {
        let Some(text) = self.order.as_deref() else { return Order::of(unit, bytes) };
        Order::parse(text, bytes).unwrap_or_else(|| {
            let letters = &"abcdefgh"[..bytes];
            let message = format!(
                "{text:?}: use abcd, badc, cdab or dcba, or the letters {letters} in order"
            );
            problems.add(format!("{at}.order"), message);
            Order::of(unit, bytes)
        })
    }

    fn field(&self, at: &str, bytes: usize, problems: &mut Problems) -> Option<Field> {
        let mask = self.mask?;
        let shift = self.shift.unwrap_or(mask.trailing_zeros().min(63) as u8);
        if bytes < 8 && mask >> (bytes * 8) != 0 {
            let message = format!("{mask:#x} has more than the {} bits of the type", bytes * 8);
            problems.add(format!("{at}.mask"), message);
        }
        if mask >> shift == 0 {
            problems.add(format!("{at}.shift"), format!("{shift} moves every bit out of the mask"));
        }
        Some(Field { mask, shift })
    }

    fn linear(&self, at: &str, form: &Form, problems: &mut Problems) -> Option<(f64, f64)> {
        let typed = [("scale", self.scale), ("offset", self.offset)];
        for (key, value) in typed.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
            if !matches!(form, Form::Int { .. } | Form::Real { .. }) {
                problems.add(format!("{at}.{key}"), "only for numbers: leave it out");
            } else if !value.is_finite() || (*key == "scale" && value == 0.0) {
                problems
                    .add(format!("{at}.{key}"), format!("{value}: every value would be the same"));
            }
        }
        let linear = (self.scale.unwrap_or(1.0), self.offset.unwrap_or(0.0));
        (linear != (1.0, 0.0)).then_some(linear)
    }
}
