use std::time::{Duration, Instant};

use super::*;

fn line_at(ms: u64) -> Line {
    let mut line = Line::new(1);
    line.advance(Duration::from_millis(ms));
    line
}

/// Writes pictures as PNG files for a person to look at, into the directory
/// named by `SIM_PICTURES`; without it, only draws them.
#[test]
fn pictures_of_every_shot_and_size_can_be_drawn() {
    let keep = std::env::var("SIM_PICTURES").ok();
    let times: Vec<u64> = std::env::var("SIM_TIMES")
        .map_or(vec![9_000], |t| t.split(',').filter_map(|t| t.parse().ok()).collect());
    for (shot, width, height) in
        [(Shot::Line, 1280, 720), (Shot::Line, 640, 360), (Shot::Check, 1280, 720)]
    {
        let mut painter = Painter::new(shot, width, height, false).expect("painter");
        let mut out = vec![0; painter.bytes()];
        for time in &times {
            let line = line_at(*time);
            painter.paint(&line, 0, &mut out);
            if let Some(dir) = &keep {
                let file = format!("{dir}/{shot:?}-{width}-{time}.png");
                save(&out, width, height, &file);
            }
        }
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
