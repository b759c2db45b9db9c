//! What moves, laid from back to front.

use super::Loose;
use super::bottle;
use super::hall::{BELT, FOOT};
use super::palette::*;
use super::sprite::{Bounds, Moves, Sprite, View};
use super::stations::*;
use crate::paint::i420::{Canvas, Rows};
use crate::paint::pen::{Ink, Pen};
use crate::paint::text::Type;
use crate::sim::line::plan::*;
use crate::sim::line::{Bottle, Capper, Filler, Kicked, Line, Mode, Stage};

/// The belt's links lie this far apart.
const LINK: f32 = 40.0;

/// The sprites of one shot.
pub struct Scene {
    belt: Sprite,
    left: f32,
    tank: Sprite,
    tank_top: Sprite,
    display: (u32, Sprite),
    towers: [Sprite; 3],
    ram: Sprite,
    back: Sprite,
    product: Sprite,
    foam: Sprite,
    foam_narrow: Sprite,
    front: Sprite,
    caps: Vec<Sprite>,
    stream: Sprite,
    nozzles: Sprite,
    beam: Sprite,
    /// Caps in the hopper, by lot.
    piles: Vec<Sprite>,
    spindle: [Sprite; 2],
    head: Sprite,
    laser: Sprite,
    arch: Sprite,
    /// Off, good, bad.
    lamps: [Sprite; 3],
    rail: Sprite,
    bin: Sprite,
    loose: Loose,
}

impl Scene {
    /// Draws every sprite for `view`.
    pub fn new(view: &View, faces: &Type) -> anyhow::Result<Self> {
        let sprite =
            |bounds, moves, draw: &dyn Fn(&mut Pen)| Sprite::new(view, faces, bounds, moves, draw);
        let still = |bounds, draw: &dyn Fn(&mut Pen)| sprite(bounds, Moves::Not, draw);
        let around_bottle = |draw: &dyn Fn(&mut Pen)| sprite(bottle::BOUNDS, Moves::Sideways, draw);
        let left = -view.left / view.scale;
        let width = view.width as f32 / view.scale;
        let belt = Bounds { left: 0.0, top: 0.0, right: width + 2.0 * LINK, bottom: 40.0 };
        let rail = Bounds { left: 0.0, top: 0.0, right: width, bottom: 8.0 };
        let surface = Bounds { left: -24.0, top: -4.0, right: 24.0, bottom: 4.0 };
        let stream = Bounds { left: -5.0, top: 0.0, right: 5.0, bottom: 172.0 };
        let laser = Bounds { left: -48.0, top: -4.0, right: 48.0, bottom: 4.0 };
        let tank = Bounds {
            left: 0.0,
            top: 0.0,
            right: WINDOW.right - WINDOW.left,
            bottom: WINDOW.bottom - WINDOW.top,
        };
        let links = (width / LINK) as usize + 3;
        Ok(Self {
            belt: sprite(belt, Moves::Sideways, &|pen| {
                for n in 0..links {
                    let x = n as f32 * LINK;
                    pen.line((x + 7.0, 2.0), (x, BELT.1 - BELT.0 - 1.5), 2.0, INK.veil(110));
                }
            })?,
            left,
            tank: still(tank, &|pen| {
                let (w, h) = (tank.right, tank.bottom);
                pen.round(0.0, 0.0, w, h, 8.0, AMBER);
                pen.round(0.0, h - 22.0, w, 22.0, 8.0, AMBER_DEEP);
                pen.rect(18.0, 0.0, 10.0, h, AMBER_LIGHT);
                pen.rect(34.0, 0.0, 4.0, h, AMBER_LIGHT);
            })?,
            tank_top: sprite(Bounds { top: -3.0, bottom: 3.0, ..tank }, Moves::UpDown, &|pen| {
                pen.rect(0.0, -1.5, tank.right, 3.0, AMBER_FOAM)
            })?,
            display: (0, still(DISPLAY, &|pen| display(pen, ""))?),
            towers: [
                still(TOWER, &|pen| tower(pen, 0))?,
                still(TOWER, &|pen| tower(pen, 1))?,
                still(TOWER, &|pen| tower(pen, 2))?,
            ],
            ram: sprite(RAM, Moves::UpDown, &ram)?,
            back: around_bottle(&bottle::back)?,
            product: around_bottle(&bottle::product)?,
            foam: sprite(surface, Moves::Sideways, &bottle::foam)?,
            foam_narrow: sprite(surface, Moves::Sideways, &bottle::foam_narrow)?,
            front: around_bottle(&bottle::front)?,
            caps: (0..CAPS.len() as u32)
                .map(|lot| {
                    let top = Bounds { bottom: bottle::MOUTH + 18.0, ..bottle::BOUNDS };
                    sprite(top, Moves::Sideways, &|pen| bottle::cap(pen, lot))
                })
                .collect::<anyhow::Result<_>>()?,
            stream: still(stream, &|pen| {
                pen.rect(-2.5, 0.0, 5.0, 170.0, AMBER);
                pen.rect(-1.5, 0.0, 1.6, 170.0, AMBER_FOAM);
            })?,
            nozzles: sprite(NOZZLE_ROW, Moves::UpDown, &nozzles)?,
            beam: still(BEAM, &beam)?,
            piles: (0..CAPS.len() as u32)
                .map(|lot| still(PILE, &|pen| pile(pen, lot)))
                .collect::<anyhow::Result<_>>()?,
            spindle: [
                sprite(SPINDLE, Moves::UpDown, &|pen| spindle(pen, 0.0))?,
                sprite(SPINDLE, Moves::UpDown, &|pen| spindle(pen, 0.5))?,
            ],
            head: still(CAPPER_HEAD, &capper_head)?,
            laser: still(laser, &|pen| {
                pen.rect(-46.0, -3.0, 92.0, 6.0, RED.veil(50));
                pen.rect(-46.0, -1.0, 92.0, 2.0, RED.veil(230));
            })?,
            arch: still(ARCH, &arch)?,
            lamps: [
                still(LAMP, &|pen| lamp(pen, Ink::of(0x56666c), false))?,
                still(LAMP, &|pen| lamp(pen, GREEN, true))?,
                still(LAMP, &|pen| lamp(pen, RED, true))?,
            ],
            rail: still(rail, &|pen| self::rail(pen, rail.right))?,
            bin: still(BIN, &bin)?,
            loose: Loose::new((190.0 * view.scale).ceil() as u32 / 2 * 2 + 4)?,
        })
    }

