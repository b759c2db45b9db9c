//! Asking one box, and its answers.
//!
//! Comes in: messages below `cfg/res/<user>/` and `cmd/res/<user>/`, of any shape.
//! Goes out: requests, each with a txid of its own and ten minutes to live.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::end::{Code, bad, silent, with};
use super::reach::Target;
use crate::clock::{self, WallClock, rfc3339};
use crate::control::change::{Op, Outcome, PAYLOAD_MAX, Problem, Worse};
use crate::control::topics::Topics;
use crate::model::UtcMicros;
use crate::mqtt::Message;

/// A box answers within this, usually.
pub const ANSWER: Duration = Duration::from_secs(10);

/// An answer under `cfg/res/<user>/<txid>`; what is not known is passed over.
#[derive(Deserialize, Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request's own.
    pub txid: String,
    /// How it stands.
    pub status: Outcome,
    /// With `seen`: how it stood or ended then.
    pub earlier: Option<Outcome>,
    /// The revision in question.
    pub revision: Option<u64>,
    /// The hash of its document.
    pub sha256: Option<String>,
    /// Back to the last good revision at this time, unless confirmed.
    pub confirm_by: Option<String>,
    /// Parts that worked before and do not now.
    #[serde(default)]
    pub worse: Vec<Worse>,
    /// Every mistake of the document.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// What differs.
    #[serde(default)]
    pub difference: Vec<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What to do about it.
    #[serde(default)]
    pub remedy: String,
    /// With `get`.
    pub document: Option<Value>,
}

impl Answer {
    /// Why, and what to do about it.
    pub fn why(&self) -> String {
        let said = [&*self.reason, &*self.remedy].into_iter().filter(|text| !text.is_empty());
        said.collect::<Vec<_>>().join("; ")
    }
}

/// An answer, as read and as it came.
pub type Said = (Answer, Value);

/// Reads an answer; `None` if it is none that this version knows.
pub fn read(payload: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    Some((Answer::deserialize(&value).ok()?, value))
}

/// A name that no request had before.
pub fn txid() -> String {
    format!("ctl-{:016x}", rand::random::<u64>())
}

/// Ten minutes from now, RFC 3339.
pub fn soon() -> String {
    rfc3339::text(UtcMicros(now().0 + 600_000_000))
}

/// Now, by this machine's wall clock.
pub fn now() -> UtcMicros {
    WallClock::new().utc(clock::now())
}

/// A user who talks to a box.
pub struct Talk {
    /// The session.
    pub call: Call,
    /// The box's topics.
    pub topics: Topics,
    /// Who asks.
    pub user: String,
    /// How long to wait for an answer.
    pub within: Duration,
}

impl Talk {
    /// Connects, and listens to the answers to this user's changes.
    pub async fn open(target: &Target, within: Duration) -> anyhow::Result<Self> {
        let (user, topics) = (target.user()?.to_owned(), Topics::new(target.site()?));
        let mut call = Call::open(&target.connection).await?;
        call.listen(&[topics.reply(&user, "+")]).await?;
        Ok(Self { call, topics, user, within })
    }

    /// Sends a request; its txid.
    pub async fn ask(&mut self, op: Op, mut fields: Value) -> anyhow::Result<String> {
        let txid = txid();
        fields["txid"] = json!(txid);
        if op.changes() {
            fields["expires"] = json!(soon());
        }
        let topic = format!("{}/cfg/req/{}/{}", self.topics.root(), self.user, op.name());
        let payload = fields.to_string();
        if payload.len() > PAYLOAD_MAX {
            let size = payload.len();
            return Err(bad(format!("a request of {size} bytes; the box takes {PAYLOAD_MAX}")));
        }
        self.call.say(&topic, payload.into()).await?;
        Ok(txid)
    }

    /// The answer in a message, if it is one to this user.
    pub fn answer(&self, message: &Message) -> Option<Said> {
        let to = self.topics.reply(&self.user, "");
        let txid = message.topic.strip_prefix(&to)?;
        read(&message.payload).filter(|(answer, _)| answer.txid == txid && !message.retained)
    }

    /// Sends a request and waits for the first answer.
    ///
    /// # Errors
    /// No answer in time, or the broker refuses the request.
    pub async fn exchange(&mut self, op: Op, fields: Value) -> anyhow::Result<Said> {
        let txid = self.ask(op, fields).await?;
        let until = Instant::now() + self.within;
        while let Some(message) = self.call.next(until).await? {
            if let Some(said) = self.answer(&message)
                && said.0.txid == txid
            {
                return Ok(said);
            }
        }
        Err(self.no_answer())
    }

    /// The box's document and its revision.
    ///
    /// # Errors
    /// No answer in time, or none with a document.
    pub async fn document(&mut self) -> anyhow::Result<(u64, Value, Said)> {
        let said = self.exchange(Op::Get, json!({})).await?;
        match (said.0.revision, said.0.document.clone()) {
            (Some(revision), Some(document)) => Ok((revision, document, said)),
            _ => Err(with(Code::Refused, format!("no document: {}", said.0.why()))),
        }
    }

    /// Nothing came in time.
    pub fn no_answer(&self) -> anyhow::Error {
        let (root, within) = (self.topics.root(), self.within);
        silent(format!(
            "no answer within {within:?} from {root}: is the box online (`floorcast ctl state`), \
             may {} ask it (`floorcast pki list`)? --within SECONDS waits longer",
            self.user
        ))
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.call.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::change::Reply;
    use proptest::prelude::*;

    /// What a box says is what is read.
    #[test]
    fn a_reply_is_read() {
        let worse = Worse { part: "feed/line".into(), reason: "no_signal: unplugged".into() };
        let problem = Problem { pointer: "/camera/0".into(), message: "no".into() };
        let reply = Reply {
            worse: vec![worse.clone()],
            confirm_by: Some("soon".into()),
            ..Reply::new("tx", "apply", Outcome::Trial)
        };
        let reply = reply.about(7).with_problems(vec![problem.clone()]).because("why", "do");
        let (answer, value) = read(&serde_json::to_vec(&reply).unwrap()).unwrap();
        assert_eq!(
            (answer.txid.as_str(), answer.status, answer.revision),
            ("tx", Outcome::Trial, Some(7))
        );
        assert_eq!((&answer.worse, &answer.problems), (&vec![worse], &vec![problem]));
        assert_eq!((answer.why().as_str(), &value["op"]), ("why; do", &json!("apply")));
    }

    proptest! {
        /// Whatever arrives, nothing panics, and what is read names its request.
        #[test]
        fn any_payload_is_judged(
            text in "\\{(\"(txid|status|worse|revision)\":(\"[a-z_]{0,8}\"|[0-9]{1,22}|\\[\\{?\\}?\\]|null),?){0,4}\\}|\\PC{0,60}",
        ) {
            if let Some((answer, value)) = read(text.as_bytes()) {
                prop_assert_eq!(Some(answer.txid.as_str()), value["txid"].as_str());
            }
        }
    }
}
