//! Topic filters: which topics a subscription asks for.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A legal topic filter (MQTT 5, section 4.7; the same in 3.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

impl Filter {
    /// `a/b`, `a/+/c`, `a/#`; otherwise what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > 65_535 {
            return Err("a topic has 1 to 65535 bytes");
        }
        if text.contains('\0') {
            return Err("a topic has no NUL");
        }
        if text.starts_with("$share/") {
            return Err("a shared subscription hands this box only some of the messages");
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level == "#" && levels.peek().is_some() {
                return Err("# stands for all further levels: it must be the last");
            }
            if level.len() > 1 && level.contains(['+', '#']) {
                return Err("+ and # stand for whole levels: line/+/temp, line/#");
            }
        }
        Ok(Self(text.into()))
    }

    /// Every topic but the broker's own: `#`.
    pub fn all() -> Self {
        Self("#".into())
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if it names a single topic.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['+', '#'])
    }

    /// Its level `index`, from 0; `None` past its end.
    pub fn level(&self, index: usize) -> Option<&str> {
        self.0.split('/').nth(index)
    }

    /// True if it ends in `#`.
    pub fn is_open(&self) -> bool {
        self.0.ends_with('#')
    }

    /// True if a message to `topic` is asked for.
    pub fn matches(&self, topic: &str) -> bool {
        if hidden(topic) && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut filter, mut topic) = (self.0.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    /// True if every topic that `other` asks for is asked for by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        if hidden(&other.0) && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut mine, mut theirs) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (_, Some("#")) => return false,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

/// A leading wildcard does not stand for the broker's own topics (4.7.2).
fn hidden(topic: &str) -> bool {
    topic.starts_with('$')
}

/// An arriving topic finds the exact filter that names it.
impl Borrow<str> for Filter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    /// The examples of MQTT 5, sections 4.7.1 and 4.7.2.
    #[test]
    fn examples_of_the_standard() {
        for (f, topic, asked) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "sport/tennis", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/broker/uptime", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/broker/uptime", true),
            ("Line", "line", false),
        ] {
            assert_eq!(filter(f).matches(topic), asked, "{f} {topic}");
        }
    }

    /// What the standard forbids is refused.
    #[test]
    fn illegal_filters_are_refused() {
        for text in ["", "a/#/b", "a#", "a+/b", "+a", "##", "a/\0", "$share/g/a"] {
            assert!(Filter::parse(text).is_err(), "{text:?}");
        }
    }

    /// A broader filter covers a narrower one, never the other way round.
    #[test]
    fn broad_covers_narrow() {
        for (broad, narrow) in [("#", "a/+"), ("a/#", "a"), ("a/#", "a/+/#"), ("+/b", "a/b")] {
            assert!(filter(broad).covers(&filter(narrow)), "{broad} {narrow}");
            assert!(!filter(narrow).covers(&filter(broad)), "{narrow} {broad}");
        }
        assert!(!filter("+/b").covers(&filter("a/+")));
        assert!(!filter("#").covers(&filter("$SYS/a")));
    }

    const FILTER: &str = "(\\$?[ab]|\\+|)(/([ab]|\\+|)){0,3}(/#)?|#";
    const TOPIC: &str = "(\\$?[ab]|)(/([ab]|)){0,4}";

    proptest! {
        /// A filter that covers another asks for every topic that the other asks for.
        #[test]
        fn covering_agrees_with_matching(a in FILTER, b in FILTER, topic in TOPIC) {
            if let (Ok(a), Ok(b)) = (Filter::parse(&a), Filter::parse(&b)) {
                prop_assert!(a.covers(&a));
                prop_assert!(!a.covers(&b) || !b.matches(&topic) || a.matches(&topic));
            }
        }

        /// An exact filter matches itself and nothing else.
        #[test]
        fn exact_filter_matches_only_itself(a in TOPIC, b in TOPIC) {
            if let Ok(f) = Filter::parse(&a) {
                prop_assert!(f.is_exact());
                prop_assert_eq!(f.matches(&b), a == b);
            }
        }

        /// Whatever is typed and whatever arrives, nothing panics.
        #[test]
        fn any_text_is_judged(a in any::<String>(), topic in any::<String>()) {
            if let Ok(f) = Filter::parse(&a) {
                let _ = f.matches(&topic);
            }
        }
    }
}
