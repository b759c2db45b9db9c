//! One write at a time: sent once, then read back until it is known what the unit holds.
//!
//! A write is never sent twice. Where its reply is lost the unit is read, like after a
//! reply that came; and as long as that does not tell, the tag takes no other write:
//! only a good reading of a later time ends the doubt.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Order, Poller, Purpose};
use crate::config::modbus::form::{Form, Words};
use crate::config::modbus::point::Point;
use crate::model::{Mono, Quality, Value};
use crate::telemetry::modbus::decode::{raw, scaled};
use crate::telemetry::modbus::fault::Fault;
use crate::telemetry::modbus::pdu::Request;
use crate::telemetry::modbus::write::{Outcome, Wish};

/// It is known by then what the unit holds, or it is not.
const SETTLED: Duration = Duration::from_secs(5);

/// A unit that holds something else may be about to take it over: so long it is left alone.
const AGAIN: Duration = Duration::from_millis(100);

/// The write under way.
pub(super) struct Writing {
    wish: Wish,
    unit: usize,
    point: Point,
    words: Words,
    before: Value,
    stage: Stage,
}

enum Stage {
    /// For its turn.
    Waiting,
    /// For the reply.
    Sent(Mono),
    /// For a reading.
    Doubt { next: Mono, until: Mono, replied: bool, why: Arc<str>, holds: Option<Value> },
}

/// The last write of a tag.
pub(super) struct Tried {
    at: Mono,
    /// It is known what the unit held then.
    sure: bool,
}

impl Writing {
    fn request(&self, unit: u8, words: Option<Words>) -> Request {
        let Point { table, address, form, .. } = &self.point;
        Request { unit, table: *table, address: *address, count: form.width(), words }
    }
}

impl Poller {
    /// Nothing is being written.
    pub fn is_free(&self) -> bool {
        self.writing.is_none()
    }

    /// Takes a wish, or refuses it. Only while [`Self::is_free`].
    pub fn write(&mut self, wish: Wish, now: Mono) {
        match self.admit(&wish, now) {
            Ok((unit, point, words, before)) => {
                self.writing =
                    Some(Writing { wish, unit, point, words, before, stage: Stage::Waiting });
            }
            Err((reason, remedy)) => {
                self.count(&Outcome::refused("", ""));
                wish.end(Outcome::refused(reason, remedy));
            }
        }
    }

    fn admit(
        &self,
        wish: &Wish,
        now: Mono,
    ) -> Result<(usize, Point, Words, Value), (String, String)> {
        let no = |reason: &str, remedy: &str| Err((reason.to_owned(), remedy.to_owned()));
        let points = self.jobs.iter().flat_map(|j| j.read.points.iter().map(|p| (j.unit, p)));
        let Some((unit, point)) = points.into_iter().find(|(_, p)| p.tag == wish.tag) else {
            return no("the tag is computed, not read", "write the tag that it comes from");
        };
        let words = point.admit(&wish.value)?;
        let tried = self.tried.get(&point.tag);
        if let (Some(tried), Some(guard)) = (tried, &point.write)
            && now < tried.at + guard.every
        {
            let reason = "too soon after the last write of this tag";
            return Err((reason.into(), format!("once in {} ms", guard.every.as_millis())));
        }
        let stale_after = (self.board.tags().get(point.tag.0 as usize))
            .map_or(Duration::ZERO, |tag| tag.stale_after);
        let doubt = tried.map_or(self.began, |t| if t.sure { self.began } else { t.at });
        let newest = self.board.newest(point.tag).filter(|s| s.quality == Quality::Good);
        let known = newest.filter(|s| s.requested >= doubt && now.since(s.taken) <= stale_after);
        let Some(sample) = known else {
            let remedy = "wait until it is read again; see the unit's health";
            return no("it is not known what the tag holds", remedy);
        };
        if !self.units[unit].live() {
            return no("the unit does not answer", "see its health");
        }
        Ok((unit, point.clone(), words, sample.value))
    }

    /// What the write wants sent now.
    pub(super) fn write_next(&mut self, now: Mono) -> Option<Order> {
        self.write_overdue(now);
        if self.write_due().is_none_or(|due| due > now) {
            return None;
        }
        let writing = self.writing.as_mut()?;
        let (unit, id) = (writing.unit, self.units[writing.unit].id);
        match &mut writing.stage {
            Stage::Waiting => {
                writing.stage = Stage::Sent(now);
                let request = writing.request(id, Some(writing.words));
                Some(self.launch(unit, Purpose::Write, request, now))
            }
            Stage::Doubt { .. } => {
                let request = writing.request(id, None);
                Some(self.launch(unit, Purpose::ReadBack, request, now))
            }
            Stage::Sent(_) => None,
        }
    }

