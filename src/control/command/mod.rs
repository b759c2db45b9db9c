//! Commands: what is done at once and is no configuration.
//!
//! Comes in: any bytes on `cmd/<user>/<name>`. Goes out: a checked [`Command`] to be
//! run, or why not. Each txid runs once ([`Once`]), at most [`RATE`] of a user in a
//! second; a payload of more than [`PAYLOAD_MAX`] bytes is refused unread. Pure: time is
//! an argument. What was run is forgotten with the process: a broker keeps no command
//! for a session that is gone.

mod answer;
mod form;
mod once;

pub use answer::{Answer, Status};
pub use form::{Asked, Command, PAYLOAD_MAX};
pub use once::{MOST, Once, RATE};

use super::change::{Now, request};

/// All that is known of commands.
#[derive(Default)]
pub struct Commands {
    once: Once,
}

/// Why a command is not run.
#[derive(Debug)]
pub struct No {
    /// What to say.
    pub answer: Box<Answer>,
    /// It has an audit line of its own.
    pub noted: bool,
}

impl Commands {
    /// What `payload` asks for, under which txid it is answered, and when it expires.
    ///
    /// # Errors
    /// Nothing is to be done; the answer says why.
    pub fn judge(
        &mut self,
        user: &str,
        name: &str,
        payload: &[u8],
        retained: bool,
        now: Now,
    ) -> Result<Asked, No> {
        let refused = |txid: &str, reason: &str, remedy: &str| No {
            answer: Box::new(Answer::new(txid, name, Status::Refused).because(reason, remedy)),
            noted: true,
        };
        let rate = self.once.pace(user, now.mono);
        let parsed = form::parse(name, payload, now);
        if let Err(first) = rate {
            let txid = match &parsed {
                Ok(asked) => &asked.txid,
                Err(refusal) => &refusal.txid,
            };
            let reason = format!("more than {RATE} commands in a second");
            // One line says it: who floods must not fill the audit file.
            return Err(No { noted: first, ..refused(txid, &reason, "send fewer") });
        }
        let asked = parsed.map_err(|no| refused(&no.txid, &no.reason, &no.remedy))?;
        if retained {
            let remedy = "publish without retain, and clear the topic";
            return Err(refused(&asked.txid, "a stored message is not run", remedy));
        }
        if matches!(asked.command, Command::Write { .. }) && request::unset(now) {
            let reason = "the box does not know the time: it cannot tell whether a write is late";
            return Err(refused(
                &asked.txid,
                reason,
                "see `ntp` of its network, then send it anew",
            ));
        }
        if self.once.has(user, &asked.txid, now.mono) {
            let answer = Answer::new(&asked.txid, name, Status::Seen);
            let answer = Box::new(answer.because("it has run", "a new command needs a new txid"));
            return Err(No { answer, noted: false });
        }
        self.once
            .remember(user, &asked.txid, asked.expires, now)
            .map_err(|why| refused(&asked.txid, &why, "send fewer, or with an earlier expires"))?;
        Ok(asked)
    }
}

#[cfg(test)]
mod tests;
