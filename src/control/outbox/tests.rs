use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::fs::OpenOptions;

fn open(dir: &Path, most: u64) -> Outbox {
    Outbox::open(dir, most, UtcMicros(5000), Status::new()).unwrap()
}

fn entry(body: &str) -> Entry {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Entry { topic: "tele/plc/unit-1".into(), body, samples: 2, made: UtcMicros(7) }
}

/// Hardly to be deflated.
fn noise(seed: u64, bytes: usize) -> Entry {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let body = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    });
    Entry { body: body.take(bytes).collect(), ..entry("") }
}

fn all(outbox: &Outbox) -> Vec<(u64, String)> {
    let until = *outbox.durable().borrow();
    let (mut cursor, mut all) = (Cursor::default(), Vec::new());
    loop {
        let some = outbox.read(&mut cursor, until, 100);
        if some.is_empty() {
            return all;
        }
        let text = |r: Record| (r.seq, String::from_utf8_lossy(&r.entry.body).into_owned());
        all.extend(some.into_iter().map(text));
    }
}

fn last_segment(dir: &Path) -> PathBuf {
    segment_files(dir).pop().unwrap()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files
}

/// What is acknowledged is gone for good, all else is there after a restart,
/// and numbers go on.
#[test]
fn unacknowledged_records_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), 1 << 20);
    outbox.append(["a", "b", "c"].map(entry).into());
    outbox.acknowledge(5..6);
    outbox.append(vec![entry("d")]);
    drop(outbox);
    let outbox = open(dir.path(), 1 << 20);
    let rest = [(6, "b".to_owned()), (7, "c".to_owned()), (8, "d".to_owned())];
    assert_eq!(all(&outbox), rest);
    outbox.acknowledge(6..9);
    outbox.append(Vec::new());
    drop(outbox);
    let outbox = open(dir.path(), 1 << 20);
    outbox.append(vec![entry("e")]);
    assert_eq!(all(&outbox), [(9, "e".to_owned())]);
    assert_eq!(outbox.waiting(), 1);
}

/// Acknowledgements that were not stored before a crash only send records again.
#[test]
fn lost_memory_of_acknowledgements_sends_again() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), 1 << 20);
    outbox.append(["a", "b"].map(entry).into());
    outbox.acknowledge(5..7);
    outbox.append(Vec::new());
    drop(outbox);
    fs::write(dir.path().join("unacknowledged.json"), [0; 20]).unwrap();
    assert_eq!(all(&open(dir.path(), 1 << 20)).len(), 2);
}

/// Past its size the oldest goes, a segment at a time, and the newest is there.
#[test]
fn the_oldest_goes_past_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), 1 << 20);
    for i in 0..400 {
        outbox.append(vec![noise(i, 5000)]);
        assert!(outbox.bytes() <= 1 << 20);
    }
    let left = all(&outbox);
    assert_eq!(left.last().unwrap().0, 404);
    let seqs: Vec<_> = left.iter().map(|(seq, _)| *seq).collect();
    assert!(seqs.windows(2).all(|w| w[0] + 1 == w[1]), "no hole");
    assert!(left.len() > 180, "{}", left.len());
    assert_eq!(outbox.waiting(), left.len() as u64);
    assert_eq!(outbox.code(), "limit");
    // A broker takes it all: healthy again, and the space is free.
    outbox.acknowledge(0..405);
    outbox.append(vec![noise(0, 70_000)]);
    outbox.append(Vec::new());
    assert_eq!(outbox.code(), "");
    assert!(outbox.bytes() < 200_000, "{}", outbox.bytes());
}

/// What is dropped is counted in samples of unacknowledged records only.
#[test]
fn dropped_samples_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path(), 1 << 20, 1).unwrap();
    let mut spans = Spans::from(0);
    let mut lost = Lost::default();
    for i in 0..300 {
        let done = store.append(vec![noise(i, 5000)], &mut spans);
        lost.samples += done.oldest.samples;
        lost.records += done.oldest.records;
        if i == 9 {
            spans.acknowledge(0..6);
        }
    }
    let left = spans.waiting(store.next);
    assert_eq!(lost, Lost { records: 295 - left, samples: 2 * (295 - left) });
    assert!(lost.records > 50);
}

