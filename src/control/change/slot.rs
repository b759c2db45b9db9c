//! A revision in a file: one line with the hash of the rest, then JSON.
//!
//! Which file it is in says what it is: `good`, `previous`, `trial`, `failed`.
//! So one rename makes a trial good.

use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document;
use crate::model::UtcMicros;

/// What the box returns to.
pub const GOOD: &str = "good";
/// What was good before.
pub const PREVIOUS: &str = "previous";
/// What is to become `previous` once the trial is good.
pub const PREVIOUS_NEXT: &str = "previous.next";
/// What is on probation.
pub const TRIAL: &str = "trial";
/// The last that did not stay.
pub const FAILED: &str = "failed";

/// One accepted configuration, numbered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Revision {
    /// Rises with every change, also past those that failed.
    pub number: u64,
    /// Of the document in canonical form.
    pub sha256: String,
    /// Who applied it; none for what came with the box or was stored without a name.
    pub by: Option<String>,
    /// The request's; empty for what came with the box.
    pub txid: String,
    /// The request's operation; empty for what came with the box.
    pub op: String,
    /// When it was applied, by a clock that may not have been set.
    pub since: UtcMicros,
    /// Why it did not stay, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// The configuration.
    pub document: Arc<Value>,
}

/// The end of a revision that did not stay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// When.
    pub at: UtcMicros,
    /// Why.
    pub why: String,
}

impl Revision {
    /// As a file's content.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// A file's content, checked against both hashes.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let revision: Self = open(bytes)?;
        let right = revision.sha256 == document::sha256(&revision.document);
        ensure!(right, "the document does not have its sha256");
        Ok(revision)
    }
}

/// A value's JSON, with its hash before it.
pub fn seal(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("plain data has JSON");
    format!("{}\n{json}\n", document::hex(json.as_bytes())).into_bytes()
}

/// The value of [`seal`], if nothing of it changed.
pub fn open<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> anyhow::Result<T> {
    let text = std::str::from_utf8(bytes).context("not text")?;
    let (hash, json) = text.split_once('\n').context("no line with a hash")?;
    let json = json.strip_suffix('\n').context("cut short")?;
    ensure!(hash == document::hex(json.as_bytes()), "not what was written: its hash differs");
    serde_json::from_str(json).context("written by another version")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn revision() -> Revision {
        let document = Arc::new(json!({"a": [1, 2.5]}));
        Revision {
            number: 7,
            sha256: document::sha256(&document),
            by: Some("li".into()),
            txid: "t".into(),
            op: "apply".into(),
            since: UtcMicros(5),
            failed: None,
            document,
        }
    }

    proptest! {
        /// A file that is cut short or altered anywhere is no revision.
        #[test]
        fn damage_is_noticed(at in 0usize..260, flip in 1u8..=255, cut: bool) {
            let mut bytes = revision().encode();
            prop_assert_eq!(Revision::decode(&bytes).unwrap(), revision());
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(Revision::decode(&bytes).is_err());
        }

        /// Whatever stands in a file, nothing panics.
        #[test]
        fn any_file_is_judged(bytes: Vec<u8>) {
            let _ = Revision::decode(&bytes);
        }
    }
}
