//! Lines of text as outlines: Latin in one face, Chinese in the other.

use ab_glyph::{Font, FontRef, GlyphId, OutlineCurve, PxScale, ScaleFont};
use anyhow::Context;
use tiny_skia::{Path, PathBuilder};

/// The two faces. `assets/README.md` says what is in them.
pub struct Type {
    latin: FontRef<'static>,
    han: FontRef<'static>,
}

/// A glyph in its line.
struct Placed<'a> {
    face: &'a FontRef<'static>,
    glyph: GlyphId,
    /// Where its own origin lies.
    left: f32,
    /// Where the next one's cell begins.
    end: f32,
    /// Pixels per unit of the face.
    scale: f32,
}

impl Type {
    /// Reads the faces that are part of this program.
    ///
    /// # Errors
    /// A face is not one.
    pub fn load() -> anyhow::Result<Self> {
        let latin = include_bytes!("assets/barlow-condensed-600.ttf");
        let han = include_bytes!("assets/noto-sans-sc-500.otf");
        Ok(Self {
            latin: FontRef::try_from_slice(latin).context("read the Latin face")?,
            han: FontRef::try_from_slice(han).context("read the Chinese face")?,
        })
    }

    /// The outline of `text` with its baseline from the origin, and its width.
    pub fn outline(&self, text: &str, size: f32) -> (Option<Path>, f32) {
        let mut path = PathBuilder::new();
        let mut width = 0.0;
        for g in self.line(text, size) {
            if let Some(outline) = g.face.outline(g.glyph) {
                trace(&mut path, &outline.curves, g.left, g.scale);
            }
            width = g.end;
        }
        (path.finish(), width)
    }

    /// How wide `text` is.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        self.line(text, size).last().map_or(0.0, |g| g.end)
    }

    /// `text` as far as it fits into `width`; an ellipsis says that it goes on.
    pub fn cut(&self, text: &str, size: f32, width: f32) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let mut cut = String::new();
        for c in text.chars().filter_map(printed) {
            let end = cut.len();
            cut.push(c);
            cut.push('…');
            if self.width(&cut, size) > width {
                cut.truncate(end);
                break;
            }
            cut.truncate(end + c.len_utf8());
        }
        cut.truncate(cut.trim_end().len());
        cut.push('…');
        if self.width(&cut, size) > width { String::new() } else { cut }
    }

    /// The first character of `text` that neither face has; a box stands for it.
    pub fn missing(&self, text: &str) -> Option<char> {
        let known = |c: &char| [&self.latin, &self.han].iter().any(|f| f.glyph_id(*c).0 != 0);
        text.chars().filter_map(printed).find(|c| !known(c))
    }

    /// Lays a line. Digits are as wide as the widest: a changing number must not move.
    fn line(&self, text: &str, size: f32) -> impl Iterator<Item = Placed<'_>> {
        let western = text.chars().all(|c| c < '\u{2e80}');
        let mut x = 0.0;
        text.chars().filter_map(printed).map(move |c| {
            let (face, glyph) = self.glyph(c, western);
            // A face's `PxScale` is its height, not its em.
            let em = face.units_per_em().unwrap_or(1000.0);
            let scaled = face.as_scaled(PxScale::from(size * face.height_unscaled() / em));
            let own = scaled.h_advance(glyph);
            let cell = match c {
                '0'..='9' => scaled.h_advance(face.glyph_id('0')),
                _ => own,
            };
            let left = x + (cell - own) / 2.0;
            x += cell;
            Placed { face, glyph, left, end: x, scale: size / em }
        })
    }

    /// Whose glyph stands for `c`. Both faces have quotes, dashes and the
    /// ellipsis, at very different widths: the whole line decides on those.
    fn glyph(&self, c: char, western: bool) -> (&FontRef<'static>, GlyphId) {
        let latin = match c {
            '\0'..='\u{24f}' => true,
            '\u{2000}'..='\u{22ff}' => western,
            _ => false,
        };
        let faces = if latin { [&self.latin, &self.han] } else { [&self.han, &self.latin] };
        let own = faces.into_iter().map(|face| (face, face.glyph_id(c))).find(|(_, g)| g.0 != 0);
        own.unwrap_or((&self.han, GlyphId(0))) // A box: better seen than left out.
    }
}

