//! `[control]`: the brokers over which the box is set up, and to which it
//! publishes its state and telemetry.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use super::mqtt::{Connection, ConnectionFile};

/// Brokers at most.
const BROKERS: usize = 8;

/// `[control]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ControlFile {
    /// Brokers, tried in this order: one is connected at a time, and stays so
    /// until it fails. None: the box is not set up over MQTT.
    #[serde(rename = "broker")]
    pub brokers: Vec<ConnectionFile>,
    /// Where a box without a site waits to be adopted: only looked at while there is no
    /// broker. A fresh box has no certificate, so the door asks for none. With `url =
    /// "mqtts://_secure-mqtt._tcp.local"` it is looked for on the local network by DNS-SD.
    pub door: Option<ConnectionFile>,
    /// Publish the samples of all tags, public or not: the broker is the plant's.
    pub telemetry: bool,
    /// Disk space for telemetry that no broker has acknowledged yet. When it is
    /// used up, the oldest goes. 256 MiB hold a day of 200 samples a second.
    #[schemars(range(min = 1, max = 65536))]
    pub outbox_max_mib: u32,
}

impl Default for ControlFile {
    fn default() -> Self {
        Self { brokers: Vec::new(), door: None, telemetry: true, outbox_max_mib: 256 }
    }
}

/// How the box is reached, and what it says by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// In the order in which they are tried; empty: no session.
    pub brokers: Vec<Connection>,
    /// Where a box without a site waits to be adopted.
    pub door: Option<Connection>,
    /// Publish telemetry.
    pub telemetry: bool,
    /// Disk space of the outbox, bytes.
    pub outbox_max: u64,
}

impl ControlFile {
    /// Raw to checked.
    pub fn check(self, problems: &mut Problems) -> Control {
        if self.brokers.len() > BROKERS {
            let many = self.brokers.len();
            problems.add("control.broker", format!("{many} brokers: use at most {BROKERS}"));
        }
        let brokers: Vec<_> = (self.brokers.into_iter().enumerate())
            .map(|(i, broker)| broker.check(&format!("control.broker[{i}]"), problems))
            .collect();
        for (i, broker) in brokers.iter().enumerate() {
            let same = |b: &Connection| (&b.host, b.port) == (&broker.host, broker.port);
            if let Some(first) = brokers[..i].iter().position(same) {
                let key = format!("control.broker[{i}].url");
                problems.add(key, format!("is already control.broker[{first}]'s"));
            }
        }
        let door = self.door.map(|door| door.check("control.door", problems));
        let outbox_max = u64::from(self.outbox_max_mib) << 20;
        Control { brokers, door, telemetry: self.telemetry, outbox_max }
    }
}

#[cfg(test)]
mod tests {
    use crate::config;

    fn problems(text: &str) -> Vec<String> {
        let problems = config::load(text).err().unwrap_or_default();
        problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
    }

    /// Brokers keep their order; without any there is no session.
    #[test]
    fn brokers_keep_their_order() {
        let text = "[[control.broker]]\nurl = \"mqtt://b\"\n[[control.broker]]\nurl = \"mqtt://a\"";
        let control = config::load(text).unwrap().control;
        assert_eq!(control.brokers.iter().map(|b| &*b.host).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!((control.telemetry, control.outbox_max), (true, 256 << 20));
        assert_eq!(config::load("").unwrap().control.brokers, []);
    }

    /// Only the door is looked for, and only where it is encrypted.
    #[test]
    fn only_a_door_is_looked_for() {
        let url = |url: &str| format!("url = \"{url}\"\nca_file = \"ca.pem\"");
        let nearby = url("mqtts://_secure-mqtt._tcp.local");
        let door = config::load(&format!("[control.door]\n{nearby}")).unwrap().control.door;
        assert!(door.is_some_and(|door| door.is_nearby()));
        for text in [
            format!("[[control.broker]]\n{nearby}"),
            format!("[control.door]\n{}", url("mqtts://_http._tcp.local")),
            "[control.door]\nurl = \"mqtt://_secure-mqtt._tcp.local\"".into(),
        ] {
            let first = &problems(&text)[0];
            assert!(first.contains(".url: ") && first.contains("only [control.door]"), "{first}");
        }
    }

    /// Every mistake is named by its key.
    #[test]
    fn mistakes_are_named() {
        let broker = "[[control.broker]]\nurl = \"mqtt://a\"\n";
        assert_eq!(
            problems(&broker.repeat(2)),
            ["control.broker[1].url: is already control.broker[0]'s"]
        );
        assert!(problems(&broker.repeat(9))[0].starts_with("control.broker: 9 brokers"));
        assert_eq!(
            problems("[control]\noutbox_max_mib = 0"),
            ["control.outbox_max_mib: 0: use from 1 to 65536"]
        );
        assert!(
            problems("[[control.broker]]\nurl = \"tcp://a\"")[0]
                .starts_with("control.broker[0].url: ")
        );
    }
}
