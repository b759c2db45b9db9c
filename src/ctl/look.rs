//! Which boxes there are, and how one is.
//!
//! Comes in: what boxes left at the broker, of any shape. Goes out: tables, the worst
//! first. At most [`MOST`] boxes or parts are shown; more are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::end::{Code, silent};
use super::out::Out;
use super::reach::Target;
use super::table::Table;
use crate::control::topics::{ROOT, Topics};

/// Boxes or parts shown, at most.
const MOST: usize = 5000;

/// Another box is waited for this long, usually.
pub const QUIET: Duration = Duration::from_secs(2);

/// Stored messages of one subscription follow each other within this.
const PAUSE: Duration = Duration::from_millis(500);

/// A field as a word; `-` where there is none.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(bit) => bit.to_string(),
        _ => "-".into(),
    }
}

/// Whether a box's state says that it is there.
pub fn online(state: &Value) -> &'static str {
    if state["online"] == true { "online" } else { "offline" }
}

/// Lists every box that has left its state at the broker, and fresh ones that knock.
pub async fn discover(target: &Target, quiet: Duration, out: Out) -> anyhow::Result<Code> {
    let mut call = Call::open(&target.connection).await?;
    let (states, fresh) = (format!("{ROOT}/+/+/state"), format!("{ROOT}/new/+/hello"));
    call.listen(&[states]).await?;
    if let Err(error) = call.listen(&[fresh]).await {
        out.note(&format!("{error:#}"));
    }
    let (mut boxes, mut knocking) = (BTreeMap::new(), BTreeMap::new());
    let mut until = Instant::now() + quiet;
    while let Some(message) = call.next(until).await? {
        let Ok(value) = serde_json::from_slice::<Value>(&message.payload) else { continue };
        let rest = message.topic.strip_prefix(ROOT).unwrap_or_default();
        let known = boxes.len() + knocking.len();
        match rest.split('/').collect::<Vec<_>>()[..] {
            _ if known >= MOST => break,
            ["", "new", serial, "hello"] => _ = knocking.insert(serial.to_owned(), value),
            ["", site, id, "state"] => _ = boxes.insert((site.to_owned(), id.to_owned()), value),
            _ => {}
        }
        // One that speaks again and again does not keep us.
        if boxes.len() + knocking.len() > known {
            until = Instant::now() + quiet;
        }
    }
    call.close().await;
    let head = ["BOX", "STATE", "VERSION", "REVISION", "CLOCK"];
    let mut table = Table::new(&head);
    for ((site, id), state) in &boxes {
        out.value(&json!({ "site": site, "box": id, "state": state }));
        let fields = ["version", "revision", "clock"].map(|field| word(&state[field]));
        let row = [format!("{site}/{id}"), online(state).into()];
        table.row(row.into_iter().chain(fields));
    }
    for (serial, hello) in &knocking {
        out.value(&json!({ "serial": serial, "hello": hello }));
        let version = word(&hello["version"]);
        table.row([format!("serial {serial}"), "new".into(), version, "-".into(), "-".into()]);
    }
    if boxes.is_empty() && knocking.is_empty() {
        return Err(silent(format!(
            "no box has left its state at this broker within {quiet:?}; a broker shows only what \
             you may read"
        )));
    }
    out.table(&table);
    Ok(Code::Done)
}

/// What a box has left at the broker about itself.
#[derive(Default)]
struct Found {
    state: Value,
    reported: Value,
    parts: BTreeMap<String, Value>,
}

/// Shows one box: what runs, and the health of every part.
pub async fn state(target: &Target, within: Duration, out: Out) -> anyhow::Result<Code> {
    let topics = Topics::new(target.site()?);
    let mut call = Call::open(&target.connection).await?;
    call.listen(&[topics.state(), topics.reported(), topics.health("#")]).await?;
    let mut found = Found::default();
    let health = topics.health("");
    let last = Instant::now() + within;
    let mut until = last;
    while let Some(message) = call.next(until).await? {
        let Ok(value) = serde_json::from_slice::<Value>(&message.payload) else { continue };
        if message.topic == topics.state() {
            found.state = value;
        } else if message.topic == topics.reported() {
            found.reported = value;
        } else if let Some(part) = message.topic.strip_prefix(&health)
            && found.parts.len() < MOST
        {
            found.parts.insert(part.to_owned(), value);
        }
        if !found.state.is_null() {
            until = (Instant::now() + PAUSE).min(last);
        }
    }
    call.close().await;
    if found.state.is_null() {
        return Err(silent(format!(
            "{}: no state within {within:?}; `floorcast ctl discover` lists the boxes of this \
             broker",
            topics.root()
        )));
    }
    show(&topics, &found, out);
    Ok(Code::Done)
}

