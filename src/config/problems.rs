//! Every mistake of a file, each with its key and its remedy.

use std::fmt;

/// The mistakes found so far.
#[derive(Debug, Default, Clone)]
pub struct Problems(Vec<Problem>);

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as in the file: `camera[0].frame_deadline_ms`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problems {
    /// Notes a mistake at `key`.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }

    /// None found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Problem { key, message } in &self.0 {
            writeln!(f, "{key}: {message}")?;
        }
        Ok(())
    }
}

/// `; did you mean "x"?` for the nearest known name, or nothing.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .min()
        .filter(|(distance, k)| *distance <= (k.len() / 2).max(2))
        .map_or_else(String::new, |(_, k)| format!("; did you mean {k:?}?"))
}
