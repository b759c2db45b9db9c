//! What a document is worth on this box, without touching a device.
//!
//! Comes in: a document, what is on air, and what was found on the box when it started.
//! Goes out: what would change, or every mistake.

use serde_json::Value;

use super::change::{Judge, Problem};
use crate::config::difference::Difference;
use crate::config::means::Means;
use crate::config::{self, Config, Problems, problems};

/// Judges documents against what is on air.
pub struct Against<'a>(pub &'a Config, pub &'a Means);

impl Judge for Against<'_> {
    fn judge(&self, document: &Value) -> Result<Vec<String>, Vec<Problem>> {
        let new = config::check(document.clone(), &self.0.tags).map_err(|p| listed(&p))?;
        let mut problems = Problems::default();
        // Who sets the box up would look for it under its old name and broker.
        for (key, old, new) in [
            ("box.site", &self.0.site.site, &new.site.site),
            ("box.id", &self.0.site.id, &new.site.id),
        ] {
            if old != new {
                let what = format!("{new:?}: the box is {old:?}, which only an adoption changes");
                problems.add(key, what);
            }
        }
        if new.control.brokers.is_empty() {
            let remedy = "none: nobody could set the box up any more; keep at least one";
            problems.add("control.broker", remedy);
        }
        self.1.check(&new.cameras, &mut problems);
        match problems.is_empty() {
            true => Ok(Difference::between(self.0, &new).lines()),
            false => Err(listed(&problems)),
        }
    }

    fn schema(&self) -> Value {
        config::schema::schema()
    }
}

fn listed(problems: &Problems) -> Vec<Problem> {
    let each = |p: &problems::Problem| Problem { pointer: p.pointer(), message: p.message.clone() };
    problems.iter().map(each).collect()
}
