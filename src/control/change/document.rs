//! A configuration as a JSON document: its canonical text, its hash, patches
//! and differences. Pure.
//!
//! Depth is bounded by the JSON reader (128), so recursion is too.

use serde_json::{Map, Value};

/// A document's greatest size in canonical form, bytes.
pub const DOCUMENT_MAX: usize = 1 << 20;

/// Compact, keys sorted, as `jq -cS .` of version 1.6 prints it: JSON knows
/// one kind of number, so 1.0 is written as 1.
pub fn canonical(document: &Value) -> String {
    // jq escapes DEL, which can only stand inside strings.
    ordered(document, true).to_string().replace('\u{7f}', "\\u007f")
}

/// The hash of the canonical form, hexadecimal.
pub fn sha256(document: &Value) -> String {
    hex(canonical(document).as_bytes())
}

/// True if `hash` is of the canonical form, or of the one that `jq` from 1.7
/// on prints, which keeps 1.0 as it was typed.
pub fn has_sha256(document: &Value, hash: &str) -> bool {
    let typed = || ordered(document, false).to_string().replace('\u{7f}', "\\u007f");
    hash.eq_ignore_ascii_case(&sha256(document))
        || hash.eq_ignore_ascii_case(&hex(typed().as_bytes()))
}

/// SHA-256, hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Keys sorted whatever the map's own order; `bare` writes whole reals as integers.
fn ordered(value: &Value, bare: bool) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries = entries.into_iter().map(|(k, v)| (k.clone(), ordered(v, bare)));
            Value::Object(entries.collect())
        }
        Value::Array(items) => items.iter().map(|v| ordered(v, bare)).collect(),
        Value::Number(n) if bare && n.is_f64() => {
            // Up to 2^53 a real is an exact integer.
            let whole = |x: &f64| x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0;
            n.as_f64().filter(whole).map_or_else(|| value.clone(), |x| (x as i64).into())
        }
        other => other.clone(),
    }
}

/// `target` with a JSON merge patch applied (RFC 7396, section 2).
pub fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut map = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, change) in changes {
        let old = map.remove(key);
        if !change.is_null() {
            map.insert(key.clone(), merge(old.unwrap_or_default(), change));
        }
    }
    Value::Object(map)
}

/// At most this many are named; the rest is counted.
const NAMED: usize = 100;

/// Where two documents differ: JSON pointers (RFC 6901), no values.
pub fn difference(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ(old, new, &mut String::new(), &mut found);
    bounded(found)
}

/// The first hundred, and how many more.
pub fn bounded(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all
}

fn differ(old: &Value, new: &Value, at: &mut String, found: &mut Vec<String>) {
    let mut inside = |key: &str, old: Option<&Value>, new: Option<&Value>| {
        let length = at.len();
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        match (old, new) {
            (Some(old), Some(new)) => differ(old, new, at, found),
            _ => found.push(at.clone()),
        }
        at.truncate(length);
    };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().for_each(|(key, value)| inside(key, Some(value), new.get(key)));
            let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
            added.for_each(|(key, value)| inside(key, None, Some(value)));
        }
        (Value::Array(old), Value::Array(new)) => {
            for i in 0..old.len().max(new.len()) {
                inside(&i.to_string(), old.get(i), new.get(i));
            }
        }
        _ if old != new => found.push(at.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merges_as_the_standard_does() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merge(target.clone(), &patch), result, "{target} {patch}");
        }
    }

    /// The canonical text is what `jq -cS .` 1.6 prints; the hash of what 1.7 prints counts too.
    #[test]
    fn canonical_is_what_jq_prints() {
        let text = r#"{"b":1.0,"a":[1e3,1.10,-7.0,0.5,"é/\u007f\u0001"]}"#;
        let document: Value = serde_json::from_str(text).unwrap();
        let jq16 = r#"{"a":[1000,1.1,-7,0.5,"é/\u007f\u0001"],"b":1}"#;
        assert_eq!(canonical(&document), jq16);
        assert!(has_sha256(&json!({"b": 1.0}), &hex(br#"{"b":1.0}"#)));
        assert!(has_sha256(&json!({"b": 1.0}), &hex(br#"{"b":1}"#)));
        assert!(!has_sha256(&json!({"b": 1.0}), &hex(br#"{"b":2}"#)));
    }

    /// A difference names what was added, removed and changed, escaped as RFC 6901 says.
    #[test]
    fn differences_are_pointers() {
        let old = json!({"a":[1,2],"b/c":{"~":1},"d":1});
        let new = json!({"a":[1,3,4],"b/c":{"~":2},"e":1});
        assert_eq!(difference(&old, &new), ["/a/1", "/a/2", "/b~1c/~0", "/d", "/e"]);
        let many: Value = (0..150).collect();
        assert_eq!(difference(&json!([]), &many).last().unwrap(), "and 50 more");
    }

    /// Any small JSON value.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..5)
                    .prop_map(|m| m.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Equal documents have one hash, different ones show a difference, and
        /// the canonical text is its own canonical text.
        #[test]
        fn documents_are_told_apart(a in any_json(), b in any_json()) {
            prop_assert_eq!(difference(&a, &a), [""; 0]);
            prop_assert_eq!(difference(&a, &b).is_empty(), a == b);
            let again: Value = serde_json::from_str(&canonical(&a)).unwrap();
            prop_assert_eq!(canonical(&again), canonical(&a));
        }

        /// A patch applied twice is the patch applied once.
        #[test]
        fn a_patch_is_idempotent(target in any_json(), patch in any_json()) {
            let once = merge(target, &patch);
            prop_assert_eq!(merge(once.clone(), &patch), once);
        }
    }
}
