//! Read requests and their replies, free of any framing (Modbus V1.1b3, 6.1 to 6.4).
//!
//! Comes in: bytes of a device. Goes out: the data of the reply, or what is
//! wrong with it. Nothing is taken on trust: function, byte count and length
//! must all be those of the request.

use super::fault::Fault;
use crate::config::modbus::plan::bytes;
use crate::config::modbus::point::Table;

/// A read request.
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
}

impl Request {
    /// Function, address, count.
    pub fn pdu(&self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.count.to_be_bytes());
        [self.table.function(), a, b, c, d]
    }

    /// Data bytes of its reply.
    pub fn bytes(&self) -> usize {
        bytes(self.table, self.count)
    }

    /// The data of a reply to this request.
    pub fn data<'a>(&self, pdu: &'a [u8]) -> Result<&'a [u8], Fault> {
        let function = self.table.function();
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
    use proptest::prelude::*;

    const ASK: Request = Request { unit: 1, table: Table::Holding, address: 0x6B, count: 3 };

    /// The standard's own example (V1.1b3, 6.3).
    #[test]
    fn example_of_the_standard() {
        assert_eq!(ASK.pdu(), [0x03, 0x00, 0x6B, 0x00, 0x03]);
        let reply = [0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64];
        assert_eq!(ASK.data(&reply).unwrap(), &reply[2..]);
        assert_eq!(ASK.data(&[0x83, 0x02]), Err(Fault::Exception(2)));
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
