//! How a value lies in its registers: type, byte and word order, bit fields.

use schemars::JsonSchema;
use serde::Deserialize;

/// A value's type as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// One coil or input, or one bit of a register.
    Bit,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, two's complement.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, two's complement.
    I32,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, two's complement.
    I64,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double.
    F64,
    /// Text in UTF-8, ended by NUL or by its length, blanks at its end removed.
    String,
}

impl Type {
    /// Bytes of a number; 2 for a bit of a register, 0 for text.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bit | Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String => 0,
        }
    }
}

/// A unit's byte and word order, for values of any width; `a` is the most
/// significant byte of a 32-bit value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Swap {
    /// Big end first, as the standard has it.
    #[default]
    Abcd,
    /// Low word first, bytes of a word as the standard has it.
    Cdab,
    /// High word first, bytes of a word swapped.
    Badc,
    /// Little end first.
    Dcba,
}

impl Swap {
    const ALL: [(&str, Self); 4] =
        [("abcd", Self::Abcd), ("cdab", Self::Cdab), ("badc", Self::Badc), ("dcba", Self::Dcba)];

    fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, swap)| *swap)
    }

    fn words(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    fn bytes(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }
}

/// Where each byte of a number lies: `at[i]` is the place, in the order of the
/// wire, of the byte that is `i`-th in significance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    at: [u8; 8],
    len: u8,
}

impl Order {
    /// The order that `swap` means for a number of `bytes` bytes (2, 4 or 8).
    pub fn of(swap: Swap, bytes: usize) -> Self {
        let mut at = [u8::MAX; 8];
        for (i, place) in at.iter_mut().enumerate().take(bytes) {
            let word = if swap.words() { bytes / 2 - 1 - i / 2 } else { i / 2 };
            *place = (word * 2 + if swap.bytes() { 1 - i % 2 } else { i % 2 }) as u8;
        }
        Self { at, len: bytes as u8 }
    }

    /// `badc`: one of the four names of [`Swap`], or each byte's letter in the
    /// order of the wire, `a` the most significant.
    pub fn parse(text: &str, bytes: usize) -> Option<Self> {
        if let Some(swap) = Swap::named(text) {
            return Some(Self::of(swap, bytes));
        }
        let mut at = [u8::MAX; 8];
        for (place, letter) in text.bytes().enumerate() {
            let slot = at[..bytes].get_mut(usize::from(letter.checked_sub(b'a')?))?;
            *slot = place as u8;
        }
        let whole = text.len() == bytes && !at[..bytes].contains(&u8::MAX);
        whole.then_some(Self { at, len: bytes as u8 })
    }

    /// Bytes of the number.
    pub fn bytes(&self) -> usize {
        self.len.into()
    }

    /// The number whose bytes these are; bytes that are missing read as 0.
    pub fn number(&self, wire: &[u8]) -> u64 {
        let places = &self.at[..self.bytes()];
        places.iter().fold(0, |n, at| n << 8 | u64::from(*wire.get(usize::from(*at)).unwrap_or(&0)))
    }

    /// The bytes of a number, as [`Self::number`] reads them; what does not fit is cut off.
    pub fn words(&self, n: u64) -> Words {
        let mut bytes = [0; 8];
        for (i, at) in self.at[..self.bytes()].iter().enumerate() {
            bytes[usize::from(*at)] = (n >> (8 * (self.bytes() - 1 - i))) as u8;
        }
        Words { bytes, len: self.len }
    }
}

/// What goes into the registers of a number, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; 8],
    len: u8,
}

impl Words {
    /// What a request says to switch a coil (Modbus V1.1b3, 6.5).
    pub fn coil(on: bool) -> Self {
        Self { bytes: [if on { 0xFF } else { 0 }, 0, 0, 0, 0, 0, 0, 0], len: 2 }
    }

    /// Two bytes a register.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How text lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Two bytes a register, the high one first.
    HighLow,
    /// Two bytes a register, the low one first.
    LowHigh,
    /// One byte a register, the high one.
    High,
    /// One byte a register, the low one.
    Low,
}

