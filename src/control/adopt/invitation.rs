//! An invitation: any bytes to a site, a name and a certificate.

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::identity::Files;
use crate::control::change::{Now, is_txid, request};

/// A larger one is not read.
const MOST: usize = 32 << 10;

/// What an engineer sends to a fresh box.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// For the answer.
    txid: String,
    /// RFC 3339.
    expires: String,
    /// Whom it is for.
    serial: String,
    site: String,
    #[serde(rename = "box")]
    id: String,
    /// The box's certificate and what is between it and the authority, PEM.
    pub certificate: String,
    /// The site's authority, PEM.
    pub authority: String,
    /// `mqtts://HOST:PORT` of the site's brokers, in order.
    brokers: Vec<String>,
}

/// The txid of a payload that may be anything, for the answer.
pub fn txid(payload: &[u8]) -> String {
    let all: Value = match payload.len() <= MOST {
        true => serde_json::from_slice(payload).unwrap_or_default(),
        false => Value::Null,
    };
    let txid = all.get("txid").and_then(Value::as_str).filter(|txid| is_txid(txid));
    txid.unwrap_or("unreadable").to_owned()
}

impl Invitation {
    /// Reads one for the box `serial`.
    ///
    /// # Errors
    /// What is wrong, and with which field.
    pub fn parse(payload: &[u8], serial: &str, now: Now) -> Result<Self> {
        let size = payload.len();
        ensure!(size <= MOST, "{size} bytes; an invitation has at most {MOST}");
        let this: Self = serde_json::from_slice(payload).context("not an invitation in JSON")?;
        ensure!(is_txid(&this.txid), "txid: use 1 to 64 of A-Z, a-z, 0-9, - and _");
        let expiry = request::expiry(&this.expires, now);
        expiry.map_err(|(reason, remedy)| anyhow!("expires: {reason}; {remedy}"))?;
        ensure!(this.serial == serial, "serial: {:?} is not this box's {serial:?}", this.serial);
        ensure!(!this.brokers.is_empty(), "brokers: none");
        for url in &this.brokers {
            ensure!(url.starts_with("mqtts://"), "brokers: {url:?}: use mqtts://HOST:PORT");
        }
        Ok(this)
    }

    /// The first revision: what the box came with, its name, and how it is reached.
    pub fn document(&self, seed: Value, files: &Files) -> Value {
        let mut document = if seed.is_object() { seed } else { json!({}) };
        let Files { authority, certificate, key } = files;
        let broker = |url: &String| json!({ "url": url, "ca_file": authority, "cert_file": certificate, "key_file": key });
        document["box"] = json!({ "site": self.site, "id": self.id });
        if !document["control"].is_object() {
            document["control"] = json!({});
        }
        document["control"]["broker"] = self.brokers.iter().map(broker).collect();
        if let Some(control) = document["control"].as_object_mut() {
            control.remove("door");
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Lock;
    use crate::model::{Mono, UtcMicros};
    use proptest::prelude::*;

    const NOW: Now =
        Now { mono: Mono(0), utc: UtcMicros(1_800_000_000_000_000), lock: Lock::Locked };

    fn fields() -> Value {
        json!({
            "txid": "a1", "expires": "2027-01-15T08:10:00Z", "serial": "sn-1", "site": "works",
            "box": "line-2", "certificate": "c", "authority": "a", "brokers": ["mqtts://b:8883"],
        })
    }

    /// The first revision is what the box came with, under its name and with its brokers.
    #[test]
    fn the_first_revision_keeps_what_the_box_came_with() {
        let invitation = Invitation::parse(fields().to_string().as_bytes(), "sn-1", NOW).unwrap();
        let [authority, certificate, key] = ["/a", "/c", "/k"].map(Into::into);
        let seed = json!({ "web": { "viewers_max": 7 }, "control": { "door": { "url": "x" }, "telemetry": false } });
        let document = invitation.document(seed, &Files { authority, certificate, key });
        let broker = json!({ "url": "mqtts://b:8883", "ca_file": "/a", "cert_file": "/c", "key_file": "/k" });
        let expected = json!({
            "web": { "viewers_max": 7 },
            "box": { "site": "works", "id": "line-2" },
            "control": { "telemetry": false, "broker": [broker] },
        });
        assert_eq!(document, expected);
    }

    /// Another's, an expired, an unencrypted or an unknown one is refused by its field.
    #[test]
    fn mistakes_are_named_by_their_field() {
        for (field, value) in [
            ("serial", json!("sn-2")),
            ("expires", json!("2026-01-02T00:00:00Z")),
            ("expires", json!("soon")),
            ("brokers", json!([])),
            ("brokers", json!(["mqtt://b"])),
            ("txid", json!("a/b")),
        ] {
            let mut all = fields();
            all[field] = value;
            let refused = Invitation::parse(all.to_string().as_bytes(), "sn-1", NOW).unwrap_err();
            assert!(refused.to_string().starts_with(field), "{field}: {refused:#}");
        }
        let mut more = fields();
        more["extra"] = json!(1);
        let refused = Invitation::parse(more.to_string().as_bytes(), "sn-1", NOW).unwrap_err();
        assert!(format!("{refused:#}").contains("extra"), "{refused:#}");
    }

    proptest! {
        /// Whatever comes: judged, and answered under a txid that can be a topic's level.
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Invitation::parse(&bytes, "sn-1", NOW).is_err());
            prop_assert!(is_txid(&txid(&bytes)));
        }
    }
}
