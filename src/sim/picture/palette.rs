//! The colours of the demo line: amber before a cool hall, warm machines.

use crate::paint::pen::Ink;

/// The product and the accent.
pub const AMBER: Ink = Ink::of(0xe8951f);
/// Its lit side.
pub const AMBER_LIGHT: Ink = Ink::of(0xf8b945);
/// Its shaded side.
pub const AMBER_DEEP: Ink = Ink::of(0xc46f12);
/// Its surface.
pub const AMBER_FOAM: Ink = Ink::of(0xffe0a0);

/// Wall, from far to near.
pub const WALL: Ink = Ink::of(0x34515a);
/// Wall below the windows.
pub const WALL_LOW: Ink = Ink::of(0x2c454e);
/// Roof beams and what hangs from them.
pub const ROOF: Ink = Ink::of(0x233840);
/// Shapes far away.
pub const FAR: Ink = Ink::of(0x3f606a);
/// Their lit side.
pub const FAR_LIGHT: Ink = Ink::of(0x4b707a);
/// Window panes.
pub const SKY: Ink = Ink::of(0x7ea6a8);
/// Window panes, brighter.
pub const SKY_LIGHT: Ink = Ink::of(0x9fc2bd);
/// Floor.
pub const FLOOR: Ink = Ink::of(0x22343b);
/// Floor in the light.
pub const FLOOR_LIGHT: Ink = Ink::of(0x2b414a);

/// Machine housings.
pub const CREAM: Ink = Ink::of(0xf1e9da);
/// Housings, shaded.
pub const CREAM_SHADE: Ink = Ink::of(0xd9cdb8);
/// Housings, dark side.
pub const CREAM_DARK: Ink = Ink::of(0xb6a98f);
/// Steel.
pub const STEEL: Ink = Ink::of(0xbcc8ca);
/// Steel, lit.
pub const STEEL_LIGHT: Ink = Ink::of(0xe3eaea);
/// Steel, shaded.
pub const STEEL_DARK: Ink = Ink::of(0x7f9095);
/// Rubber, screens, frames.
pub const INK: Ink = Ink::of(0x18242a);
/// Frames, lit.
pub const INK_LIGHT: Ink = Ink::of(0x2a3a42);
/// Glass.
pub const GLASS: Ink = Ink::of(0xe6f4f0);
/// White.
pub const WHITE: Ink = Ink::of(0xffffff);
/// Black.
pub const BLACK: Ink = Ink::of(0x000000);
/// Good.
pub const GREEN: Ink = Ink::of(0x58c98b);
/// Bad, stopped.
pub const RED: Ink = Ink::of(0xe4573d);

/// A lot's cap: shaded, body, lit.
pub const CAPS: [[Ink; 3]; 4] = [
    [Ink::of(0xcfc2a8), Ink::of(0xf3ead8), Ink::of(0xffffff)],
    [Ink::of(0x1c5a5f), Ink::of(0x2a7d80), Ink::of(0x4fa5a2)],
    [Ink::of(0x94381f), Ink::of(0xc9532f), Ink::of(0xe57a50)],
    [Ink::of(0x1a2429), Ink::of(0x2e3d45), Ink::of(0x53666f)],
];
