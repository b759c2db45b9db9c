//! What a feed's state is: the truth about what leaves it. Pure.

use std::time::Duration;

use super::doubt::Doubt;
use super::switch::On;
use crate::model::{Mono, Reason};
use crate::status::State;

/// Everything known at a moment.
pub(super) struct Facts<'a> {
    /// The moment.
    pub now: Mono,
    /// Who is on.
    pub on: &'a On,
    /// Why there is no encoder.
    pub encoder: Option<&'a str>,
    /// Nobody watches, so nothing is encoded.
    pub resting: bool,
    /// When a frame of the camera last went into the ring.
    pub out: Option<Mono>,
    /// A frame older than this is not live.
    pub limit: Duration,
    /// What is doubtful about the camera's pictures.
    pub doubt: Option<Doubt>,
}

/// The state, its code for programs, and why, for technicians.
pub(super) type Verdict = (State, &'static str, String);

/// Live only while new, decodable, changing pictures of the camera leave the feed.
pub(super) fn judge(facts: &Facts) -> Verdict {
    if let Some(why) = facts.encoder {
        return (State::Connecting, Reason::Encoder.code(), why.to_owned());
    }
    if let On::Slate(reason, why) = facts.on {
        let state = match reason {
            Reason::Starting => State::Connecting,
            Reason::Privacy | Reason::Paused | Reason::Identify => State::Paused,
            _ => State::NoSignal,
        };
        return (state, reason.code(), why.to_string());
    }
    if facts.resting {
        let rest = (State::Resting, "resting", "nobody watches".into());
        return doubted(facts).unwrap_or(rest);
    }
    if facts.out.is_none_or(|out| facts.now.since(out) > facts.limit) {
        return (
            State::Connecting,
            Reason::Starting.code(),
            "the first picture is on its way".into(),
        );
    }
    doubted(facts).unwrap_or((State::Live, "", String::new()))
}

fn doubted(facts: &Facts) -> Option<Verdict> {
    facts.doubt.map(|doubt| (State::Suspect, doubt.code(), doubt.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(600);

    fn facts(on: &On) -> Facts<'_> {
        let (now, out) = (Mono(10_000_000_000), Some(Mono(9_900_000_000)));
        Facts { now, on, encoder: None, resting: false, out, limit: LIMIT, doubt: None }
    }

    fn state(facts: &Facts) -> (State, &'static str) {
        let (state, code, _) = judge(facts);
        (state, code)
    }

    /// A fresh frame of the camera, and nothing else, is live.
    #[test]
    fn live_is_a_fresh_frame_of_the_camera() {
        let camera = On::Camera;
        assert_eq!(state(&facts(&camera)), (State::Live, ""));
        let stale = Facts { out: Some(Mono(9_300_000_000)), ..facts(&camera) };
        assert_eq!(state(&stale), (State::Connecting, "starting"));
        assert_eq!(state(&Facts { out: None, ..facts(&camera) }), (State::Connecting, "starting"));
        let frozen = Some(Doubt::Frozen(Mono(0)));
        assert_eq!(state(&Facts { doubt: frozen, ..facts(&camera) }), (State::Suspect, "frozen"));
    }

    /// A slate is never live, however fresh the camera's last frame is.
    #[test]
    fn a_slate_is_never_live() {
        for (reason, expected) in [
            (Reason::Starting, State::Connecting),
            (Reason::Unplugged, State::NoSignal),
            (Reason::NoSignal, State::NoSignal),
            (Reason::Busy, State::NoSignal),
            (Reason::WrongFormat, State::NoSignal),
            (Reason::Failed, State::NoSignal),
            (Reason::Privacy, State::Paused),
            (Reason::Paused, State::Paused),
            (Reason::Identify, State::Paused),
        ] {
            let on = On::Slate(reason, "why".into());
            assert_eq!(state(&facts(&on)), (expected, reason.code()));
        }
    }

    /// Rest is neither live nor a fault, however long ago the last frame left;
    /// what is wrong with the camera is told all the same.
    #[test]
    fn rest_is_a_state_of_its_own() {
        let camera = On::Camera;
        let long_ago = Facts { resting: true, out: Some(Mono(1)), ..facts(&camera) };
        assert_eq!(state(&long_ago), (State::Resting, "resting"));
        let dark = Some(Doubt::Dark(Mono(0)));
        assert_eq!(state(&Facts { doubt: dark, ..long_ago }), (State::Suspect, "dark"));
        let gone = On::Slate(Reason::Unplugged, "why".into());
        let gone = Facts { resting: true, ..facts(&gone) };
        assert_eq!(state(&gone), (State::NoSignal, "unplugged"));
    }

    /// Without an encoder nothing leaves the feed, whoever is on.
    #[test]
    fn no_encoder_comes_first() {
        let camera = On::Camera;
        let without = Facts { encoder: Some("hangs"), ..facts(&camera) };
        assert_eq!(state(&without), (State::Connecting, "encoder"));
    }
}
