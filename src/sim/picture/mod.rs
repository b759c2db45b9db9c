//! The picture of the line: what the camera sees at one instant.
//!
//! In comes the line's state, out goes an I420 picture. What stands still is
//! drawn once when the painter is made; a picture is one copy of that and the
//! sprites of what moves. Nothing is queued.

mod bottle;
mod hall;
mod palette;
mod scene;
mod sprite;
mod stations;
mod strip;

use anyhow::Context;
use tiny_skia::{Pixmap, Transform};

use super::line::Line;
use crate::paint::i420::{self, Canvas, Planes};
use crate::paint::pen::Pen;
use crate::paint::text::Type;
use scene::Scene;
pub use sprite::View;

/// Which part of the line a camera looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shot {
    /// The whole line.
    Line,
    /// The inspection, close.
    Check,
}

impl Shot {
    /// By the name after `sim:` in a camera's port.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "line" => Some(Shot::Line),
            "check" => Some(Shot::Check),
            _ => None,
        }
    }

    /// The middle and the size of what it sees, design pixels.
    fn frames(self) -> ((f32, f32), (f32, f32)) {
        match self {
            Shot::Line => ((640.0, 360.0), (1280.0, 720.0)),
            Shot::Check => ((940.0, 468.0), (784.0, 441.0)),
        }
    }
}

/// Draws pictures of one shot at one size.
pub struct Painter {
    view: View,
    faces: Type,
    still: Vec<u8>,
    scene: Scene,
    strip: bool,
}

impl Painter {
    /// Draws all that stands still. `strip` adds the calibration strip.
    ///
    /// # Errors
    /// A side that is odd, below 64 or above 4096 pixels.
    pub fn new(shot: Shot, width: usize, height: usize, strip: bool) -> anyhow::Result<Self> {
        Self::check(width, height)?;
        let (middle, size) = shot.frames();
        let view = View::around(middle, size, width, height);
        let faces = Type::load()?;
        let mut pixels = Pixmap::new(width as u32, height as u32)
            .ok_or_else(|| anyhow::anyhow!("demo line: a picture of {width}x{height}"))?;
        let mut pen = Pen::new(&mut pixels, view.transform(), &faces);
        hall::draw(&mut pen);
        stations::draw(&mut pen);
        hall::conveyor(&mut pen);
        let still = Planes::from_pixels(&pixels).into_picture();
        let scene = Scene::new(&view, &faces)?;
        Ok(Self { view, faces, still, scene, strip })
    }

    /// Refuses a size that cannot be drawn.
    pub fn check(width: usize, height: usize) -> anyhow::Result<()> {
        i420::check(width, height).context("demo line")
    }

    /// Bytes of one picture.
    pub fn bytes(&self) -> usize {
        i420::bytes(self.view.width, self.view.height)
    }

    /// Draws the state of `line` into `out`, which is [`Self::bytes`] long:
    /// I420, tightly packed, BT.709 limited range.
    pub fn paint(&mut self, line: &Line, tick: u16, out: &mut [u8]) {
        out.copy_from_slice(&self.still);
        let (width, height) = (self.view.width, self.view.height);
        let mut canvas = Canvas { data: out, width, height };
        self.scene.lay(&self.view, &self.faces, line, &mut canvas);
        if self.strip {
            strip::lay(&mut canvas, tick);
        }
    }
}

/// Draws into a small pixel map that is kept: for the few things that turn.
struct Loose {
    pixels: Pixmap,
    planes: Planes,
}

impl Loose {
    fn new(side: u32) -> anyhow::Result<Self> {
        let pixels = Pixmap::new(side, side)
            .ok_or_else(|| anyhow::anyhow!("demo line: a {side}x{side} sprite"))?;
        Ok(Self { pixels, planes: Planes::default() })
    }

    /// Draws with the origin at design point `x`, `y`; lays what is above row `to`.
    fn lay(
        &mut self,
        (view, faces): (&View, &Type),
        canvas: &mut Canvas,
        (x, y): (f32, f32),
        to: i32,
        draw: impl FnOnce(&mut Pen),
    ) {
        self.pixels.fill(tiny_skia::Color::TRANSPARENT);
        let half = self.pixels.width() as f32 / 2.0;
        let corner = |v: f32| ((v - half) / 2.0).floor() as i32 * 2;
        let (px, py) = (view.x(x), view.y(y));
        let (left, top) = (corner(px), corner(py));
        let to_pixels = Transform::from_row(
            view.scale,
            0.0,
            0.0,
            view.scale,
            px - left as f32,
            py - top as f32,
        );
        draw(&mut Pen::new(&mut self.pixels, to_pixels, faces));
        self.planes.read(&self.pixels);
        self.planes.lay(canvas, left, top, i420::Rows { from: 0, to });
    }
}

#[cfg(test)]
mod tests;
