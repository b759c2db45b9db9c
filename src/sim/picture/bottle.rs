//! The bottle: its glass, its product, its cap, each a shape around its foot.

use tiny_skia::PathBuilder;

use super::palette::*;
use super::sprite::Bounds;
use crate::paint::pen::{Pen, rounded};

/// What a bottle covers around its foot.
pub const BOUNDS: Bounds = Bounds { left: -30.0, top: -158.0, right: 30.0, bottom: 8.0 };
/// Its mouth, above its foot.
pub const MOUTH: f32 = -148.0;
/// The surface of a full bottle.
pub const FULL: f32 = -121.0;
const EMPTY: f32 = -5.0;
const SHOULDER: f32 = -92.0;

/// How high the surface stands at a level of 0 to 1: the shoulder is narrower
/// than the body, so the same flow lifts it faster.
pub fn surface(level: f32) -> f32 {
    let (body, shoulder) = ((level / 0.9).min(1.0), ((level - 0.9) / 0.1).clamp(0.0, 1.0));
    EMPTY + body * (SHOULDER - EMPTY) + shoulder * (FULL - SHOULDER)
}

/// The outer shape, smaller by `inset`.
fn outline(p: &mut PathBuilder, inset: f32) {
    let (body, neck, lip) = (25.0 - inset, 10.5 - inset, 12.5 - inset);
    let (foot, mouth) = (-inset, MOUTH + inset.min(1.0));
    p.move_to(-body + 6.0, foot);
    p.line_to(body - 6.0, foot);
    p.quad_to(body, foot, body, foot - 6.0);
    p.line_to(body, SHOULDER);
    p.cubic_to(body, SHOULDER - 16.0, neck, SHOULDER - 14.0, neck, SHOULDER - 28.0);
    p.line_to(neck, mouth + 11.0);
    p.line_to(lip, mouth + 10.0);
    p.line_to(lip, mouth);
    p.line_to(-lip, mouth);
    p.line_to(-lip, mouth + 10.0);
    p.line_to(-neck, mouth + 11.0);
    p.line_to(-neck, SHOULDER - 28.0);
    p.cubic_to(-neck, SHOULDER - 14.0, -body, SHOULDER - 16.0, -body, SHOULDER);
    p.line_to(-body, foot - 6.0);
    p.quad_to(-body, foot, -body + 6.0, foot);
    p.close();
}

/// What lies behind the product: shadow and the far side of the glass.
pub fn back(pen: &mut Pen) {
    pen.oval(2.0, 0.5, 27.0, 5.0, BLACK.veil(70));
    pen.shape(GLASS.veil(54), |p| outline(p, 0.0));
}

/// A full bottle's product; less is the lower part of it.
pub fn product(pen: &mut Pen) {
    pen.shape(AMBER, |p| outline(p, 3.0));
    // Lit from the left, shaded to the right, in flat tones along the walls.
    pen.shape(AMBER_DEEP, |p| {
        p.move_to(12.0, -3.0);
        p.line_to(16.0, -3.0);
        p.quad_to(22.0, -3.0, 22.0, -9.0);
        p.line_to(22.0, SHOULDER);
        p.cubic_to(22.0, SHOULDER - 14.0, 8.0, SHOULDER - 13.0, 7.5, SHOULDER - 26.0);
        p.line_to(4.0, SHOULDER - 26.0);
        p.cubic_to(5.0, SHOULDER - 12.0, 12.0, SHOULDER - 10.0, 12.0, SHOULDER + 4.0);
        p.close();
    });
    pen.round(-19.0, SHOULDER + 2.0, 6.0, -SHOULDER - 12.0, 3.0, AMBER_LIGHT);
}

/// The surface of the product, across the body.
pub fn foam(pen: &mut Pen) {
    pen.oval(0.0, 0.0, 21.5, 2.6, AMBER_FOAM);
    pen.oval(0.0, 0.8, 17.0, 1.5, AMBER_LIGHT);
}

