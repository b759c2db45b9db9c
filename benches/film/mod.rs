//! What benches film.

use bytes::Bytes;
use floorcast::capture::Pixels;

/// Pictures of a line, a second of them: stripes that move, some of them noisy.
pub fn pictures(width: u32, height: u32) -> Vec<Bytes> {
    let luma = (width * height) as usize;
    let one = |n: usize| {
        let mut data = vec![128u8; Pixels::I420.size(width, height)];
        for (i, byte) in data[..luma].iter_mut().enumerate() {
            let (x, y) = (i % width as usize, i / width as usize);
            let noise = if y % 90 < 8 { (i * 2_654_435_761) >> 9 & 31 } else { 0 };
            *byte = ((x + 6 * n) / 3 % 160 + y / 8 + noise) as u8;
        }
        Bytes::from(data)
    };
    (0..30).map(one).collect()
}