/// The disk takes nothing: what is stored stays, the newest wait in memory, in
/// order, those between them go; and when it takes some again, so does the outbox.
#[test]
fn full_disk_keeps_what_is_stored_and_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), 1 << 20);
    outbox.append(vec![entry("stored")]);
    let full = OpenOptions::new().append(true).open("/dev/full");
    let real = std::mem::replace(&mut outbox.store.lock().unwrap().file, full.unwrap().into());
    for i in 0..100 {
        outbox.append(vec![entry(&i.to_string())]);
    }
    let health = outbox.status.get(PART).unwrap();
    assert_eq!((health.state, health.code), (State::NoSignal, "disk"));
    let left = all(&outbox);
    assert_eq!(left.len(), 65);
    assert_eq!(left[..2], [(5, "stored".to_owned()), (42, "36".to_owned())]);
    assert_eq!(left[64], (105, "99".to_owned()));
    outbox.store.lock().unwrap().file = real;
    outbox.append(vec![entry("again")]);
    assert_eq!(all(&outbox).last(), Some(&(106, "again".to_owned())));
    assert_eq!(all(&outbox).len(), 66);
    assert_eq!(outbox.status.get(PART).unwrap().state, State::Live);
}

/// A place that the disk damaged costs its segment's rest, and nothing else.
#[test]
fn damage_costs_the_rest_of_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), 1 << 20);
    for i in 0..60 {
        outbox.append(vec![noise(i, 5000)]);
    }
    let second = &segment_files(dir.path())[1];
    let from: u64 = second.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let file = OpenOptions::new().write(true).open(second).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[0xFF; 40], 5100).unwrap();
    let seqs: Vec<_> = all(&outbox).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs.first(), Some(&5));
    assert_eq!(seqs.last(), Some(&64));
    let gaps: Vec<_> = seqs.windows(2).filter(|w| w[1] - w[0] > 1).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0][0], from);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A power cut anywhere in what was not synced: every record before the cut
    /// is there, the torn one is not, and the next has a number of its own.
    #[test]
    fn a_torn_end_is_cut_off(
        bodies in prop::collection::vec("[a-z]{0,60}", 1..8),
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path(), 1 << 20);
        let mut ends = vec![0];
        for body in &bodies {
            outbox.append(vec![entry(body)]);
            ends.push(outbox.bytes());
        }
        drop(outbox);
        let cut = cut.index(*ends.last().unwrap() as usize + 1);
        let file = last_segment(dir.path());
        let before = fs::read(&file).unwrap();
        let torn = [&before[..cut], &garbage].concat();
        fs::write(&file, &torn).unwrap();
        let outbox = open(dir.path(), 1 << 20);
        // Garbage may begin with the very byte that was cut off.
        let same = before.iter().zip(&torn).take_while(|(a, b)| a == b).count() as u64;
        let whole = ends.iter().filter(|end| **end <= same).count() - 1;
        let left = all(&outbox);
        prop_assert_eq!(left.len(), whole);
        for (i, (seq, body)) in left.iter().enumerate() {
            prop_assert_eq!((*seq, body), (5 + i as u64, &bodies[i]));
        }
        outbox.append(vec![entry("next")]);
        let last = all(&outbox).pop();
        prop_assert_eq!(last, Some((5 + whole as u64, "next".to_owned())));
    }

    /// Any mix of appends, acknowledgements and restarts: exactly what is not
    /// acknowledged is read, once, in order.
    #[test]
    fn exactly_the_unacknowledged_is_read(
        steps in prop::collection::vec((0u64..3, 0u64..40, 1u64..10), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path(), 1 << 20);
        let (mut next, mut waiting) = (5u64, std::collections::BTreeSet::new());
        for (what, a, b) in steps {
            match what {
                0 => {
                    outbox.append((0..b).map(|i| noise(next + i, 2000)).collect());
                    waiting.extend(next..next + b);
                    next += b;
                }
                1 => {
                    let (from, to) = ((5 + a).min(next), (5 + a + b).min(next));
                    outbox.acknowledge(from..to);
                    waiting.retain(|seq| !(from..to).contains(seq));
                }
                _ => {
                    outbox.append(Vec::new());
                    drop(outbox);
                    outbox = open(dir.path(), 1 << 20);
                }
            }
        }
        let read: Vec<_> = all(&outbox).iter().map(|(seq, _)| *seq).collect();
        prop_assert_eq!(read, waiting.into_iter().collect::<Vec<_>>());
    }
}
