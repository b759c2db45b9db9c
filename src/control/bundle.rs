//! What who helps from afar wants to know, in one answer.
//!
//! Comes in: what the desk and the application know, and what the machine says of
//! itself. Goes out: one object of at most [`MOST`] bytes. Where there is more, what
//! matters least is cut from its end, and `cut` says of what and how many lines.
//! Documents hold references to secrets, never secrets; so does the log.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::change::audit;
use crate::disk::free;

/// A bundle's greatest size, bytes.
const MOST: usize = 512 << 10;
/// For the answer around it.
const AROUND: usize = 1 << 10;
/// Lines of the audit file.
const AUDIT: usize = 200;

/// What the desk knows.
pub struct Known {
    /// As told on `state`.
    pub state: Value,
    /// Of every part, as told on `health/…`.
    pub health: BTreeMap<Arc<str>, Value>,
    /// The last good one's number …
    pub revision: u64,
    /// … and its document.
    pub document: Arc<Value>,
    /// As told on `cfg/reported`.
    pub report: Value,
    /// Where the audit file is.
    pub dir: PathBuf,
}

impl Known {
    /// With what the application gave: `log` and `metrics`, in lines. Reads files.
    pub fn with(self, mut inside: Value) -> Value {
        let mut lines = |name: &str| match inside.get_mut(name).map(Value::take) {
            Some(Value::Array(lines)) => lines,
            _ => Vec::new(),
        };
        let (log, metrics) = (lines("log"), lines("metrics"));
        let whole = [
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("state", self.state),
            ("revision", json!(self.revision)),
            ("machine", machine(&self.dir)),
            ("report", self.report),
            ("health", json!(self.health)),
            ("document", (*self.document).clone()),
        ];
        fit(
            whole,
            [("audit", audited(&self.dir)), ("log", log), ("metrics", metrics)],
            MOST - AROUND,
        )
    }
}

/// In the order of worth: each part as a whole or not at all, then lines while there is room.
fn fit<const N: usize, const M: usize>(
    whole: [(&str, Value); N],
    lines: [(&str, Vec<Value>); M],
    most: usize,
) -> Value {
    let size = |value: &Value| value.to_string().len() + 1;
    let (mut all, mut cut) = (Map::new(), Map::new());
    let mut left = most;
    for (name, value) in whole {
        match left.checked_sub(size(&value) + name.len() + 3) {
            Some(rest) => {
                left = rest;
                all.insert(name.into(), value);
            }
            None => _ = cut.insert(name.into(), json!("all of it")),
        }
    }
    for (name, lines) in lines {
        let had = lines.len();
        left = left.saturating_sub(name.len() + 6);
        let fits = lines.into_iter().map_while(|line| {
            left = left.checked_sub(size(&line))?;
            Some(line)
        });
        let kept: Vec<Value> = fits.collect();
        if kept.len() < had {
            cut.insert(name.into(), json!(had - kept.len()));
            // What comes after is worth less.
            left = 0;
        }
        all.insert(name.into(), kept.into());
    }
    all.insert("cut".into(), cut.into());
    Value::Object(all)
}

/// The newest lines of the audit file, newest first.
fn audited(dir: &Path) -> Vec<Value> {
    let read = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let (older, newer) = (read(audit::OLDER), read(audit::FILE));
    let newest = newer.lines().rev().chain(older.lines().rev()).take(AUDIT);
    newest.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Kernel, time since boot, memory and disk.
fn machine(dir: &Path) -> Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let own = read("/proc/self/status");
    let kib = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "uptime_s": read("/proc/uptime").split('.').next().and_then(|s| s.parse::<u64>().ok()),
        "load": read("/proc/loadavg").trim(),
        "memory_kib": kib(&memory, "MemTotal"),
        "memory_available_kib": kib(&memory, "MemAvailable"),
        "own_memory_kib": kib(&own, "VmRSS"),
        "disk_free_kib": free(dir).map(|bytes| bytes / 1024),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever there is, the bundle fits, keeps the more important parts and says
        /// what of the others is missing.
        #[test]
        fn a_bundle_fits(
            document in 0usize..3000,
            audit in prop::collection::vec("[a-z\"\\\\]{0,80}", 0..40),
            log in prop::collection::vec("\\PC{0,80}", 0..40),
        ) {
            let most = 2000;
            let document = json!("d".repeat(document));
            let values = |all: Vec<String>| all.into_iter().map(Value::from).collect::<Vec<_>>();
            let [audit, log] = [audit, log].map(values);
            let bundle = fit(
                [("version", json!("1")), ("document", document.clone())],
                [("audit", audit.clone()), ("log", log.clone())],
                most,
            );
            prop_assert!(bundle.to_string().len() <= most + 100, "{}", bundle.to_string().len());
            prop_assert_eq!(&bundle["version"], "1");
            let kept = |name: &str| bundle[name].as_array().map_or(0, Vec::len);
            let cut = |name: &str| bundle["cut"][name].as_u64().unwrap_or(0) as usize;
            prop_assert_eq!(kept("audit") + cut("audit"), audit.len());
            prop_assert_eq!(kept("log") + cut("log"), log.len());
            prop_assert!(cut("audit") == 0 || kept("log") == 0);
        }
    }

    /// What the machine says is there to be read.
    #[test]
    fn the_machine_is_described() {
        let machine = machine(Path::new("/"));
        for key in ["uptime_s", "memory_kib", "own_memory_kib", "disk_free_kib"] {
            assert!(machine[key].as_u64().is_some_and(|n| n > 0), "{key}: {machine}");
        }
    }
}
