//! How the tool ends: its exit codes, and errors that carry one.

use std::fmt;
use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// Done.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// An argument, the profile or a file is of no use.
    Bad = 2,
    /// The box or the broker said no, or a change did not stay.
    Refused = 3,
    /// No broker, or no answer.
    Silent = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        (code as u8).into()
    }
}

/// An error with its exit code.
#[derive(Debug)]
pub struct Ended {
    code: Code,
    why: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Ended {}

/// An error of this code.
pub fn with(code: Code, why: impl fmt::Display) -> anyhow::Error {
    Ended { code, why: why.to_string() }.into()
}

/// An argument or a file is of no use; `why` names it and what would be right.
pub fn bad(why: impl fmt::Display) -> anyhow::Error {
    with(Code::Bad, why)
}

/// No broker, or no answer.
pub fn silent(why: impl fmt::Display) -> anyhow::Error {
    with(Code::Silent, why)
}

/// An error's exit code.
pub fn code(error: &anyhow::Error) -> Code {
    error.downcast_ref::<Ended>().map_or(Code::Failed, |ended| ended.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    /// An error keeps its code under whatever is said about it.
    #[test]
    fn a_code_survives_context() {
        let error = Err::<(), _>(silent("no answer")).context("box line-2").unwrap_err();
        assert_eq!(code(&error), Code::Silent);
        assert_eq!(format!("{error:#}"), "box line-2: no answer");
        assert_eq!(code(&anyhow::anyhow!("other")), Code::Failed);
    }
}
