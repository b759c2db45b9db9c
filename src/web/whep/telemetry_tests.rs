//! What goes out on the data channel, message by message, in made-up time.

use std::collections::HashMap;

use super::*;
use crate::model::{Label, Source, Tag, TagId};
use proptest::prelude::*;

const START: Mono = Mono(1_000_000_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn board(tags: u32, public: impl Fn(u32) -> bool) -> Arc<Board> {
    let tag = |id| Tag {
        id: TagId(id),
        name: format!("t{id}").into(),
        label: Label::default(),
        unit: String::new(),
        decimals: 0,
        range: None,
        warn: (None, None),
        stale_after: ms(2000),
        public: public(id),
        source: Source::Broker("test".into()),
    };
    Board::new((0..tags).map(tag).collect())
}

fn sample(tag: u32, value: Value, taken: Mono) -> Sample {
    Sample {
        tag: TagId(tag),
        value,
        quality: Quality::Good,
        reason: None,
        taken,
        error: Duration::from_micros(250),
        requested: taken,
        received: taken + ms(1),
    }
}

fn wall() -> Arc<WallClock> {
    Arc::new(WallClock::fixed(Duration::from_secs(1_700_000_000)))
}

fn telemetry(board: &Arc<Board>, start: Instant) -> Telemetry {
    Telemetry::new(board.clone(), wall(), start)
}

/// The samples in messages: `(tag, value)` and when taken.
fn read(chunks: &[Chunk]) -> Vec<(u64, serde_json::Value, i64)> {
    let one = |chunk: &Chunk| -> Vec<serde_json::Value> {
        serde_json::from_str(&format!("[{}]", chunk.tags)).expect("JSON")
    };
    (chunks.iter().flat_map(one))
        .map(|l| (l[0].as_u64().expect("id"), l[1].clone(), l[2].as_i64().expect("taken")))
        .collect()
}

/// A line has the six fields of the contract.
#[test]
fn a_sample_is_one_line() {
    let at = Mono(5_000_000);
    let whole = sample(3, Value::Real(21.5), at);
    assert_eq!(line(&whole, &wall()), "[3,21.5,1700000000005000,250,\"good\",null]");
    let bad = Sample {
        value: Value::None,
        quality: Quality::Bad,
        reason: Some("exception 2: \"no\"".into()),
        ..whole.clone()
    };
    assert_eq!(
        line(&bad, &wall()),
        "[3,null,1700000000005000,250,\"bad\",\"exception 2: \\\"no\\\"\"]"
    );
}

/// JavaScript has no integers beyond 2^53: they go as text.
#[test]
fn large_integers_go_as_text() {
    let value = |n: i128| {
        let text = line(&sample(0, Value::Int(n), START), &wall());
        serde_json::from_str::<Vec<serde_json::Value>>(&text).expect("JSON")[1].clone()
    };
    assert_eq!(value(1 << 53), serde_json::json!(9_007_199_254_740_992i64));
    assert_eq!(value(-(1 << 53) - 1), serde_json::json!("-9007199254740993"));
    assert_eq!(value(i128::MIN), serde_json::json!(i128::MIN.to_string()));
}

/// Private tags are in no message, of whatever kind.
#[test]
fn private_tags_never_leave() {
    let (start, board) = (Instant::now(), board(2, |id| id == 0));
    let mut telemetry = telemetry(&board, start);
    board.publish(vec![sample(0, Value::Int(1), START), sample(1, Value::Int(2), START)]);
    telemetry.take_waiting(true);
    let mut all = telemetry.tick(start, START);
    all.extend(telemetry.opening(START));
    let tags: Vec<_> = read(&all).into_iter().map(|(tag, ..)| tag).collect();
    assert!(!tags.is_empty() && tags.iter().all(|tag| *tag == 0), "{tags:?}");
}

/// A change goes out at once after a pause, and four times in all.
#[test]
fn every_sample_goes_out_four_times() {
    let (start, board) = (Instant::now(), board(1, |_| true));
    let mut telemetry = telemetry(&board, start);
    telemetry.tick(start, START);
    let mut now = start + ms(100);
    board.publish(vec![sample(0, Value::Int(7), START)]);
    telemetry.take_waiting(true);
    assert!(telemetry.ready(now));
    let mut sent = Vec::new();
    while sent.len() < 6 {
        let deltas = telemetry.tick(now, START).into_iter().filter(|c| c.kind == Kind::Delta);
        sent.push(read(&deltas.collect::<Vec<_>>()).len());
        now = telemetry.due(now);
    }
    assert_eq!(sent, [1, 1, 1, 1, 0, 0]);
}

/// Silence is a message too: the page knows that the channel lives.
#[test]
fn there_is_a_message_every_500_ms() {
    let (start, board) = (Instant::now(), board(1, |_| true));
    let mut telemetry = telemetry(&board, start);
    assert_eq!(telemetry.due(start), start);
    let chunks = telemetry.tick(start, START);
    assert_eq!((chunks.len(), &*chunks[0].tags), (1, ""));
    assert!(telemetry.due(start) <= start + ms(500));
}

/// However many samples there are, messages stay below 12 kB, a tick is
/// bounded, and what waits is bounded.
#[test]
fn a_flood_is_cut_into_small_messages() {
    let (start, board) = (Instant::now(), board(1000, |_| true));
    let mut telemetry = telemetry(&board, start);
    for round in 0..60 {
        board.publish((0..1000).map(|t| sample(t, Value::Int(round), START)).collect());
        telemetry.take_waiting(true);
    }
    assert_eq!(telemetry.fresh.len(), WAITING);
    let chunks = telemetry.tick(start, START);
    assert!(chunks.iter().all(|chunk| chunk.tags.len() <= MESSAGE));
    let deltas = chunks.iter().filter(|c| c.kind == Kind::Delta);
    let bytes: usize = deltas.map(|c| c.tags.len()).sum();
    assert!(bytes <= TICK_BYTES + REPEAT_BYTES + MESSAGE, "{bytes}");
    assert!(telemetry.repeats.iter().map(|(t, _)| t.len()).sum::<usize>() <= 2 * REPEAT_BYTES);
}

/// Who opens the channel gets the recent past and every tag's newest sample.
#[test]
fn opening_tells_the_recent_past() {
    let (start, board) = (Instant::now(), board(2, |_| true));
    let telemetry = telemetry(&board, start);
    board.publish(vec![sample(1, Value::Int(99), START)]);
    let later = START + ms(4000);
    for i in 0..20u32 {
        let at = later + ms(u64::from(i) * 100);
        board.publish(vec![sample(0, Value::Int(i.into()), at)]);
    }
    let now = later + ms(2000);
    let told = read(&telemetry.opening(now));
    assert!(told.iter().any(|(tag, value, _)| *tag == 1 && *value == 99));
    let past: Vec<_> = told.iter().filter(|(tag, ..)| *tag == 0).collect();
    assert!((0..20).all(|i| past.iter().any(|(_, value, _)| *value == i)));
}

proptest! {
    /// With one message in three lost, whoever listens knows every tag's newest
    /// sample after 20 s of quiet (some 17 messages: all lost once in 100 million
    /// runs), and every sample had its copies.
    #[test]
    fn what_is_lost_heals(seed in any::<u64>(), tags in 1u32..40) {
        let (start, board) = (Instant::now(), board(tags, |_| true));
        let mut telemetry = telemetry(&board, start);
        let mut random = seed | 1;
        let mut lost = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 3 == 0
        };
        let mut known: HashMap<u64, (i64, serde_json::Value)> = HashMap::new();
        let mut copies: HashMap<(u64, i64), u8> = HashMap::new();
        let (mut now, mut at, mut next) = (start, START, start);
        for step in 0..2300u64 {
            if step < 300 && step % 10 == 0 {
                let batch = (0..tags).map(|t| sample(t, Value::Int(step.into()), at));
                board.publish(batch.collect());
                telemetry.take_waiting(true);
                next = telemetry.due(now).max(now);
            }
            if next <= now {
                for chunk in telemetry.tick(now, at) {
                    let arrives = !lost();
                    for (tag, value, taken) in read(&[chunk]) {
                        *copies.entry((tag, taken)).or_default() += 1;
                        if !arrives {
                            continue;
                        }
                        let newest = known.entry(tag).or_insert((taken, value.clone()));
                        if taken >= newest.0 {
                            *newest = (taken, value);
                        }
                    }
                }
                next = telemetry.due(now);
            }
            (now, at) = (now + ms(10), at + ms(10));
            if step == 700 {
                // Four seconds of quiet: the copies, and two snapshots.
                let newest = copies.iter().map(|((_, taken), _)| *taken).max();
                let of_newest = copies.iter().filter(|((_, taken), _)| Some(*taken) == newest);
                prop_assert!(of_newest.map(|(_, n)| *n).min() >= Some(COPIES + 2));
            }
        }
        for tag in 0..tags {
            let newest = known.get(&u64::from(tag)).map(|(_, value)| value.clone());
            prop_assert_eq!(newest, Some(serde_json::json!(290)));
        }
        prop_assert_eq!(copies.len(), 30 * tags as usize);
        let fewest = copies.values().min().copied();
        prop_assert!(fewest >= Some(COPIES), "{fewest:?} copies");
    }
}
