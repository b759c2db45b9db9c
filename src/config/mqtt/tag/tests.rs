use super::*;
use crate::config::mqtt::BrokerFile;

fn mistakes(tag: serde_json::Value) -> Vec<String> {
    let mut file = serde_json::json!({"id": "b", "url": "mqtt://h"});
    file["tag"] = serde_json::json!([tag]);
    let file: BrokerFile = serde_json::from_value(file).unwrap();
    let mut problems = Problems::default();
    file.check("mqtt[0]", &mut Tags::default(), &mut problems);
    problems.iter().map(|p| p.key.strip_prefix("mqtt[0].tag[0].").unwrap().to_owned()).collect()
}

/// Every way to say where a value is.
#[test]
fn legal_tags_pass() {
    for tag in [
        serde_json::json!({"name": "t", "topic": "a/b"}),
        serde_json::json!({"name": "t", "topic": "a/+", "format": "json", "pointer": "/v~1x/0"}),
        serde_json::json!({"name": "t", "topic": "a/+/c", "format": "segment", "segment": 1}),
        serde_json::json!({"name": "t", "topic": "a/#", "segment": 4, "scale": 0.1}),
        serde_json::json!({"name": "t", "topic": "a", "time_pointer": "/t", "time_unit": "rfc3339",
            "counter": true, "counter_max": 999, "rate": {"name": "t.rate"}}),
    ] {
        assert_eq!(mistakes(tag.clone()), Vec::<String>::new(), "{tag}");
    }
}

/// Each mistake is reported at its own key, and all of a tag's at once.
#[test]
fn mistakes_are_named() {
    for (tag, keys) in [
        (serde_json::json!({"topic": "a/#/b"}), vec!["topic"]),
        (serde_json::json!({"topic": "a", "format": "json"}), vec!["pointer"]),
        (serde_json::json!({"topic": "a", "format": "segment"}), vec!["segment"]),
        (serde_json::json!({"topic": "a/b", "segment": 1}), vec!["segment"]),
        (serde_json::json!({"topic": "a/+", "segment": 2}), vec!["segment"]),
        (serde_json::json!({"topic": "+", "segment": 0, "pointer": ""}), vec!["segment"]),
        (serde_json::json!({"topic": "a", "pointer": "v"}), vec!["pointer"]),
        (serde_json::json!({"topic": "a", "time_pointer": "/t"}), vec!["time_unit"]),
        (serde_json::json!({"topic": "a", "time_unit": "s"}), vec!["time_unit"]),
        (
            serde_json::json!({"topic": "a", "time_unit": "s", "time_pointer": "/~2"}),
            vec!["time_pointer"],
        ),
        (
            serde_json::json!({"topic": "+b", "format": "text", "scale": 2.0, "counter": true}),
            vec!["topic", "scale", "counter"],
        ),
        (serde_json::json!({"topic": "a", "scale": 0.0}), vec!["scale"]),
    ] {
        let mut named = tag.clone();
        named["name"] = "t".into();
        assert_eq!(mistakes(named), keys, "{tag}");
    }
}
