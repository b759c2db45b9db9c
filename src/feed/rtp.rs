//! H.264 into RTP payloads (RFC 6184), once per frame for all viewers.
//!
//! Comes in: one access unit, Annex B. Goes out: the payloads in order,
//! shared by reference. The pieces of one NAL unit are of equal size, save a
//! last one that may be shorter, so that the kernel can cut a whole frame
//! into datagrams itself (UDP GSO). No state, nothing to fill up.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};

/// Payload bytes per packet that fit every path: IPv6 carries 1280 bytes
/// everywhere (RFC 8200, section 5), of which its header takes 40, UDP 8, RTP
/// 12, our header extensions 24 (with a mid of up to five characters; browsers
/// use one or two), the SRTP tag 16 (RFC 7714), and RTX 2 (RFC 4588).
pub const PAYLOAD_MAX: usize = 1280 - 40 - 8 - 12 - 24 - 16 - 2;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Supplemental information, delimiters and filler: of no use to a viewer's
/// decoder, and telemetry in SEI makes some stutter.
const LEFT_OUT: [u8; 3] = [6, 9, 12];

/// The NAL units of an access unit, without start codes and trailing zeros.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = start_code(annex_b, 0).map(|(_, end)| end);
    std::iter::from_fn(move || {
        loop {
            let begin = at?;
            let next = start_code(annex_b, begin);
            at = next.map(|(_, end)| end);
            let unit = &annex_b[begin..next.map_or(annex_b.len(), |(start, _)| start)];
            // trailing_zero_8bits (ITU-T H.264, B.1) is not part of the unit.
            let len = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            if len > 0 {
                return Some(&unit[..len]);
            }
        }
    })
}

/// Where the next `00 00 01` begins and ends, from `from` on.
fn start_code(data: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut i = from;
    while i + 3 <= data.len() {
        // Look at the third byte: most are neither 0 nor 1 and allow a step of three.
        match data[i + 2] {
            0 => i += 1,
            1 if data[i] == 0 && data[i + 1] == 0 => return Some((i, i + 3)),
            _ => i += 3,
        }
    }
    None
}

/// The RTP payloads of one access unit; the last one carries the marker bit.
///
/// `max` is the greatest payload, at least 64. Parameter sets travel together
/// in a STAP-A, as do small neighbours; what is larger than `max` becomes
/// FU-As; the rest go as they are (RFC 6184, packetization-mode 1).
pub fn packetise(annex_b: &[u8], max: usize) -> Vec<Arc<[u8]>> {
    let max = max.max(64);
    let mut payloads = Vec::with_capacity(annex_b.len() / max + 2);
    let mut group: Vec<&[u8]> = Vec::new();
    let mut group_len = 1;
    for unit in nal_units(annex_b).filter(|unit| !LEFT_OUT.contains(&(unit[0] & 0x1f))) {
        if group_len + 2 + unit.len() > max || unit.len() > usize::from(u16::MAX) {
            flush(&mut group, &mut payloads);
            group_len = 1;
        }
        if unit.len() > max {
            fragment(unit, max, &mut payloads);
        } else {
            group_len += 2 + unit.len();
            group.push(unit);
        }
    }
    flush(&mut group, &mut payloads);
    payloads
}

/// Sends what is grouped: one unit as it is, several as a STAP-A (section 5.7.1).
fn flush(group: &mut Vec<&[u8]>, payloads: &mut Vec<Arc<[u8]>>) {
    match group.as_slice() {
        [] => {}
        [one] => payloads.push((*one).into()),
        many => {
            // F is the OR and NRI the greatest of those inside.
            let f = many.iter().fold(0, |f, unit| f | unit[0] & 0x80);
            let nri = many.iter().map(|unit| unit[0] & 0x60).max().unwrap_or(0);
            let len = 1 + many.iter().map(|unit| 2 + unit.len()).sum::<usize>();
            let mut payload = Vec::with_capacity(len);
            payload.push(f | nri | STAP_A);
            for unit in many {
                payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                payload.extend_from_slice(unit);
            }
            payloads.push(payload.into());
        }
    }
    group.clear();
}

/// Cuts a unit into FU-As of equal size (section 5.8).
fn fragment(unit: &[u8], max: usize, payloads: &mut Vec<Arc<[u8]>>) {
    let (header, body) = (unit[0], &unit[1..]);
    let pieces = body.len().div_ceil(max - 2);
    let size = body.len().div_ceil(pieces);
    let count = body.len().div_ceil(size);
    for (i, piece) in body.chunks(size).enumerate() {
        let start = if i == 0 { 0x80 } else { 0 };
        let end = if i + 1 == count { 0x40 } else { 0 };
        let mut payload = Vec::with_capacity(2 + piece.len());
        payload.extend_from_slice(&[header & 0xe0 | FU_A, start | end | header & 0x1f]);
        payload.extend_from_slice(piece);
        payloads.push(payload.into());
    }
}

/// Puts an access unit together again: Annex B with four-byte start codes.
///
/// For receivers in tests and load clients. Errors name what is malformed.
#[derive(Default)]
pub struct Depacketiser {
    /// The unit that FU-As are building.
    open: Option<Vec<u8>>,
    done: Vec<u8>,
}

