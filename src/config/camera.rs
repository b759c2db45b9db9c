//! `[[camera]]`

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// One camera as typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CameraFile {
    /// Its feed's name.
    pub id: String,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Its feed's name.
    pub id: String,
}

impl CameraFile {
    /// Raw to checked.
    pub fn check(self, at: &str, problems: &mut Problems) -> Camera {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        Camera { id: self.id }
    }
}
