//! The join: which sample a frame shows.
//!
//! The rule: for each tag, the newest sample taken at or before the frame's
//! capture time, with its age; past the tag's `stale_after` it is stale; a bad
//! value is never shown as a number. Whoever shows figures with a picture uses
//! this one rule: the recorder and the overlay this function, the browser the
//! same in TypeScript.
//!
//! Pure: frames' times and samples come in, what holds goes out. [`Past`]
//! keeps a bounded number of samples per tag; when full, the oldest goes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Mono, Quality, Sample, Tag};

/// What a frame shows of one tag.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// The sample that holds. Its quality is [`Quality::Stale`] if it was good
    /// once and is too old now.
    pub sample: Sample,
    /// The frame's capture time less the sample's `taken`.
    pub age: Duration,
}

/// The sample of `samples` that holds at `captured`, if any was taken by then.
///
/// `samples` need no order. Of two taken at the same instant the one received
/// later holds, then the later in order. A bad sample holds like any other: it
/// hides the good one before it, for that is no longer true.
pub fn shown<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    captured: Mono,
    stale_after: Duration,
) -> Option<Shown> {
    let newest = (samples.into_iter())
        .filter(|sample| sample.taken <= captured)
        .max_by_key(|sample| (sample.taken, sample.received))?;
    let age = captured.since(newest.taken);
    let mut sample = newest.clone();
    if sample.quality == Quality::Good && age > stale_after {
        sample.quality = Quality::Stale;
    }
    Some(Shown { sample, age })
}

/// The recent samples of every tag, for joining frames of the recent past.
pub struct Past {
    tags: Vec<Recent>,
    per_tag: usize,
}

struct Recent {
    stale_after: Duration,
    /// By `(taken, received)`, oldest first.
    samples: VecDeque<Sample>,
}

impl Past {
    /// Keeps at most `per_tag` samples of each of `tags`, at least one.
    pub fn new(tags: &[Tag], per_tag: usize) -> Self {
        let recent =
            |tag: &Tag| Recent { stale_after: tag.stale_after, samples: VecDeque::default() };
        Self { tags: tags.iter().map(recent).collect(), per_tag: per_tag.max(1) }
    }

    /// Takes a sample; late ones find their place. One older than all that a
    /// full tag keeps is left out.
    pub fn push(&mut self, sample: Sample) {
        let Some(recent) = self.tags.get_mut(sample.tag.0 as usize) else { return };
        let order = (sample.taken, sample.received);
        let at = recent.samples.partition_point(|old| (old.taken, old.received) <= order);
        recent.samples.insert(at, sample);
        if recent.samples.len() > self.per_tag {
            recent.samples.pop_front();
        }
    }

    /// What a frame captured at `captured` shows, per tag in the order of the
    /// tag list; nothing for a tag without a sample by then.
    pub fn moment(&self, captured: Mono) -> Vec<Option<Shown>> {
        let one = |recent: &Recent| {
            // Sorted, so only the one before the cut can hold.
            let end = recent.samples.partition_point(|sample| sample.taken <= captured);
            let last = end.checked_sub(1).and_then(|i| recent.samples.get(i));
            shown(last, captured, recent.stale_after)
        };
        self.tags.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, Source, TagId, Value};
    use proptest::prelude::*;

    const STALE: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn sample(value: i128, taken: u64, received: u64) -> Sample {
        Sample {
            tag: TagId(0),
            value: Value::Int(value),
            quality: Quality::Good,
            reason: None,
            taken: ms(taken),
            error: Duration::ZERO,
            requested: ms(taken),
            received: ms(received),
        }
    }

    fn tag() -> Tag {
        Tag {
            id: TagId(0),
            name: "t".into(),
            label: Label::default(),
            unit: String::new(),
            decimals: 0,
            range: None,
            warn: (None, None),
            stale_after: STALE,
            public: true,
            source: Source::Broker("test".into()),
        }
    }

    /// A sample taken at the very instant of the frame belongs to it; one a
    /// nanosecond later does not.
    #[test]
    fn a_sample_holds_from_its_own_instant_on() {
        let s = sample(1, 10, 12);
        assert_eq!(shown([&s], Mono(ms(10).0 - 1), STALE), None);
        assert_eq!(shown([&s], ms(10), STALE).map(|s| s.age), Some(Duration::ZERO));
    }

    /// A sample joins the frame captured when it was taken, however late it comes.
    #[test]
    fn a_late_sample_takes_its_place() {
        let mut past = Past::new(&[tag()], 8);
        past.push(sample(2, 20, 21));
        past.push(sample(1, 10, 90));
        let value = |at| past.moment(at)[0].as_ref().map(|s| s.sample.value.clone());
        assert_eq!(value(ms(15)), Some(Value::Int(1)));
        assert_eq!(value(ms(25)), Some(Value::Int(2)));
    }

    /// Exactly `stale_after` old is still good; any older is stale.
    #[test]
    fn older_than_stale_after_is_stale() {
        let s = sample(1, 0, 0);
        let quality = |at| shown([&s], at, STALE).map(|s| s.sample.quality);
        assert_eq!(quality(ms(100)), Some(Quality::Good));
        assert_eq!(quality(Mono(ms(100).0 + 1)), Some(Quality::Stale));
    }

    /// A bad sample hides the good one before it and never turns stale.
    #[test]
    fn bad_stays_bad() {
        let good = sample(1, 0, 0);
        let bad = Sample { value: Value::None, quality: Quality::Bad, ..sample(0, 10, 10) };
        let shown = shown([&good, &bad], ms(5000), STALE).expect("one holds");
        assert_eq!((shown.sample.value, shown.sample.quality), (Value::None, Quality::Bad));
    }

    proptest! {
        /// The bounded past agrees with a search through all samples, as long
        /// as it still keeps the one that holds.
        #[test]
        fn the_bounded_past_agrees_with_all_samples(
            taken in proptest::collection::vec((0u64..400, 0u64..50), 0..60),
            at in 0u64..500,
            per_tag in 1usize..64,
        ) {
            let samples: Vec<_> = (taken.iter().enumerate())
                .map(|(i, (taken, late))| sample(i as i128, *taken, taken + late))
                .collect();
            let mut past = Past::new(&[tag()], per_tag);
            samples.iter().for_each(|s| past.push(s.clone()));
            let all = shown(&samples, ms(at), STALE);
            let kept = past.moment(ms(at)).remove(0);
            prop_assert!(past.tags[0].samples.len() <= per_tag);
            match kept {
                Some(kept) => prop_assert_eq!(Some(kept), all),
                // Nothing kept is old enough: everything that held has left.
                None => prop_assert!(samples.len() > per_tag || all.is_none()),
            }
        }
    }
}
