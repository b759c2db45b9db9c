//! Where everything stands on the slate, and what does not move.
//!
//! Sizes are parts of the shorter side, so that a phone's portrait picture
//! and a wall's landscape one look alike; small pictures get larger letters.

use anyhow::{Context, ensure};
use tiny_skia::{Pixmap, Transform};

use super::sign;
use crate::model::{Label, Reason};
use crate::paint::i420::{self, Planes};
use crate::paint::pen::{Align, Ink, Pen};
use crate::paint::text::Type;

// As the page in its dark dress.
const GROUND: Ink = Ink::of(0x12110f);
const RINGS: [Ink; 4] =
    [Ink::of(0x161513), Ink::of(0x1a1816), Ink::of(0x1e1c19), Ink::of(0x171614)];
const LINE: Ink = Ink::of(0x2e2b26);
/// What is to be read first.
pub const TEXT: Ink = Ink::of(0xf2eee6);
const QUIET: Ink = Ink::of(0xaaa396);

/// How far the brand stands behind its bar, of its size.
const BRAND_INDENT: f32 = 0.5;
/// A brand is set smaller down to this part of its size; then it is cut.
const SHRINK: f32 = 0.7;

/// One slate's design.
pub struct Look {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    pub faces: Type,
    /// As it fits.
    brand: Vec<Piece>,
    accent: Ink,
    /// Free on every side, pixels.
    margin: f32,
    /// Pixels of a letter that is as high as the shorter side.
    unit: f32,
}

/// The time's part of the picture, pixels; `x`, `y` and the sides are even.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clock {
    pub x: i32,
    pub y: i32,
    pub width: u32,
    pub height: u32,
    /// Where its first digit starts.
    pub left: f32,
    /// Its baseline.
    pub base: f32,
    pub size: f32,
}

/// A part of a line.
struct Piece {
    x: f32,
    size: f32,
    ink: Ink,
    text: String,
}

/// Lines of text as they fit.
struct Block {
    lines: Vec<String>,
    size: f32,
}

impl Look {
    pub fn new(width: u32, height: u32, brand: &Label, accent: &str) -> anyhow::Result<Self> {
        let accent = colour(accent).with_context(|| format!("slate: accent {accent:?}"))?;
        let side = width.min(height) as f32;
        let small = ((360.0 - side) / 180.0).clamp(0.0, 1.0);
        let mut look = Self {
            width,
            height,
            faces: Type::load().context("slate")?,
            brand: Vec::new(),
            accent: legible(accent),
            margin: (side * 0.078).round(),
            unit: side * (1.0 + 0.35 * small),
        };
        look.brand = look.fit_brand(brand.zh.trim(), brand.en.trim());
        Ok(look)
    }

    /// How wide a line may be.
    fn room(&self) -> f32 {
        self.width as f32 - 2.0 * self.margin
    }

    /// The whole picture but the time.
    pub fn still(&self, reason: Reason, words: &Label) -> Vec<u8> {
        let Some(mut pixels) = Pixmap::new(self.width, self.height) else {
            // Only a size that was never checked.
            return vec![128; i420::bytes(self.width as usize, self.height as usize)];
        };
        let mut pen = Pen::new(&mut pixels, Transform::identity(), &self.faces);
        self.ground(&mut pen);
        self.brand(&mut pen);
        self.reason(&mut pen, reason, words);
        Planes::from_pixels(&pixels).into_picture()
    }

    /// A lens that looks past the viewer, in tones just above the ground.
    fn ground(&self, pen: &mut Pen) {
        let (w, h) = (self.width as f32, self.height as f32);
        pen.rect(0.0, 0.0, w, h, GROUND);
        let (side, long) = (w.min(h), w.max(h));
        // Never behind the sign: it is struck out in the ground's own colour.
        let (x, y) = if w >= h {
            ((w - 0.20 * long).max(0.86 * side), 0.52 * h)
        } else {
            (0.86 * w, 0.40 * h)
        };
        for (radius, ink) in [0.62, 0.46, 0.31, 0.15].into_iter().zip(RINGS) {
            pen.disc(x, y, radius * side, ink);
        }
        pen.trace(0.012 * side, LINE, |p| {
            p.move_to(x - 0.103 * side, y - 0.038 * side);
            p.quad_to(x - 0.087 * side, y - 0.087 * side, x - 0.038 * side, y - 0.103 * side);
        });
        let base = self.clock().base;
        let top = base - 0.095 * self.unit;
        pen.rect(self.margin, top.round(), self.room(), (side / 360.0).max(1.0).round(), LINE);
    }

    /// The brand's place: left, top, right, bottom.
    #[cfg(test)]
    pub fn brand_place(&self) -> [f32; 4] {
        let (margin, size) = (self.margin, self.brand_size());
        [margin, margin - 0.2 * size, self.width as f32 - margin, margin + 1.3 * size]
    }

    fn brand_size(&self) -> f32 {
        0.050 * self.unit
    }