    /// Lays everything that moves, and what stands before it.
    pub fn lay(&mut self, view: &View, faces: &Type, line: &Line, canvas: &mut Canvas) {
        let links = (line.belt_x.rem_euclid(f64::from(LINK))) as f32;
        let start = (self.left / LINK).floor() * LINK - LINK;
        self.belt.lay(view, canvas, start + links, BELT.0);
        self.signs(view, faces, line, canvas);
        self.pusher(view, line, canvas);
        self.bottles(view, line, canvas);
        self.capping(view, line, canvas);
        self.inspection(view, line, canvas);
        self.rail.lay(view, canvas, self.left, FOOT - 21.0);
        for kicked in &line.kicked {
            self.fall((view, faces), kicked, canvas);
        }
        self.bin.lay(view, canvas, BIN_AT.0, BIN_AT.1);
    }

    /// Tank, station lamp, lot.
    fn signs(&mut self, view: &View, faces: &Type, line: &Line, canvas: &mut Canvas) {
        let depth = WINDOW.bottom - WINDOW.top;
        let level = WINDOW.bottom - depth * line.figures.tank as f32 / 100.0;
        let below = Rows { from: view.y(level).round() as i32, to: i32::MAX };
        self.tank.lay_rows(view, canvas, WINDOW.left, WINDOW.top, below);
        self.tank_top.lay(view, canvas, WINDOW.left, level);
        let lit = match line.mode() {
            Mode::Stopped => 0,
            Mode::Starved | Mode::Changeover => 1,
            Mode::Running => 2,
        };
        self.towers[lit].lay(view, canvas, TOWER_AT.0, TOWER_AT.1);
        if self.display.0 != line.lot {
            let text = line.lot_text();
            let drawn = Sprite::new(view, faces, DISPLAY, Moves::Not, |pen| display(pen, &text));
            if let Ok(drawn) = drawn {
                self.display = (line.lot, drawn);
            }
        }
        self.display.1.lay(view, canvas, DISPLAY_AT.0, DISPLAY_AT.1);
    }

    fn pusher(&self, view: &View, line: &Line, canvas: &mut Canvas) {
        let age = line.kicked.iter().map(|k| k.age).fold(f64::INFINITY, f64::min) as f32;
        let out = if age < 0.1 { age / 0.1 } else { (1.0 - (age - 0.1) / 0.35).clamp(0.0, 1.0) };
        let out = if age.is_finite() { out } else { 0.0 };
        self.ram.lay(view, canvas, REJECT_X as f32, FOOT - 62.0 + 34.0 * out);
    }

