//! Sprites: drawn once at every needed fraction of a pixel, laid many times.

use tiny_skia::{Pixmap, Transform};

use crate::paint::i420::{Canvas, Planes, Rows};
use crate::paint::pen::Pen;
use crate::paint::text::Type;

/// Which part of the hall a picture shows: design pixels to picture pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct View {
    /// Picture pixels per design pixel.
    pub scale: f32,
    /// Where the design's origin lies in the picture.
    pub left: f32,
    /// Where the design's origin lies in the picture.
    pub top: f32,
    /// Picture width, even.
    pub width: usize,
    /// Picture height, even.
    pub height: usize,
}

impl View {
    /// Fills the picture with the design rectangle around its middle.
    pub fn around(middle: (f32, f32), size: (f32, f32), width: usize, height: usize) -> Self {
        let scale = (width as f32 / size.0).max(height as f32 / size.1);
        let left = width as f32 / 2.0 - middle.0 * scale;
        let top = height as f32 / 2.0 - middle.1 * scale;
        Self { scale, left, top, width, height }
    }

    /// The picture column of a design column.
    pub fn x(&self, x: f32) -> f32 {
        x * self.scale + self.left
    }

    /// The picture row of a design row.
    pub fn y(&self, y: f32) -> f32 {
        y * self.scale + self.top
    }

    /// For drawing the whole hall.
    pub fn transform(&self) -> Transform {
        Transform::from_row(self.scale, 0.0, 0.0, self.scale, self.left, self.top)
    }
}

/// What a sprite covers around its anchor, design pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// Left of the anchor is negative.
    pub left: f32,
    /// Above the anchor is negative.
    pub top: f32,
    /// To the right.
    pub right: f32,
    /// Below.
    pub bottom: f32,
}

/// How finely a sprite can be placed: chroma samples lie two pixels apart, so
/// a sprite is drawn once for each of these steps within two pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moves {
    /// It stays where it is: one drawing.
    Not,
    /// Sideways, by half pixels.
    Sideways,
    /// Up and down, by half pixels.
    UpDown,
}

const FINE: usize = 4;

/// Something drawn once and laid many times.
pub struct Sprite {
    drawings: Vec<Planes>,
    moves: Moves,
    /// The anchor within each drawing, pixels, both even.
    anchor: (i32, i32),
}

impl Sprite {
    /// Draws it; `draw` has its origin at the anchor.
    pub fn new(
        view: &View,
        faces: &Type,
        bounds: Bounds,
        moves: Moves,
        draw: impl Fn(&mut Pen),
    ) -> anyhow::Result<Self> {
        let up = |v: f32| ((v * view.scale / 2.0).ceil() as i32).max(0) * 2 + 2;
        let anchor = (up(-bounds.left), up(-bounds.top));
        let width = anchor.0 + up(bounds.right) + 2;
        let height = anchor.1 + up(bounds.bottom) + 2;
        let count = if moves == Moves::Not { 1 } else { FINE };
        let drawings = (0..count)
            .map(|n| {
                let shift = 2.0 * n as f32 / FINE as f32;
                let (dx, dy) = match moves {
                    Moves::Not => (0.0, 0.0),
                    Moves::Sideways => (shift, 0.0),
                    Moves::UpDown => (0.0, shift),
                };
                let mut pixels = Pixmap::new(width as u32, height as u32)
                    .ok_or_else(|| anyhow::anyhow!("demo line: a {width}x{height} sprite"))?;
                let to_pixels = Transform::from_row(
                    view.scale,
                    0.0,
                    0.0,
                    view.scale,
                    anchor.0 as f32 + dx,
                    anchor.1 as f32 + dy,
                );
                draw(&mut Pen::new(&mut pixels, to_pixels, faces));
                Ok(Planes::from_pixels(&pixels))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { drawings, moves, anchor })
    }

    /// Lays it with its anchor at a design point.
    pub fn lay(&self, view: &View, canvas: &mut Canvas, x: f32, y: f32) {
        self.lay_rows(view, canvas, x, y, Rows::ALL);
    }

    /// Lays the part of it that lies within `rows` of the picture.
    pub fn lay_rows(&self, view: &View, canvas: &mut Canvas, x: f32, y: f32, rows: Rows) {
        let even = |v: f32| (v / 2.0).round() as i32 * 2;
        // The whole steps of two pixels, and which drawing for the rest.
        let split = |v: f32| {
            let steps = (v * FINE as f32 / 2.0).round() as i32;
            let fine = FINE as i32;
            (steps.div_euclid(fine) * 2, steps.rem_euclid(fine) as usize)
        };
        let (px, py) = (view.x(x), view.y(y));
        let (px, py, drawing) = match self.moves {
            Moves::Not => (even(px), even(py), 0),
            Moves::Sideways => {
                let (px, n) = split(px);
                (px, even(py), n)
            }
            Moves::UpDown => {
                let (py, n) = split(py);
                (even(px), py, n)
            }
        };
        self.drawings[drawing].lay(canvas, px - self.anchor.0, py - self.anchor.1, rows);
    }
}
