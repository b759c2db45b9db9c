//! What is asked of an update: those who hear it and those who do it use the same words.

use serde::{Deserialize, Serialize};

use super::UtcMicros;

/// An update as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Where the bundle is: `http://`, `https://`, or `file://` for one on the box.
    pub url: String,
    /// Of the whole bundle, 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// The version that it has to have.
    pub version: String,
    /// When the box may restart; at once unless given.
    pub window: Option<Window>,
    /// Restart also while somebody watches.
    pub force: bool,
}

/// From when until when, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Not before.
    pub from: UtcMicros,
    /// Not later.
    pub to: UtcMicros,
}
