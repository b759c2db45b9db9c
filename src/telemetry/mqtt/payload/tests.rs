use super::*;
use crate::config::mqtt::{Filter, tag::Retained};
use crate::model::TagId;
use proptest::prelude::*;
use std::time::Duration;

fn tag(kind: Kind, place: Place) -> MqttTag {
    MqttTag {
        id: TagId(0),
        topic: Filter::all(),
        qos: 0,
        kind,
        place,
        line: None,
        count: None,
        time: None,
        retained: Retained::Stale,
        spacing: Duration::from_millis(10),
    }
}

fn text(t: &str) -> Result<Value, &'static str> {
    Ok(Value::Text(t.into()))
}

fn plain(kind: Kind, payload: &[u8]) -> Result<Value, &'static str> {
    Content::new("t", payload).value(&tag(kind, Place::Payload), "°C")
}

fn json(kind: Kind, pointer: &str, payload: &str) -> Result<Value, &'static str> {
    Content::new("t", payload.as_bytes()).value(&tag(kind, Place::Pointer(pointer.into())), "°C")
}

/// Numbers as people write them: spaces, signs, exponents, the tag's own unit.
#[test]
fn plain_numbers() {
    for (payload, value) in [
        ("21", Value::Int(21)),
        (" -3\r\n", Value::Int(-3)),
        ("+7", Value::Int(7)),
        ("18446744073709551616", Value::Int(1 << 64)),
        ("21.5", Value::Real(21.5)),
        ("1e3", Value::Real(1000.0)),
        ("21.5 °C", Value::Real(21.5)),
        ("21°C", Value::Int(21)),
    ] {
        assert_eq!(plain(Kind::Number, payload.as_bytes()), Ok(value), "{payload:?}");
    }
}

/// Everything else is bad with a reason, never zero.
#[test]
fn what_is_no_number_is_bad() {
    for (payload, why) in [
        (&b""[..], "empty"),
        (b"  ", "empty"),
        (b"abc", "not a number"),
        (b"21 bar", "not a number"),
        (b"1,5", "not a number"),
        (b"NaN", "not a finite number"),
        (b"inf", "not a finite number"),
        (b"1e999", "not a finite number"),
        (b"\xff\xfe", "not UTF-8"),
        (b"{\"value\":1}", "not a number"),
    ] {
        assert_eq!(plain(Kind::Number, payload), Err(why), "{payload:?}");
    }
}

/// Booleans in every usual spelling.
#[test]
fn booleans() {
    for (payload, bit) in
        [("true", true), ("ON", true), ("1", true), ("False", false), ("0", false)]
    {
        assert_eq!(plain(Kind::Bool, payload.as_bytes()), Ok(Value::Bool(bit)), "{payload}");
    }
    assert_eq!(plain(Kind::Bool, b"2"), Err("not a boolean"));
}

/// Text is trimmed, and bounded.
#[test]
fn text_is_bounded() {
    assert_eq!(plain(Kind::Text, " 批次 7\n".as_bytes()), text("批次 7"));
    assert_eq!(plain(Kind::Text, &[b'x'; 257]), Err("longer than 256 bytes"));
    assert!(plain(Kind::Text, &[b'x'; 256]).is_ok());
}

/// The example document of RFC 6901, section 5.
#[test]
fn pointers_of_the_standard() {
    let doc = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
    assert_eq!(json(Kind::Any, "/foo/0", doc), text("bar"));
    for (pointer, n) in [
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ] {
        assert_eq!(json(Kind::Number, pointer, doc), Ok(Value::Int(n)), "{pointer}");
    }
    assert_eq!(json(Kind::Any, "", doc), Err("not a single value"));
    assert_eq!(json(Kind::Any, "/foo", doc), Err("not a single value"));
    assert_eq!(json(Kind::Any, "/foo/2", doc), Err("nothing at the pointer"));
    assert_eq!(json(Kind::Number, "", "42"), Ok(Value::Int(42)));
}

