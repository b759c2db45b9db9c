//! Any bytes on every operation.

use proptest::prelude::*;

use super::*;

const OPS: [Op; 6] = [Op::Validate, Op::Apply, Op::Confirm, Op::Rollback, Op::Get, Op::Schema];

/// Whatever arrives: nothing runs but a whole, judged document; everybody is answered.
fn judge_bytes(payload: &[u8]) {
    for on_trial in [false, true] {
        let mut rig = Rig::new();
        if on_trial {
            rig.apply("t1", &json!({"n": 1}));
        }
        for op in OPS {
            let said = rig.changes.request("wu", op, payload, false, &Strict, at(1));
            for action in &said {
                match action {
                    Action::Apply { document, .. } => assert!(Strict.judge(document).is_ok()),
                    Action::Reply { reply, .. } => {
                        assert!(is_txid(&reply.txid));
                        assert!(reply.reason.len() < 1000 && reply.remedy.len() < 1000);
                    }
                    _ => {}
                }
            }
            let rolls = |a: &Action| matches!(a, Action::Apply { revision: 1, .. });
            let answered = |a: &Action| matches!(a, Action::Reply { user, .. } if user == "wu");
            assert!(said.iter().any(|a| answered(a) || rolls(a)));
        }
        rig.changes.desired(payload, &Strict, at(1));
        assert_eq!(rig.changes.good().number, 1);
        rig.restart();
        assert_eq!(rig.changes.good().number, 1);
    }
}

/// Requests with some fields right, some wrong, some missing.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(Value::Null),
        (0i64..4).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9/é ]{0,8}".prop_map(Value::from),
        Just(json!("2026-06-01T00:10:00Z")),
        Just(json!({"n": 1})),
        Just(json!(document::sha256(&json!({"n": 1})))),
        Just(json!([{"a": null}])),
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "txid", "base", "document", "patch", "sha256", "expires", "confirm_s", "revision", "by",
        ]).prop_map(str::to_owned),
        1 => "[a-z~/]{0,6}",
    ];
    prop::collection::btree_map(key, value, 0..9).prop_map(|mut fields| {
        fields.entry("txid".into()).and_modify(|txid| {
            if !txid.is_string() {
                *txid = json!("t9");
            }
        });
        serde_json::to_vec(&fields).unwrap()
    })
}

proptest! {
    /// No bytes at all run in part, unheard, or into a panic.
    #[test]
    fn any_bytes_are_judged(payload: Vec<u8>) {
        judge_bytes(&payload);
    }

    /// Neither do bytes that look like a request.
    #[test]
    fn nearly_requests_are_judged(payload in nearly(), cut in 0usize..400) {
        judge_bytes(&payload);
        judge_bytes(&payload[..cut.min(payload.len())]);
    }
}

/// Too large and too deep are refused, not read.
#[test]
fn size_and_depth_are_bounded() {
    let large = format!("{{\"txid\":\"t\",\"patch\":{{\"a\":\"{}\"}}}}", "x".repeat(PAYLOAD_MAX));
    judge_bytes(large.as_bytes());
    let deep =
        format!("{{\"txid\":\"t\",\"patch\":{}1{}}}", "{\"a\":".repeat(9999), "}".repeat(9999));
    judge_bytes(deep.as_bytes());
    let mut rig = Rig::new();
    let said = rig.changes.request("li", Op::Validate, deep.as_bytes(), false, &Strict, at(0));
    let Action::Reply { reply, .. } = &said[0] else { panic!() };
    assert!(reply.reason.contains("recursion limit"), "{}", reply.reason);
}
