//! Text for terminals: tables that fit, and nothing that moves the cursor.
//!
//! Comes in: text of boxes and people, of any length. Goes out: lines of at most
//! [`WIDTH`] columns; what does not fit is cut with `…`. Width is counted as
//! terminals do, character by character.

use unicode_width::UnicodeWidthChar;

/// The widest line, columns.
pub const WIDTH: usize = 100;

/// Between two columns.
const GAP: usize = 2;

/// A column is not made narrower than this while another one can give way.
const NARROW: usize = 6;

/// How many columns a terminal gives to a text.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// One line without control characters: what a box says must not steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// The same for text of several lines.
pub fn plain_lines(text: &str) -> String {
    text.chars().map(|c| if steers(c) && c != '\n' { ' ' } else { c }).collect()
}

/// Control characters, line ends of Unicode, and what turns the direction of writing.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text in at most `most` columns, with `…` if there was more.
pub fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > most {
            break;
        }
        kept.push(c);
    }
    if most > 0 {
        kept.push('…');
    }
    kept
}

/// Rows below a head.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|text| plain(text)).collect(), rows: Vec::new() }
    }

    /// Adds a row; what is missing in it is empty, what is too much is left out.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<_> = cells.into_iter().map(|text| plain(&text)).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// The lines. `paint` gives a row's cell the escape sequence of its colour, or "".
    pub fn lines(&self, paint: impl Fn(usize, &str) -> &'static str) -> Vec<String> {
        let widths = self.widths();
        let last = widths.len().saturating_sub(1);
        let line = |row: &[String], head: bool| {
            let mut line = String::new();
            for (column, (text, &most)) in row.iter().zip(&widths).enumerate() {
                let text = cut(text, most);
                let colour = if head { "" } else { paint(column, &row[column]) };
                let (on, off) = if colour.is_empty() { ("", "") } else { (colour, "\x1b[0m") };
                let pad = if column == last { 0 } else { most - width(&text) + GAP };
                line += &format!("{on}{text}{off}{:pad$}", "");
            }
            line.trim_end().to_owned()
        };
        let rows = self.rows.iter().map(|row| line(row, false));
        std::iter::once(line(&self.head, true)).chain(rows).collect()
    }

    /// As wide as each column's widest cell; then the widest gives way until all fit.
    fn widths(&self) -> Vec<usize> {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let widest = |i: usize| all().map(|row| width(&row[i])).max().unwrap_or(0);
        let mut widths: Vec<_> = (0..self.head.len()).map(widest).collect();
        let room = WIDTH.saturating_sub(GAP * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            // The last of equals gives way: what comes first says which row it is.
            let Some(most) = widths.iter_mut().max_by_key(|w| **w) else { break };
            *most = match *most {
                0 => break,
                w if w > NARROW => (w - 1).max(NARROW),
                w => w - 1,
            };
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(table: &Table) -> Vec<String> {
        table.lines(|_, _| "")
    }

    /// Wide characters keep their columns, and a long cell is cut.
    #[test]
    fn wide_characters_keep_their_columns() {
        let mut table = Table::new(&["PART", "STATE", "REASON"]);
        table.row(["feed/灌装".into(), "live".into(), String::new()]);
        table.row(["feed/line".into(), "no_signal".into(), "相机".repeat(60)]);
        let lines = lines(&table);
        assert_eq!(lines[0], "PART       STATE      REASON");
        assert_eq!(lines[1], "feed/灌装  live");
        assert!(lines[2].starts_with("feed/line  no_signal  相机") && lines[2].ends_with('…'));
        assert!((WIDTH - 1..=WIDTH).contains(&width(&lines[2])), "{}", lines[2]);
    }

    /// What a box says cannot steer the terminal.
    #[test]
    fn control_characters_are_blanked() {
        assert_eq!(plain("a\x1b[2Jb\u{9b}c\nd\u{202e}"), "a [2Jb c d ");
        assert_eq!(plain_lines("a\n\rb"), "a\n b");
    }

    proptest! {
        /// Whatever the cells: no line is wider than the terminal, none has control
        /// characters, and columns begin where the head's do.
        #[test]
        fn every_table_fits(
            rows in prop::collection::vec(prop::collection::vec("\\PC{0,30}|.{0,160}|中{0,70}", 4), 0..6),
        ) {
            let mut table = Table::new(&["A", "B", "C", "D"]);
            for row in &rows {
                table.row(row.clone());
            }
            let widths = table.widths();
            prop_assert!(widths.iter().sum::<usize>() + 3 * GAP <= WIDTH);
            for (line, row) in lines(&table).iter().skip(1).zip(&rows) {
                prop_assert!(width(line) <= WIDTH, "{}", line);
                prop_assert!(!line.chars().any(steers));
                // The second cell begins after the first's columns and the gap.
                let second = plain(&row[1]);
                let (mut at, mut rest) = (0, line.as_str());
                while at < widths[0] + GAP && let Some(c) = rest.chars().next() {
                    at += c.width().unwrap_or(0);
                    rest = &rest[c.len_utf8()..];
                }
                let first = second.chars().next().filter(|c| c.width().is_some_and(|w| w > 0));
                if let Some(first) = first && !first.is_whitespace() && widths[1] > 2 {
                    let rest = rest.trim_start_matches(|c: char| c.width() == Some(0));
                    prop_assert!(rest.starts_with(first), "{:?} in {:?}", first, line);
                }
            }
        }

        /// A cut text fits, and a text that fits is not cut.
        #[test]
        fn a_cut_text_fits(text in ".{0,60}", most in 0usize..50) {
            let short = cut(&text, most);
            prop_assert!(width(&short) <= most);
            prop_assert_eq!(short == text, width(&text) <= most);
        }
    }
}
