//! What the tool prints: results to standard output, everything else to standard error.
//!
//! With `--json` standard output has one JSON value a line and nothing else. When
//! nobody reads any more (a closed pipe), the rest is not printed.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::table::{Table, plain, plain_lines};

/// Where to print, and how.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// JSON instead of text.
    pub json: bool,
    colours: bool,
}

impl Out {
    /// Colours are for terminals.
    pub fn new(json: bool) -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colours }
    }

    /// A result; only with `--json`.
    pub fn value(&self, value: &Value) {
        if self.json {
            print(&value.to_string());
        }
    }

    /// A result's line; not with `--json`.
    pub fn line(&self, text: &str) {
        if !self.json {
            print(&plain(text));
        }
    }

    /// A result of several lines; not with `--json`.
    pub fn lines(&self, text: &str) {
        if !self.json {
            print(plain_lines(text).trim_end());
        }
    }

    /// A table; not with `--json`.
    pub fn table(&self, table: &Table) {
        let colours = self.colours;
        if !self.json {
            let paint = |column, text: &str| if colours { colour(column, text) } else { "" };
            table.lines(paint).iter().for_each(|line| print(line));
        }
    }

    /// How it goes, what is wrong: for people, on standard error.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{}", plain(text));
    }
}

/// Whether somebody is there to be asked.
pub fn asks() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks on the terminal and waits for the answer; only a yes is one.
pub fn ask(question: &str) -> bool {
    let mut stderr = std::io::stderr();
    let asked = write!(stderr, "{} [y/N] ", plain(question)).and_then(|()| stderr.flush());
    let mut line = String::new();
    asked.and_then(|()| std::io::stdin().read_line(&mut line)).is_ok() && is_yes(&line)
}

/// Whether an answer is a yes.
pub fn is_yes(line: &str) -> bool {
    matches!(line.trim(), "y" | "Y" | "yes" | "是")
}

/// The colour of a word in a table's second column, where states are.
fn colour(column: usize, word: &str) -> &'static str {
    match word {
        _ if column != 1 => "",
        "live" | "online" => "\x1b[32m",
        "no_signal" | "offline" => "\x1b[31m",
        "connecting" | "suspect" => "\x1b[33m",
        _ => "",
    }
}

fn print(text: &str) {
    // Who closed the pipe has read enough.
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}
