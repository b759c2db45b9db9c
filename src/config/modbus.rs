//! `[[modbus]]`

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use super::tag::Tags;

/// As typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct BusFile {
    /// Its name in logs and metrics.
    pub id: String,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Its name in logs and metrics.
    pub id: String,
}

impl BusFile {
    /// Raw to checked.
    pub fn check(self, at: &str, _tags: &mut Tags, problems: &mut Problems) -> Bus {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        Bus { id: self.id }
    }
}
