//! The machines: what stands behind the bottles, and what moves or stands before them.

use super::hall::FOOT;
use super::palette::*;
use super::sprite::Bounds;
use crate::paint::pen::{Align, Ink, Pen};
use crate::sim::line::plan::{CAPPER_X, CHECK_X, GATE_X, NOZZLES, PITCH, REJECT_X};

/// The middle of the nozzle row.
pub const NOZZLES_X: f32 = (GATE_X - PITCH * (NOZZLES as f64 - 1.0) / 2.0) as f32;
/// Nozzle tips when up.
pub const TIPS_UP: f32 = FOOT - 174.0;
/// How far they dive.
pub const DIVE: f32 = 46.0;
/// The capping head's mouth when up.
pub const HEAD_UP: f32 = FOOT - 178.0;
/// How far it comes down.
pub const HEAD_DOWN: f32 = 36.0;
/// The tank's window.
pub const WINDOW: Bounds =
    Bounds { left: NOZZLES_X - 108.0, top: 142.0, right: NOZZLES_X + 108.0, bottom: 214.0 };

/// The backs of all stations.
pub fn draw(pen: &mut Pen) {
    filler(pen);
    capper(pen);
    inspection(pen);
    pusher(pen);
}

fn column(pen: &mut Pen, x: f32, top: f32, w: f32) {
    pen.rect(x, top, w, 610.0 - top, CREAM_SHADE);
    pen.rect(x, top, w * 0.4, 610.0 - top, CREAM);
    pen.rect(x + w - 4.0, top, 4.0, 610.0 - top, CREAM_DARK);
}

fn plate(pen: &mut Pen, x: f32, y: f32, zh: &str, en: &str) {
    pen.text(x - 52.0, y, 17.0, Align::Left, INK, zh);
    pen.text(x - 12.0, y, 17.0, Align::Left, INK.veil(190), en);
}

fn filler(pen: &mut Pen) {
    let x = NOZZLES_X;
    // Recess behind the bottles, lit from above.
    pen.rect(x - 168.0, 250.0, 336.0, 300.0, Ink::of(0x274049));
    pen.poly(
        &[(x - 150.0, 262.0), (x + 150.0, 262.0), (x + 164.0, 550.0), (x - 164.0, 550.0)],
        Ink::of(0x31505a),
    );
    column(pen, x - 186.0, 236.0, 26.0);
    column(pen, x + 160.0, 236.0, 26.0);
    // Tank.
    pen.round(x - 132.0, 104.0, 264.0, 142.0, 22.0, CREAM_DARK);
    pen.round(x - 132.0, 104.0, 252.0, 138.0, 22.0, CREAM);
    pen.round(x - 120.0, 112.0, 232.0, 6.0, 3.0, WHITE);
    pen.round(x - 116.0, 134.0, 232.0, 88.0, 14.0, INK);
    pen.round(x - 112.0, 138.0, 224.0, 80.0, 11.0, Ink::of(0x1f3038));
    pen.round(x - 30.0, 92.0, 60.0, 14.0, 5.0, STEEL_DARK);
    pen.round(x - 26.0, 90.0, 30.0, 12.0, 5.0, STEEL);
}

/// The beam over the nozzles: their rods vanish behind it.
pub fn beam(pen: &mut Pen) {
    pen.rect(-190.0, 0.0, 380.0, 40.0, CREAM);
    pen.rect(-190.0, 0.0, 380.0, 4.0, WHITE);
    pen.rect(-190.0, 30.0, 380.0, 10.0, CREAM_SHADE);
    pen.rect(-190.0, 40.0, 380.0, 5.0, INK.veil(70));
    plate(pen, -110.0, 24.0, "灌装", "FILLING");
    for i in 0..3 {
        pen.disc(150.0 - 16.0 * i as f32, 17.0, 4.0, CREAM_DARK);
    }
}
/// What [`beam`] covers; its anchor is the middle of its upper edge.
pub const BEAM: Bounds = Bounds { left: -192.0, top: 0.0, right: 192.0, bottom: 46.0 };
/// The beam's upper edge.
pub const BEAM_Y: f32 = 236.0;

