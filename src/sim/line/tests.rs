use super::*;

fn at(seed: u64, seconds: u64) -> Line {
    let mut line = Line::new(seed);
    line.advance(Duration::from_secs(seconds));
    line
}

/// What came in is good, rejected or still on the line, at every instant.
#[test]
fn no_bottle_is_lost() {
    let mut line = Line::new(1);
    for ms in (0..900_000).step_by(50) {
        line.advance(Duration::from_millis(ms));
        let counts = line.counts;
        assert_eq!(counts.bottles, counts.good + counts.rejected + line.on_line(), "at {ms} ms");
        let kinds = counts.underfilled + counts.uncapped + counts.leaking;
        assert_eq!(counts.rejected, kinds, "at {ms} ms");
    }
    assert!(line.counts.good > 600 && line.counts.rejected > 20, "{:?}", line.counts);
}

/// Counters and the lot never go back.
#[test]
fn counters_never_go_back() {
    let mut line = Line::new(2);
    let read = |l: &Line| {
        let c = l.counts;
        [c.bottles, c.good, c.rejected, c.stops, l.lot, l.figures.inspected]
    };
    let mut before = read(&line);
    for ms in (0..600_000).step_by(40) {
        line.advance(Duration::from_millis(ms));
        let now = read(&line);
        assert!(now.iter().zip(before).all(|(n, b)| *n >= b), "{before:?} then {now:?}");
        before = now;
    }
}

/// Readers that come at different times see one truth.
#[test]
fn lines_of_one_seed_agree() {
    let mut often = Line::new(3);
    for ms in (0..200_000).step_by(33) {
        often.advance(Duration::from_millis(ms));
    }
    often.advance(Duration::from_secs(200));
    assert!(often == at(3, 200));
    assert!(often != at(4, 200));
}

/// Asking for the past changes nothing.
#[test]
fn time_never_goes_back() {
    let mut line = at(5, 30);
    line.advance(Duration::from_secs(10));
    assert!(line == at(5, 30));
}

/// Bottles never overlap, never jump, and stand while the belt stands.
#[test]
fn bottles_keep_their_distance_and_move_with_the_belt() {
    let mut line = Line::new(6);
    let mut stood = 0;
    for n in 1..200_000u32 {
        let before = line.clone();
        line.advance(STEP * n);
        let pairs = line.bottles.iter().zip(line.bottles.iter().skip(1));
        for (ahead, behind) in pairs {
            assert!(ahead.x - behind.x >= PITCH - 1e-6, "{ahead:?} {behind:?}");
        }
        for bottle in &line.bottles {
            let Some(was) = before.bottles.iter().find(|b| b.id == bottle.id) else { continue };
            let moved = bottle.x - was.x;
            assert!((0.0..=BELT * DT + 1e-9).contains(&moved), "moved {moved}");
            assert!(line.belt > 0.0 || moved == 0.0);
        }
        stood += u32::from(line.belt == 0.0);
    }
    assert!(stood > 1000, "the belt stood for {stood} steps");
}

/// Within ten minutes there is everything worth watching.
#[test]
fn every_mode_and_every_defect_comes_by() {
    let mut line = Line::new(7);
    let mut seen = std::collections::BTreeSet::new();
    let first_lot = line.lot_text();
    for ms in (0..600_000).step_by(100) {
        line.advance(Duration::from_millis(ms));
        seen.insert(line.mode() as u16);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    let counts = line.counts;
    assert!(counts.underfilled > 0 && counts.uncapped > 0 && counts.leaking > 0, "{counts:?}");
    assert_ne!(line.lot_text(), first_lot);
    assert!(line.figures.speed > 20.0 && line.figures.speed < 90.0);
}

/// Every bottle that leaves is full and closed; what is not is pushed off.
#[test]
fn only_full_closed_bottles_leave() {
    let mut line = Line::new(8);
    let mut left = 0;
    for ms in (0..300_000).step_by(20) {
        line.advance(Duration::from_millis(ms));
        for bottle in line.bottles.iter().filter(|b| b.stage == Stage::Counted) {
            assert!(bottle.cap && bottle.level > 0.98, "{bottle:?}");
            left += 1;
        }
        for kicked in &line.kicked {
            assert!(kicked.bottle.defect.is_some());
        }
    }
    assert!(left > 1000);
}

/// Process values stay where a real line's would.
#[test]
fn figures_stay_plausible() {
    let mut line = Line::new(9);
    for ms in (10_000..900_000).step_by(100) {
        line.advance(Duration::from_millis(ms));
        let f = &line.figures;
        assert!((40.0..44.0).contains(&f.temperature), "{f:?}");
        assert!((1.6..2.4).contains(&f.pressure), "{f:?}");
        assert!((40.0..95.0).contains(&f.tank), "{f:?}");
        assert!((5.0..6.6).contains(&f.air), "{f:?}");
        assert!((0.0..=505.0).contains(&f.volume), "{f:?}");
    }
}
