//! Any bytes on every topic of the configuration transaction.
//!
//! The first byte chooses the operation, the rest is the payload.

#![no_main]

use std::collections::BTreeMap;
use std::io;

use floorcast::clock::Lock;
use floorcast::control::change::store::Store;
use floorcast::control::change::{Action, Changes, Judge, Now, Op, Problem, is_txid};
use floorcast::model::{Mono, UtcMicros};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Store for Memory {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(name.into(), bytes.into());
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let bytes = self.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name);
        Ok(())
    }

    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.0.entry(name.into()).or_default();
        file.resize(at as usize, 0);
        file.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Anything;

impl Judge for Anything {
    fn judge(&self, _: &Value) -> Result<Vec<String>, Vec<Problem>> {
        Ok(Vec::new())
    }

    fn schema(&self) -> Value {
        json!({})
    }
}

const OPS: [&str; 6] = ["validate", "apply", "confirm", "rollback", "get", "schema"];

fuzz_target!(|data: &[u8]| {
    let Some((which, payload)) = data.split_first() else { return };
    let now = Now { mono: Mono(1), utc: UtcMicros(1_780_272_000_000_000), lock: Lock::Locked };
    let (mut changes, _, _) = Changes::with(Box::new(Memory::default()), json!({"n": 0}), now);
    let actions = match OPS.get(usize::from(*which)).and_then(|op| Op::parse(op)) {
        Some(op) => {
            let actions = changes.request("li", op, payload, false, &Anything, now);
            assert!(actions.iter().any(|a| matches!(a, Action::Reply { .. })));
            actions
        }
        None => changes.desired(payload, &Anything, now),
    };
    for action in actions {
        if let Action::Reply { reply, .. } = action {
            assert!(is_txid(&reply.txid));
        }
    }
    assert_eq!(changes.good().number, 1);
});