/// The nozzle row, anchored at the middle of its tips.
pub fn nozzles(pen: &mut Pen) {
    for x in [-96.0, 96.0] {
        pen.rect(x - 6.0, -190.0, 12.0, 110.0, STEEL_DARK);
        pen.rect(x - 6.0, -190.0, 5.0, 110.0, STEEL_LIGHT);
    }
    pen.round(-148.0, -92.0, 296.0, 26.0, 6.0, INK);
    pen.round(-148.0, -92.0, 296.0, 9.0, 4.5, INK_LIGHT);
    for n in 0..NOZZLES {
        let x = (n as f32 - (NOZZLES as f32 - 1.0) / 2.0) * PITCH as f32;
        pen.round(x - 10.0, -70.0, 20.0, 22.0, 3.0, STEEL_DARK);
        pen.round(x - 10.0, -70.0, 12.0, 22.0, 3.0, STEEL);
        pen.round(x - 13.0, -50.0, 26.0, 8.0, 3.0, AMBER);
        pen.rect(x - 4.0, -44.0, 8.0, 44.0, STEEL);
        pen.rect(x - 4.0, -44.0, 3.0, 44.0, STEEL_LIGHT);
        pen.rect(x + 2.0, -44.0, 2.0, 44.0, STEEL_DARK);
    }
}
/// What [`nozzles`] covers.
pub const NOZZLE_ROW: Bounds = Bounds { left: -150.0, top: -192.0, right: 150.0, bottom: 2.0 };

fn capper(pen: &mut Pen) {
    let x = CAPPER_X as f32;
    column(pen, x - 62.0, 250.0, 22.0);
    column(pen, x + 40.0, 250.0, 22.0);
    // Hopper with its chute.
    pen.poly(&[(x - 46.0, 134.0), (x + 46.0, 134.0), (x + 26.0, 186.0), (x - 26.0, 186.0)], STEEL);
    pen.poly(
        &[(x - 46.0, 134.0), (x - 20.0, 134.0), (x - 12.0, 186.0), (x - 26.0, 186.0)],
        STEEL_LIGHT,
    );
    pen.poly(
        &[(x + 30.0, 134.0), (x + 46.0, 134.0), (x + 26.0, 186.0), (x + 16.0, 186.0)],
        STEEL_DARK,
    );
    pen.round(x - 52.0, 128.0, 104.0, 9.0, 4.0, STEEL_DARK);
}

/// The capper's housing, before its spindle; anchored at its upper middle.
pub fn capper_head(pen: &mut Pen) {
    pen.round(-74.0, 0.0, 148.0, 98.0, 14.0, CREAM_DARK);
    pen.round(-74.0, 0.0, 141.0, 94.0, 14.0, CREAM);
    pen.round(-64.0, 6.0, 120.0, 5.0, 2.5, WHITE);
    pen.rect(-74.0, 64.0, 141.0, 18.0, CREAM_SHADE);
    plate(pen, 0.0, 52.0, "旋盖", "CAPPING");
}
/// What [`capper_head`] covers.
pub const CAPPER_HEAD: Bounds = Bounds { left: -76.0, top: -2.0, right: 76.0, bottom: 100.0 };
/// The housing's upper edge.
pub const CAPPER_HEAD_Y: f32 = 184.0;

/// The spindle, anchored at its mouth; `turn` of 0 to 1 moves its knurls.
pub fn spindle(pen: &mut Pen, turn: f32) {
    pen.rect(-9.0, -150.0, 18.0, 112.0, STEEL_DARK);
    pen.rect(-9.0, -150.0, 8.0, 112.0, STEEL_LIGHT);
    pen.round(-22.0, -42.0, 44.0, 38.0, 7.0, INK);
    pen.round(-22.0, -42.0, 44.0, 10.0, 5.0, INK_LIGHT);
    for n in 0..4 {
        let x = -18.0 + 10.0 * (n as f32 + turn);
        if x < 16.0 {
            pen.rect(x, -28.0, 3.0, 20.0, AMBER);
        }
    }
    pen.round(-18.0, -6.0, 36.0, 8.0, 3.0, STEEL);
}
/// What [`spindle`] covers.
pub const SPINDLE: Bounds = Bounds { left: -24.0, top: -152.0, right: 24.0, bottom: 4.0 };

fn inspection(pen: &mut Pen) {
    let x = CHECK_X as f32;
    column(pen, x - 66.0, 300.0, 18.0);
    column(pen, x + 48.0, 300.0, 18.0);
    // The light panel that bottles are seen against.
    pen.round(x - 46.0, 352.0, 92.0, 196.0, 8.0, INK);
    pen.round(x - 41.0, 357.0, 82.0, 186.0, 5.0, Ink::of(0xdff1ec));
    pen.poly(
        &[(x - 41.0, 420.0), (x + 41.0, 372.0), (x + 41.0, 430.0), (x - 41.0, 478.0)],
        Ink::of(0xf0faf7),
    );
}