/// JSON scalars are taken as what was configured, or they are bad.
#[test]
fn json_scalars() {
    let doc =
        r#"{"i":-3,"u":18446744073709551615,"r":2.5,"s":"21.5 °C","t":"run","b":true,"n":null}"#;
    for (kind, pointer, value) in [
        (Kind::Number, "/i", Ok(Value::Int(-3))),
        (Kind::Number, "/u", Ok(Value::Int(u64::MAX.into()))),
        (Kind::Number, "/r", Ok(Value::Real(2.5))),
        (Kind::Number, "/s", Ok(Value::Real(21.5))),
        (Kind::Number, "/t", Err("not a number")),
        (Kind::Number, "/b", Err("not a number")),
        (Kind::Number, "/n", Err("null")),
        (Kind::Bool, "/b", Ok(Value::Bool(true))),
        (Kind::Bool, "/i", Err("not a boolean")),
        (Kind::Text, "/t", text("run")),
        (Kind::Text, "/r", text("2.5")),
        (Kind::Any, "/s", text("21.5 °C")),
        (Kind::Any, "/b", Ok(Value::Bool(true))),
        (Kind::Any, "/n", Err("null")),
    ] {
        assert_eq!(json(kind, pointer, doc), value, "{kind:?} {pointer}");
    }
    assert_eq!(json(Kind::Any, "/i", "21.5"), Err("nothing at the pointer"));
    assert_eq!(json(Kind::Any, "/i", "{"), Err("not JSON"));
}

/// A topic's level is the value, whatever the payload is.
#[test]
fn topic_levels_are_values() {
    let content = Content::new("line/7/lot/A-113", b"\xff");
    let value = |kind, index| content.value(&tag(kind, Place::Segment(index)), "");
    assert_eq!(value(Kind::Number, 1), Ok(Value::Int(7)));
    assert_eq!(value(Kind::Text, 3), text("A-113"));
    assert_eq!(value(Kind::Text, 4), Err("topic too short"));
}

/// Scale and offset act on numbers only, and never make one infinite.
#[test]
fn scaling() {
    assert_eq!(scaled(Value::Int(215), Some((0.1, -1.0))), Ok(Value::Real(20.5)));
    assert_eq!(scaled(Value::Int(215), None), Ok(Value::Int(215)));
    assert_eq!(scaled(Value::Bool(true), Some((2.0, 0.0))), Ok(Value::Bool(true)));
    assert_eq!(scaled(Value::Real(1e308), Some((10.0, 0.0))), Err("not a finite number"));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Number, Kind::Bool, Kind::Text, Kind::Any])
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Payload),
        (0usize..5).prop_map(Place::Segment),
        "(/[a-c0-2~]{0,2}){0,3}".prop_map(Place::Pointer),
    ]
}

fn documents() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        "\\PC{0,8}|[0-9]{1,40}|-?[0-9]{1,5}\\.[0-9]{1,5}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                .prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

fn is_sound(value: Result<Value, &'static str>, kind: Kind) -> bool {
    match value {
        Err(why) => !why.is_empty(),
        Ok(Value::None) => false,
        Ok(Value::Bool(_)) => matches!(kind, Kind::Bool | Kind::Any),
        Ok(Value::Int(_)) => matches!(kind, Kind::Number | Kind::Any),
        Ok(Value::Real(x)) => x.is_finite() && matches!(kind, Kind::Number | Kind::Any),
        Ok(Value::Text(t)) => t.len() <= TEXT && matches!(kind, Kind::Text | Kind::Any),
    }
}

proptest! {
    /// Any bytes give a value of the configured kind or a reason; nothing panics.
    #[test]
    fn any_bytes_are_judged(
        kind in kinds(),
        place in places(),
        topic in "\\PC{0,12}(/\\PC{0,4}){0,4}",
        payload in prop::collection::vec(any::<u8>(), 0..400),
        unit in "(°C|%|)",
    ) {
        let value = Content::new(&topic, &payload).value(&tag(kind, place), &unit);
        prop_assert!(is_sound(value, kind));
    }

    /// So does any JSON document under any pointer.
    #[test]
    fn any_document_is_judged(kind in kinds(), place in places(), doc in documents()) {
        let payload = doc.to_string();
        let value = Content::new("a/b", payload.as_bytes()).value(&tag(kind, place), "");
        prop_assert!(is_sound(value, kind));
    }

    /// An integer survives as text and in JSON, exactly.
    #[test]
    fn integers_are_exact(n in any::<i64>(), big in any::<i128>()) {
        prop_assert_eq!(plain(Kind::Number, big.to_string().as_bytes()), Ok(Value::Int(big)));
        let doc = format!("{{\"v\":{n}}}");
        prop_assert_eq!(json(Kind::Number, "/v", &doc), Ok(Value::Int(n.into())));
    }

    /// A real number survives as text.
    #[test]
    fn reals_are_exact(x in prop::num::f64::NORMAL) {
        let read = plain(Kind::Number, format!("{x:e}").as_bytes());
        prop_assert!(read == Ok(Value::Real(x)) || read == Ok(Value::Int(x as i128)));
    }
}