/// What is laid for `c`: a space for a line break, nothing for what only
/// directs how its neighbours are shown.
fn printed(c: char) -> Option<char> {
    match c {
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => None,
        c if c.is_control() || ('\u{2000}'..='\u{202f}').contains(&c) && c.is_whitespace() => {
            Some(' ')
        }
        c => Some(c),
    }
}

/// Adds a glyph's curves; its own y points up.
fn trace(path: &mut PathBuilder, curves: &[OutlineCurve], left: f32, scale: f32) {
    let at = |p: ab_glyph::Point| (left + p.x * scale, -p.y * scale);
    let mut end = None;
    for curve in curves {
        let (from, to) = match curve {
            OutlineCurve::Line(a, b)
            | OutlineCurve::Quad(a, _, b)
            | OutlineCurve::Cubic(a, _, _, b) => (at(*a), at(*b)),
        };
        if end != Some(from) {
            if end.is_some() {
                path.close();
            }
            path.move_to(from.0, from.1);
        }
        match curve {
            OutlineCurve::Line(..) => path.line_to(to.0, to.1),
            OutlineCurve::Quad(_, c, _) => path.quad_to(at(*c).0, at(*c).1, to.0, to.1),
            OutlineCurve::Cubic(_, c, d, _) => {
                path.cubic_to(at(*c).0, at(*c).1, at(*d).0, at(*d).1, to.0, to.1);
            }
        }
        end = Some(to);
    }
    path.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character of GB 2312, level one's first to level two's last, has a glyph.
    #[test]
    fn common_chinese_is_in_the_face() {
        let faces = Type::load().expect("faces");
        for text in
            ["啊齄一二三灌装线琥珀酒坊鑫淼", "Ångström & Søn — “Größe” 12 µm…", "℃①。，！（）"]
        {
            assert_eq!(faces.missing(text), None, "{text}");
            assert!(faces.outline(text, 20.0).0.is_some());
        }
    }

    /// What no face has is seen as a box, and takes room like a letter.
    #[test]
    fn unknown_characters_show_a_box() {
        let faces = Type::load().expect("faces");
        for text in ["\u{1f3ed}", "ا", "\u{10ffff}", "𠮷"] {
            assert_eq!(faces.missing(text), text.chars().next());
            let (outline, width) = faces.outline(text, 20.0);
            assert!(outline.is_some() && width > 5.0, "{text}: {width}");
        }
    }

    /// A cut text fits, says that it goes on, and keeps as much as it can.
    #[test]
    fn cut_text_fits_its_width() {
        let faces = Type::load().expect("faces");
        for text in ["琥珀酒坊股份有限公司第一灌装车间", "Amber Works of the Upper Valley, Inc."]
        {
            let whole = faces.width(text, 20.0);
            assert_eq!(faces.cut(text, 20.0, whole), text);
            for part in 1..20 {
                let room = whole * part as f32 / 20.0;
                let cut = faces.cut(text, 20.0, room);
                assert!(faces.width(&cut, 20.0) <= room, "{cut}");
                assert!(cut.is_empty() || cut.ends_with('…'), "{cut}");
                assert!(faces.width(&cut, 20.0) > room - 60.0 || cut.is_empty(), "{cut}");
            }
        }
        assert_eq!(faces.cut("Amber", 20.0, 1.0), "");
    }

    /// A clock stays where it is while its digits change.
    #[test]
    fn digits_are_equally_wide() {
        let faces = Type::load().expect("faces");
        let width = faces.width("00:00:00", 30.0);
        for text in ["11:11:11", "23:47:58"] {
            assert!((faces.width(text, 30.0) - width).abs() < 0.01, "{text}");
        }
    }
}
