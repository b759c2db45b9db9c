use std::time::{Duration, Instant};

use super::*;
use crate::sim::line::Stage;
use crate::sim::line::plan::GATE_X;

fn line_at(ms: u64) -> Line {
    let mut line = Line::new(1);
    line.advance(Duration::from_millis(ms));
    line
}

/// Pixels with the product's colour between two columns of the whole line.
fn amber(picture: &[u8], (from, to): (usize, usize)) -> usize {
    let (u, v) = picture[1280 * 720..].split_at(640 * 360);
    let rows = (440..550).flat_map(|y| (from..to).map(move |x| y / 2 * 640 + x / 2));
    rows.filter(|at| u[*at] < 90 && v[*at] > 145).count()
}

/// Where the figures say the bottles fill, the picture shows them fill.
#[test]
fn levels_rise_in_the_picture_as_in_the_figures() {
    let mut painter = Painter::new(Shot::Line, 1280, 720, false).expect("painter");
    let mut out = vec![0; painter.bytes()];
    let (mut seen, mut before) = (0, (0.0, 0));
    for ms in (20_000..30_000).step_by(200) {
        let line = line_at(ms);
        let first = line.bottles.iter().find(|b| b.stage == Stage::Empty);
        let Some(bottle) = first.filter(|b| b.x == GATE_X) else { continue };
        painter.paint(&line, 0, &mut out);
        let x = GATE_X as usize;
        let now = (bottle.level, amber(&out, (x - 24, x + 24)));
        if now.0 > before.0 && before.0 > 0.2 && now.0 < 0.9 {
            assert!(now.1 > before.1, "level {} to {}: {} to {}", before.0, now.0, before.1, now.1);
            seen += 1;
        }
        before = now;
    }
    assert!(seen > 5, "{seen} pairs");
}

/// A pushed bottle is seen to leave: over the belt's edge, then behind the bin's rim.
#[test]
fn a_reject_is_seen_to_go() {
    let mut painter = Painter::new(Shot::Line, 1280, 720, false).expect("painter");
    let (mut with, mut without) = (vec![0; painter.bytes()], vec![0; painter.bytes()]);
    let (mut shown, mut run) = (Vec::new(), Line::new(1));
    for ms in (0..60_000).step_by(50) {
        run.advance(Duration::from_millis(ms));
        let mut line = run.clone();
        let Some(age) = line.kicked.first().map(|k| k.age) else { continue };
        painter.paint(&line, 0, &mut with);
        line.kicked.clear();
        painter.paint(&line, 0, &mut without);
        // Below the belt, above the rim.
        let edge = 590 * 1280..618 * 1280;
        let differ = with[edge.clone()].iter().zip(&without[edge]).filter(|(a, b)| a != b).count();
        shown.push((age, differ));
    }
    assert!(shown.iter().any(|(age, n)| *age > 0.2 && *age < 0.5 && *n > 200), "{shown:?}");
    assert!(shown.iter().all(|(age, n)| *age > 0.05 || *n == 0), "{shown:?}");
    assert!(shown.iter().all(|(age, n)| *age < 0.72 || *n < 400), "{shown:?}");
}

/// Every shot fills a picture of every usual size. For a person to look at, the
/// pictures are saved as PNG in the directory that `SIM_PICTURES` names, at the
/// milliseconds that `SIM_TIMES` lists.
#[test]
fn shots_fill_pictures_of_every_size() {
    let keep = std::env::var("SIM_PICTURES").ok();
    let times: Vec<u64> = std::env::var("SIM_TIMES")
        .map_or(vec![9_000], |t| t.split(',').filter_map(|t| t.parse().ok()).collect());
    for (shot, width, height) in
        [(Shot::Line, 1280, 720), (Shot::Line, 640, 360), (Shot::Check, 1280, 720)]
    {
        let mut painter = Painter::new(shot, width, height, false).expect("painter");
        let mut out = vec![0; painter.bytes()];
        for time in &times {
            painter.paint(&line_at(*time), 0, &mut out);
            let luma = &out[..width * height];
            let edges = [0, width - 1, width * (height - 1), width * height - 1];
            assert!(edges.iter().all(|at| luma[*at] > 16), "{shot:?}: a corner is empty");
            let bright = luma.iter().filter(|l| **l > 180).count();
            assert!(bright > width * height / 40, "{shot:?}: {bright} bright pixels");
            if let Some(dir) = &keep {
                save(&out, width, height, &format!("{dir}/{shot:?}-{width}-{time}.png"));
            }
        }
    }
}

/// A size that cannot be encoded is refused.
#[test]
fn odd_and_enormous_sizes_are_refused() {
    for (width, height) in [(641, 360), (640, 361), (0, 0), (62, 64), (4098, 720)] {
        assert!(Painter::new(Shot::Line, width, height, false).is_err(), "{width}x{height}");
    }
}

fn save(picture: &[u8], width: usize, height: usize, file: &str) {
    let mut pixels = Pixmap::new(width as u32, height as u32).expect("pixels");
    let (luma, chroma) = picture.split_at(width * height);
    let (u, v) = chroma.split_at(width * height / 4);
    for (i, rgba) in pixels.data_mut().chunks_exact_mut(4).enumerate() {
        let (x, y) = (i % width, i / width);
        let c = y / 2 * (width / 2) + x / 2;
        let l = (f32::from(luma[i]) - 16.0) * 255.0 / 219.0;
        let (u, v) = (f32::from(u[c]) - 128.0, f32::from(v[c]) - 128.0);
        let (u, v) = (u * 255.0 / 224.0, v * 255.0 / 224.0);
        rgba[0] = (l + 1.5748 * v).round() as u8;
        rgba[1] = (l - 0.1873 * u - 0.4681 * v).round() as u8;
        rgba[2] = (l + 1.8556 * u).round() as u8;
        rgba[3] = 255;
    }
    pixels.save_png(file).expect("save");
}

/// A picture is cheap enough to draw 30 times a second beside everything else.
#[test]
fn a_picture_takes_a_fraction_of_its_period() {
    let mut painter = Painter::new(Shot::Line, 1280, 720, true).expect("painter");
    let mut out = vec![0; painter.bytes()];
    let lines: Vec<Line> = (0..30).map(|n| line_at(20_000 + 33 * n)).collect();
    let mut best = Duration::MAX;
    for line in &lines {
        let began = Instant::now();
        painter.paint(line, 1, &mut out);
        best = best.min(began.elapsed());
    }
    eprintln!("{best:?} a picture");
    assert!(best < Duration::from_millis(16), "{best:?}");
}
