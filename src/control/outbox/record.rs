//! One record as it lies in a segment.
//!
//! Head, then the topic, then the deflated body; numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | CRC-32 of all that follows |
//! | 4 | length of topic and body |
//! | 8 | sequence number |
//! | 8 | when it was made, microseconds of UTC |
//! | 4 | samples in it |
//! | 2 | length of the topic |

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::model::UtcMicros;

/// Bytes of the head.
pub const HEAD: usize = 30;

/// Greatest body, as it was given, bytes.
pub const BODY: usize = 1 << 20;

/// Greatest topic and deflated body: deflate adds 5 bytes per 16 KiB at worst
/// (RFC 1951, section 3.2.4), and MQTT has no topic over 64 KiB.
const REST: usize = BODY + BODY / 1024 + 64 + (1 << 16);

/// What waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, below the box's root.
    pub topic: String,
    /// What, up to [`BODY`] bytes.
    pub body: Bytes,
    /// How many samples that is.
    pub samples: u32,
    /// When it was made.
    pub made: UtcMicros,
}

/// An entry with its place in the order of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Rises by one per record for ever.
    pub seq: u64,
    /// What was put in.
    pub entry: Entry,
}

/// A record's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    crc: u32,
    /// Bytes that follow the head.
    pub rest: usize,
    /// Sequence number.
    pub seq: u64,
    made: i64,
    /// Samples in it.
    pub samples: u32,
    topic: usize,
}

impl Head {
    /// Reads a head; `None` where it cannot be one.
    pub fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let field = |at: usize, n: usize| &bytes[at..at + n];
        let int = |at| u32::from_le_bytes(field(at, 4).try_into().expect("4 bytes"));
        let long = |at| u64::from_le_bytes(field(at, 8).try_into().expect("8 bytes"));
        let topic = u16::from_le_bytes(field(28, 2).try_into().expect("2 bytes"));
        let head = Self {
            crc: int(0),
            rest: int(4) as usize,
            seq: long(8),
            made: long(16) as i64,
            samples: int(24),
            topic: topic.into(),
        };
        (head.rest <= REST && head.topic <= head.rest).then_some(head)
    }

    /// True if `rest` is what was written after this head.
    pub fn fits(&self, bytes: &[u8; HEAD], rest: &[u8]) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[4..]);
        crc.update(rest);
        rest.len() == self.rest && crc.finalize() == self.crc
    }

    /// The record, from what follows the head; `None` where that is no topic
    /// or does not inflate to a body of at most [`BODY`] bytes.
    pub fn record(&self, rest: &[u8]) -> Option<Record> {
        let (topic, deflated) = rest.split_at_checked(self.topic)?;
        let mut body = Vec::new();
        DeflateDecoder::new(deflated).take(BODY as u64 + 1).read_to_end(&mut body).ok()?;
        if body.len() > BODY {
            return None;
        }
        let topic = std::str::from_utf8(topic).ok()?.to_owned();
        let made = UtcMicros(self.made);
        let entry = Entry { topic, body: body.into(), samples: self.samples, made };
        Some(Record { seq: self.seq, entry })
    }
}

/// Appends a record to `out`.
pub fn write(seq: u64, entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; 8]);
    out.extend(seq.to_le_bytes());
    out.extend(entry.made.0.to_le_bytes());
    out.extend(entry.samples.to_le_bytes());
    out.extend((entry.topic.len() as u16).to_le_bytes());
    out.extend(entry.topic.as_bytes());
    let mut deflate = DeflateEncoder::new(&mut *out, Compression::default());
    // Writing to memory cannot fail.
    let _ = deflate.write_all(&entry.body).and_then(|()| deflate.try_finish());
    drop(deflate);
    let rest = (out.len() - start - HEAD) as u32;
    out[start + 4..start + 8].copy_from_slice(&rest.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<Record> {
        let (head, rest) = bytes.split_first_chunk()?;
        let parsed = Head::parse(head)?;
        let rest = rest.get(..parsed.rest)?;
        if parsed.fits(head, rest) { parsed.record(rest) } else { None }
    }

    fn entry(topic: String, body: Vec<u8>, samples: u32, made: i64) -> Entry {
        Entry { topic, body: body.into(), samples, made: UtcMicros(made) }
    }

    proptest! {
        /// What is read is what was written.
        #[test]
        fn read_gives_what_was_written(
            topic in "[a-z/]{0,40}",
            body in prop::collection::vec(any::<u8>(), 0..3000),
            (samples, made, seq) in any::<(u32, i64, u64)>(),
        ) {
            let entry = entry(topic, body, samples, made);
            let mut bytes = Vec::new();
            write(seq, &entry, &mut bytes);
            prop_assert_eq!(read(&bytes), Some(Record { seq, entry }));
        }

        /// One changed byte, and it is no record any more.
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = Vec::new();
            write(7, &entry("tele/plc/unit-1".into(), b"x".repeat(100), 3, 5), &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(read(&bytes), None);
        }

        /// Whatever lies on the disk: no panic, and no more than a body in memory.
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), HEAD..200)) {
            let head = bytes.first_chunk().and_then(Head::parse);
            let record = head.and_then(|head| head.record(&bytes[HEAD..]));
            prop_assert!(record.is_none_or(|r| r.entry.body.len() <= BODY));
        }
    }
}