    /// When the write wants something sent, if nothing is under way to its unit. The unit's
    /// next read comes after it.
    pub(super) fn write_due(&self) -> Option<Mono> {
        let writing = self.writing.as_ref()?;
        let unit = &self.units[writing.unit];
        if self.flights.iter().any(|f| f.unit == writing.unit) {
            return None;
        }
        let ready = unit.ready_at().max(self.ready_at);
        match writing.stage {
            Stage::Waiting => Some(ready),
            // On a serial line the reads find out first whether late replies are to come.
            Stage::Doubt { .. } if self.line.is_some() && unit.failures() > 0 => None,
            Stage::Doubt { next, .. } => Some(ready.max(next)),
            Stage::Sent(_) => None,
        }
    }

    /// When the write ends, if nothing happens before.
    pub fn write_ends(&self) -> Option<Mono> {
        match self.writing.as_ref()?.stage {
            Stage::Waiting => self.writing.as_ref().map(|w| w.wish.until),
            Stage::Sent(_) => None,
            Stage::Doubt { until, .. } => Some(until),
        }
    }

    /// Ends the write if its time has come.
    pub fn write_overdue(&mut self, now: Mono) {
        if self.write_ends().is_none_or(|end| end > now) {
            return;
        }
        let outcome = match self.writing.as_ref().map(|w| &w.stage) {
            Some(Stage::Doubt { holds: Some(holds), why, .. }) => {
                Outcome::NotTaken { reason: why.to_string(), holds: Some(holds.clone()) }
            }
            Some(Stage::Doubt { why, .. }) => Outcome::Unknown { reason: why.to_string() },
            _ => Outcome::refused("it did not get its turn in time", "send it anew"),
        };
        self.end_write(outcome, now);
    }

    /// The write's own request came to its end.
    pub(super) fn write_sent(&mut self, fault: Option<&Fault>, now: Mono) {
        let (replied, why): (_, Arc<str>) = match fault {
            // 5: it is being done; the others say that it was not (Modbus V1.1b3, 7).
            Some(fault @ Fault::Exception(code)) if !matches!(code, 5 | 10 | 11) => {
                let reason = format!("the unit refuses it: {}", fault.reason());
                return self.end_write(Outcome::NotTaken { reason, holds: None }, now);
            }
            Some(fault) => (false, format!("no reply to the write: {}", fault.reason()).into()),
            None => (true, "the unit took it and holds something else".into()),
        };
        if let Some(writing) = &mut self.writing
            && let Stage::Sent(sent) = writing.stage
        {
            let until = sent.max(now) + SETTLED;
            writing.stage = Stage::Doubt { next: now, until, replied, why, holds: None };
        }
    }

    /// The connection is gone: what was sent may have come to the unit.
    pub(super) fn write_lost(&mut self, now: Mono) {
        let link = Fault::Link("the connection broke".into());
        match self.writing.as_ref().map(|w| &w.stage) {
            Some(Stage::Sent(_)) => self.write_sent(Some(&link), now),
            Some(Stage::Waiting) => {
                self.end_write(Outcome::refused("the connection broke", "see health"), now);
            }
            _ => {}
        }
    }

    /// The unit was read after the write.
    pub(super) fn read_back(&mut self, result: Result<&[u8], Fault>, requested: Mono, now: Mono) {
        let Some(writing) = &mut self.writing else { return };
        let (point, words) = (&writing.point, writing.words.bytes());
        let Stage::Doubt { next, replied, holds, .. } = &mut writing.stage else { return };
        let data = match result {
            Ok(data) => data,
            Err(fault) if fault.silent() => return,
            Err(fault) => {
                let reason = format!("it cannot be read back: {}", fault.reason());
                return self.end_write(Outcome::Unknown { reason }, now);
            }
        };
        let value = raw(point, point.address, data).and_then(|raw| scaled(point, raw));
        let same = match point.form {
            Form::Bit => value == Ok(Value::Bool(words[0] != 0)),
            _ => data == words,
        };
        if same && let Ok(holds) = value {
            let (before, replied) = (writing.before.clone(), *replied);
            let written = Outcome::Written { before, holds, replied, read: requested };
            return self.end_write(written, now);
        }
        *holds = value.ok();
        *next = now + AGAIN;
    }

    fn end_write(&mut self, outcome: Outcome, now: Mono) {
        let Some(writing) = self.writing.take() else { return };
        let unit = self.units[writing.unit].id;
        let (asked, code) = (&writing.wish.value, outcome.code());
        match &outcome {
            Outcome::Written { .. } => info!(unit, ?asked, code, "a tag was written"),
            other => warn!(unit, ?asked, code, ?other, "a tag was not written"),
        }
        if !matches!(outcome, Outcome::Refused { .. }) {
            let sure = matches!(outcome, Outcome::Written { .. });
            self.tried.insert(writing.point.tag, Tried { at: now, sure });
        }
        self.count(&outcome);
        writing.wish.end(outcome);
    }

    fn count(&self, outcome: &Outcome) {
        let (bus, outcome) = (self.id.to_string(), outcome.code());
        metrics::counter!("floorcast_modbus_writes_total", "bus" => bus, "outcome" => outcome)
            .increment(1);
    }
}

#[cfg(test)]
mod tests;
