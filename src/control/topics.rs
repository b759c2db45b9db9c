//! The names under which a box is set up: `floorcast/v1/<site>/<box>/…`.
//!
//! Comes in: topics of messages, any text. Goes out: what they ask for, or nothing.
//! Depth is fixed, and who asks stands in the topic, so that a broker's access lists
//! are prefixes. The box answers nowhere else, whatever response topic a message names.

use super::change::{Op, is_txid, is_user};
use crate::config::mqtt::Filter;
use crate::config::studio::Site;
use crate::mqtt::Subscription;

/// The root of everything.
pub const ROOT: &str = "floorcast/v1";

/// One box's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    root: String,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// `cfg/req/<user>/<op>`
    Request {
        /// Who asks.
        user: String,
        /// For what.
        op: Op,
    },
    /// `cfg/desired`
    Desired,
    /// `cmd/<user>/<name>`
    Command {
        /// Who asks.
        user: String,
        /// For what.
        name: String,
    },
}

impl Topics {
    /// The topics of the box `site.id` at `site.site`.
    pub fn new(site: &Site) -> Self {
        Self { root: format!("{ROOT}/{}/{}", site.site, site.id) }
    }

    /// `floorcast/v1/<site>/<box>`
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Retained, and the will: whether the box is there, and what runs.
    pub fn state(&self) -> String {
        format!("{}/state", self.root)
    }

    /// Retained: one part's health.
    pub fn health(&self, part: &str) -> String {
        format!("{}/health/{part}", self.root)
    }

    /// Retained: which revision runs.
    pub fn reported(&self) -> String {
        format!("{}/cfg/reported", self.root)
    }

    /// Answers to a user's changes.
    pub fn reply(&self, user: &str, txid: &str) -> String {
        format!("{}/cfg/res/{user}/{txid}", self.root)
    }

    /// Answers to a user's commands.
    pub fn answer(&self, user: &str, txid: &str) -> String {
        format!("{}/cmd/res/{user}/{txid}", self.root)
    }

    /// A snapshot's bytes.
    pub fn jpeg(&self, user: &str, txid: &str) -> String {
        format!("{}/cmd/res/{user}/{txid}/jpeg", self.root)
    }

    /// Each line of the audit file.
    pub fn audit(&self) -> String {
        format!("{}/audit", self.root)
    }

    /// What the box listens to.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let filters = ["cfg/req/+/+", "cfg/desired", "cmd/+/+"];
        let filter = |name| Filter::parse(&format!("{}/{name}", self.root));
        // Site and box are checked names: what is made of them is a filter.
        filters
            .into_iter()
            .filter_map(|n| filter(n).ok())
            .map(|filter| Subscription { filter, qos: 1 })
            .collect()
    }

    /// What a message on this topic asks for; `None` where it is nobody's business here.
    pub fn parse(&self, topic: &str) -> Option<Inbound> {
        let rest = topic.strip_prefix(&self.root)?.strip_prefix('/')?;
        let mut levels = rest.split('/');
        let levels = [(); 5].map(|()| levels.next());
        match levels {
            [Some("cfg"), Some("req"), Some(user), Some(op), None] if is_user(user) => {
                Some(Inbound::Request { user: user.into(), op: Op::parse(op)? })
            }
            [Some("cfg"), Some("desired"), None, ..] => Some(Inbound::Desired),
            [Some("cmd"), Some(user), Some(name), None, _] if is_user(user) && is_txid(name) => {
                Some(Inbound::Command { user: user.into(), name: name.into() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topics() -> Topics {
        Topics::new(&Site { site: "works".into(), id: "line-2".into() })
    }

    /// Who asks and for what is read from the topic.
    #[test]
    fn topics_are_read() {
        let topics = topics();
        let parse = |rest: &str| topics.parse(&format!("floorcast/v1/works/line-2/{rest}"));
        let user = String::from("li@works");
        let expected = Inbound::Request { user: user.clone(), op: Op::Apply };
        assert_eq!(parse("cfg/req/li@works/apply"), Some(expected));
        let expected = Inbound::Command { user, name: "snapshot".into() };
        assert_eq!(parse("cmd/li@works/snapshot"), Some(expected));
        assert_eq!(parse("cfg/desired"), Some(Inbound::Desired));
        for nothing in [
            "",
            "cfg",
            "cfg/req/li",
            "cfg/req/li/erase",
            "cfg/req/li/apply/x",
            "cfg/req//apply",
            "cfg/req/LI/apply",
            "cfg/desired/x",
            "cmd/li",
            "cmd/li/snapshot/x",
            "cmd/res/li/tx",
            "state",
        ] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
        assert_eq!(topics.parse("floorcast/v1/works/line-20/cfg/desired"), None);
        assert_eq!(topics.parse("floorcast/v1/works/line-2cfg/desired"), None);
    }

    proptest! {
        /// Whatever the topic, what is answered stays below the asker's own.
        #[test]
        fn answers_stay_below_the_asker(topic in "floorcast/v1/works/line-2/[a-z/#+.@_-]{0,40}") {
            let topics = topics();
            if let Some(Inbound::Request { user, .. } | Inbound::Command { user, .. }) =
                topics.parse(&topic)
            {
                let reply = topics.reply(&user, "tx");
                prop_assert_eq!(reply.split('/').count(), 8);
                prop_assert!(!reply.contains(['+', '#']));
            }
        }
    }
}
