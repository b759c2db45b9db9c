//! What a user hears of a command: one JSON object.

use serde::Serialize;
use serde_json::{Map, Value};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Done.
    Ok,
    /// Not run.
    Refused,
    /// Run, and it did not come off.
    Failed,
    /// This txid has run already.
    Seen,
}

impl Status {
    /// As its JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Seen => "seen",
        }
    }
}

/// An answer under `cmd/res/<user>/<txid>`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Answer {
    /// The command's.
    pub txid: String,
    /// Of the command.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// Why, in words; empty where nothing is to be said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// What this command in particular has to say.
    #[serde(flatten)]
    pub body: Map<String, Value>,
}

impl Answer {
    /// Without words yet.
    pub fn new(txid: &str, name: &str, status: Status) -> Self {
        let (txid, name) = (txid.into(), name.into());
        Self { txid, name, status, reason: String::new(), remedy: String::new(), body: Map::new() }
    }

    /// With the reason and the remedy.
    pub fn because(self, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into(), ..self }
    }

    /// With what it found.
    pub fn with(self, body: Value) -> Self {
        let body = match body {
            Value::Object(body) => body,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        Self { body, ..self }
    }
}
