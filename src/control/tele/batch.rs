//! Samples to entries: one list per source and group. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::clock::{Lock, WallClock};
use crate::control::outbox::Entry;
use crate::model::{Mono, Quality, Sample, Tag, UtcMicros, Value};

/// Samples in an entry, at most.
pub const SAMPLES: u32 = 500;

/// Bytes of an entry, about: many brokers take packets of 64 KiB.
const BYTES: usize = 60_000;

/// Integers beyond this are not exact in JavaScript and are written as strings.
const EXACT: u128 = 1 << 53;

/// Gathers samples until they are taken.
pub struct Batch {
    /// By tag: its group, and its name as JSON; `None` where it is retired.
    tags: Vec<Option<(usize, String)>>,
    groups: Vec<Group>,
    boot: String,
    ready: Vec<Entry>,
}

/// A source's group, and its samples so far.
struct Group {
    topic: String,
    text: String,
    samples: u32,
}

impl Batch {
    /// For a revision's tags. `boot` is the box's boot id.
    pub fn new(tags: &[Tag], boot: &str) -> Self {
        let mut groups = Vec::new();
        let mut known = HashMap::new();
        let tags = tags.iter().map(|tag| {
            if tag.is_retired() {
                return None;
            }
            let group = *known.entry(tag.source.clone()).or_insert_with(|| {
                let topic = format!("tele/{}/{}", tag.source.id(), tag.source.group());
                groups.push(Group { topic, text: String::new(), samples: 0 });
                groups.len() - 1
            });
            Some((group, Json::from(&*tag.name).to_string()))
        });
        let tags = tags.collect();
        Self { tags, groups, boot: Json::from(boot).to_string(), ready: Vec::new() }
    }

    /// Adds samples; a group that is large enough becomes an entry at once.
    pub fn add(&mut self, samples: &[Sample], wall: &WallClock, now: Mono) {
        for sample in samples {
            let Some(Some((group, name))) = self.tags.get(sample.tag.0 as usize) else { continue };
            let group = &mut self.groups[*group];
            write(sample, name, wall, &mut group.text);
            group.samples += 1;
            if group.samples >= SAMPLES || group.text.len() >= BYTES {
                self.ready.push(group.take(&self.boot, wall.lock(), wall.utc(now)));
            }
        }
    }

    /// Entries that wait to be taken.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// All entries, with what was gathered for the next ones.
    pub fn take(&mut self, wall: &WallClock, now: Mono) -> Vec<Entry> {
        let mut all = std::mem::take(&mut self.ready);
        for group in self.groups.iter_mut().filter(|group| group.samples > 0) {
            all.push(group.take(&self.boot, wall.lock(), wall.utc(now)));
        }
        all
    }
}

impl Group {
    fn take(&mut self, boot: &str, lock: Lock, made: UtcMicros) -> Entry {
        let clock = match lock {
            Lock::Locked => "locked",
            Lock::Holdover => "holdover",
            Lock::Free => "free",
        };
        let samples = std::mem::take(&mut self.text);
        let body = format!("\"boot\":{boot},\"clock\":\"{clock}\",\"samples\":[{samples}]}}");
        let count = std::mem::take(&mut self.samples);
        Entry { topic: self.topic.clone(), body: body.into(), samples: count, made }
    }
}

/// The message of a record: only when it is sent are its number and whether it
/// is late put before what is stored.
pub fn message(seq: u64, late: bool, body: &[u8]) -> Bytes {
    let mut message = format!("{{\"seq\":{seq},\"late\":{late},").into_bytes();
    message.extend(body);
    message.into()
}

