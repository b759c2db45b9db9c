//! Topics whose messages end sessions.
//!
//! A broker that takes no message on a topic says so by MQTT 5; by 3.1.1 it may end the
//! session instead, as RabbitMQ does. Comes in: which messages were under way when a
//! session ended, and which were acknowledged. Goes out: how the next message on a topic
//! goes. What was under way in company goes alone the next time, so that it is known which
//! one it was; after [`LIMIT`] sessions the topic is put aside, for [`ASIDE`]. When full
//! ([`MOST`] topics), the one that was suspected longest ago is forgotten. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Mono;

/// Sessions that a topic may end.
pub const LIMIT: u32 = 5;
/// For how long it is put aside then; rights may have been given since.
pub const ASIDE: Duration = Duration::from_secs(5 * 60);
/// A session that ended later than this after a message had another reason.
const BLAME: Duration = Duration::from_secs(10);
/// Topics, at most.
const MOST: usize = 256;

/// How a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In company.
    Free,
    /// With no other message under way.
    Alone,
    /// Not at all.
    Aside,
}

/// What is known of topics.
#[derive(Debug, Default)]
pub struct Suspects(BTreeMap<String, Suspect>);

#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// Sessions that ended with it.
    ended: u32,
    /// When the last of them did.
    at: Mono,
}

impl Suspects {
    /// How a message on `topic` goes.
    pub fn way(&self, topic: &str, now: Mono) -> Way {
        match self.0.get(topic) {
            None => Way::Free,
            Some(s) if s.ended >= LIMIT && now.since(s.at) < ASIDE => Way::Aside,
            Some(_) => Way::Alone,
        }
    }

    /// The session ended `waited` after a message was handed over, before the broker
    /// acknowledged it. True if its topic is put aside from now on.
    pub fn ended(&mut self, topic: &str, way: Way, waited: Duration, now: Mono) -> bool {
        if waited > BLAME {
            return false;
        }
        if !self.0.contains_key(topic)
            && self.0.len() >= MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, s)| s.at).map(|(t, _)| t.clone())
        {
            self.0.remove(&oldest);
        }
        let suspect = self.0.entry(topic.to_owned()).or_insert(Suspect { ended: 0, at: now });
        suspect.at = now;
        // In company it may have been another one.
        suspect.ended = if way == Way::Alone { suspect.ended + 1 } else { suspect.ended.max(1) };
        suspect.ended >= LIMIT
    }

    /// A message on `topic` was answered.
    pub fn answered(&mut self, topic: &str) {
        self.0.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Way::{Alone, Aside, Free};

    const SOON: Duration = Duration::from_millis(20);

    fn s(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    /// Puts a topic aside at second 4.
    fn guilty(suspects: &mut Suspects, topic: &str) {
        for second in 0..4 {
            let way = suspects.way(topic, s(second));
            assert!(!suspects.ended(topic, way, SOON, s(second)), "after {second}");
        }
        assert!(suspects.ended(topic, Alone, SOON, s(4)));
    }

    /// Five sessions, and it is put aside; later one more, and it is again.
    #[test]
    fn what_ends_every_session_is_put_aside() {
        let mut suspects = Suspects::default();
        guilty(&mut suspects, "audit");
        assert_eq!(suspects.way("audit", s(5)), Aside);
        assert_eq!(suspects.way("state", s(5)), Free);
        let later = s(5) + ASIDE;
        assert_eq!(suspects.way("audit", later), Alone);
        assert!(suspects.ended("audit", Alone, SOON, later));
        assert_eq!(suspects.way("audit", later + SOON), Aside);
        suspects.answered("audit");
        assert_eq!(suspects.way("audit", later + SOON), Free);
    }

    /// Company alone condemns nobody, however often.
    #[test]
    fn company_is_no_proof() {
        let mut suspects = Suspects::default();
        for second in 0..20 {
            assert!(!suspects.ended("state", Free, SOON, s(second)));
        }
        assert_eq!(suspects.way("state", s(20)), Alone);
    }

    /// A broker that hangs, or a cable that is pulled, is not the message's fault.
    #[test]
    fn a_late_end_has_another_reason() {
        let mut suspects = Suspects::default();
        for second in 0..20 {
            assert!(!suspects.ended("state", Alone, Duration::from_secs(30), s(second)));
        }
        assert_eq!(suspects.way("state", s(20)), Free);
    }

    /// Topics of requests are without end: the oldest suspect is forgotten.
    #[test]
    fn the_oldest_suspect_is_forgotten() {
        let mut suspects = Suspects::default();
        for n in 0..=MOST as u64 {
            suspects.ended(&format!("res/{n}"), Free, SOON, s(n));
        }
        assert_eq!(suspects.0.len(), MOST);
        assert_eq!(suspects.way("res/0", s(MOST as u64)), Free);
        assert_eq!(suspects.way("res/1", s(MOST as u64)), Alone);
    }
}
