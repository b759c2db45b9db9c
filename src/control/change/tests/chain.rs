//! The audit chain.

use super::super::audit::{FILE, FILE_MAX, OLDER, TORN, verify};
use super::*;

/// Every command is a line; the file is bounded, and its older half still verifies.
#[test]
fn the_chain_goes_on_in_the_next_file() {
    let mut rig = Rig::new();
    for i in 0..9000 {
        let said =
            rig.changes.command("li", "snapshot", &format!("t{i}"), ("refused", "busy"), at(0));
        assert_eq!(said.len(), 1);
    }
    let found = verify(&rig.store).unwrap();
    assert_eq!((found.broken.len(), found.torn), (0, 0));
    assert!(rig.store.file(OLDER).unwrap().len() as u64 <= FILE_MAX);
    assert!(rig.store.file(FILE).unwrap().len() as u64 <= FILE_MAX);
    // A line that was altered, left out, or moved is noticed.
    for file in [OLDER, FILE] {
        let whole = rig.store.file(file).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.remove(3);
        rig.store.put(file, (lines.join("\n") + "\n").into_bytes());
        assert_eq!(verify(&rig.store).unwrap().broken.len(), 1);
        rig.store.put(file, text.replacen("busy", "idle", 1).into_bytes());
        assert_eq!(verify(&rig.store).unwrap().broken.len(), 1);
        rig.store.put(file, whole);
    }
}

/// A torn last line is kept aside, said so, and the chain goes on.
#[test]
fn a_torn_line_is_kept_aside() {
    let mut rig = Rig::new();
    rig.changes.command("li", "logs", "t1", ("accepted", ""), at(0));
    let mut torn = rig.store.file(FILE).unwrap();
    torn.extend_from_slice(b"{\"n\":2,\"at\"");
    rig.store.put(FILE, torn);
    assert_eq!(verify(&rig.store).unwrap().torn, 11);
    rig.restart();
    assert_eq!(rig.store.file(TORN).unwrap(), b"{\"n\":2,\"at\"");
    let found = verify(&rig.store).unwrap();
    assert_eq!((found.lines, found.torn, found.broken.len()), (2, 0, 0));
    assert!(matches!(&rig.actions[0], Action::Audit(line) if line.contains("11 bytes kept aside")));
}

/// Lines that a full disk refuses are counted in the next one.
#[test]
fn lost_lines_are_counted() {
    let mut rig = Rig::new();
    rig.changes.command("li", "logs", "t1", ("accepted", ""), at(0));
    rig.store.set_full(true);
    assert_eq!(rig.changes.command("li", "logs", "t2", ("accepted", ""), at(0)), []);
    assert_eq!(rig.changes.command("li", "logs", "t3", ("accepted", ""), at(0)), []);
    rig.store.set_full(false);
    rig.changes.command("li", "logs", "t4", ("accepted", ""), at(0));
    let found = verify(&rig.store).unwrap();
    assert_eq!((found.lines, found.lost, found.torn, found.broken.len()), (2, 2, 0, 0));
}
