//! `write` of a tag: that it may be written, and within which limits.
//!
//! Comes in: the limits as typed, later a value that somebody wants to write. Goes out:
//! what goes into the registers, or why nothing does. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{Form, Words};
use super::point::{Point, Table};
use crate::config::Problems;
use crate::model::Value;

/// A value between two steps of its register is on one of them if it is so near, in steps.
const NEAR: f64 = 1e-6;

/// As typed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Least and greatest value, in the tag's own unit; a coil has none.
    pub range: Option<[f64; 2]>,
    /// From one write to the next, at least.
    #[serde(default = "a_second")]
    #[schemars(range(min = 100, max = 86_400_000))]
    pub every_ms: u64,
}

fn a_second() -> u64 {
    1000
}

/// Checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Least and greatest value, in the tag's own unit.
    pub range: (f64, f64),
    /// From one write to the next, at least.
    pub every: Duration,
}

impl WriteFile {
    /// Raw to checked. `range` is the tag's: what may be written must be plausible when read.
    pub fn check(
        self,
        at: &str,
        point: &Point,
        range: Option<[f64; 2]>,
        problems: &mut Problems,
    ) -> Guard {
        if matches!(point.table, Table::Discrete | Table::Input) {
            problems.add(at, "inputs cannot be written: only coil and holding");
        }
        let whole = matches!(point.form, Form::Bit | Form::Real { .. })
            || matches!(point.form, Form::Int { field: None, .. });
        if !whole {
            let message = "only coils and whole numbers: a text, or some bits of a register, would \
                           take their neighbours with them";
            problems.add(at, message);
        }
        if point.count.is_some() {
            problems.add(at, "counters are read only");
        }
        let guard = |range| Guard { range, every: Duration::from_millis(self.every_ms) };
        if point.form == Form::Bit {
            if self.range.is_some() {
                problems.add(format!("{at}.range"), "a coil has none: leave it out");
            }
            return guard((0.0, 1.0));
        }
        let Some([low, high]) = self.range else {
            problems.add(format!("{at}.range"), "missing: the least and the greatest value");
            return guard((0.0, 0.0));
        };
        let guard = guard((low, high));
        if low.is_nan() || high.is_nan() || low > high {
            problems.add(format!("{at}.range"), format!("[{low}, {high}]: least before greatest"));
        } else if range.is_some_and(|[least, most]| low < least || high > most) {
            let message = format!("[{low}, {high}] is not within the tag's own range");
            problems.add(format!("{at}.range"), message);
        } else if whole {
            for end in [low, high] {
                // A limit may lie between two steps, but not beyond the register.
                if let Err(No::Beyond) = point.words(&Value::Real(end)) {
                    problems.add(format!("{at}.range"), format!("{end} does not fit the type"));
                }
            }
        }
        guard
    }
}

/// Why a value has no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// A number for a coil, or true for a number.
    Kind,
    /// Between two steps of the register.
    Between,
    /// More than the register holds.
    Beyond,
}

impl Point {
    /// The words of a value that may be written.
    ///
    /// # Errors
    /// The reason and the remedy.
    pub fn admit(&self, value: &Value) -> Result<Words, (String, String)> {
        let Some(Guard { range: (low, high), .. }) = self.write else {
            let remedy = "give it `write` in the configuration, if it is to be written";
            return Err(("the tag is not on the list of those that may".into(), remedy.into()));
        };
        let number = match value {
            Value::Int(n) => Some(*n as f64),
            Value::Real(x) => Some(*x),
            Value::Bool(_) | Value::Text(_) | Value::None => None,
        };
        if self.form != Form::Bit && number.is_some_and(|x| !(low..=high).contains(&x)) {
            return Err(("value is out of range".into(), format!("value: {low} to {high}")));
        }
        self.words(value).map_err(|no| {
            let step = self.linear.map_or(1.0, |(scale, _)| scale.abs());
            match no {
                No::Kind if self.form == Form::Bit => {
                    ("value is not what it may be".into(), "value: true or false".into())
                }
                No::Kind => ("value is not what it may be".into(), "value: a number".into()),
                No::Between => {
                    ("value lies between two steps".into(), format!("value: in steps of {step}"))
                }
                No::Beyond => ("value does not fit its registers".into(), "see its type".into()),
            }
        })
    }

    /// The words of a value, the inverse of reading it.
    fn words(&self, value: &Value) -> Result<Words, No> {
        let unscaled = |x: f64| self.linear.map_or(x, |(scale, offset)| (x - offset) / scale);
        match (self.form, value) {
            (Form::Bit, Value::Bool(on)) => Ok(Words::coil(*on)),
            (Form::Int { order, signed, .. }, Value::Int(_) | Value::Real(_)) => {
                let n = match *value {
                    Value::Int(n) if self.linear.is_none() => n,
                    Value::Int(n) => step(unscaled(n as f64))?,
                    Value::Real(x) => step(unscaled(x))?,
                    _ => return Err(No::Kind),
                };
                let bits = order.bytes() * 8;
                let (least, most) = match signed {
                    true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                    false => (0, (1i128 << bits) - 1),
                };
                let fits = (least..=most).contains(&n);
                fits.then(|| order.words(n as u64)).ok_or(No::Beyond)
            }
            (Form::Real { order }, Value::Int(_) | Value::Real(_)) => {
                let x = unscaled(match *value {
                    Value::Int(n) => n as f64,
                    Value::Real(x) => x,
                    _ => return Err(No::Kind),
                });
                let (bits, finite) = match order.bytes() {
                    4 => (u64::from((x as f32).to_bits()), (x as f32).is_finite()),
                    _ => (x.to_bits(), x.is_finite()),
                };
                if finite { Ok(order.words(bits)) } else { Err(No::Beyond) }
            }
            _ => Err(No::Kind),
        }
    }
}