    /// Both languages, smaller if need be; or one of them, cut if need be.
    fn fit_brand(&self, zh: &str, en: &str) -> Vec<Piece> {
        let (first, second) = if zh.is_empty() { (en, "") } else { (zh, en) };
        let size = self.brand_size();
        let (indent, gap) = (BRAND_INDENT * size, 0.5 * size);
        let (x, room) = (self.margin + indent, self.room() - indent);
        let width = |text: &str| self.faces.width(text, size);
        let fit = room / (width(first) + gap + width(second));
        if !second.is_empty() && second != first && fit >= SHRINK {
            let fit = fit.min(1.0);
            let second_x = x + (width(first) + gap) * fit;
            return vec![
                Piece { x, size: size * fit, ink: TEXT, text: first.into() },
                Piece { x: second_x, size: size * fit, ink: QUIET, text: second.into() },
            ];
        }
        let size = size * (room / width(first)).clamp(SHRINK, 1.0);
        let text = self.faces.cut(first, size, room);
        if text.is_empty() { Vec::new() } else { vec![Piece { x, size, ink: TEXT, text }] }
    }

    fn brand(&self, pen: &mut Pen) {
        if self.brand.is_empty() {
            return;
        }
        let (size, bar) = (self.brand_size(), 0.14 * self.brand_size());
        pen.round(self.margin, self.margin, bar, size, bar / 2.0, self.accent);
        for Piece { x, size: own, ink, text } in &self.brand {
            let base = self.margin + 0.5 * size + 0.38 * own;
            pen.text(*x, base, *own, Align::Left, *ink, text);
        }
    }

    /// The sign and the words, in the middle of what brand and time leave free.
    fn reason(&self, pen: &mut Pen, reason: Reason, words: &Label) {
        let zh = self.fit(&words.zh, 0.112 * self.unit);
        let en = self.fit(&words.en, 0.056 * self.unit);
        let sign = 0.13 * self.unit;
        // Chinese letters are as high as their size, Latin ones not quite.
        let (zh_pitch, en_pitch) = (1.25 * zh.size, 1.3 * en.size);
        let gaps = [0.040 * self.unit, 0.014 * self.unit];
        let height = sign
            + gaps[0]
            + zh_pitch * zh.lines.len() as f32
            + gaps[1]
            + en_pitch * en.lines.len() as f32;
        let mut y = (self.height as f32 - height) / 2.0 - 0.012 * self.unit;
        sign::draw(pen, reason, (self.margin, y), sign, (self.accent, GROUND));
        y += sign + gaps[0];
        for line in &zh.lines {
            pen.text(self.margin, y + 0.88 * zh.size, zh.size, Align::Left, TEXT, line);
            y += zh_pitch;
        }
        y += gaps[1];
        for line in &en.lines {
            pen.text(self.margin, y + 0.8 * en.size, en.size, Align::Left, QUIET, line);
            y += en_pitch;
        }
    }

    /// As large as it fits, up to `size`: on one line if that costs little, else on two.
    fn fit(&self, text: &str, size: f32) -> Block {
        let room = self.room();
        let shrunk = |widest: f32| size * (room / widest).min(1.0);
        let whole = self.faces.width(text, size);
        let middle = text.len() as i64 / 2;
        let space = text
            .match_indices(' ')
            .map(|(at, _)| at)
            .min_by_key(|at| (*at as i64 - middle).unsigned_abs());
        match space.filter(|_| whole * 0.85 > room) {
            Some(at) => {
                let lines = [&text[..at], &text[at + 1..]].map(str::to_owned);
                let widest = lines.iter().map(|l| self.faces.width(l, size)).fold(0.0f32, f32::max);
                Block { size: shrunk(widest), lines: lines.into() }
            }
            None => Block { size: shrunk(whole), lines: vec![text.to_owned()] },
        }
    }

    /// The time's place, with room for every digit.
    pub fn clock(&self) -> Clock {
        let width = |size| self.faces.width("00:00:00", size);
        let full = 0.068 * self.unit;
        let size = full * (self.room() / width(full)).min(1.0);
        let (left, base) = (self.margin, self.height as f32 - self.margin);
        let even = |v: f32| (v / 2.0).floor() as i32 * 2;
        let (x, y) = (even(left - 0.2 * size).max(0), even(base - 0.9 * size).max(0));
        let right = (even(left + width(size) + 0.2 * size) + 2).min(self.width as i32);
        let bottom = (even(base + 0.2 * size) + 2).min(self.height as i32);
        let (width, height) = ((right - x) as u32, (bottom - y) as u32);
        Clock { x, y, width, height, left, base, size }
    }
}

fn colour(text: &str) -> anyhow::Result<Ink> {
    let hex = text.strip_prefix('#').unwrap_or("");
    ensure!(hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "write it as #rrggbb");
    Ok(Ink::of(u32::from_str_radix(hex, 16)?))
}

/// The accent, moved toward white until it stands out from the ground: 3 to 1,
/// which WCAG 2.2 (1.4.11) asks of shapes.
fn legible(Ink(rgb, _): Ink) -> Ink {
    let [_, r, g, b] = rgb.to_be_bytes();
    let ground = luminance(GROUND.0);
    let lit = |step: u32| {
        let mixed = [r, g, b].map(|c| u32::from(c) + (255 - u32::from(c)) * step / 20);
        mixed[0] << 16 | mixed[1] << 8 | mixed[2]
    };
    let enough = |rgb: &u32| (luminance(*rgb) + 0.05) / (ground + 0.05) >= 3.0;
    Ink::of((0..=20).map(lit).find(enough).unwrap_or(TEXT.0))
}

/// Relative luminance (WCAG 2.2).
fn luminance(rgb: u32) -> f32 {
    let [_, r, g, b] = rgb.to_be_bytes().map(|c| {
        let c = f32::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}