fn show(topics: &Topics, found: &Found, out: Out) {
    let Found { state, reported, parts } = found;
    let name = topics.root().trim_start_matches(ROOT).trim_start_matches('/');
    out.value(&json!({ "box": name, "state": state, "reported": reported, "health": parts }));
    out.line(&format!("{name}: {}", told_state(state)));
    out.line(&format!("configuration: {}", told_report(reported)));
    if parts.is_empty() {
        return;
    }
    let mut worst: Vec<_> = parts.iter().collect();
    worst.sort_by_key(|(part, health)| (rank(&word(&health["state"])), *part));
    let mut table = Table::new(&["PART", "STATE", "SINCE", "REASON"]);
    for (part, health) in worst {
        let [state, since] = ["state", "since"].map(|field| word(&health[field]));
        let reason = health["reason"].as_str().unwrap_or_default().to_owned();
        table.row([part.clone(), state, since, reason]);
    }
    out.table(&table);
}

/// What needs somebody comes first.
fn rank(state: &str) -> u8 {
    match state {
        "no_signal" => 0,
        "connecting" => 1,
        "suspect" => 2,
        "paused" => 4,
        "resting" => 5,
        "live" => 6,
        _ => 3,
    }
}

/// `state` in a line.
pub fn told_state(state: &Value) -> String {
    let mut line = online(state).to_owned();
    for field in ["version", "revision", "clock"] {
        if !state[field].is_null() {
            line += &format!(", {field} {}", word(&state[field]));
        }
    }
    line
}

/// `cfg/reported` in a line.
pub fn told_report(report: &Value) -> String {
    if report.is_null() {
        return "not reported yet".into();
    }
    let by = |who: &Value| match who.as_str() {
        Some(by) => format!(" by {by}"),
        None => String::new(),
    };
    let mut line = format!(
        "revision {}{} since {}, {}",
        word(&report["revision"]),
        by(&report["by"]),
        word(&report["since"]),
        word(&report["status"])
    );
    let trial = &report["trial"];
    if trial.is_object() {
        line += &format!(
            "; on trial: revision {}{} until {}",
            word(&trial["revision"]),
            by(&trial["by"]),
            word(&trial["confirm_by"])
        );
        for worse in trial["worse"].as_array().into_iter().flatten().take(10) {
            line += &format!("; worse: {}: {}", word(&worse["part"]), word(&worse["reason"]));
        }
    }
    let failure = &report["failure"];
    if failure.is_object() {
        line += &format!(
            "; did not stay: revision {}{} at {}: {}",
            word(&failure["revision"]),
            by(&failure["by"]),
            word(&failure["at"]),
            word(&failure["why"])
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What needs somebody comes first, what works last.
    #[test]
    fn the_worst_comes_first() {
        let mut states = ["live", "paused", "no_signal", "unheard_of", "suspect", "connecting"];
        states.sort_by_key(|state| rank(state));
        assert_eq!(states, ["no_signal", "connecting", "suspect", "unheard_of", "paused", "live"]);
    }

    /// A report is one sentence, with what is on trial and what did not stay.
    #[test]
    fn a_report_is_one_sentence() {
        let report = json!({
            "revision": 1, "since": "s", "status": "trial", "by": null,
            "trial": { "revision": 2, "by": "li", "confirm_by": "c",
                       "worse": [{ "part": "feed/a", "reason": "no_signal" }] },
            "failure": { "revision": 3, "by": "ana", "at": "t", "why": "nobody confirmed it" },
        });
        assert_eq!(
            told_report(&report),
            "revision 1 since s, trial; on trial: revision 2 by li until c; \
             worse: feed/a: no_signal; did not stay: revision 3 by ana at t: nobody confirmed it"
        );
        assert_eq!(told_report(&json!({})), "revision - since -, -");
    }
}
