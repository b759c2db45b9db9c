//! A change from its request to its end: shown, kept or not.
//!
//! Comes in: the box's answers, what everybody is told in `cfg/reported`, the
//! technician's words. Goes out: the request, and `confirm` or `rollback`. Nobody's
//! word, a lost session and Ctrl-C all leave the trial to its deadline: then the box
//! goes back by itself.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::change::refused;
use super::end::{Code, silent};
use super::file::File;
use super::out::{self, Out, is_yes};
use super::talk::{Answer, Said, Talk};
use crate::control::change::document::{difference, sha256};
use crate::control::change::{Op, Outcome, Worse};
use crate::mqtt::Message;

/// How a trial is to end.
#[derive(Args, Clone, Copy, Debug)]
pub struct Terms {
    /// Stay until the trial has ended, also where nobody can be asked.
    #[arg(long)]
    watch: bool,
    /// Seconds on trial; then the box goes back by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=3600))]
    confirm_s: u64,
    /// Keep it without asking, once nothing has been worse for three seconds.
    #[arg(long)]
    yes: bool,
}

/// A box that goes back says so once its cameras have had this long to return.
pub const RETURN: Duration = Duration::from_secs(60);

/// Nothing worse for so long is well.
const STEADY: Duration = Duration::from_secs(3);

/// Puts a file on trial on top of what runs.
pub async fn apply(talk: &mut Talk, file: &File, terms: Terms, out: Out) -> anyhow::Result<Code> {
    let (base, document, said) = talk.document().await?;
    if difference(&document, &file.document).is_empty() {
        out.value(&said.1);
        out.line(&format!("nothing differs from revision {base}"));
        return Ok(Code::Done);
    }
    let fields = json!({
        "base": base,
        "document": file.document,
        "sha256": sha256(&file.document),
        "confirm_s": terms.confirm_s,
    });
    follow(talk, Op::Apply, fields, Some(file), terms, out).await
}

/// Ends what is on trial, or puts the revision before on trial.
pub async fn rollback(talk: &mut Talk, terms: Terms, out: Out) -> anyhow::Result<Code> {
    let fields = json!({ "confirm_s": terms.confirm_s });
    follow(talk, Op::Rollback, fields, None, terms, out).await
}

async fn follow(
    talk: &mut Talk,
    op: Op,
    fields: Value,
    file: Option<&File>,
    terms: Terms,
    out: Out,
) -> anyhow::Result<Code> {
    talk.call.listen(&[talk.topics.reported()]).await?;
    let said = talk.exchange(op, fields).await?;
    out.value(&said.1);
    match (op, said.0.status) {
        (_, Outcome::Trial) => {}
        (Op::Rollback, Outcome::RolledBack) => {
            out.line(&said.0.why());
            return Ok(Code::Done);
        }
        _ => return Ok(refused(&said, file, out)),
    }
    // From here on Ctrl-C is a word of the technician's.
    let mut interrupts = signal(SignalKind::interrupt()).context("listen to Ctrl-C")?;
    let trial = Trial::begin(said.0, terms, Instant::now());
    for line in &trial.answer.difference {
        out.line(line);
    }
    out.note(&format!("revision {} is on trial until {}", trial.revision, trial.confirm_by()));
    let asks = out::asks();
    if !terms.yes && !terms.watch && !asks {
        out.note(&format!("nobody to ask here; {}", trial.how()));
        return Ok(Code::Refused);
    }
    let how = trial.how();
    trial
        .watch(talk, asks && !terms.yes, &mut interrupts, out)
        .await
        .map_err(|error| error.context(format!("the trial goes on without this session; {how}")))
}

/// A change on trial, as its sender sees it.
struct Trial {
    answer: Answer,
    revision: u64,
    yes: bool,
    /// Confirmed or back by then.
    deadline: Instant,
    /// It runs: only then it can be confirmed.
    applied: bool,
    /// Nothing has been worse since.
    well: Instant,
    /// The txids of this session's confirms and rollbacks.
    asked: Vec<String>,
    /// A confirm waits for its answer.
    confirming: bool,
}

impl Trial {
    fn begin(answer: Answer, terms: Terms, now: Instant) -> Self {
        Self {
            revision: answer.revision.unwrap_or_default(),
            yes: terms.yes,
            deadline: now + Duration::from_secs(terms.confirm_s),
            applied: false,
            well: now,
            asked: Vec::new(),
            confirming: false,
            answer,
        }
    }

    fn confirm_by(&self) -> &str {
        self.answer.confirm_by.as_deref().unwrap_or("its deadline")
    }

    /// How it is kept without this session.
    fn how(&self) -> String {
        format!(
            "`floorcast ctl confirm {}` keeps it until {}, `floorcast ctl rollback` ends it",
            self.revision,
            self.confirm_by()
        )
    }

    /// Whether it is to be kept now without asking.
    fn keep(&self, now: Instant) -> bool {
        let well = self.applied && self.answer.worse.is_empty();
        self.yes && well && !self.confirming && now >= self.well + STEADY
    }

    /// Notes what is worse now; true if that is news.
    fn compare(&mut self, worse: Vec<Worse>, now: Instant) -> bool {
        let news = self.answer.worse != worse;
        if news || !worse.is_empty() {
            self.well = now;
        }
        self.answer.worse = worse;
        news
    }

    /// What everybody is told.
    fn reported(&mut self, report: &Value, now: Instant) {
        let ours = report["trial"]["txid"] == self.answer.txid.as_str();
        if ours && report["status"] == "trial" && !std::mem::replace(&mut self.applied, true) {
            self.well = now;
        }
    }