impl Depacketiser {
    /// Takes the next payload of the access unit.
    pub fn push(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let first = *payload.first().context("empty payload")?;
        match first & 0x1f {
            FU_A => {
                ensure!(payload.len() > 2, "FU-A without data");
                let fu = payload[1];
                if fu & 0x80 != 0 {
                    ensure!(self.open.is_none(), "FU-A starts inside another");
                    self.open = Some(vec![first & 0xe0 | fu & 0x1f]);
                }
                let unit = self.open.as_mut().context("FU-A without a start")?;
                unit.extend_from_slice(&payload[2..]);
                if fu & 0x40 != 0 {
                    let unit = self.open.take().unwrap_or_default();
                    self.unit(&unit);
                }
            }
            STAP_A => {
                let mut rest = &payload[1..];
                while let Some((len, tail)) = rest.split_first_chunk::<2>() {
                    let len = usize::from(u16::from_be_bytes(*len));
                    ensure!(len <= tail.len(), "STAP-A unit of {len} in {} bytes", tail.len());
                    self.unit(&tail[..len]);
                    rest = &tail[len..];
                }
                ensure!(rest.is_empty(), "STAP-A ends in the middle of a size");
            }
            1..=23 => self.unit(payload),
            kind => bail!("payload type {kind} is not of packetization-mode 1"),
        }
        Ok(())
    }

    fn unit(&mut self, unit: &[u8]) {
        self.done.extend_from_slice(&[0, 0, 0, 1]);
        self.done.extend_from_slice(unit);
    }

    /// The access unit so far; starts the next. Fails if a unit is incomplete.
    pub fn finish(&mut self) -> anyhow::Result<Vec<u8>> {
        ensure!(self.open.take().is_none(), "the access unit ends inside an FU-A");
        Ok(std::mem::take(&mut self.done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A legal NAL unit: no start code inside, no zero at its end.
    fn unit() -> impl Strategy<Value = Vec<u8>> {
        let size = prop_oneof![4 => 1usize..80, 2 => 80usize..3000, 1 => 3000usize..9000];
        (1u8..=23, 0u8..4, size, any::<u64>()).prop_map(|(kind, nri, len, seed)| {
            let mut x = seed | 1;
            let mut unit = vec![nri << 5 | kind];
            while unit.len() < len {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                // Few values, so that runs of zeros are common.
                let byte = [0, 0, 0, 1, 2, 0x80, 0xff, (x >> 56) as u8][(x >> 33) as usize % 8];
                let zeros = unit.iter().rev().take_while(|b| **b == 0).count();
                unit.push(if byte <= 3 && zeros >= 2 { 3 } else { byte });
            }
            if unit.last() == Some(&0) {
                unit.push(3);
            }
            unit
        })
    }

    fn annex_b(units: &[Vec<u8>], short: bool) -> Vec<u8> {
        let code: &[u8] = if short { &[0, 0, 1] } else { &[0, 0, 0, 1] };
        units.iter().flat_map(|unit| [code, unit].concat()).collect()
    }

    fn depacketise(payloads: &[Arc<[u8]>]) -> Vec<u8> {
        let mut back = Depacketiser::default();
        for payload in payloads {
            back.push(payload).expect("own payload");
        }
        back.finish().expect("whole unit")
    }

    proptest! {
        /// What is put together again is what was taken apart, and every payload fits.
        #[test]
        fn depacketising_is_the_identity(
            units in proptest::collection::vec(unit(), 1..8),
            short in any::<bool>(),
            max in 64usize..1400,
        ) {
            let kept: Vec<_> =
                units.iter().filter(|u| !LEFT_OUT.contains(&(u[0] & 0x1f))).cloned().collect();
            let payloads = packetise(&annex_b(&units, short), max);
            prop_assert!(payloads.iter().all(|p| p.len() <= max));
            prop_assert_eq!(depacketise(&payloads), annex_b(&kept, false));
        }

        /// Pieces of a unit are equal but for the last, which is not longer.
        #[test]
        fn fragments_are_of_equal_size(len in 1200usize..60_000, max in 100usize..1400) {
            let data = annex_b(&[[vec![0x65], vec![7; len]].concat()], false);
            let sizes: Vec<_> = packetise(&data, max).iter().map(|p| p.len()).collect();
            let (last, rest) = sizes.split_last().expect("payloads");
            prop_assert!(rest.iter().all(|size| *size == rest[0]));
            prop_assert!(rest.first().is_none_or(|size| last <= size));
        }

        /// No bytes from outside make the receiving side panic.
        #[test]
        fn depacketising_anything_never_panics(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
        ) {
            let mut back = Depacketiser::default();
            for payload in &payloads {
                let _ = back.push(payload);
            }
            let _ = back.finish();
            let _ = packetise(&payloads.concat(), 64);
        }
    }

    /// SPS and PPS share one packet in front of the picture.
    #[test]
    fn parameter_sets_travel_together() {
        let units = [vec![0x67, 1, 2, 3], vec![0x68, 4, 5], [vec![0x65], vec![9; 5000]].concat()];
        let payloads = packetise(&annex_b(&units, false), 1140);
        assert_eq!(payloads[0][..], [0x78, 0, 4, 0x67, 1, 2, 3, 0, 3, 0x68, 4, 5]);
        assert!(payloads[1..].iter().all(|p| p[0] & 0x1f == FU_A));
    }
}
