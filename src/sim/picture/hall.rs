//! What never moves: the hall, the conveyor's frame, the backs of the machines.

use super::palette::*;
use crate::paint::pen::{Ink, Pen};

/// Where bottles stand.
pub const FOOT: f32 = 568.0;
/// The belt's far and near edge.
pub const BELT: (f32, f32) = (550.0, 584.0);
const FLOOR_Y: f32 = 640.0;

/// Draws the hall, from the far wall to the floor.
pub fn draw(pen: &mut Pen) {
    wall(pen);
    storage(pen);
    cartons(pen);
    roof(pen);
    floor(pen);
}

fn wall(pen: &mut Pen) {
    pen.rect(-400.0, -300.0, 2100.0, 1000.0, WALL);
    pen.rect(-400.0, 396.0, 2100.0, 300.0, WALL_LOW);
    pen.rect(-400.0, 396.0, 2100.0, 4.0, FAR);
    for i in -2..6 {
        window(pen, -86.0 + 306.0 * i as f32);
    }
}

fn window(pen: &mut Pen, x: f32) {
    let (y, w, h) = (118.0, 250.0, 214.0);
    pen.round(x - 8.0, y - 8.0, w + 16.0, h + 16.0, 4.0, ROOF);
    pen.rect(x, y, w, h, SKY);
    // Low sun: one slanting light over the panes.
    pen.poly(
        &[(x + 40.0, y), (x + 150.0, y), (x + 60.0, y + h), (x, y + h), (x, y + 96.0)],
        SKY_LIGHT,
    );
    pen.poly(&[(x + 176.0, y), (x + 200.0, y), (x + 110.0, y + h), (x + 86.0, y + h)], SKY_LIGHT);
    // Roofs and trees outside.
    pen.poly(
        &[
            (x, y + h),
            (x, y + 176.0),
            (x + 52.0, y + 158.0),
            (x + 104.0, y + 176.0),
            (x + 104.0, y + 188.0),
            (x + 250.0, y + 182.0),
            (x + 250.0, y + h),
        ],
        FAR_LIGHT,
    );
    pen.disc(x + 196.0, y + 190.0, 30.0, FAR_LIGHT);
    for column in 1..5 {
        pen.rect(x + 50.0 * column as f32 - 1.5, y, 3.0, h, ROOF);
    }
    for row in 1..3 {
        pen.rect(x, y + 71.0 * row as f32 - 1.5, w, 3.0, ROOF);
    }
    pen.rect(x - 12.0, y + h + 6.0, w + 24.0, 8.0, FAR_LIGHT);
}

/// Product tanks far behind the infeed.
fn storage(pen: &mut Pen) {
    for (x, w, top) in [(-40.0, 112.0, 236.0), (96.0, 112.0, 236.0)] {
        pen.oval(x + w / 2.0, top, w / 2.0, 26.0, FAR_LIGHT);
        pen.rect(x, top, w, 330.0, FAR);
        pen.rect(x + w * 0.12, top, w * 0.18, 330.0, FAR_LIGHT);
        pen.rect(x + w * 0.78, top, w * 0.22, 330.0, WALL);
        for y in [300.0, 380.0, 460.0] {
            pen.rect(x, y, w, 3.0, WALL);
        }
        pen.round(x + w / 2.0 - 10.0, top - 40.0, 20.0, 20.0, 4.0, FAR);
    }
    // The product pipe, along the wall to the filler.
    let pipe = |pen: &mut Pen, width, ink| {
        pen.trace(width, ink, |p| {
            p.move_to(152.0, 200.0);
            p.line_to(152.0, 168.0);
            p.quad_to(152.0, 152.0, 168.0, 152.0);
            p.line_to(330.0, 152.0);
        });
    };
    pipe(pen, 14.0, STEEL_DARK);
    pipe(pen, 9.0, STEEL);
    for x in [176.0, 228.0] {
        pen.round(x, 142.0, 7.0, 20.0, 2.0, STEEL_DARK);
    }
    pen.disc(202.0, 152.0, 11.0, AMBER_DEEP);
    pen.disc(202.0, 152.0, 8.0, AMBER);
    pen.rect(200.5, 128.0, 3.0, 20.0, INK);
    pen.round(190.0, 125.0, 24.0, 5.0, 2.5, INK);
}

