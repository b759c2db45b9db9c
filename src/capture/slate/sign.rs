//! The sign over the words: a camera with dots while it starts, struck out
//! when it fails, a lock for privacy, two bars for a pause.

use crate::model::Reason;
use crate::paint::pen::{Ink, Pen, rounded};

/// A sign's side in its own design pixels.
const SIDE: f32 = 96.0;
const WIDE: f32 = 6.0;

/// Draws the sign of `reason`, `size` pixels high, with its upper left at `at`.
pub fn draw(pen: &mut Pen, reason: Reason, at: (f32, f32), size: f32, inks: (Ink, Ink)) {
    let (ink, ground) = inks;
    pen.scaled(at.0, at.1, size / SIDE, |pen| match reason {
        Reason::Privacy => lock(pen, ink, ground),
        Reason::Paused => {
            for x in [14.0, 44.0] {
                pen.round(x, 20.0, 14.0, 56.0, 5.0, ink);
            }
        }
        Reason::Identify => camera(pen, ink),
        Reason::Starting => {
            camera(pen, ink);
            for x in [20.0, 34.0, 48.0] {
                pen.disc(x, 50.0, 4.2, ink);
            }
        }
        _ => {
            camera(pen, ink);
            // The stroke stands free of what it strikes out.
            pen.line((8.0, 12.0), (86.0, 90.0), 3.0 * WIDE, ground);
            pen.line((8.0, 12.0), (86.0, 90.0), WIDE, ink);
        }
    });
}

fn camera(pen: &mut Pen, ink: Ink) {
    pen.trace(WIDE, ink, |p| rounded(p, 3.0, 26.0, 62.0, 48.0, 9.0));
    pen.trace(WIDE, ink, |p| {
        p.move_to(71.0, 44.0);
        p.line_to(93.0, 32.0);
        p.line_to(93.0, 68.0);
        p.line_to(71.0, 56.0);
    });
}

fn lock(pen: &mut Pen, ink: Ink, ground: Ink) {
    pen.trace(WIDE, ink, |p| {
        p.move_to(14.0, 44.0);
        p.line_to(14.0, 30.0);
        p.cubic_to(14.0, 2.0, 54.0, 2.0, 54.0, 30.0);
        p.line_to(54.0, 44.0);
    });
    pen.round(0.0, 42.0, 68.0, 48.0, 9.0, ink);
    pen.disc(34.0, 62.0, 6.0, ground);
    pen.round(31.0, 62.0, 6.0, 16.0, 3.0, ground);
}
