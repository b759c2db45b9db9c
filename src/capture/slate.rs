//! The slate: the picture a feed shows while its camera cannot.
//!
//! Comes in: a reason and the time. Goes out: an I420 picture with the brand,
//! the reason in both languages, and the local time. All but the time is drawn
//! when the reason changes; the time's own few pixels once a second. Between
//! seconds everybody is given the same bytes.

mod look;
mod sign;

use bytes::Bytes;
use tiny_skia::{Color, Pixmap, Transform};

use crate::model::{Label, Reason, UtcMicros};
use crate::paint::i420::{self, Canvas, Planes, Rows};
use crate::paint::pen::{Align, Pen};
use look::{Clock, Look};

/// Draws one feed's slates.
pub struct Painter {
    look: Look,
    time: Time,
    /// All but the time.
    still: Option<(Reason, Vec<u8>)>,
    /// The newest picture, and the second it shows.
    shown: Option<(Reason, i64, Bytes)>,
}

impl Painter {
    /// For pictures of `width` by `height` pixels. An empty `brand` leaves its
    /// place empty; `accent` is `#rrggbb`.
    ///
    /// # Errors
    /// A side that is odd, below 64 or above 4096 pixels; not a colour.
    pub fn new(width: u32, height: u32, brand: &Label, accent: &str) -> anyhow::Result<Self> {
        i420::check(width as usize, height as usize)?;
        let look = Look::new(width, height, brand, accent)?;
        let time = Time::new(look.clock())?;
        Ok(Self { look, time, still: None, shown: None })
    }

    /// The slate at `utc`: I420, tightly packed, BT.709 limited range.
    pub fn picture(&mut self, reason: Reason, utc: UtcMicros) -> Bytes {
        self.picture_naming(reason, "", utc)
    }

    /// The same; where somebody looks for the camera, `name` stands large in place of
    /// the words.
    pub fn picture_naming(&mut self, reason: Reason, name: &str, utc: UtcMicros) -> Bytes {
        let second = utc.0.div_euclid(1_000_000);
        if let Some((at_reason, at_second, picture)) = &self.shown
            && (*at_reason, *at_second) == (reason, second)
        {
            return picture.clone();
        }
        let still = match self.still.take() {
            Some((of, still)) if of == reason => still,
            _ => self.look.still(reason, &words(reason, name)),
        };
        let mut data = still.clone();
        self.still = Some((reason, still));
        let (width, height) = (self.look.width as usize, self.look.height as usize);
        self.time.lay(&mut Canvas { data: &mut data, width, height }, &self.look, second);
        let picture = Bytes::from(data);
        self.shown = Some((reason, second, picture.clone()));
        picture
    }
}

/// What a slate says.
fn words(reason: Reason, name: &str) -> Label {
    let words = reason.words();
    match reason == Reason::Identify && !name.is_empty() {
        true => Label { zh: name.to_owned(), en: format!("{} {}", words.zh, words.en) },
        false => words,
    }
}

/// The time's part of the picture.
struct Time {
    place: Clock,
    pixels: Pixmap,
    planes: Planes,
}

impl Time {
    fn new(place: Clock) -> anyhow::Result<Self> {
        let (width, height) = (place.width, place.height);
        let pixels = Pixmap::new(width, height)
            .ok_or_else(|| anyhow::anyhow!("slate: a clock of {width}x{height}"))?;
        Ok(Self { place, pixels, planes: Planes::default() })
    }

    fn lay(&mut self, canvas: &mut Canvas, look: &Look, second: i64) {
        let [hour, minute, second] = local(second);
        let text = format!("{hour:02}:{minute:02}:{second:02}");
        let Clock { x, y, left, base, size, .. } = self.place;
        self.pixels.fill(Color::TRANSPARENT);
        Pen::new(&mut self.pixels, Transform::identity(), &look.faces).text(
            left - x as f32,
            base - y as f32,
            size,
            Align::Left,
            look::TEXT,
            &text,
        );
        self.planes.read(&self.pixels);
        self.planes.lay(canvas, x, y, Rows::ALL);
    }
}

/// Hour, minute and second where the box stands.
fn local(second: i64) -> [i64; 3] {
    // SAFETY: all-zero is a valid `tm`.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time = second as libc::time_t;
    // SAFETY: both are valid for the call, which keeps neither.
    if unsafe { libc::localtime_r(&time, &mut tm) }.is_null() {
        // A year that does not fit: the hour is as true as it gets.
        let day = second.rem_euclid(86_400);
        return [day / 3600, day / 60 % 60, day % 60];
    }
    [tm.tm_hour, tm.tm_min, tm.tm_sec].map(i64::from)
}

#[cfg(test)]
mod tests;
