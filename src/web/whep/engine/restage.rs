//! Other feeds for an engine that has viewers.
//!
//! Comes in: what the page tells from now on. A feed that stays keeps its
//! packets and every viewer; the viewers of one that went are told good-bye.

use super::Engine;
use crate::web::whep::track::Track;
use crate::web::whep::viewer::End;

impl Engine {
    /// Takes what is to be shown now.
    pub(super) fn restage(&mut self) {
        let showing = self.showing.borrow_and_update().clone();
        self.number = showing.number;
        let mut before: Vec<_> = std::mem::take(&mut self.tracks).into_iter().map(Some).collect();
        let mut places = vec![None; before.len()];
        for (place, feed) in showing.feeds.iter().enumerate() {
            let same = |track: &Option<Track>| track.as_ref().is_some_and(|t| t.is_of(&feed.ring));
            let at = before.iter().position(same);
            let kept = at.and_then(|at| {
                places[at] = Some(place);
                before[at].take()
            });
            self.tracks.push(kept.unwrap_or_else(|| {
                let track = Track::new(feed.ring.clone(), feed.profile.clone());
                track.waking(self.frames.clone())
            }));
        }
        for at in 0..self.viewers.len() {
            let Some(viewer) = self.viewers[at].as_mut() else { continue };
            match places[viewer.feed] {
                Some(place) => viewer.feed = place,
                None => self.end(at, End::NoFeed),
            }
        }
    }
}
