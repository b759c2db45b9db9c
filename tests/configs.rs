//! The annotated examples are the manual: every one of them must load.

use std::path::Path;
use std::process::Command;

use floorcast::config::{self, Config};

fn load(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let text = std::fs::read_to_string(&path).expect("read");
    config::load(&text).unwrap_or_else(|problems| panic!("configs/{name}:\n{problems}"))
}

/// Every example is accepted as it stands.
#[test]
fn every_example_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("configs/")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    for name in &names {
        load(name);
    }
    for expected in ["demo.toml", "line.toml", "minimal.toml"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is missing: {names:?}");
    }
}

/// What the demo promises to a first-time viewer.
#[test]
fn demo_shows_six_public_figures_named_in_both_languages() {
    let demo = load("demo.toml");
    assert_eq!(demo.studio.figures.len(), 6);
    for tag in demo.tags.iter() {
        assert!(!tag.label.zh.is_ascii(), "{}: no Chinese name: {}", tag.name, tag.label.zh);
        assert_ne!(*tag.label.en, *tag.name, "{}: no English name", tag.name);
    }
    assert!(demo.tags.iter().any(|tag| !tag.public), "something stays private");
    assert!(demo.cameras.iter().all(|camera| camera.port.starts_with("sim:")));
}

/// The full example really is full: every section and both kinds of bus.
#[test]
fn full_example_names_every_key() {
    let line = load("line.toml");
    assert!(line.cameras.len() > 1 && line.buses.len() > 1 && line.brokers.len() > 1);
    let text = include_str!("../configs/line.toml");
    let schema = config::schema::schema();
    let schema = serde_json::to_value(schema).expect("JSON");
    let mut missing = Vec::new();
    keys(&schema, &mut |key| {
        let named = text.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with(&format!("{key} "))
                || line.contains(&format!(" {key} = "))
                || line.contains(&format!("{key}]"))
        });
        if !named && !missing.contains(&key.to_owned()) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "configs/line.toml does not explain {missing:?}");
}

/// systemd's own assessment of the unit: at most 2.0, of 10 for one that may do everything.
#[test]
fn unit_is_exposed_no_more_than_2() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/floorcast.service");
    let told = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
        .arg(unit)
        .output()
        .expect("systemd-analyze: run scripts/setup test");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
}

/// Visits the name of every property in a JSON Schema.
fn keys(schema: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    match schema {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                if name == "properties"
                    && let Some(properties) = value.as_object()
                {
                    properties.keys().for_each(|key| visit(key));
                }
                keys(value, visit);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, visit)),
        _ => {}
    }
}
