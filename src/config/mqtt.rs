//! `[[mqtt]]`

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use super::tag::Tags;

/// As typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct BrokerFile {
    /// Its name in logs and metrics.
    pub id: String,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// Its name in logs and metrics.
    pub id: String,
}

impl BrokerFile {
    /// Raw to checked.
    pub fn check(self, at: &str, _tags: &mut Tags, problems: &mut Problems) -> Broker {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        Broker { id: self.id }
    }
}
