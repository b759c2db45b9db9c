//! Any bytes on every command's topic.
//!
//! The first byte chooses the command, the rest is the payload.

#![no_main]

use floorcast::clock::Lock;
use floorcast::control::change::{Now, is_txid};
use floorcast::control::command::Commands;
use floorcast::model::{Mono, UtcMicros};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 11] = [
    "feed", "privacy", "snapshot", "restart", "logs", "bundle", "identify", "control", "write",
    "probe", "update",
];

fuzz_target!(|data: &[u8]| {
    let Some((which, payload)) = data.split_first() else { return };
    let now = Now { mono: Mono(1), utc: UtcMicros(1_780_272_000_000_000), lock: Lock::Locked };
    let name = NAMES.get(usize::from(*which)).unwrap_or(&"erase");
    let txid = match Commands::default().judge("li", name, payload, false, now) {
        Ok(asked) => asked.txid,
        Err(no) => no.answer.txid,
    };
    assert!(is_txid(&txid));
});
