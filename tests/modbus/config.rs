//! `[[modbus]]`: what loads, and every mistake with its key and its remedy.

use std::time::Duration;

use floorcast::config::modbus::point::Table;
use floorcast::config::modbus::{Link, line::Parity};
use floorcast::config::{self, Config};

fn load(text: &str) -> Config {
    config::load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn mistakes(text: &str) -> Vec<(String, String)> {
    match config::load(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| (p.key.clone(), p.message.clone())).collect(),
    }
}

/// Defaults are the standard's: port 502, 19200 8E1, 125 registers, big end first.
#[test]
fn defaults_are_the_standards() {
    let config = load(
        r#"
        [[modbus]]
        id = "press"
        tcp = "10.0.0.7"
        unit = [{ id = 1, tag = [{ name = "t", table = "holding", address = 0 }] }]
        [[modbus]]
        id = "scale"
        serial = "/dev/ttyS1"
        unit = [{ id = 1, tag = [{ name = "w", table = "input", address = 0, type = "f32" }] }]
        "#,
    );
    assert_eq!(config.buses[0].link, Link::Tcp { host: "10.0.0.7".into(), port: 502 });
    let Link::Serial(line) = &config.buses[1].link else { panic!("not serial") };
    assert_eq!((line.baud, line.parity, line.stop_bits), (19_200, Parity::Even, 1));
    let read = &config.buses[1].units[0].reads[0];
    assert_eq!((read.table, read.address, read.count), (Table::Input, 0, 2));
    assert_eq!(read.period, Duration::from_secs(1));
    let source = &config.tags[0].source;
    assert_eq!((source.id(), &*source.group()), ("press", "unit-1"));
}

/// A rate is a tag of its own, with its own name, unit and publicity.
#[test]
fn a_rate_is_a_tag() {
    let config = load(
        r#"
        [[modbus]]
        id = "filler"
        tcp = "plc.example:1502"
        [[modbus.unit]]
        id = 1
        [[modbus.unit.tag]]
        name = "bottles"
        table = "holding"
        address = 4
        counter = true
        rate = { name = "bottles-per-min", unit = "/min", public = true, window_s = 30 }
        "#,
    );
    let count = config.buses[0].units[0].reads[0].points[0].count.as_ref().expect("counts");
    assert_eq!((count.modulus, count.window), (Some(65_536), Duration::from_secs(30)));
    let rate = &config.tags[count.rate.expect("has a rate").0 as usize];
    assert_eq!((&*rate.name, rate.public), ("bottles-per-min", true));
    assert!(!config.tags[0].public);
}

/// Every mistake of a bus is named in one go.
#[test]
fn every_mistake_is_named() {
    let found = mistakes(
        r#"
        [[modbus]]
        id = "a"
        tcp = "10.0.0.7:0"
        baud = 9600
        [[modbus.unit]]
        id = 0
        max_registers = 126
        [[modbus.unit]]
        id = 2
        max_registers = 2
        tag = [
            { name = "b1", table = "coil", address = 0, type = "u16" },
            { name = "b2", table = "holding", address = 0, type = "bit" },
            { name = "b3", table = "holding", address = 0, type = "i16", mask = 3 },
            { name = "b4", table = "holding", address = 0, mask = 0x10000 },
            { name = "b5", table = "holding", address = 0, type = "u32", order = "abcc" },
            { name = "b6", table = "holding", address = 0, type = "f64" },
            { name = "b7", table = "holding", address = 65535, type = "u32" },
            { name = "b8", table = "holding", address = 0, type = "string", order = "ab" },
            { name = "b9", table = "holding", address = 0, scale = 0 },
            { name = "b10", table = "holding", address = 0, type = "bit", bit = 1, counter = true },
            { name = "b11", table = "holding", address = 0, counter_max = 70000, counter = true },
            { name = "b12", table = "holding", address = 0, period_ms = 5 },
            { name = "b13", table = "holdings", address = 0 },
        ]
        [[modbus.unit]]
        id = 2
        [[modbus]]
        id = "a"
        unit = [{ id = 250, tag = [{ name = "c", table = "coil", address = 0 }] }]
        "#,
    );
    let keys: Vec<&str> = found.iter().map(|(k, _)| k.as_str()).collect();
    let unit = |i: usize, key: &str| format!("modbus[0].unit[{i}].{key}");
    let expected = [
        "modbus[0].tcp".into(),
        "modbus[0].baud".into(),
        unit(0, "id"),
        unit(0, "max_registers"),
        unit(0, "tag"),
        unit(1, "tag[0].type"),
        unit(1, "tag[1].bit"),
        unit(1, "tag[2].mask"),
        unit(1, "tag[3].mask"),
        unit(1, "tag[4].order"),
        unit(1, "tag[5].type"),
        unit(1, "tag[6].address"),
        unit(1, "tag[7].length"),
        unit(1, "tag[8].scale"),
        unit(1, "tag[9].type"),
        unit(1, "tag[10].counter_max"),
        unit(1, "tag[11].period_ms"),
        unit(1, "tag[12].table"),
        unit(2, "id"),
        unit(2, "tag"),
        "modbus[1]".into(),
        "modbus[1].id".into(),
        "modbus[1].unit[0].id".into(),
    ];
    for key in &expected {
        assert!(keys.contains(&key.as_str()), "{key} is missing in {found:#?}");
    }
    assert_eq!(keys.len(), expected.len(), "{found:#?}");
}

/// Two owners of one endpoint would talk at once.
#[test]
fn an_endpoint_has_one_owner() {
    let bus = |id: &str, unit: u8| {
        format!(
            "[[modbus]]\nid = {id:?}\ntcp = \"10.0.0.7:502\"\nunit = [{{ id = {unit}, tag = \
             [{{ name = \"t{unit}\", table = \"coil\", address = 0 }}] }}]\n"
        )
    };
    let found = mistakes(&(bus("a", 1) + &bus("b", 2)));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "modbus[1].tcp");
}

/// A line that cannot carry its requests is refused with the figure.
#[test]
fn an_oversubscribed_line_is_refused() {
    let line = |baud: u32| {
        format!(
            r#"
            [[modbus]]
            id = "scale"
            serial = "/dev/ttyUSB0"
            baud = {baud}
            [[modbus.unit]]
            id = 7
            period_ms = 25
            tag = [{{ name = "w", table = "holding", address = 0 }}]
            "#
        )
    };
    // 8 + 7 characters and two silences: 25 ms at 9600 baud 8E1, 12.6 ms at 19200.
    let found = mistakes(&line(9_600));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "modbus[0].baud");
    assert!(found[0].1.contains("40.0 requests a second would fill 101 %"), "{}", found[0].1);
    load(&line(19_200));
}
