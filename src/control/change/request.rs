//! What a technician asks for: bytes to a checked request.
//!
//! Comes in: a topic's user and operation, and any bytes. Goes out: a request
//! whose every field is in range, or why not and under which txid to say so.
//! At most [`PAYLOAD_MAX`] bytes and 128 levels; what is larger is refused unread.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Now;
use crate::clock::{Lock, rfc3339};
use crate::model::UtcMicros;

/// A payload's greatest size, bytes.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// The txid of replies to payloads that show none.
pub const UNREADABLE: &str = "unreadable";
/// How far ahead `expires` may be, microseconds.
const AHEAD_MAX: i64 = 3_600_000_000;
/// 2026-01-01T00:00:00Z: a free clock before this was never set.
const UNSET_BEFORE: UtcMicros = UtcMicros(1_767_225_600_000_000);
/// Seconds on probation unless the request says otherwise.
const CONFIRM_S: u64 = 120;
/// How far a stored revision may be ahead of the highest number used: a slip
/// of a digit must not use up all numbers.
const REVISION_LEAP: u64 = 1_000_000;

/// An operation, the last level of `cfg/req/<user>/<op>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Is this document usable?
    Validate,
    /// Put it on trial.
    Apply,
    /// Keep what is on trial.
    Confirm,
    /// Back to the revision before.
    Rollback,
    /// The current document.
    Get,
    /// The JSON Schema of documents.
    Schema,
    /// The stored message `cfg/desired`.
    Desired,
}

impl Op {
    /// The operation of a topic's last level; `desired` has a topic of its own.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "validate" => Self::Validate,
            "apply" => Self::Apply,
            "confirm" => Self::Confirm,
            "rollback" => Self::Rollback,
            "get" => Self::Get,
            "schema" => Self::Schema,
            _ => return None,
        })
    }

    /// As in topics and the audit file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Apply => "apply",
            Self::Confirm => "confirm",
            Self::Rollback => "rollback",
            Self::Get => "get",
            Self::Schema => "schema",
            Self::Desired => "desired",
        }
    }

    /// Runs once per txid, and expires.
    pub fn changes(self) -> bool {
        matches!(self, Self::Apply | Self::Confirm | Self::Rollback)
    }

    fn takes(self, field: &str) -> bool {
        match field {
            "base" | "patch" => matches!(self, Self::Validate | Self::Apply),
            "document" | "sha256" => matches!(self, Self::Validate | Self::Apply | Self::Desired),
            // A request to apply may be validated as it is.
            "confirm_s" => !matches!(self, Self::Confirm | Self::Get | Self::Schema),
            "revision" => matches!(self, Self::Confirm | Self::Desired),
            "by" => self == Self::Desired,
            _ => true,
        }
    }
}

/// True for what may be a user: a certificate's common name, one topic level.
pub fn is_user(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.@".contains(&b);
    (1..=40).contains(&text.len()) && text.bytes().all(legal)
}

/// True for what may be a txid: one topic level, without a dot, which separates levels in
/// RabbitMQ, and for which NATS before 2.10 ends the session of whoever publishes to it.
pub fn is_txid(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}

/// A document as asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// All of it.
    Whole(Value),
    /// An RFC 7396 merge patch against the base.
    Patch(Value),
}

/// A checked request. What its operation does not take is empty.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// The sender's name for this request.
    pub txid: String,
    /// The revision that the sender has seen.
    pub base: Option<u64>,
    /// The new document.
    pub content: Option<Content>,
    /// Of the document that results.
    pub sha256: Option<String>,
    /// Not to be run later than this.
    pub expires: Option<UtcMicros>,
    /// Seconds on probation.
    pub confirm_s: u64,
    /// The revision to confirm, or of a stored document.
    pub revision: Option<u64>,
    /// Who stored the document, by their own account.
    pub by: Option<String>,
}

/// Why a payload is no request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Where to say so.
    pub txid: String,
    /// What is wrong, with the field's name.
    pub reason: String,
    /// What would be right.
    pub remedy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    txid: String,
    base: Option<u64>,
    document: Option<Value>,
    patch: Option<Value>,
    sha256: Option<String>,
    expires: Option<String>,
    confirm_s: Option<u64>,
    revision: Option<u64>,
    by: Option<String>,
}

const FIELDS: [&str; 9] =
    ["txid", "base", "document", "patch", "sha256", "expires", "confirm_s", "revision", "by"];

/// The object that a payload of at most `max` bytes is, with its txid. `smaller`: what
/// to do about a larger one, which is not read.
///
/// # Errors
/// Where to say what is wrong with it.
pub fn object(
    payload: &[u8],
    max: usize,
    smaller: &str,
) -> Result<(String, Map<String, Value>), Refusal> {
    let refuse = |reason: &dyn fmt::Display, remedy: &str| Refusal {
        txid: UNREADABLE.into(),
        reason: reason.to_string(),
        remedy: remedy.into(),
    };
    if payload.len() > max {
        return Err(refuse(&format!("payload of {} bytes", payload.len()), smaller));
    }
    // The reader's words name a place, never a value.
    let value: Value = serde_json::from_slice(payload)
        .map_err(|error| refuse(&format!("not JSON: {error}"), "send one object"))?;
    let Value::Object(fields) = value else {
        return Err(refuse(&"not a JSON object", "send one object"));
    };
    match fields.get("txid").and_then(Value::as_str).filter(|t| is_txid(t)) {
        Some(txid) => Ok((txid.to_owned(), fields)),
        None => {
            let remedy = "txid: 1 to 64 of A-Z, a-z, 0-9, - and _";
            Err(refuse(&"txid is missing or malformed", remedy))
        }
    }
}