/// The arch over the inspection, anchored at its upper middle.
pub fn arch(pen: &mut Pen) {
    pen.round(-76.0, 0.0, 152.0, 66.0, 14.0, CREAM_DARK);
    pen.round(-76.0, 0.0, 145.0, 62.0, 14.0, CREAM);
    pen.round(-66.0, 6.0, 124.0, 5.0, 2.5, WHITE);
    plate(pen, 6.0, 40.0, "检测", "CHECK");
    pen.rect(-76.0, 62.0, 152.0, 5.0, INK.veil(60));
}
/// What [`arch`] covers.
pub const ARCH: Bounds = Bounds { left: -78.0, top: -2.0, right: 78.0, bottom: 68.0 };
/// The arch's upper edge.
pub const ARCH_Y: f32 = 282.0;

/// The verdict's lamp on the arch, anchored at its middle.
pub fn lamp(pen: &mut Pen, ink: Ink, lit: bool) {
    if lit {
        pen.disc(0.0, 0.0, 30.0, ink.veil(40));
        pen.disc(0.0, 0.0, 22.0, ink.veil(60));
    }
    pen.round(-16.0, 6.0, 32.0, 12.0, 3.0, INK);
    pen.shape(ink, |p| {
        p.move_to(-13.0, 8.0);
        p.cubic_to(-13.0, -18.0, 13.0, -18.0, 13.0, 8.0);
        p.close();
    });
    pen.round(-7.0, -7.0, 4.0, 10.0, 2.0, WHITE.veil(if lit { 170 } else { 50 }));
}
/// What [`lamp`] covers.
pub const LAMP: Bounds = Bounds { left: -32.0, top: -32.0, right: 32.0, bottom: 32.0 };

fn pusher(pen: &mut Pen) {
    let x = REJECT_X as f32;
    column(pen, x - 13.0, 400.0, 26.0);
    pen.round(x - 40.0, 436.0, 80.0, 100.0, 8.0, INK);
    pen.round(x - 40.0, 436.0, 74.0, 10.0, 5.0, INK_LIGHT);
    for i in 0..4 {
        let left = x - 30.0 + 16.0 * i as f32;
        pen.poly(
            &[(left, 468.0), (left + 8.0, 468.0), (left + 16.0, 452.0), (left + 8.0, 452.0)],
            AMBER,
        );
    }
    pen.round(x - 20.0, 392.0, 40.0, 44.0, 6.0, STEEL_DARK);
    pen.round(x - 20.0, 392.0, 28.0, 44.0, 6.0, STEEL);
    pen.round(x - 14.0, 398.0, 5.0, 32.0, 2.5, STEEL_LIGHT);
}

/// The pusher's plate, anchored at its middle.
pub fn ram(pen: &mut Pen) {
    pen.rect(-16.0, -24.0, 8.0, 26.0, STEEL);
    pen.rect(8.0, -24.0, 8.0, 26.0, STEEL);
    pen.round(-28.0, -12.0, 56.0, 30.0, 5.0, STEEL_DARK);
    pen.round(-28.0, -12.0, 56.0, 24.0, 5.0, STEEL_LIGHT);
    pen.round(-28.0, -12.0, 56.0, 8.0, 4.0, RED);
}
/// What [`ram`] covers.
pub const RAM: Bounds = Bounds { left: -30.0, top: -26.0, right: 30.0, bottom: 20.0 };

/// The bin's near side, anchored at the middle of its rim.
pub fn bin(pen: &mut Pen) {
    pen.poly(&[(-72.0, 0.0), (72.0, 0.0), (62.0, 84.0), (-62.0, 84.0)], Ink::of(0xb8452c));
    pen.poly(&[(-72.0, 0.0), (-40.0, 0.0), (-36.0, 84.0), (-62.0, 84.0)], Ink::of(0xcf5738));
    pen.poly(&[(50.0, 0.0), (72.0, 0.0), (62.0, 84.0), (44.0, 84.0)], Ink::of(0x96361f));
    pen.round(-78.0, -7.0, 156.0, 14.0, 5.0, Ink::of(0xe2704d));
    pen.round(-78.0, -7.0, 156.0, 5.0, 2.5, Ink::of(0xf09270));
    pen.text(-42.0, 48.0, 20.0, Align::Left, CREAM, "剔除");
    pen.text(4.0, 48.0, 20.0, Align::Left, CREAM, "REJECT");
}
/// What [`bin`] covers.
pub const BIN: Bounds = Bounds { left: -80.0, top: -8.0, right: 80.0, bottom: 86.0 };
/// The middle of the bin's rim.
pub const BIN_AT: (f32, f32) = (REJECT_X as f32 + 52.0, 624.0);

