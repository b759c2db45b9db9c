//! What the box says about a change: to the one who asked, and to everybody.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use super::document::bounded;

/// A mistake in a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Where, as a JSON pointer: `/camera/0/port`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A part that works less well than before the change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Worse {
    /// The part: `feed/line`.
    pub part: Arc<str>,
    /// What it is doing now, and why.
    pub reason: String,
}

/// How a request stands, or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The document is usable.
    Valid,
    /// The document has problems.
    Invalid,
    /// Not done, and nothing changed.
    Refused,
    /// The sender has not seen the current revision.
    Conflict,
    /// On trial; it needs a confirm.
    Trial,
    /// The revision is the box's own now.
    Confirmed,
    /// The last good revision runs again.
    RolledBack,
    /// This txid has run; the rest says how that ended.
    Seen,
    /// Answered.
    Ok,
}

/// An answer under `cfg/res/<user>/<txid>`; empty fields are left out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reply {
    /// The request's own.
    pub txid: String,
    /// The request's operation.
    pub op: &'static str,
    /// How it stands.
    pub status: Outcome,
    /// With `seen`: how it stood or ended then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Outcome>,
    /// The revision in question: the current one with `conflict` and `get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The hash of that revision's document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Back to the last good revision at this time, RFC 3339, unless confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<String>,
    /// Parts that worked before and do not now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worse: Vec<Worse>,
    /// Every mistake of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What differs: in words, or with `conflict` as JSON pointers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub difference: Vec<String>,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// With `get`: the current document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Arc<Value>>,
    /// With `schema`: the JSON Schema of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Reply {
    /// With nothing but its status.
    pub fn new(txid: &str, op: &'static str, status: Outcome) -> Self {
        Self {
            txid: txid.into(),
            op,
            status,
            earlier: None,
            revision: None,
            sha256: None,
            confirm_by: None,
            worse: Vec::new(),
            problems: Vec::new(),
            difference: Vec::new(),
            reason: String::new(),
            remedy: String::new(),
            document: None,
            schema: None,
        }
    }

    /// With why, and what to do about it.
    pub fn because(mut self, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        (self.reason, self.remedy) = (reason.into(), remedy.into());
        self
    }

    /// About a revision.
    pub fn about(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// With what differs, a hundred lines at most.
    pub fn differing(mut self, difference: Vec<String>) -> Self {
        self.difference = bounded(difference);
        self
    }

    /// With a document's mistakes, two hundred at most.
    pub fn with_problems(mut self, mut problems: Vec<Problem>) -> Self {
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            problems.push(Problem { pointer: String::new(), message: format!("and {more} more") });
        }
        self.problems = problems;
        self
    }
}

/// More mistakes than this are counted, not named.
const PROBLEMS_MAX: usize = 200;

/// Everybody's view of the configuration: the retained `cfg/reported`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The last good revision: the `base` of the next change.
    pub revision: u64,
    /// Of its document.
    pub sha256: String,
    /// Who applied it; none for what came with the box.
    pub by: Option<String>,
    /// When it was applied, RFC 3339; by a clock that may not have been set.
    pub since: String,
    /// Whether it is what runs.
    pub status: Standing,
    /// What is on trial instead of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<OnTrial>,
    /// The last revision that did not stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Which revision runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The last good one.
    Confirmed,
    /// A new one is being applied.
    Applying,
    /// A new one is on probation.
    Trial,
    /// The last good one is being applied again.
    Returning,
}

/// The revision on trial, for everybody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OnTrial {
    /// Its number.
    pub revision: u64,
    /// Who applied it.
    pub by: Option<String>,
    /// The request's.
    pub txid: String,
    /// When it ends unless confirmed, RFC 3339.
    pub confirm_by: String,
    /// Parts that worked before and do not now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worse: Vec<Worse>,
}

/// A revision that did not stay, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Its number; none if it was refused before it got one.
    pub revision: Option<u64>,
    /// The request's.
    pub txid: String,
    /// Who applied it.
    pub by: Option<String>,
    /// When it ended, RFC 3339.
    pub at: String,
    /// Why.
    pub why: String,
}