    fn bottles(&self, view: &View, line: &Line, canvas: &mut Canvas) {
        for b in &line.bottles {
            self.filled(view, b, canvas);
        }
        let tips = TIPS_UP + DIVE * line.filler.depth() as f32;
        if line.mode() != Mode::Stopped && matches!(line.filler, Filler::Filling(_)) {
            let group = line.bottles.iter().filter(|b| b.stage == Stage::Empty).take(NOZZLES);
            for b in group.filter(|b| b.level < b.target) {
                let to = view.y(FOOT + bottle::surface(b.level as f32)).round() as i32;
                let rows = Rows { from: view.y(tips) as i32, to };
                self.stream.lay_rows(view, canvas, b.x as f32, tips - 8.0, rows);
            }
        }
        // The rods vanish in the beam.
        let below = Rows { from: view.y(BEAM_Y + 10.0) as i32, to: i32::MAX };
        self.nozzles.lay_rows(view, canvas, NOZZLES_X, tips, below);
        self.beam.lay(view, canvas, NOZZLES_X, BEAM_Y);
        for b in &line.bottles {
            self.front.lay(view, canvas, b.x as f32, FOOT);
            if b.cap {
                self.cap(b).lay(view, canvas, b.x as f32, FOOT);
            }
        }
    }

    fn filled(&self, view: &View, b: &Bottle, canvas: &mut Canvas) {
        let x = b.x as f32;
        self.back.lay(view, canvas, x, FOOT);
        if b.level > 0.0 {
            let top = FOOT + bottle::surface(b.level as f32);
            let below = Rows { from: view.y(top).round() as i32, to: i32::MAX };
            self.product.lay_rows(view, canvas, x, FOOT, below);
            let foam = if b.level < 0.97 { &self.foam } else { &self.foam_narrow };
            foam.lay(view, canvas, x, top);
        }
    }

    fn cap(&self, b: &Bottle) -> &Sprite {
        &self.caps[b.lot as usize % self.caps.len()]
    }

    fn capping(&self, view: &View, line: &Line, canvas: &mut Canvas) {
        let x = CAPPER_X as f32;
        let mouth = HEAD_UP + HEAD_DOWN * line.capper.depth() as f32;
        let next = line.bottles.iter().find(|b| b.stage == Stage::Filled);
        if let (Some(b), Capper::Down(_)) = (next, line.capper)
            && b.defect != Some(crate::sim::line::Defect::NoCap)
        {
            self.cap(b).lay(view, canvas, x, mouth - bottle::MOUTH - 6.0);
        }
        let turned = matches!(line.capper, Capper::Turning(p) if (p * 10.0) as u32 % 2 == 1);
        self.spindle[usize::from(turned)].lay(view, canvas, x, mouth);
        self.head.lay(view, canvas, x, CAPPER_HEAD_Y);
        let pile = &self.piles[line.lot as usize % self.piles.len()];
        pile.lay(view, canvas, x, HOPPER_Y);
    }

    fn inspection(&self, view: &View, line: &Line, canvas: &mut Canvas) {
        let x = CHECK_X as f32;
        if line.bottles.iter().any(|b| (b.x as f32 - x).abs() < 30.0) {
            self.laser.lay(view, canvas, x, FOOT + bottle::FULL);
        }
        self.arch.lay(view, canvas, x, ARCH_Y);
        let lamp = match line.verdict {
            Some((good, age)) if age < VERDICT_S => 2 - usize::from(good),
            _ => 0,
        };
        self.lamps[lamp].lay(view, canvas, x, ARCH_Y - 18.0);
    }

    /// A pushed bottle slides over the edge, tips, and drops behind the bin's rim.
    fn fall(&mut self, with: (&View, &Type), kicked: &Kicked, canvas: &mut Canvas) {
        let age = kicked.age as f32;
        let slide = (age / 0.14).min(1.0);
        let drop = (age - 0.12).max(0.0);
        let x = REJECT_X as f32 + 54.0 * (1.0 - (-4.5 * age).exp());
        let y = FOOT - 74.0 + 20.0 * slide + 575.0 * drop * drop;
        let angle = 34.0 * (drop / 0.5).min(1.0);
        let rim = with.0.y(BIN_AT.1) as i32;
        let b = &kicked.bottle;
        self.loose.lay(with, canvas, (x, y), rim, |pen| {
            pen.turned(0.0, 0.0, angle, |pen| {
                pen.moved(0.0, 74.0, |pen| {
                    bottle::whole(pen, b.level as f32, b.cap.then_some(b.lot));
                });
            });
        });
    }
}
