//! A configuration in a file, TOML or JSON by its content.

use std::path::PathBuf;

use anyhow::{Error, ensure};
use serde_json::Value;

use super::out::Out;
use crate::config;
use crate::control::change::Problem;

/// A larger file makes no request, bytes.
const FILE_MAX: u64 = 8 << 20;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    toml: bool,
    /// Not checked yet.
    pub document: Value,
}

impl File {
    /// Reads it, as an argument.
    ///
    /// # Errors
    /// It is not there, or neither TOML nor a JSON object.
    pub fn read(path: &str) -> anyhow::Result<Self> {
        let size = std::fs::metadata(path)?.len();
        ensure!(size <= FILE_MAX, "{size} bytes; a document is at most 1 MiB");
        let (toml, document) = parse(&std::fs::read_to_string(path)?).map_err(Error::msg)?;
        Ok(Self { path: path.into(), toml, document })
    }

    /// As given.
    pub fn name(&self) -> impl std::fmt::Display {
        self.path.display()
    }

    /// Prints a document's mistakes: for a TOML file with the key as it is typed there.
    pub fn tell(&self, problems: &[Problem], out: Out) {
        let count = problems.len();
        let plural = if count == 1 { "" } else { "s" };
        out.line(&format!("{}: {count} mistake{plural}", self.path.display()));
        for Problem { pointer, message } in problems {
            match key(pointer).filter(|_| self.toml) {
                Some(key) => out.line(&format!("{pointer} ({key}): {message}")),
                None => out.line(&format!("{pointer}: {message}")),
            }
        }
    }
}

/// Whether it is TOML, and the document; or what is wrong.
fn parse(text: &str) -> Result<(bool, Value), String> {
    let text = text.trim_start_matches('\u{feff}');
    // No TOML begins so, and every document in JSON does.
    if text.trim_start().starts_with('{') {
        let document = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        return Ok((false, document));
    }
    let document =
        config::parse(text).map_err(|problems| problems.to_string().trim_end().to_owned())?;
    Ok((true, document))
}

/// A JSON pointer as a key of a TOML file: `camera[0].port`.
fn key(pointer: &str) -> Option<String> {
    let mut key = String::new();
    for name in pointer.strip_prefix('/')?.split('/') {
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            key += &format!("[{name}]");
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key += &name.replace("~1", "/").replace("~0", "~");
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// JSON and TOML are told apart by their content.
    #[test]
    fn content_says_what_it_is() {
        let document = json!({"box": {"id": "a"}});
        assert_eq!(parse(" {\"box\": {\"id\": \"a\"}}"), Ok((false, document.clone())));
        assert_eq!(parse("[box]\nid = \"a\""), Ok((true, document)));
        assert!(parse("{\"box\": ").unwrap_err().starts_with("not JSON: "));
        assert!(parse("[box\n").unwrap_err().starts_with("line 1, column "));
    }

    /// A pointer is the key that is typed.
    #[test]
    fn pointers_are_keys() {
        assert_eq!(key("/camera/0/port").as_deref(), Some("camera[0].port"));
        assert_eq!(key("/camera/0/controls/a~1b").as_deref(), Some("camera[0].controls.a/b"));
        assert_eq!(key(""), None);
    }

    proptest! {
        /// Whatever a file holds, nothing panics.
        #[test]
        fn any_file_is_judged(text in "\\{?[\\[\\]{}\":=a-z0-9\\n ]{0,40}|\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
