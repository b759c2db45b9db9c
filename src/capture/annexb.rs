//! H.264 in Annex B byte-stream format (ITU-T H.264, Annex B), as far as capture needs it.

/// Access unit delimiter.
pub const AUD: u8 = 9;
/// Sequence parameter set.
pub const SPS: u8 = 7;
/// Picture parameter set.
pub const PPS: u8 = 8;
/// Slice of an IDR picture.
pub const IDR: u8 = 5;
/// Slice of another picture.
pub const SLICE: u8 = 1;

/// The NAL units of an access unit: type (low five bits of the first byte),
/// offset of the start code, and payload from the type byte on. Bytes before
/// the first start code are skipped; a NAL unit without a byte is left out.
pub fn nals(data: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let mut next = find(data, 0);
    std::iter::from_fn(move || {
        loop {
            let (start, body) = next?;
            next = find(data, body);
            let end = next.map_or(data.len(), |(start, _)| start);
            if let Some(first) = data.get(body)
                && body < end
            {
                return Some((first & 0x1f, start, &data[body..end]));
            }
        }
    })
}

/// The next start code at or after `from`: where it starts, where its NAL unit starts.
fn find(data: &[u8], from: usize) -> Option<(usize, usize)> {
    let at = from + data.get(from..)?.windows(3).position(|w| w == [0, 0, 1])?;
    let start = if at > from && data[at - 1] == 0 { at - 1 } else { at };
    Some((start, at + 3))
}

/// What an access unit starts with, up to its first slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// A sequence parameter set.
    pub sps: bool,
    /// A picture parameter set.
    pub pps: bool,
    /// The first slice is of an IDR picture.
    pub idr: bool,
    /// Where the first NAL unit that is no delimiter starts.
    pub begin: usize,
}

impl Head {
    /// Reads no further than the first slice.
    pub fn of(data: &[u8]) -> Self {
        let mut head = Self::default();
        let mut begin = None;
        for (kind, start, _) in nals(data) {
            if kind != AUD {
                begin.get_or_insert(start);
            }
            match kind {
                SPS => head.sps = true,
                PPS => head.pps = true,
                SLICE..=IDR => {
                    head.idr = kind == IDR;
                    break;
                }
                _ => {}
            }
        }
        head.begin = begin.unwrap_or(0);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three- and four-byte start codes, and the delimiter left out.
    #[test]
    fn head_of_a_key_frame() {
        let au =
            [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88];
        let kinds: Vec<_> = nals(&au).map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [AUD, SPS, PPS, IDR]);
        assert_eq!(Head::of(&au), Head { sps: true, pps: true, idr: true, begin: 6 });
    }

    /// Parameter sets behind the first slice come too late for its decoder.
    #[test]
    fn parameter_sets_after_the_slice_do_not_count() {
        let head = Head::of(&[0, 0, 1, 0x65, 1, 0, 0, 1, 0x67, 1]);
        assert_eq!(head, Head { sps: false, pps: false, idr: true, begin: 0 });
    }

    proptest! {
        /// Any bytes: units lie within the data, in order, and the head never points outside.
        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(0u8..4, 0..200)) {
            let mut last = 0;
            for (_, start, body) in nals(&data) {
                prop_assert!(start >= last && !body.is_empty());
                last = start + body.len();
                prop_assert!(last <= data.len());
            }
            prop_assert!(Head::of(&data).begin <= data.len());
        }
    }
}
