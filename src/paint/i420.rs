//! Planar YUV: the canvas that leaves, and sprites that are laid on it.
//!
//! Everything is turned into BT.709 limited-range YUV 4:2:0 once, when it is
//! drawn; laying a sprite on the canvas works on its planes alone, so a
//! picture costs one copy of the background and the sprites' own pixels.

use anyhow::ensure;
use tiny_skia::Pixmap;

/// A picture: full Y, then U and V at half width and half height, tightly packed.
pub struct Canvas<'a> {
    /// The planes.
    pub data: &'a mut [u8],
    /// Even.
    pub width: usize,
    /// Even.
    pub height: usize,
}

/// Bytes of a picture. Both sides are even.
pub const fn bytes(width: usize, height: usize) -> usize {
    width * height * 3 / 2
}

/// Refuses a size that cannot be drawn.
///
/// # Errors
/// A side that is odd, below 64 or above 4096 pixels.
pub fn check(width: usize, height: usize) -> anyhow::Result<()> {
    let fits = |side: usize| (64..=4096).contains(&side) && side.is_multiple_of(2);
    ensure!(
        fits(width) && fits(height),
        "a picture of {width}x{height}: sides are even, 64 to 4096"
    );
    Ok(())
}

/// Where on the canvas something may be drawn, in whole pixels.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first row.
    pub from: i32,
    /// Behind the last row.
    pub to: i32,
}

impl Rows {
    /// Every row.
    pub const ALL: Rows = Rows { from: 0, to: i32::MAX };
}

/// Something drawn, with its opacity; colours are premultiplied by it.
#[derive(Clone, Debug, Default)]
pub struct Planes {
    /// Even.
    width: usize,
    /// Even.
    height: usize,
    luma: Layer,
    u: Vec<u8>,
    v: Vec<u8>,
    /// 255 minus the opacity, for `u` and `v`.
    clear: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Layer {
    ink: Vec<u8>,
    /// 255 minus the opacity.
    clear: Vec<u8>,
}

impl Planes {
    /// Turns a drawn pixel map (even sides) into planes.
    pub fn from_pixels(pixels: &Pixmap) -> Self {
        let mut planes = Self::default();
        planes.read(pixels);
        planes
    }

    /// The same, into planes that exist.
    pub fn read(&mut self, pixels: &Pixmap) {
        let (w, h) = (pixels.width() as usize / 2 * 2, pixels.height() as usize / 2 * 2);
        (self.width, self.height) = (w, h);
        self.luma.ink.resize(w * h, 0);
        self.luma.clear.resize(w * h, 0);
        for plane in [&mut self.u, &mut self.v, &mut self.clear] {
            plane.resize(w / 2 * (h / 2), 0);
        }
        if w == 0 || h == 0 {
            return;
        }
        let stride = pixels.width() as usize * 4;
        let rows = pixels.data().chunks_exact(2 * stride);
        let luma =
            self.luma.ink.chunks_exact_mut(2 * w).zip(self.luma.clear.chunks_exact_mut(2 * w));
        let u = self.u.chunks_exact_mut(w / 2);
        let chroma = u.zip(self.v.chunks_exact_mut(w / 2)).zip(self.clear.chunks_exact_mut(w / 2));
        for ((rgba, luma), ((u, v), clear)) in rows.zip(luma).zip(chroma) {
            read_rows(rgba.split_at(stride), luma, [u, v, clear]);
        }
    }

    /// Opaque planes as a picture, for backgrounds.
    pub fn into_picture(self) -> Vec<u8> {
        [self.luma.ink, self.u, self.v].concat()
    }

