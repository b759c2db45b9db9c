//! The annotated example is the manual of `[[mqtt]]`.

use floorcast::config;

const TEXT: &str = include_str!("../configs/annotated-mqtt.toml");

/// It explains every key that there is.
#[test]
fn every_key_is_explained() {
    let schema = config::schema::schema();
    for kind in ["BrokerFile", "MqttTagFile", "RateFile"] {
        let keys = schema.pointer(&format!("/$defs/{kind}/properties")).expect(kind);
        for key in keys.as_object().expect("object").keys().filter(|k| *k != "tag") {
            let explained = TEXT.lines().any(|line| {
                let line = line.trim_start_matches('#').trim_start();
                line.starts_with(&format!("{key} =")) || line.contains(&format!(" {key} ="))
            });
            assert!(explained, "{kind}: {key}");
        }
    }
}
