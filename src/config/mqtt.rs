//! `[[mqtt]]`: brokers and the tags that their messages carry.

pub mod connection;
pub mod tag;
pub mod topic;

use schemars::JsonSchema;
use serde::Deserialize;

pub use connection::{Connection, ConnectionFile};
pub use tag::{MqttTag, MqttTagFile};
pub use topic::Filter;

use super::Problems;
use super::tag::Tags;
use crate::model::Source;

/// One broker as typed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct BrokerFile {
    /// Its name in logs and metrics: a-z, 0-9, `-` and `_`.
    pub id: String,
    /// How to reach it.
    #[serde(flatten)]
    pub connection: ConnectionFile,
    /// Its tags.
    #[serde(default, rename = "tag")]
    pub tags: Vec<MqttTagFile>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// Its name in logs and metrics.
    pub id: String,
    /// How to reach it.
    pub connection: Connection,
    /// Its tags.
    pub tags: Vec<MqttTag>,
}

impl BrokerFile {
    /// Raw to checked.
    pub fn check(self, at: &str, tags: &mut Tags, problems: &mut Problems) -> Broker {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        let source = Source::Broker(self.id.as_str().into());
        let connection = self.connection.check(at, problems);
        let mine = (self.tags.into_iter().enumerate())
            .map(|(i, tag)| tag.check(&format!("{at}.tag[{i}]"), &source, tags, problems))
            .collect();
        Broker { id: self.id, connection, tags: mine }
    }
}

/// Reports brokers that share an id.
pub fn check_all(brokers: &[Broker], problems: &mut Problems) {
    for (i, broker) in brokers.iter().enumerate() {
        if let Some(first) = brokers[..i].iter().position(|b| b.id == broker.id) {
            let what = format!("{:?} is already mqtt[{first}]'s", broker.id);
            problems.add(format!("mqtt[{i}].id"), what);
        }
    }
}
