//! The newest log lines, for who cannot read the journal.
//!
//! Comes in: what is logged. Goes out: the same lines, without colours. Holds
//! [`MOST`] lines of [`LINE`] bytes at most; the oldest goes, a longer line is cut.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Lines that are kept.
const MOST: usize = 2000;
/// Bytes of a line that are kept.
const LINE: usize = 1024;

/// The ring. Clones share it.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<VecDeque<(Level, String)>>>);

impl Lines {
    /// What fills it.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> {
        let plain = Plain(DefaultFields::new());
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(plain)
            .with_writer(self.clone())
    }

    /// The newest `lines` that are at least as bad as `level`, newest first, of at most
    /// `bytes` in all.
    pub fn newest(&self, lines: usize, level: Option<Level>, bytes: usize) -> Vec<String> {
        let all = self.0.lock().expect("lines lock");
        let mut left = bytes;
        all.iter()
            .rev()
            .filter(|(of, _)| level.is_none_or(|level| *of <= level))
            .take(lines)
            .map_while(|(_, line)| {
                left = left.checked_sub(line.len())?;
                Some(line.clone())
            })
            .collect()
    }

    fn push(&self, level: Level, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end();
        let line = text[..text.floor_char_boundary(LINE)].to_owned();
        let mut all = self.0.lock().expect("lines lock");
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back((level, line));
    }
}

/// One line on its way in: the formatter writes it whole.
pub struct Line<'a> {
    of: &'a Lines,
    level: Level,
}

impl io::Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.of.push(self.level, text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { of: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line<'a> {
        Line { of: self, level: *of.level() }
    }
}

/// Fields in a type of their own: a span's are formatted once for each type, and those
/// for a terminal have colours.
struct Plain(DefaultFields);

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    /// What is logged is there with its level and its span, without colours.
    #[test]
    fn lines_are_kept_as_they_were_logged() {
        let lines = Lines::default();
        let terminal = tracing_subscriber::fmt::layer().with_ansi(true).with_writer(io::sink);
        let both = tracing_subscriber::registry().with(terminal).with(lines.layer());
        tracing::subscriber::with_default(both, || {
            let _span = info_span!("camera", id = "fill").entered();
            info!(n = 1, "first");
            warn!(n = 2, "second");
        });
        let all = lines.newest(10, None, 10_000);
        assert_eq!(all.len(), 2);
        assert!(all[0].contains("WARN") && all[0].ends_with("second n=2"), "{}", all[0]);
        assert!(all[1].contains("camera{id=\"fill\"}"), "{}", all[1]);
        assert_eq!(lines.newest(10, Some(Level::WARN), 10_000).len(), 1);
        assert_eq!(lines.newest(10, None, all[0].len()).len(), 1);
    }

    /// The oldest goes, and a long line is cut between two letters.
    #[test]
    fn the_ring_is_bounded() {
        let lines = Lines::default();
        for n in 0..MOST + 5 {
            lines.push(Level::INFO, format!("{n} {}\n", "é".repeat(LINE)).as_bytes());
        }
        let all = lines.newest(usize::MAX, None, usize::MAX);
        assert_eq!(all.len(), MOST);
        assert!(all[0].starts_with("2004 ") && all[MOST - 1].starts_with("5 "));
        assert!(all.iter().all(|line| line.len() <= LINE));
    }
}