/// The surface in the neck of a full bottle.
pub fn foam_narrow(pen: &mut Pen) {
    pen.oval(0.0, 0.0, 7.6, 1.7, AMBER_FOAM);
}

/// What lies before the product: reflections, the edge, the printed badge.
pub fn front(pen: &mut Pen) {
    badge(pen);
    pen.trace(1.5, GLASS.veil(150), |p| outline(p, 0.6));
    pen.shape(BLACK.veil(26), |p| rounded(p, 17.0, SHOULDER + 2.0, 7.0, -SHOULDER - 6.0, 3.5));
    pen.round(-21.5, SHOULDER + 1.0, 3.6, -SHOULDER - 16.0, 1.8, WHITE.veil(150));
    pen.round(-14.5, SHOULDER + 6.0, 1.8, 34.0, 0.9, WHITE.veil(90));
    pen.round(-7.6, MOUTH + 13.0, 2.2, 18.0, 1.1, WHITE.veil(120));
    pen.round(-12.5, MOUTH, 25.0, 3.0, 1.5, GLASS.veil(120));
}

fn badge(pen: &mut Pen) {
    pen.round(-13.0, -68.0, 26.0, 38.0, 5.0, CREAM);
    pen.shape(CREAM_SHADE, |p| {
        p.move_to(6.0, -68.0);
        p.line_to(8.0, -68.0);
        p.quad_to(13.0, -68.0, 13.0, -63.0);
        p.line_to(13.0, -35.0);
        p.quad_to(13.0, -30.0, 8.0, -30.0);
        p.line_to(6.0, -30.0);
        p.close();
    });
    let hexagon: [(f32, f32); 6] = std::array::from_fn(|i| {
        let (s, c) = (i as f32 * std::f32::consts::FRAC_PI_3).sin_cos();
        (8.0 * s, -54.0 - 8.0 * c)
    });
    pen.poly(&hexagon, AMBER_DEEP);
    pen.round(-8.0, -41.5, 16.0, 2.4, 1.2, INK);
    pen.round(-5.0, -36.8, 10.0, 2.0, 1.0, INK.veil(140));
}

/// The cap of lot `lot`, on its bottle.
pub fn cap(pen: &mut Pen, lot: u32) {
    let [shade, body, light] = CAPS[lot as usize % CAPS.len()];
    pen.round(-15.0, MOUTH - 6.0, 30.0, 20.0, 4.0, body);
    pen.shape(shade, |p| {
        p.move_to(7.0, MOUTH - 6.0);
        p.line_to(11.0, MOUTH - 6.0);
        p.quad_to(15.0, MOUTH - 6.0, 15.0, MOUTH - 2.0);
        p.line_to(15.0, MOUTH + 10.0);
        p.quad_to(15.0, MOUTH + 14.0, 11.0, MOUTH + 14.0);
        p.line_to(7.0, MOUTH + 14.0);
        p.close();
    });
    pen.round(-12.0, MOUTH - 4.0, 3.0, 15.0, 1.5, light);
    for x in [-5.0, -1.0, 3.0] {
        pen.rect(x, MOUTH - 2.0, 1.2, 14.0, shade);
    }
}

/// A whole bottle, as it falls: its product stays level with its body.
pub fn whole(pen: &mut Pen, level: f32, capped: Option<u32>) {
    pen.shape(GLASS.veil(54), |p| outline(p, 0.0));
    let top = surface(level);
    pen.shape(AMBER, |p| {
        if top < SHOULDER {
            outline(p, 3.0);
        } else {
            rounded(p, -22.0, top, 44.0, -3.0 - top, 5.0);
        }
    });
    pen.rect(12.0, top.max(SHOULDER), 10.0, (-6.0 - top.max(SHOULDER)).max(0.1), AMBER_DEEP);
    front(pen);
    if let Some(lot) = capped {
        cap(pen, lot);
    }
}
