//! Pictures between source and ring, in order of capture.
//!
//! Each is written down when it is seen and struck off when its access unit
//! comes out; what is passed over was lost, and where is known. Pure. At most
//! [`MOST`] are written down; beyond that the oldest counts as lost.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Captured, Mono};

/// Pictures on their way at most.
const MOST: usize = 64;

/// A time that went through a microsecond clock (V4L2 encoders) is off by less than this.
const ROUNDED: Duration = Duration::from_micros(1);

/// One picture on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Picture {
    /// When its light was captured.
    pub captured: Captured,
    /// Drawn, not captured.
    pub slate: bool,
    /// Left the queue in front of the encoder.
    admitted: bool,
    /// Handed to the encoder.
    pub entered: Option<Mono>,
}

impl Picture {
    fn is(&self, at: Mono) -> bool {
        self.captured.at.since(at).max(at.since(self.captured.at)) <= ROUNDED
    }

    fn before(&self, at: Mono) -> bool {
        self.captured.at + ROUNDED < at
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Transit(VecDeque<Picture>);

impl Transit {
    /// A picture left the source, or was drawn for the slate. True if an old
    /// one had to be given up for it.
    pub fn seen(&mut self, captured: Captured, slate: bool) -> bool {
        self.0.push_back(Picture { captured, slate, admitted: false, entered: None });
        let full = self.0.len() > MOST;
        if full {
            self.0.pop_front();
        }
        full
    }

    /// The picture of this time left the queue. Returns how many before it never will.
    pub fn admitted(&mut self, at: Mono) -> usize {
        let before = self.0.len();
        self.0.retain(|p| p.admitted || !p.before(at));
        if let Some(picture) = self.find(at) {
            picture.admitted = true;
        }
        before - self.0.len()
    }

    /// The picture of this time went into the encoder.
    pub fn entered(&mut self, at: Mono, now: Mono) {
        if let Some(picture) = self.find(at) {
            picture.entered = Some(now);
        }
    }

    /// The access unit of this time came out. Returns its picture, and how many
    /// before it never came out.
    pub fn coded(&mut self, at: Mono) -> (Option<Picture>, usize) {
        let lost = self.0.iter().take_while(|p| p.before(at)).count();
        self.0.drain(..lost);
        let found = self.0.front().is_some_and(|p| p.is(at));
        (if found { self.0.pop_front() } else { None }, lost)
    }

    /// The picture of this time goes no further, and that is no loss.
    pub fn unused(&mut self, at: Mono) {
        self.0.retain(|p| !p.is(at));
    }

    /// Nobody waits for any of them: that is no loss.
    pub fn rest(&mut self) {
        self.0.clear();
    }

    /// When the oldest picture went in that has not come out.
    pub fn encoding_since(&self) -> Option<Mono> {
        self.0.iter().find_map(|p| p.entered)
    }

    /// The encoder is gone, and what was in it: how many.
    pub fn encoder_gone(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|p| p.entered.is_none());
        before - self.0.len()
    }

    fn find(&mut self, at: Mono) -> Option<&mut Picture> {
        self.0.iter_mut().find(|p| p.is(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn captured(ms: u64) -> Captured {
        Captured { at: at(ms), error: Duration::from_millis(ms) }
    }

    /// What the queue sheds and what the encoder swallows are told apart.
    #[test]
    fn losses_are_counted_where_they_happen() {
        let mut transit = Transit::default();
        for ms in [10, 20, 30, 40, 50] {
            assert!(!transit.seen(captured(ms), false));
        }
        assert_eq!(transit.admitted(at(10)), 0);
        assert_eq!(transit.admitted(at(40)), 2); // 20 and 30 were shed
        assert_eq!(transit.admitted(at(50)), 0);
        transit.entered(at(50), at(55));
        let (picture, lost) = transit.coded(at(50)); // 10 and 40 never came out
        assert_eq!(lost, 2);
        assert_eq!(picture.map(|p| (p.captured, p.entered)), Some((captured(50), Some(at(55)))));
    }

    /// An encoder that keeps time in microseconds finds its picture again.
    #[test]
    fn rounded_times_are_recognised() {
        let mut transit = Transit::default();
        let exact = Captured { at: Mono(1_000_000_999), error: Duration::ZERO };
        transit.seen(exact, false);
        let (picture, lost) = transit.coded(Mono(1_000_000_000));
        assert_eq!((picture.map(|p| p.captured), lost), (Some(exact), 0));
    }

    /// A time nobody captured belongs to no picture and loses none.
    #[test]
    fn unknown_time_has_no_picture() {
        let mut transit = Transit::default();
        transit.seen(captured(10), false);
        assert_eq!(transit.coded(at(5)), (None, 0));
        assert!(transit.coded(at(10)).0.is_some());
    }

    /// What nobody wants is neither lost nor waited for.
    #[test]
    fn unused_pictures_are_no_loss() {
        let mut transit = Transit::default();
        for ms in [10, 20, 30] {
            transit.seen(captured(ms), false);
            transit.entered(at(ms), at(ms));
        }
        transit.unused(at(10));
        assert_eq!(transit.encoding_since(), Some(at(20)));
        transit.rest();
        assert_eq!((transit.encoding_since(), transit.coded(at(40))), (None, (None, 0)));
    }

    proptest! {
        /// Every picture is counted once: out, shed, lost, given up or still on its way.
        #[test]
        fn nothing_is_counted_twice(fates in prop::collection::vec(0u8..4, 0..300)) {
            let mut transit = Transit::default();
            let (mut out, mut shed, mut lost, mut given_up) = (0, 0, 0, 0);
            for (i, fate) in fates.iter().enumerate() {
                let ms = 10 * (i as u64 + 1);
                given_up += usize::from(transit.seen(captured(ms), false));
                if *fate > 0 {
                    shed += transit.admitted(at(ms));
                }
                if *fate > 1 {
                    let (picture, passed) = transit.coded(at(ms));
                    out += usize::from(picture.is_some());
                    lost += passed;
                }
            }
            prop_assert_eq!(fates.len(), out + shed + lost + given_up + transit.0.len());
            prop_assert!(transit.0.len() <= MOST);
        }
    }
}
