//! What the log says about bad messages: the first and the recovery of each
//! tag, but at most one line a second per broker; the rest is counted in the
//! next line.

use std::time::Duration;

use tracing::{info, warn};

use crate::model::Mono;
use crate::mqtt::Message;

/// Time between lines.
const SPACING: Duration = Duration::from_secs(1);

/// Bytes of a payload that are shown.
const SHOWN: usize = 60;

/// One broker's voice.
pub struct Say {
    broker: String,
    last: Option<Mono>,
    unsaid: u64,
}

impl Say {
    /// For one broker.
    pub fn new(broker: &str) -> Self {
        Self { broker: broker.to_owned(), last: None, unsaid: 0 }
    }

    /// A tag that was good, or new, got a bad message.
    pub fn bad(&mut self, tag: &str, reason: &str, message: &Message) {
        let Some(unsaid) = self.turn(message.received) else { return };
        let shown = &message.payload[..message.payload.len().min(SHOWN)];
        let (broker, topic) = (&self.broker, &message.topic);
        let payload = shown.escape_ascii().to_string();
        warn!(broker, tag, reason, topic, payload, unsaid, "bad message");
    }

    /// A bad tag got a good one.
    pub fn recovered(&mut self, tag: &str, now: Mono) {
        let Some(unsaid) = self.turn(now) else { return };
        info!(broker = self.broker, tag, unsaid, "good again");
    }

    /// How many lines went unsaid, if one may be said now.
    fn turn(&mut self, now: Mono) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < SPACING) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many tags fail at once, it is a line a second.
    #[test]
    fn lines_are_rationed() {
        let mut say = Say::new("b");
        let at = |ms: u64| Mono(5_000_000_000 + ms * 1_000_000);
        assert_eq!(say.turn(at(0)), Some(0));
        for ms in 1..1000 {
            assert_eq!(say.turn(at(ms)), None);
        }
        assert_eq!(say.turn(at(1000)), Some(999));
    }
}
