//! Requests and their replies, free of any framing: reads (Modbus V1.1b3, 6.1 to 6.4),
//! and writes of one coil (6.5), one register (6.6) or several (6.12).
//!
//! Comes in: bytes of a device. Goes out: the data of the reply, or what is
//! wrong with it. Nothing is taken on trust: function, byte count and length
//! must all be those of the request, and so must what a write's reply repeats of it.

use super::fault::Fault;
use crate::config::modbus::form::Words;
use crate::config::modbus::plan::bytes;
use crate::config::modbus::point::Table;

/// A request: a read, or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which unit.
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// The first address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// What is to be there afterwards; `None`: it is a read.
    pub words: Option<Words>,
}

impl Request {
    /// Its function code.
    pub fn function(&self) -> u8 {
        match (&self.words, self.table.bits(), self.count) {
            (None, ..) => self.table.function(),
            (Some(_), true, _) => 5,
            (Some(_), false, 1) => 6,
            (Some(_), false, _) => 16,
        }
    }

    /// Function, address, count, and what is to be written.
    pub fn pdu(&self) -> Vec<u8> {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.count.to_be_bytes());
        let function = self.function();
        match &self.words {
            None => vec![function, a, b, c, d],
            Some(words) if function == 16 => {
                let words = words.bytes();
                [&[function, a, b, c, d, words.len() as u8], words].concat()
            }
            Some(words) => [&[function, a, b], words.bytes()].concat(),
        }
    }

    /// Bytes of its reply's PDU.
    pub fn reply(&self) -> usize {
        if self.words.is_some() { 5 } else { 2 + bytes(self.table, self.count) }
    }

    /// Data bytes of a read's reply.
    pub fn bytes(&self) -> usize {
        bytes(self.table, self.count)
    }

    /// The data of a reply to this request; of a write there is none.
    pub fn data<'a>(&self, pdu: &'a [u8]) -> Result<&'a [u8], Fault> {
        let function = self.function();
        if self.words.is_some() && pdu.first() == Some(&function) {
            // Where and what; of several registers, where and how many.
            return match pdu == self.pdu().get(..5).unwrap_or_default() {
                true => Ok(&[]),
                false => Err(Fault::Garbled("repeats another write")),
            };
        }
        match pdu {
            [f, code] if *f == function | 0x80 => Err(Fault::Exception(*code)),
            [f, count, data @ ..] if *f == function => {
                let (count, want) = (usize::from(*count), self.bytes());
                match (count == want, data.len() == want) {
                    (true, true) => Ok(data),
                    (true, false) => Err(Fault::Garbled("cut short")),
                    (false, _) => Err(Fault::Garbled("wrong length")),
                }
            }
            _ => Err(Fault::Garbled("wrong function")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::form::{Order, Swap};
    use proptest::prelude::*;

    const ASK: Request =
        Request { unit: 1, table: Table::Holding, address: 0x6B, count: 3, words: None };

    fn write(table: Table, address: u16, count: u16, words: Words) -> Request {
        Request { unit: 1, table, address, count, words: Some(words) }
    }

    /// The standard's own example (V1.1b3, 6.3).
    #[test]
    fn example_of_the_standard() {
        assert_eq!(ASK.pdu(), [0x03, 0x00, 0x6B, 0x00, 0x03]);
        let reply = [0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64];
        assert_eq!(ASK.data(&reply).unwrap(), &reply[2..]);
        assert_eq!(ASK.data(&[0x83, 0x02]), Err(Fault::Exception(2)));
    }

    /// The standard's own writes (V1.1b3, 6.5, 6.6 and 6.12), and their replies.
    #[test]
    fn writes_of_the_standard() {
        let words = |n, bytes| Order::of(Swap::Abcd, bytes).words(n);
        let coil = write(Table::Coil, 0xAC, 1, Words::coil(true));
        assert_eq!(coil.pdu(), [5, 0, 0xAC, 0xFF, 0]);
        assert_eq!(coil.data(&[5, 0, 0xAC, 0xFF, 0]), Ok(&[][..]));
        let one = write(Table::Holding, 1, 1, words(3, 2));
        assert_eq!(one.pdu(), [6, 0, 1, 0, 3]);
        assert_eq!(one.data(&[0x86, 4]), Err(Fault::Exception(4)));
        let two = write(Table::Holding, 1, 2, words(0x000A_0102, 4));
        assert_eq!(two.pdu(), [16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2]);
        assert_eq!(two.data(&[16, 0, 1, 0, 2]), Ok(&[][..]));
        for bad in [&[16, 0, 1, 0, 1][..], &[16, 0, 2, 0, 2], &[16, 0, 1, 0], &[6, 0, 1, 0, 2]] {
            assert!(matches!(two.data(bad), Err(Fault::Garbled(_))), "{bad:?}");
        }
    }

    /// A short, long, or foreign reply is never data.
    #[test]
    fn only_the_exact_reply_is_data() {
        for bad in [&[][..], &[3], &[3, 6, 1], &[3, 4, 0, 0, 0, 0], &[4, 6, 0, 0, 0, 0, 0, 0]] {
            assert!(matches!(ASK.data(bad), Err(Fault::Garbled(_))), "{bad:?}");
        }
    }

    proptest! {
        /// Whatever comes, what is taken as data has the length of the request.
        #[test]
        fn data_has_the_length_asked_for(pdu in prop::collection::vec(any::<u8>(), 0..260)) {
            if let Ok(data) = ASK.data(&pdu) {
                prop_assert_eq!(data.len(), 6);
            }
        }
    }
}