/// Cartons on a pallet, behind the outfeed.
fn cartons(pen: &mut Pen) {
    let (kraft, lit, seam) = (Ink::of(0x9a7a50), Ink::of(0xb08e60), Ink::of(0x7d6240));
    for (row, count) in [(0, 3), (1, 3), (2, 2)] {
        for n in 0..count {
            let (x, y) = (1176.0 + 62.0 * n as f32, 566.0 - 52.0 * (row + 1) as f32);
            pen.rect(x, y, 60.0, 50.0, kraft);
            pen.rect(x, y, 60.0, 12.0, lit);
            pen.rect(x + 26.0, y, 8.0, 50.0, seam);
            pen.rect(x + 40.0, y + 30.0, 12.0, 10.0, CREAM_SHADE);
        }
    }
}

fn roof(pen: &mut Pen) {
    pen.rect(-400.0, -300.0, 2100.0, 374.0, ROOF);
    pen.rect(-400.0, 74.0, 2100.0, 6.0, INK_LIGHT);
    for i in -4..16 {
        let x = 110.0 * i as f32;
        pen.line((x, 74.0), (x + 55.0, 18.0), 4.0, INK_LIGHT);
        pen.line((x + 55.0, 18.0), (x + 110.0, 74.0), 4.0, INK_LIGHT);
    }
    pen.rect(-400.0, 14.0, 2100.0, 6.0, INK_LIGHT);
    for x in [-190.0, 120.0, 660.0, 1000.0, 1240.0] {
        pen.rect(x - 1.0, 80.0, 2.0, 18.0, INK);
        pen.poly(&[(x - 12.0, 98.0), (x + 12.0, 98.0), (x + 30.0, 116.0), (x - 30.0, 116.0)], INK);
        pen.round(x - 26.0, 115.0, 52.0, 5.0, 2.5, AMBER_FOAM);
        pen.poly(
            &[(x - 28.0, 120.0), (x + 28.0, 120.0), (x + 110.0, 560.0), (x - 110.0, 560.0)],
            AMBER_FOAM.veil(9),
        );
    }
}

fn floor(pen: &mut Pen) {
    pen.rect(-400.0, FLOOR_Y, 2100.0, 600.0, FLOOR);
    pen.rect(-400.0, FLOOR_Y, 2100.0, 4.0, INK);
    for i in -2..6 {
        let x = -86.0 + 306.0 * i as f32;
        pen.poly(
            &[
                (x + 30.0, FLOOR_Y + 4.0),
                (x + 230.0, FLOOR_Y + 4.0),
                (x + 170.0, 760.0),
                (x - 70.0, 760.0),
            ],
            FLOOR_LIGHT,
        );
    }
    pen.rect(-400.0, 700.0, 2100.0, 6.0, AMBER.veil(150));
}

/// The conveyor, before the machines' backs.
pub fn conveyor(pen: &mut Pen) {
    pen.oval(640.0, 668.0, 760.0, 16.0, BLACK.veil(60));
    for x in [70.0, 262.0, 566.0, 846.0, 1196.0] {
        pen.rect(x, 600.0, 18.0, 64.0, STEEL_DARK);
        pen.rect(x, 600.0, 6.0, 64.0, STEEL);
        pen.round(x - 8.0, 660.0, 34.0, 8.0, 3.0, INK);
    }
    pen.rect(-400.0, 640.0, 2100.0, 5.0, STEEL_DARK);
    // The belt, its near side, its lip.
    pen.rect(-400.0, BELT.0, 2100.0, BELT.1 - BELT.0, Ink::of(0x46545a));
    pen.rect(-400.0, BELT.0, 2100.0, 5.0, Ink::of(0x38454b));
    pen.rect(-400.0, BELT.1, 2100.0, 30.0, STEEL);
    pen.rect(-400.0, BELT.1, 2100.0, 4.0, STEEL_LIGHT);
    pen.rect(-400.0, BELT.1 + 20.0, 2100.0, 10.0, STEEL_DARK);
    for i in -3..17 {
        pen.disc(34.0 + 94.0 * i as f32, BELT.1 + 12.0, 2.6, STEEL_DARK);
    }
}