impl Layout {
    /// `ab`, `ba`, `a`, `b`, or a [`Swap`], of which only the bytes matter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ab" => Some(Self::HighLow),
            "ba" => Some(Self::LowHigh),
            "a" => Some(Self::High),
            "b" => Some(Self::Low),
            _ => Swap::named(text).map(Self::of),
        }
    }

    /// What a unit's order means for text.
    pub fn of(swap: Swap) -> Self {
        if swap.bytes() { Self::LowHigh } else { Self::HighLow }
    }

    /// Registers for so many bytes.
    pub fn registers(self, bytes: u16) -> u16 {
        match self {
            Self::HighLow | Self::LowHigh => bytes.div_ceil(2),
            Self::High | Self::Low => bytes,
        }
    }
}

/// Some bits of a number: `(n & mask) >> shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Which bits.
    pub mask: u64,
    /// Down by so many.
    pub shift: u8,
}

/// How to read a value from a reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// A coil or input.
    Bit,
    /// A bit of a register.
    RegisterBit {
        /// Its byte order.
        order: Order,
        /// 0 is the least significant.
        bit: u8,
    },
    /// An integer or some of its bits.
    Int {
        /// Its width and order.
        order: Order,
        /// Two's complement.
        signed: bool,
        /// Only these bits.
        field: Option<Field>,
    },
    /// IEEE 754, single or double by the order's width.
    Real {
        /// Its width and order.
        order: Order,
    },
    /// Text.
    Text {
        /// How it lies.
        layout: Layout,
        /// Its bytes at most.
        length: u16,
    },
}

impl Form {
    /// Registers, or 1 for a coil or input.
    pub fn width(&self) -> u16 {
        match self {
            Self::Bit => 1,
            Self::RegisterBit { order, .. } | Self::Int { order, .. } | Self::Real { order } => {
                order.bytes() as u16 / 2
            }
            Self::Text { layout, length } => layout.registers(*length),
        }
    }

    /// How many different counts it can show; `None` if it does not count or has no end.
    pub fn modulus(&self) -> Option<u128> {
        match self {
            Self::Int { field: Some(Field { mask, shift }), .. } => {
                Some(u128::from(mask >> shift) + 1)
            }
            Self::Int { order, .. } => Some(1 << (order.bytes() * 8)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names say where each byte of 0x0A0B0C0D lies on the wire.
    #[test]
    fn names_and_letters_agree() {
        for (name, swap) in Swap::ALL {
            let wire: Vec<u8> = name.bytes().map(|l| 0x0A + (l - b'a')).collect();
            assert_eq!(Order::of(swap, 4).number(&wire), 0x0A0B_0C0D, "{name}");
        }
    }

    /// A 64-bit value swaps words over its whole width; letters say anything else.
    #[test]
    fn eight_bytes() {
        let wire = [7, 8, 5, 6, 3, 4, 1, 2];
        assert_eq!(Order::of(Swap::Cdab, 8).number(&wire), 0x0102_0304_0506_0708);
        let order = Order::parse("efghabcd", 8).unwrap();
        assert_eq!(order.number(&[5, 6, 7, 8, 1, 2, 3, 4]), 0x0102_0304_0506_0708);
    }

    /// What is written is what is read.
    #[test]
    fn words_come_back() {
        for (swap, bytes) in Swap::ALL.iter().flat_map(|(_, swap)| [2, 4, 8].map(|n| (*swap, n))) {
            let (order, n) = (Order::of(swap, bytes), 0x0102_0304_0506_0708 >> (64 - bytes * 8));
            assert_eq!(order.number(order.words(n).bytes()), n, "{swap:?} {bytes}");
        }
    }

    /// An order that forgets or repeats a byte is none.
    #[test]
    fn letters_must_name_each_byte_once() {
        for bad in ["", "ab", "aabc", "abce", "abcde", "ABCD", "a cd"] {
            assert_eq!(Order::parse(bad, 4), None, "{bad}");
        }
        assert_eq!(Order::parse("ba", 2), Some(Order::of(Swap::Dcba, 2)));
        assert_eq!(Order::parse("acbd", 4).unwrap().number(&[1, 3, 2, 4]), 0x0102_0304);
    }
}