/// The whole number that `x` is.
fn step(x: f64) -> Result<i128, No> {
    // Beyond this neighbours are more than one apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !x.is_finite() || x.abs() > EXACT {
        return Err(No::Beyond);
    }
    let near = (x - x.round()).abs() <= NEAR;
    if near { Ok(x.round() as i128) } else { Err(No::Between) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const BUS: &str = "[[modbus]]\nid = \"b\"\ntcp = \"plc\"\n[[modbus.unit]]\nid = 1\n";

    fn point(keys: &str) -> Point {
        let text = format!("{BUS}[[modbus.unit.tag]]\nname = \"t\"\naddress = 7\n{keys}\n");
        let config = config::load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        config.buses[0].units[0].reads[0].points[0].clone()
    }

    fn problems(keys: &str) -> Vec<(String, String)> {
        let text = format!("{BUS}[[modbus.unit.tag]]\nname = \"t\"\naddress = 7\n{keys}\n");
        let problems = config::load(&text).expect_err("a mistake");
        problems.iter().map(|p| (p.key.clone(), p.message.clone())).collect()
    }

    /// A value is written as it is read: scaled, in steps, in its own byte order.
    #[test]
    fn values_have_the_words_that_they_are_read_from() {
        let tenths = point(
            "table = \"holding\"\ntype = \"i16\"\nscale = 0.1\nwrite = { range = [-5, 60.5] }",
        );
        let words = |value| tenths.admit(&value).map(|w| w.bytes().to_vec());
        assert_eq!(words(Value::Real(60.5)), Ok(vec![2, 93]));
        assert_eq!(words(Value::Int(-5)), Ok((-50i16).to_be_bytes().to_vec()));
        assert_eq!(words(Value::Real(0.25)).unwrap_err().1, "value: in steps of 0.1");
        assert_eq!(words(Value::Real(60.6)).unwrap_err().0, "value is out of range");
        assert_eq!(words(Value::Bool(true)).unwrap_err().1, "value: a number");
        let real = point(
            "table = \"holding\"\ntype = \"f32\"\norder = \"cdab\"\nwrite = { range = [0, 9] }",
        );
        let wire = real.admit(&Value::Real(1.5)).unwrap();
        assert_eq!(wire.bytes(), [0, 0, 0x3F, 0xC0]);
        let coil = point("table = \"coil\"\nwrite = {}");
        assert_eq!(coil.admit(&Value::Bool(true)).unwrap().bytes(), [0xFF, 0]);
        assert_eq!(coil.admit(&Value::Int(1)).unwrap_err().1, "value: true or false");
        let none = point("table = \"holding\"");
        assert!(none.admit(&Value::Int(1)).unwrap_err().0.contains("list"));
    }

    /// Whole numbers of 64 bits are exact to the last one.
    #[test]
    fn whole_numbers_stay_exact() {
        let all = point(
            "table = \"holding\"\ntype = \"u64\"\nwrite = { range = [0, 9007199254740992.0] }",
        );
        let most = (1u64 << 53) - 1;
        let words = all.admit(&Value::Int(most.into())).unwrap();
        assert_eq!(words.bytes(), most.to_be_bytes());
        assert!(all.admit(&Value::Int(1i128 << 64)).is_err());
    }

    /// What cannot be written, or has no sensible limits, is a mistake of its own.
    #[test]
    fn mistakes_are_named() {
        for (keys, key, word) in [
            ("table = \"input\"\nwrite = { range = [0, 1] }", "write", "inputs"),
            ("table = \"holding\"\nwrite = {}", "write.range", "missing"),
            ("table = \"holding\"\nwrite = { range = [5, 1] }", "write.range", "least"),
            ("table = \"holding\"\nwrite = { range = [0, 70000] }", "write.range", "fit"),
            (
                "table = \"holding\"\nrange = [0, 10]\nwrite = { range = [0, 11] }",
                "write.range",
                "within",
            ),
            ("table = \"coil\"\nwrite = { range = [0, 1] }", "write.range", "coil"),
            (
                "table = \"holding\"\ntype = \"bit\"\nbit = 3\nwrite = { range = [0, 1] }",
                "write",
                "neighbours",
            ),
            (
                "table = \"holding\"\ncounter = true\nwrite = { range = [0, 1] }",
                "write",
                "read only",
            ),
            ("table = \"holding\"\nwrite = { range = [0, 1], every_ms = 1 }", "write.every_ms", ""),
            ("table = \"holding\"\nwrite = { rang = [0, 1] }", "write.rang", ""),
        ] {
            let found = problems(keys);
            let fits =
                |(at, message): &(String, String)| at.ends_with(key) && message.contains(word);
            assert!(found.iter().any(fits), "{keys}: {found:?}");
        }
    }
}
