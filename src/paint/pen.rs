//! Drawing in design pixels: anti-aliased shapes and text on a pixel map.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

use super::text::Type;

/// A colour, `0xRRGGBB`, with its opacity in 1/255.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ink(pub u32, pub u8);

impl Ink {
    /// An opaque colour.
    pub const fn of(rgb: u32) -> Self {
        Ink(rgb, 255)
    }

    /// The same colour, less opaque.
    pub const fn veil(self, opacity: u8) -> Self {
        Ink(self.0, opacity)
    }
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Align {
    /// Starts there.
    Left,
    /// Its middle is there.
    Middle,
}

/// Draws on one pixel map.
pub struct Pen<'a> {
    pixels: &'a mut Pixmap,
    to_pixels: Transform,
    faces: &'a Type,
}

impl<'a> Pen<'a> {
    /// Draws on `pixels`; `to_pixels` maps design pixels to its own.
    pub fn new(pixels: &'a mut Pixmap, to_pixels: Transform, faces: &'a Type) -> Self {
        Self { pixels, to_pixels, faces }
    }

    /// Draws with its origin moved, then turned clockwise by `degrees`.
    pub fn turned(&mut self, x: f32, y: f32, degrees: f32, draw: impl FnOnce(&mut Pen)) {
        let to_pixels = self.to_pixels.pre_translate(x, y).pre_rotate(degrees);
        draw(&mut Pen { pixels: self.pixels, to_pixels, faces: self.faces });
    }

    /// Draws with its origin moved.
    pub fn moved(&mut self, x: f32, y: f32, draw: impl FnOnce(&mut Pen)) {
        self.turned(x, y, 0.0, draw);
    }

    /// Draws with its origin moved and everything larger by `scale`.
    pub fn scaled(&mut self, x: f32, y: f32, scale: f32, draw: impl FnOnce(&mut Pen)) {
        let to_pixels = self.to_pixels.pre_translate(x, y).pre_scale(scale, scale);
        draw(&mut Pen { pixels: self.pixels, to_pixels, faces: self.faces });
    }

    /// Fills an outline.
    pub fn fill(&mut self, path: &Path, ink: Ink) {
        self.pixels.fill_path(path, &paint(ink), FillRule::Winding, self.to_pixels, None);
    }

    /// Fills a built outline; an empty one draws nothing.
    pub fn shape(&mut self, ink: Ink, build: impl FnOnce(&mut PathBuilder)) {
        if let Some(path) = built(build) {
            self.fill(&path, ink);
        }
    }

    /// Strokes a built line.
    pub fn trace(&mut self, width: f32, ink: Ink, build: impl FnOnce(&mut PathBuilder)) {
        let Some(path) = built(build) else { return };
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixels.stroke_path(&path, &paint(ink), &stroke, self.to_pixels, None);
    }

    /// A straight line.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, ink: Ink) {
        self.trace(width, ink, |p| {
            p.move_to(from.0, from.1);
            p.line_to(to.0, to.1);
        });
    }

    /// A rectangle.
    pub fn rect(&mut self, x: f32, y: f32, w: f32, h: f32, ink: Ink) {
        if let Some(rect) = Rect::from_xywh(x, y, w, h) {
            self.shape(ink, |p| p.push_rect(rect));
        }
    }

    /// A rectangle with round corners.
    pub fn round(&mut self, x: f32, y: f32, w: f32, h: f32, r: f32, ink: Ink) {
        self.shape(ink, |p| rounded(p, x, y, w, h, r.min(w / 2.0).min(h / 2.0)));
    }

    /// A polygon.
    pub fn poly(&mut self, points: &[(f32, f32)], ink: Ink) {
        self.shape(ink, |p| {
            for (i, (x, y)) in points.iter().enumerate() {
                if i == 0 { p.move_to(*x, *y) } else { p.line_to(*x, *y) }
            }
            p.close();
        });
    }

    /// A circle.
    pub fn disc(&mut self, x: f32, y: f32, r: f32, ink: Ink) {
        self.shape(ink, |p| p.push_circle(x, y, r));
    }

    /// An ellipse by its half axes.
    pub fn oval(&mut self, x: f32, y: f32, rx: f32, ry: f32, ink: Ink) {
        if let Some(rect) = Rect::from_xywh(x - rx, y - ry, 2.0 * rx, 2.0 * ry) {
            self.shape(ink, |p| p.push_oval(rect));
        }
    }

    /// A line of text with its baseline at `y`.
    pub fn text(&mut self, x: f32, y: f32, size: f32, align: Align, ink: Ink, text: &str) {
        let (outline, width) = self.faces.outline(text, size);
        let left = if align == Align::Middle { x - width / 2.0 } else { x };
        if let Some(outline) = outline.and_then(|o| o.transform(Transform::from_translate(left, y)))
        {
            self.fill(&outline, ink);
        }
    }
}

fn built(build: impl FnOnce(&mut PathBuilder)) -> Option<Path> {
    let mut path = PathBuilder::new();
    build(&mut path);
    path.finish()
}

fn paint(Ink(rgb, opacity): Ink) -> Paint<'static> {
    let [_, r, g, b] = rgb.to_be_bytes();
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(Color::from_rgba8(r, g, b, opacity));
    paint
}

/// Appends a rectangle with round corners.
pub fn rounded(p: &mut PathBuilder, x: f32, y: f32, w: f32, h: f32, r: f32) {
    // A quarter circle as a cubic (Riškus 2006): 0.5523 of the radius.
    let k = r * 0.447_7;
    let (right, bottom) = (x + w, y + h);
    p.move_to(x + r, y);
    p.line_to(right - r, y);
    p.cubic_to(right - k, y, right, y + k, right, y + r);
    p.line_to(right, bottom - r);
    p.cubic_to(right, bottom - k, right - k, bottom, right - r, bottom);
    p.line_to(x + r, bottom);
    p.cubic_to(x + k, bottom, x, bottom - k, x, bottom - r);
    p.line_to(x, y + r);
    p.cubic_to(x, y + k, x + k, y, x + r, y);
    p.close();
}
