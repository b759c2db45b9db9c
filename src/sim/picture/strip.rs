//! The calibration strip: the line's tick, readable from the picture.

use crate::paint::i420::Canvas;

/// Side of one square, picture pixels.
pub const SQUARE: usize = 32;
const BITS: usize = 16;
const WHITE: u8 = 235;
const BLACK: u8 = 16;

/// Gray code of `tick`: neighbours differ in one bit, so a picture between
/// two ticks reads as one of them.
pub fn gray(tick: u16) -> u16 {
    tick ^ (tick >> 1)
}

/// Lays 16 squares from the upper left corner, the most significant bit first,
/// white for one. On a picture narrower than the strip the rest is cut off.
pub fn lay(canvas: &mut Canvas, tick: u16) {
    let (w, h) = (canvas.width, canvas.height);
    let (luma, chroma) = canvas.data.split_at_mut(w * h);
    let code = gray(tick);
    let square = |n: usize| if code >> (BITS - 1 - n) & 1 == 1 { WHITE } else { BLACK };
    for row in luma.chunks_exact_mut(w).take(SQUARE) {
        for (n, square_row) in row.chunks_mut(SQUARE).take(BITS).enumerate() {
            square_row.fill(square(n));
        }
    }
    for plane in chroma.chunks_exact_mut(w / 2 * (h / 2)) {
        for row in plane.chunks_exact_mut(w / 2).take(SQUARE / 2) {
            let end = (BITS * SQUARE / 2).min(w / 2);
            row[..end].fill(128);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::i420::bytes;

    /// The strip reads back as the tick, at both usual sizes.
    #[test]
    fn strip_reads_back() {
        for (width, height) in [(1280, 720), (640, 360)] {
            let mut data = vec![77; bytes(width, height)];
            for tick in [0, 1, 2, 0x8000, 0xabcd, 0xffff] {
                lay(&mut Canvas { data: &mut data, width, height }, tick);
                let bit = |n: usize| u16::from(data[16 * width + n * SQUARE + 16] > 128);
                let code = (0..BITS).fold(0, |code, n| code << 1 | bit(n));
                assert_eq!(decode(code), tick);
                assert_eq!(data[BITS * SQUARE], 77, "the strip ends after 16 squares");
                assert_eq!(data[SQUARE * width], 77, "the strip is 32 rows high");
            }
        }
    }

    fn decode(code: u16) -> u16 {
        (1..16).fold(code, |tick, shift| tick ^ (code >> shift))
    }

    /// Neighbouring ticks differ in one square.
    #[test]
    fn neighbours_differ_in_one_square() {
        for tick in 0..=u16::MAX {
            assert_eq!((gray(tick) ^ gray(tick.wrapping_add(1))).count_ones(), 1);
        }
    }
}