/// The station lamp, anchored at its foot: which segment is lit, from the top
/// red, amber, green.
pub fn tower(pen: &mut Pen, lit: usize) {
    pen.rect(-3.0, -16.0, 6.0, 16.0, STEEL_DARK);
    pen.round(-10.0, -4.0, 20.0, 5.0, 2.0, INK);
    for (n, ink) in [RED, AMBER, GREEN].into_iter().enumerate() {
        let y = -64.0 + 16.0 * n as f32;
        if n == lit {
            pen.round(-20.0, y - 10.0, 40.0, 36.0, 16.0, ink.veil(70));
        }
        pen.rect(-9.0, y, 18.0, 15.0, Ink::of(0x2d3c42));
        pen.rect(-9.0, y, 18.0, 15.0, ink.veil(if n == lit { 255 } else { 70 }));
        pen.rect(-6.0, y + 2.0, 3.0, 11.0, WHITE.veil(if n == lit { 150 } else { 30 }));
    }
    pen.round(-9.0, -69.0, 18.0, 6.0, 3.0, INK);
}
/// What [`tower`] covers.
pub const TOWER: Bounds = Bounds { left: -22.0, top: -80.0, right: 22.0, bottom: 2.0 };
/// The station lamp's foot.
pub const TOWER_AT: (f32, f32) = (NOZZLES_X + 168.0, 236.0);

/// The lot's display, anchored at its upper left; it hangs from the roof.
pub fn display(pen: &mut Pen, lot: &str) {
    for x in [26.0, 142.0] {
        pen.rect(x - 2.0, -70.0, 4.0, 72.0, INK);
    }
    pen.round(0.0, 0.0, 168.0, 86.0, 9.0, INK_LIGHT);
    pen.round(0.0, 3.0, 168.0, 83.0, 9.0, INK);
    pen.round(6.0, 8.0, 156.0, 72.0, 5.0, Ink::of(0x0c1519));
    pen.text(18.0, 31.0, 17.0, Align::Left, AMBER_LIGHT.veil(200), "批号");
    pen.text(58.0, 31.0, 18.0, Align::Left, AMBER_LIGHT.veil(200), "LOT");
    pen.text(18.0, 70.0, 40.0, Align::Left, AMBER_LIGHT, lot);
}
/// What [`display`] covers.
pub const DISPLAY: Bounds = Bounds { left: 0.0, top: -70.0, right: 168.0, bottom: 86.0 };
/// The display's upper left.
pub const DISPLAY_AT: (f32, f32) = (1050.0, 146.0);

/// Caps in the capper's hopper, anchored at the middle of its rim.
pub fn pile(pen: &mut Pen, lot: u32) {
    let [shade, body, light] = CAPS[lot as usize % CAPS.len()];
    for (x, y, ink) in [
        (-30.0, -2.0, shade),
        (-12.0, -3.0, body),
        (8.0, -2.0, shade),
        (28.0, -2.0, body),
        (-21.0, -12.0, body),
        (-2.0, -13.0, light),
        (17.0, -11.0, body),
        (2.0, -21.0, shade),
    ] {
        pen.round(x - 10.0, y - 7.0, 20.0, 13.0, 3.0, ink);
        pen.round(x - 8.0, y - 5.0, 2.5, 9.0, 1.2, light);
    }
    pen.round(-52.0, 0.0, 104.0, 9.0, 4.0, STEEL_DARK);
    pen.round(-52.0, 0.0, 104.0, 4.0, 2.0, STEEL_LIGHT);
}
/// What [`pile`] covers.
pub const PILE: Bounds = Bounds { left: -54.0, top: -30.0, right: 54.0, bottom: 10.0 };
/// The hopper's rim.
pub const HOPPER_Y: f32 = 128.0;

/// The guide rail before the bottles, a piece of it, anchored at its left.
pub fn rail(pen: &mut Pen, width: f32) {
    pen.rect(0.0, 0.0, width, 7.0, STEEL_DARK);
    pen.rect(0.0, 0.0, width, 4.0, STEEL_LIGHT);
}