/// When a request is not to be run any more: ahead of now, by an hour at most. A clock
/// that was never set cannot tell.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn expiry(text: &str, now: Now) -> Result<UtcMicros, (String, String)> {
    let refuse = |reason: &str, remedy: String| Err((reason.to_owned(), remedy));
    let Some((nanos, _)) = rfc3339::parse(text) else {
        return refuse("expires is no time", "expires: RFC 3339, as 2026-03-01T08:00:00Z".into());
    };
    let expires = UtcMicros(nanos.div_euclid(1000));
    let clock = format!("the box's clock shows {}", rfc3339::text(now.utc));
    if unset(now) {
        return Ok(expires);
    }
    if expires <= now.utc {
        return refuse("expired", format!("{clock}; send it anew with a later expires"));
    }
    if expires.0.saturating_sub(now.utc.0) > AHEAD_MAX {
        return refuse("expires is more than an hour ahead", clock);
    }
    Ok(expires)
}

/// Reads and checks a payload. `highest`: the greatest revision number used yet.
pub fn parse(op: Op, payload: &[u8], highest: u64, now: Now) -> Result<Request, Refusal> {
    let (txid, fields) = object(payload, PAYLOAD_MAX, "send at most 1 MiB; a patch is smaller")?;
    let refuse = |reason: &dyn fmt::Display, remedy: &str| {
        Err(Refusal { txid: txid.clone(), reason: reason.to_string(), remedy: remedy.into() })
    };
    if let Some(key) = fields.keys().find(|k| !FIELDS.contains(&k.as_str()) || !op.takes(k)) {
        let key: String = key.chars().take(60).collect();
        let known: Vec<_> = FIELDS.into_iter().filter(|f| op.takes(f)).collect();
        let reason = format!("{key:?} is no field of {}", op.name());
        return refuse(&reason, &format!("its fields: {}", known.join(", ")));
    }
    for (key, value) in &fields {
        let (fits, want) = match key.as_str() {
            "base" | "confirm_s" | "revision" => (value.is_u64(), "a whole number"),
            "document" | "patch" => (value.is_object(), "an object"),
            _ => (value.is_string(), "a string"),
        };
        if !fits {
            return refuse(&format!("{key} has the wrong type"), &format!("{key}: {want}"));
        }
    }
    let file: RequestFile = match serde_json::from_value(Value::Object(fields)) {
        Ok(file) => file,
        Err(_) => return refuse(&"malformed fields", "see the fields in the manual"),
    };
    let content = match (file.document, file.patch) {
        (Some(_), Some(_)) => return refuse(&"document and patch", "send one of them"),
        (Some(document), None) => Some(Content::Whole(document)),
        (None, Some(patch)) => Some(Content::Patch(patch)),
        (None, None) => None,
    };
    let needs = |missing: bool, field: &str| missing && op.takes(field);
    let missing = match op {
        Op::Validate if content.is_none() => Some("document or patch"),
        Op::Apply | Op::Desired if content.is_none() => Some("document"),
        Op::Apply if file.base.is_none() => Some("base"),
        Op::Apply | Op::Desired if needs(file.sha256.is_none(), "sha256") => Some("sha256"),
        Op::Confirm | Op::Desired if needs(file.revision.is_none(), "revision") => Some("revision"),
        op if op.changes() && file.expires.is_none() => Some("expires"),
        _ => None,
    };
    if let Some(field) = missing {
        return refuse(&format!("{field} is missing"), &format!("{} needs {field}", op.name()));
    }
    let is_hash = |h: &String| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit());
    if file.sha256.as_ref().is_some_and(|h| !is_hash(h)) {
        return refuse(&"sha256 is malformed", "sha256: 64 hexadecimal digits");
    }
    if file.by.as_deref().is_some_and(|by| !is_user(by)) {
        return refuse(&"by is malformed", "by: 1 to 40 of a-z, 0-9, -, _, . and @");
    }
    let confirm_s = file.confirm_s.unwrap_or(CONFIRM_S);
    if !(10..=3600).contains(&confirm_s) {
        return refuse(&format!("confirm_s is {confirm_s}"), "confirm_s: 10 to 3600");
    }
    if op == Op::Desired && file.revision.is_some_and(|r| r > highest.saturating_add(REVISION_LEAP))
    {
        let most = highest.saturating_add(REVISION_LEAP);
        return refuse(
            &"revision is far ahead",
            &format!("revision: above {highest}, at most {most}"),
        );
    }
    let expires = match file.expires.as_deref().map(|text| expiry(text, now)).transpose() {
        Ok(expires) => expires,
        Err((reason, remedy)) => return refuse(&reason, &remedy),
    };
    Ok(Request {
        op,
        txid: file.txid,
        base: file.base,
        content,
        sha256: file.sha256,
        expires,
        confirm_s,
        revision: file.revision,
        by: file.by,
    })
}

/// True if the wall clock was evidently never set.
pub fn unset(now: Now) -> bool {
    now.lock == Lock::Free && now.utc < UNSET_BEFORE
}
