//! The configuration: looked at, checked, compared, confirmed.

use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueHint};
use serde_json::json;

use super::end::Code;
use super::file::File;
use super::out::Out;
use super::reach::Target;
use super::talk::{ANSWER, Said, Talk};
use super::trial::{self, Terms};
use crate::control::change::document::difference;
use crate::control::change::{Op, Outcome};

/// What is asked about a box's configuration.
#[derive(Subcommand, Debug)]
pub enum Change {
    /// Ask the box for every mistake of a configuration; nothing changes.
    Validate {
        /// The configuration, TOML or JSON.
        #[arg(value_parser = File::read, value_hint = ValueHint::FilePath)]
        file: File,
    },
    /// Show what a configuration would change on the box.
    Diff {
        /// The configuration, TOML or JSON.
        #[arg(value_parser = File::read, value_hint = ValueHint::FilePath)]
        file: File,
    },
    /// Put a configuration on trial, show how it goes, and keep it or not.
    Apply {
        /// The configuration, TOML or JSON.
        #[arg(value_parser = File::read, value_hint = ValueHint::FilePath)]
        file: File,
        #[command(flatten)]
        terms: Terms,
    },
    /// Keep the revision that is on trial.
    Confirm {
        /// Its number.
        revision: u64,
    },
    /// End what is on trial; otherwise put the revision before on trial.
    Rollback {
        #[command(flatten)]
        terms: Terms,
    },
    /// Print the configuration that runs.
    Get {
        /// As TOML.
        #[arg(long)]
        toml: bool,
    },
    /// Print the JSON Schema of the configurations that the box takes.
    Schema,
}

/// Asks, and prints what came of it.
pub async fn ask(
    change: &Change,
    target: &Target,
    within: Option<Duration>,
    out: Out,
) -> anyhow::Result<Code> {
    let usual = match change {
        Change::Rollback { .. } => trial::RETURN,
        _ => ANSWER,
    };
    let mut talk = Talk::open(target, within.unwrap_or(usual)).await?;
    let ended = match change {
        Change::Validate { file } => validate(&mut talk, file, out).await,
        Change::Diff { file } => diff(&mut talk, file, out).await,
        Change::Apply { file, terms } => trial::apply(&mut talk, file, *terms, out).await,
        Change::Confirm { revision } => confirm(&mut talk, *revision, out).await,
        Change::Rollback { terms } => trial::rollback(&mut talk, *terms, out).await,
        Change::Get { toml } => get(&mut talk, *toml, out).await,
        Change::Schema => schema(&mut talk, out).await,
    };
    talk.close().await;
    ended
}

/// Prints the document that runs.
async fn get(talk: &mut Talk, toml: bool, out: Out) -> anyhow::Result<Code> {
    let (revision, document, (answer, _)) = talk.document().await?;
    let sha256 = answer.sha256.unwrap_or_default();
    out.note(&format!("revision {revision}, sha256 {sha256}"));
    out.value(&document);
    out.lines(&match toml {
        true => toml::to_string_pretty(&document).context("the document as TOML")?,
        false => serde_json::to_string_pretty(&document)?,
    });
    Ok(Code::Done)
}

/// Prints the box's own schema: its version's, whatever this tool's is.
async fn schema(talk: &mut Talk, out: Out) -> anyhow::Result<Code> {
    let said = talk.exchange(Op::Schema, json!({})).await?;
    let schema = &said.1["schema"];
    if said.0.status != Outcome::Ok || !schema.is_object() {
        return Ok(refused(&said, None, out));
    }
    out.value(schema);
    out.lines(&serde_json::to_string_pretty(schema)?);
    Ok(Code::Done)
}

/// Asks what a file is worth on the box.
async fn validate(talk: &mut Talk, file: &File, out: Out) -> anyhow::Result<Code> {
    let said = talk.exchange(Op::Validate, json!({ "document": file.document })).await?;
    out.value(&said.1);
    if said.0.status != Outcome::Valid {
        return Ok(refused(&said, Some(file), out));
    }
    let revision = said.0.revision.unwrap_or_default();
    out.line(&format!("{}: fine on top of revision {revision}", file.name()));
    Ok(Code::Done)
}

/// What a file would change: in the box's words, and where the documents differ.
async fn diff(talk: &mut Talk, file: &File, out: Out) -> anyhow::Result<Code> {
    let (revision, document, _) = talk.document().await?;
    let said = talk.exchange(Op::Validate, json!({ "document": file.document })).await?;
    if said.0.status != Outcome::Valid {
        out.value(&said.1);
        return Ok(refused(&said, Some(file), out));
    }
    let pointers = difference(&document, &file.document);
    let words = &said.0.difference;
    out.value(&json!({ "revision": revision, "difference": words, "pointers": pointers }));
    if pointers.is_empty() {
        out.line(&format!("nothing differs from revision {revision}"));
        return Ok(Code::Done);
    }
    out.line(&format!("on top of revision {revision}:"));
    words.iter().for_each(|line| out.line(&format!("  {line}")));
    out.line("where the documents differ:");
    pointers.iter().for_each(|line| out.line(&format!("  {line}")));
    Ok(Code::Done)
}

/// Keeps what is on trial.
async fn confirm(talk: &mut Talk, revision: u64, out: Out) -> anyhow::Result<Code> {
    let said = talk.exchange(Op::Confirm, json!({ "revision": revision })).await?;
    out.value(&said.1);
    if said.0.status != Outcome::Confirmed {
        return Ok(refused(&said, None, out));
    }
    out.line(&format!("revision {revision} is confirmed"));
    Ok(Code::Done)
}

/// Says why a request was not done.
pub fn refused((answer, _): &Said, file: Option<&File>, out: Out) -> Code {
    if let Some(file) = file.filter(|_| !answer.problems.is_empty()) {
        file.tell(&answer.problems, out);
        return Code::Refused;
    }
    let word = match answer.status {
        Outcome::Conflict => "conflict: somebody else changed the box since",
        Outcome::RolledBack => "rolled back",
        Outcome::Seen => "this request has run before",
        _ => "refused",
    };
    out.note(&format!("{word}: {}", answer.why()));
    for worse in &answer.worse {
        out.note(&format!("  {}: {}", worse.part, worse.reason));
    }
    for line in &answer.difference {
        out.note(&format!("  {line}"));
    }
    Code::Refused
}