    async fn watch(
        mut self,
        talk: &mut Talk,
        asks: bool,
        interrupts: &mut Signal,
        out: Out,
    ) -> anyhow::Result<Code> {
        let mut words = if asks { words() } else { mpsc::channel(1).1 };
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let late = self.deadline + talk.within.max(RETURN);
        loop {
            let now = Instant::now();
            tokio::select! {
                message = talk.call.next(late) => match message? {
                    Some(message) => {
                        if let Some(code) = self.hear(talk, &message, asks, out) {
                            return Ok(code);
                        }
                    }
                    None => return Err(silent("its end was not told in time")),
                },
                Some(keep) = words.recv() => {
                    if keep {
                        self.confirm(talk).await?;
                    } else {
                        self.asked.push(talk.ask(Op::Rollback, json!({})).await?);
                    }
                }
                _ = tick.tick() => {
                    if self.keep(now) {
                        self.confirm(talk).await?;
                    }
                    if asks {
                        self.prompt(now);
                    }
                }
                Some(()) = interrupts.recv() => {
                    out.note("");
                    out.note(&format!("left on trial; {}", self.how()));
                    return Ok(Code::Refused);
                }
            }
        }
    }

    async fn confirm(&mut self, talk: &mut Talk) -> anyhow::Result<()> {
        self.confirming = true;
        self.asked.push(talk.ask(Op::Confirm, json!({ "revision": self.revision })).await?);
        Ok(())
    }

    /// What a message says about it; the exit code at its end.
    fn hear(&mut self, talk: &Talk, message: &Message, asks: bool, out: Out) -> Option<Code> {
        let now = Instant::now();
        if message.topic == talk.topics.reported() {
            let report = serde_json::from_slice(&message.payload).unwrap_or_default();
            self.reported(&report, now);
            return None;
        }
        let said = talk.answer(message)?;
        if said.0.txid == self.answer.txid {
            out.value(&said.1);
            return self.heard(said, asks, out, now);
        }
        if self.asked.contains(&said.0.txid) {
            out.value(&said.1);
            if matches!(said.0.status, Outcome::Confirmed | Outcome::RolledBack) {
                // The change's own answer says the same.
                return None;
            }
            self.confirming = false;
            // Asked again once it has been well for as long again.
            self.well = now;
            if !self.yes {
                refused(&said, None, out);
            }
        }
        None
    }

    /// The box says how the trial stands.
    fn heard(&mut self, said: Said, asks: bool, out: Out, now: Instant) -> Option<Code> {
        let revision = self.revision;
        if asks {
            out.note("");
        }
        match said.0.status {
            Outcome::Trial => {
                let why = said.0.reason.clone();
                if self.compare(said.0.worse, now) {
                    self.tell(out);
                }
                if !why.is_empty() {
                    out.note(&format!("revision {revision}: {why}"));
                }
                None
            }
            Outcome::Confirmed => {
                out.line(&format!("revision {revision} is confirmed"));
                Some(Code::Done)
            }
            _ => {
                out.line(&format!("revision {revision} is off: {}", said.0.why()));
                Some(Code::Refused)
            }
        }
    }

    fn tell(&self, out: Out) {
        if self.answer.worse.is_empty() {
            out.note("nothing is worse than before");
        }
        for worse in &self.answer.worse {
            out.note(&format!("worse: {}: {}", worse.part, worse.reason));
        }
    }

    /// The question, with the time that is left, in place.
    fn prompt(&self, now: Instant) {
        let left = self.deadline.saturating_duration_since(now).as_secs();
        let worse = match self.answer.worse.len() {
            0 => String::new(),
            n => format!(", {n} worse"),
        };
        let text =
            format!("\r\x1b[Krevision {}: {left} s left{worse}: keep it? [y/N] ", self.revision);
        let mut stderr = std::io::stderr();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// Reads yes or no from the terminal, line by line. The thread ends with the process.
fn words() -> mpsc::Receiver<bool> {
    let (tx, words) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if tx.blocking_send(is_yes(&line)).is_err() {
                break;
            }
        }
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::talk::read;

    fn trial(now: Instant) -> Trial {
        let text = br#"{"txid":"tx","status":"trial","revision":2}"#;
        let terms = Terms { watch: false, confirm_s: 60, yes: true };
        Trial::begin(read(text).expect("an answer").0, terms, now)
    }

    fn worse() -> Vec<Worse> {
        vec![Worse { part: "feed/line".into(), reason: "no_signal".into() }]
    }

    /// A trial is kept without asking only when it runs and nothing has been worse for
    /// a while.
    #[test]
    fn a_trial_is_kept_once_it_is_well() {
        let now = Instant::now();
        let mut trial = trial(now);
        assert!(!trial.keep(now + STEADY), "it is still being applied");
        let report = json!({ "status": "trial", "trial": { "txid": "tx" } });
        trial.reported(&report, now + STEADY);
        assert!(!trial.keep(now + STEADY));
        assert!(trial.compare(worse(), now + STEADY));
        assert!(!trial.keep(now + STEADY * 3), "a part is worse");
        assert!(trial.compare(Vec::new(), now + STEADY * 3));
        assert!(!trial.keep(now + STEADY * 3));
        assert!(trial.keep(now + STEADY * 4));
        trial.confirming = true;
        assert!(!trial.keep(now + STEADY * 5), "a confirm is under way");
    }

    /// Another one's trial does not count as ours.
    #[test]
    fn another_trial_is_not_ours() {
        let now = Instant::now();
        let mut trial = trial(now);
        trial.reported(&json!({ "status": "trial", "trial": { "txid": "other" } }), now);
        trial.reported(&json!({ "status": "applying", "trial": { "txid": "tx" } }), now);
        trial.reported(&Value::Null, now);
        assert!(!trial.applied);
    }
}
