//! What a box says, as it says it.
//!
//! Comes in: its messages, of any shape. Goes out: a line each. When the terminal is
//! slow, the session's inbox fills and the broker holds back.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::call::Call;
use super::end::Code;
use super::look::{told_report, told_state, word};
use super::out::Out;
use super::reach::Target;
use super::talk::now;
use crate::clock::rfc3339;
use crate::control::topics::Topics;

/// Follows a box until Ctrl-C, or for `within`.
pub async fn tail(
    target: &Target,
    suffixes: &[String],
    tele: bool,
    within: Option<Duration>,
    out: Out,
) -> anyhow::Result<Code> {
    let topics = Topics::new(target.site()?);
    let root = format!("{}/", topics.root());
    let mut call = Call::open(&target.connection).await?;
    let usual = ["state", "health/#", "cfg/reported", "audit"].map(str::to_owned);
    let mut wanted = if suffixes.is_empty() { usual.to_vec() } else { suffixes.to_vec() };
    if tele {
        wanted.push("tele/#".into());
    }
    let filters: Vec<_> = wanted.iter().map(|suffix| format!("{root}{suffix}")).collect();
    // One by one: who may not read the audit reads the rest.
    let mut refused = 0;
    for filter in &filters {
        if let Err(error) = call.listen(std::slice::from_ref(filter)).await {
            refused += 1;
            if refused == filters.len() {
                return Err(error);
            }
            out.note(&format!("{error:#}"));
        }
    }
    let long = Duration::from_secs(100 * 365 * 86_400);
    let until = Instant::now() + within.unwrap_or(long);
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to Ctrl-C")?;
    loop {
        let message = tokio::select! {
            message = call.next(until) => message?,
            Some(()) = interrupts.recv() => None,
        };
        let Some(message) = message else { break };
        let at = rfc3339::text(now());
        let suffix = message.topic.strip_prefix(&root).unwrap_or(&message.topic);
        let payload: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        out.value(&json!({
            "at": at, "topic": message.topic, "retained": message.retained, "payload": payload,
        }));
        if !out.json {
            let stored = if message.retained { " (stored)" } else { "" };
            for line in lines(suffix, &payload, message.payload.len()) {
                out.line(&format!("{at}{stored} {line}"));
            }
        }
    }
    call.close().await;
    Ok(Code::Done)
}

/// A message in words.
fn lines(suffix: &str, payload: &Value, bytes: usize) -> Vec<String> {
    let (kind, rest) = suffix.split_once('/').unwrap_or((suffix, ""));
    let line = match (kind, rest) {
        _ if bytes == 0 => format!("{suffix}: no longer there"),
        _ if payload.is_null() => format!("{suffix}: {bytes} bytes that are not JSON"),
        ("state", "") => format!("state: {}", told_state(payload)),
        ("cfg", "reported") => format!("configuration: {}", told_report(payload)),
        ("health", part) => {
            let reason = payload["reason"].as_str().unwrap_or_default();
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let [state, since] = ["state", "since"].map(|field| word(&payload[field]));
            format!("{part}: {state} since {since}{reason}")
        }
        ("audit", "") => audit(payload),
        ("tele", source) => return tele(source, payload),
        _ => format!("{suffix}: {payload}"),
    };
    vec![line]
}

fn audit(line: &Value) -> String {
    let [n, user, what, outcome] = ["n", "user", "what", "outcome"].map(|f| word(&line[f]));
    let mut text = format!("audit {n}: {user}: {what}: {outcome}");
    if let Some(revision) = line["revision"].as_u64() {
        text += &format!(", revision {revision}");
    }
    if let Some(reason) = line["reason"].as_str().filter(|reason| !reason.is_empty()) {
        text += &format!(": {reason}");
    }
    text
}

fn tele(source: &str, message: &Value) -> Vec<String> {
    let late = if message["late"] == true { " (late)" } else { "" };
    let samples = message["samples"].as_array().into_iter().flatten();
    let line = |sample: &Value| {
        let why = sample["why"].as_str().map_or(String::new(), |why| format!(": {why}"));
        let [tag, value, quality] = ["tag", "v", "q"].map(|field| word(&sample[field]));
        format!("tele {source}{late} {tag} = {value} ({quality}{why})")
    };
    samples.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(suffix: &str, payload: Value) -> Vec<String> {
        lines(suffix, &payload, 1)
    }

    /// Every kind of message is a readable line.
    #[test]
    fn messages_are_lines() {
        let health = json!({ "state": "no_signal", "since": "s", "reason": "unplugged" });
        assert_eq!(told("health/feed/line", health), ["feed/line: no_signal since s: unplugged"]);
        let state = json!({ "online": true, "version": "0.1.0", "revision": 3, "clock": "free" });
        assert_eq!(told("state", state), ["state: online, version 0.1.0, revision 3, clock free"]);
        let audit =
            json!({ "n": 4, "user": "li", "what": "apply", "outcome": "accepted", "revision": 2 });
        assert_eq!(told("audit", audit), ["audit 4: li: apply: accepted, revision 2"]);
        let tele = json!({ "late": false, "samples": [
            { "tag": "speed", "v": 61, "q": "good", "why": null },
            { "tag": "hall", "v": null, "q": "bad", "why": "timeout" },
        ] });
        assert_eq!(
            told("tele/plc/unit-1", tele),
            ["tele plc/unit-1 speed = 61 (good)", "tele plc/unit-1 hall = - (bad: timeout)"]
        );
        assert_eq!(lines("health/bus/a", &Value::Null, 0), ["health/bus/a: no longer there"]);
        assert_eq!(told("x", Value::Null), ["x: 1 bytes that are not JSON"]);
    }

    proptest! {
        /// Whatever a box says, nothing panics.
        #[test]
        fn any_message_is_told(
            suffix in "(state|health/a|cfg/reported|audit|tele/a/b|x)",
            text in "\\{(\"(state|samples|trial|n|worse)\":(\"x\"|[0-9]{1,20}|\\[[0-9]?\\]|\\{\\}),?){0,3}\\}",
        ) {
            let payload = serde_json::from_str(&text).unwrap_or_default();
            prop_assert!(lines(&suffix, &payload, text.len()).len() <= 1);
        }
    }
}
