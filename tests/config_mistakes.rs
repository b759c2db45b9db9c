//! Every mistake of a file is named at once, each with its key and its remedy.

use floorcast::config;

fn mistakes(text: &str) -> Vec<(String, String)> {
    match config::load(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| (p.key.clone(), p.message.clone())).collect(),
    }
}

/// Structural and semantic mistakes of one file come together: all ten.
#[test]
fn ten_mistakes_are_all_named() {
    let text = r##"
        [box]
        site = "Plant North"
        idd = "box-1"
        [studio]
        accent = "amber"
        figures = ["speed"]
        [web]
        listen = "everywhere"
        viewers_max = 0
        viewer_max = 3
        extra_addresses = ["here"]
        [metrics]
        listen = 9184
        [webb]
    "##;
    let found = mistakes(text);
    let keys: Vec<&str> = found.iter().map(|(k, _)| k.as_str()).collect();
    for key in [
        "box.site",
        "box.idd",
        "studio.accent",
        "studio.figures[0]",
        "web.listen",
        "web.viewers_max",
        "web.viewer_max",
        "web.extra_addresses[0]",
        "metrics.listen",
        "webb",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {found:#?}");
    }
    assert_eq!(keys.len(), 10, "{found:#?}");
}

/// An unknown key is refused with the nearest known name.
#[test]
fn unknown_key_suggests_the_nearest() {
    let found = mistakes("[web]\nlisteen = \"0.0.0.0:1\"\n");
    assert_eq!(found, [("web.listeen".into(), "unknown key; did you mean \"listen\"?".into())]);
}

/// A choice that may be left out is named like any other.
#[test]
fn an_optional_choice_names_its_key_and_the_nearest_word() {
    let found = mistakes(
        "[[modbus]]\nid = \"b\"\ntcp = \"plc\"\n[[modbus.unit]]\nid = 1\n[[modbus.unit.tag]]\n\
         name = \"x\"\ntable = \"holding\"\naddress = 0\ntype = \"u17\"\n",
    );
    let [(key, message)] = &*found else { panic!("{found:?}") };
    assert_eq!(key, "modbus[0].unit[0].tag[0].type");
    assert!(message.contains("did you mean"), "{message}");
}

/// A syntax error says where.
#[test]
fn syntax_error_names_line_and_column() {
    assert_eq!(mistakes("[web]\nlisten = \n")[0].0, "line 2, column 10");
}

/// A value of the wrong type does not hide other mistakes about the same table.
#[test]
fn wrong_type_does_not_hide_its_neighbour() {
    let found = mistakes("[studio]\naccent = \"x\"\nname = 3\n");
    let keys: Vec<_> = found.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(keys, ["studio.name", "studio.accent"]);
}

/// Any text either loads or is refused with at least one named mistake.
mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(text in "(\\[[a-z.]{1,8}\\]\n|\\[\\[(camera|modbus|mqtt)\\]\\]\n|[a-z_]{1,12} = (-?[0-9]{1,20}|\"[ -!#-~]{0,9}\"|true|\\[\\]|nan)\n){0,12}") {
            if let Err(problems) = config::load(&text) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
