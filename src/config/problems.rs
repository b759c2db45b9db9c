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

impl Problem {
    /// The key as a JSON pointer (RFC 6901): `/camera/0/frame_deadline_ms`.
    pub fn pointer(&self) -> String {
        let mut pointer = String::with_capacity(self.key.len() + 1);
        for name in self.key.split('.') {
            let mut parts = name.split('[');
            pointer.push('/');
            pointer += &parts.next().unwrap_or_default().replace('~', "~0").replace('/', "~1");
            for index in parts {
                pointer.push('/');
                pointer += index.trim_end_matches(']');
            }
        }
        pointer
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A key names the same place as a JSON pointer.
    #[test]
    fn keys_are_pointers() {
        let pointer = |key: &str| Problem { key: key.into(), message: String::new() }.pointer();
        assert_eq!(pointer("web.listen"), "/web/listen");
        assert_eq!(pointer("modbus[2].unit[0].tag[11].name"), "/modbus/2/unit/0/tag/11/name");
        assert_eq!(pointer("camera[0].controls.a/b"), "/camera/0/controls/a~1b");
    }
}