fn write(sample: &Sample, name: &str, wall: &WallClock, out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
    let quality = match sample.quality {
        Quality::Good => "good",
        Quality::Stale => "stale",
        Quality::Bad => "bad",
    };
    let [taken, requested, received] =
        [sample.taken, sample.requested, sample.received].map(|at| wall.utc(at).0);
    let (error, why) = (sample.error.as_micros(), Json::from(sample.reason.as_deref()));
    // Writing to a String cannot fail.
    let _ = write!(out, "{{\"tag\":{name},\"v\":");
    let _ = match &sample.value {
        Value::None => write!(out, "null"),
        Value::Bool(bit) => write!(out, "{bit}"),
        Value::Int(n) if n.unsigned_abs() <= EXACT => write!(out, "{n}"),
        Value::Int(n) => write!(out, "\"{n}\""),
        Value::Real(x) => write!(out, "{}", Json::from(*x)),
        Value::Text(t) => write!(out, "{}", Json::from(&**t)),
    };
    let _ = write!(
        out,
        ",\"q\":\"{quality}\",\"t_us\":{taken},\"err_us\":{error},\"req_us\":{requested},\
         \"rcv_us\":{received},\"why\":{why}}}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::TagId;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn tags() -> Arc<[Tag]> {
        let text = "[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:502\"\n\
            [[modbus.unit]]\nid = 7\n\
            [[modbus.unit.tag]]\nname = \"speed\"\ntable = \"input\"\naddress = 0\ntype = \"u16\"\n\
            [[mqtt]]\nid = \"plant\"\nurl = \"mqtt://a\"\n\
            [[mqtt.tag]]\nname = \"hall\"\ntopic = \"hall\"\n";
        config::load(text).unwrap_or_else(|problems| panic!("{problems}")).tags
    }

    fn sample(tag: u32, value: Value) -> Sample {
        Sample {
            tag: TagId(tag),
            quality: if value == Value::None { Quality::Bad } else { Quality::Good },
            reason: (value == Value::None).then(|| "time \"out\"".into()),
            value,
            taken: Mono(1_500_000),
            error: Duration::from_micros(7),
            requested: Mono(1_000_000),
            received: Mono(2_000_000),
        }
    }

    fn json(entry: &Entry) -> Json {
        serde_json::from_slice(&message(9, true, &entry.body)).unwrap()
    }

    /// One entry per source and group, each sample with its times and quality.
    #[test]
    fn samples_are_grouped_by_source() {
        let (wall, mut batch) =
            (WallClock::fixed(Duration::from_secs(1)), Batch::new(&tags(), "b-1"));
        let some = [sample(0, Value::Int(61)), sample(1, Value::Real(1.5)), sample(0, Value::None)];
        batch.add(&some, &wall, Mono(0));
        let entries = batch.take(&wall, Mono(0));
        assert_eq!(
            entries.iter().map(|e| &*e.topic).collect::<Vec<_>>(),
            ["tele/plc/unit-7", "tele/plant/tags"]
        );
        assert_eq!(
            json(&entries[0]),
            serde_json::json!({
                "seq": 9, "late": true, "boot": "b-1", "clock": "free", "samples": [
                    {"tag": "speed", "v": 61, "q": "good", "t_us": 1_001_500, "err_us": 7,
                     "req_us": 1_001_000, "rcv_us": 1_002_000, "why": null},
                    {"tag": "speed", "v": null, "q": "bad", "t_us": 1_001_500, "err_us": 7,
                     "req_us": 1_001_000, "rcv_us": 1_002_000, "why": "time \"out\""},
                ]
            })
        );
        assert_eq!(batch.take(&wall, Mono(0)), []);
    }

    /// A group is cut at its greatest number of samples.
    #[test]
    fn large_groups_are_cut() {
        let (wall, mut batch) = (WallClock::fixed(Duration::ZERO), Batch::new(&tags(), "b"));
        let some = vec![sample(0, Value::Bool(true)); 1100];
        batch.add(&some, &wall, Mono(0));
        let counts: Vec<_> = batch.take(&wall, Mono(0)).iter().map(|e| e.samples).collect();
        assert!(counts[0] <= SAMPLES && counts.len() > 2, "{counts:?}");
        assert_eq!(counts.iter().sum::<u32>(), 1100);
    }

    proptest! {
        /// Whatever a source says, the message is JSON and keeps the value; an
        /// integer beyond 2^53 is kept as text.
        #[test]
        fn every_value_is_json(text in ".{0,40}", int in any::<i128>(), real in any::<f64>()) {
            let (wall, mut batch) = (WallClock::fixed(Duration::ZERO), Batch::new(&tags(), "b"));
            let real = if real.is_finite() { real } else { 0.0 };
            let values = [Value::Text(text.as_str().into()), Value::Int(int), Value::Real(real)];
            batch.add(&values.map(|value| sample(0, value)), &wall, Mono(0));
            let message = json(&batch.take(&wall, Mono(0))[0]);
            prop_assert_eq!(&message["samples"][0]["v"], &Json::from(text));
            let exact = int.unsigned_abs() <= EXACT;
            let whole = if exact { Json::from(int as i64) } else { Json::from(int.to_string()) };
            prop_assert_eq!(&message["samples"][1]["v"], &whole);
            // The test's parser may round the last digit; the text is exact.
            let read = message["samples"][2]["v"].as_f64().unwrap();
            prop_assert!((read - real).abs() <= real.abs() * 1e-15);
        }
    }
}