    /// Lays the planes on the canvas with their corner at `x`, `y` (even), as
    /// far as they lie within it and within `rows`.
    pub fn lay(&self, canvas: &mut Canvas, x: i32, y: i32, rows: Rows) {
        let (w, h) = (canvas.width, canvas.height);
        let (luma, chroma) = canvas.data.split_at_mut(w * h);
        let (u, v) = chroma.split_at_mut(w / 2 * (h / 2));
        let luma_area = Area { x, y, from: rows.from, to: rows.to, width: self.width };
        blend(luma, w, h, &self.luma.ink, &self.luma.clear, luma_area);
        let half = Area {
            x: x / 2,
            y: y / 2,
            from: rows.from / 2,
            to: rows.to.saturating_add(1) / 2,
            width: self.width / 2,
        };
        blend(u, w / 2, h / 2, &self.u, &self.clear, half);
        blend(v, w / 2, h / 2, &self.v, &self.clear, half);
    }
}

/// Two rows of pixels to two rows of luma and its opacity, and one of chroma.
fn read_rows(rgba: (&[u8], &[u8]), luma: (&mut [u8], &mut [u8]), chroma: [&mut [u8]; 3]) {
    let w = luma.0.len() / 2;
    let (upper, lower) = luma.0.split_at_mut(w);
    let (upper_clear, lower_clear) = luma.1.split_at_mut(w);
    read_luma(rgba.0, upper, upper_clear);
    read_luma(rgba.1, lower, lower_clear);
    let [u, v, clear] = chroma;
    let squares = rgba.0.chunks_exact(8).zip(rgba.1.chunks_exact(8));
    for (((upper, lower), (u, v)), clear) in squares.zip(u.iter_mut().zip(v)).zip(clear) {
        let sum = |c: usize| {
            i32::from(upper[c])
                + i32::from(upper[c + 4])
                + i32::from(lower[c])
                + i32::from(lower[c + 4])
        };
        let (r, g, b, a) = (sum(0), sum(1), sum(2), sum(3));
        *u = ((-6_596 * r - 22_189 * g + 28_784 * b + 128 * 257 * a + 131_072) >> 18) as u8;
        *v = ((28_784 * r - 26_145 * g - 2_639 * b + 128 * 257 * a + 131_072) >> 18) as u8;
        *clear = (255 - (a + 2) / 4) as u8;
    }
}

fn read_luma(rgba: &[u8], ink: &mut [u8], clear: &mut [u8]) {
    for ((rgba, ink), clear) in rgba.chunks_exact(4).zip(ink).zip(clear) {
        let [r, g, b, a] = [rgba[0], rgba[1], rgba[2], rgba[3]].map(i32::from);
        // Y' = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B), ITU-R BT.709.
        *ink = ((11_966 * r + 40_254 * g + 4_064 * b + 16 * 257 * a + 32_768) >> 16) as u8;
        *clear = (255 - a) as u8;
    }
}

#[derive(Clone, Copy)]
struct Area {
    x: i32,
    y: i32,
    from: i32,
    to: i32,
    width: usize,
}

/// `canvas = ink + canvas * clear / 255` over the part of the sprite inside.
fn blend(canvas: &mut [u8], w: usize, h: usize, ink: &[u8], clear: &[u8], area: Area) {
    let left = area.x.clamp(0, w as i32);
    let right = (area.x + area.width as i32).clamp(left, w as i32);
    let sprite_rows = ink.len().checked_div(area.width).unwrap_or(0) as i32;
    let top = area.y.max(area.from).clamp(0, h as i32);
    let bottom = (area.y + sprite_rows).min(area.to).clamp(top, h as i32);
    let count = (right - left) as usize;
    if count == 0 {
        return;
    }
    for row in top..bottom {
        let from = (row - area.y) as usize * area.width + (left - area.x) as usize;
        let to = row as usize * w + left as usize;
        let under = &mut canvas[to..to + count];
        let over = ink[from..from + count].iter().zip(&clear[from..from + count]);
        for (under, (ink, clear)) in under.iter_mut().zip(over) {
            // Exact division by 255 of a product of two bytes.
            let product = u16::from(*under) * u16::from(*clear) + 128;
            *under = ink.saturating_add(((product + (product >> 8)) >> 8) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::Color;

    fn planes(r: u8, g: u8, b: u8, a: u8) -> Planes {
        let mut pixels = Pixmap::new(4, 4).expect("pixels");
        pixels.fill(Color::from_rgba8(r, g, b, a));
        Planes::from_pixels(&pixels)
    }

    /// The primaries land on the code values of ITU-R BT.709, limited range.
    #[test]
    fn colours_are_bt709() {
        for ((r, g, b), want) in [
            ((0, 0, 0), [16, 128, 128]),
            ((255, 255, 255), [235, 128, 128]),
            ((255, 0, 0), [63, 102, 240]),
            ((0, 255, 0), [173, 42, 26]),
            ((0, 0, 255), [32, 240, 118]),
        ] {
            let picture = planes(r, g, b, 255).into_picture();
            let got = [picture[0], picture[16], picture[20]];
            let near = got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= 1);
            assert!(near, "{r} {g} {b}: {got:?}, not {want:?}");
        }
    }

    /// A half opaque white over black is grey, and nothing outside is touched.
    #[test]
    fn laying_blends_and_clips() {
        let veil = planes(255, 255, 255, 128);
        for (x, y) in [(-2, -2), (6, 6), (2, 2), (-40, 0), (0, 40)] {
            let mut data = planes(0, 0, 0, 255).into_picture();
            data.resize(bytes(8, 8), 128);
            data[..64].fill(16);
            let mut canvas = Canvas { data: &mut data, width: 8, height: 8 };
            veil.lay(&mut canvas, x, y, Rows { from: 0, to: 7 });
            for (i, luma) in data[..64].iter().enumerate() {
                let (px, py) = (i as i32 % 8, i as i32 / 8);
                let inside = (x..x + 4).contains(&px) && (y..y + 4).contains(&py) && py < 7;
                let want: u8 = if inside { 126 } else { 16 };
                assert!(luma.abs_diff(want) <= 1, "{px},{py} of {x},{y}: {luma} not {want}");
            }
        }
    }
}
