//! Tells what a camera's feed is doing: its status, and what goes wrong in the log, once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::doubt::Watch;
use super::encode::Trouble;
use super::flow::Flow;
use super::switch::{On, Switch};
use super::verdict::{Facts, judge};
use crate::clock;
use crate::config::camera::Camera;
use crate::status::Status;

/// How often the state is judged even if nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// How often counts are compared.
const COUNT: u64 = 10;

/// Reports on one feed.
pub(super) struct Reporter<'a> {
    /// Whose.
    pub camera: &'a Camera,
    /// Times and counts.
    pub flow: &'a Flow,
    /// Who is on.
    pub switch: &'a Switch,
    /// What is doubtful.
    pub watch: &'a Watch,
    /// Why there is no encoder.
    pub trouble: &'a Trouble,
    /// Where it is told.
    pub status: &'a Status,
}

/// Something counted that is told when it begins and when it ends.
struct Count {
    of: fn(&Flow) -> u64,
    begins: &'static str,
    ends: &'static str,
    last: u64,
    told: bool,
}

impl Reporter<'_> {
    /// For ever.
    pub async fn report(self) {
        let part = format!("feed/{}", self.camera.id);
        let (mut on, mut resting) = (self.switch.on(), self.switch.resting());
        let rests = metrics::gauge!("floorcast_capture_resting",
            "feed" => self.camera.id.to_string());
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counts = counts(self.flow);
        for n in 0u64.. {
            let who = on.borrow_and_update().clone();
            let rest = *resting.borrow_and_update();
            rests.set(if rest { 1.0 } else { 0.0 });
            let (state, code, reason) = self.judge(&who, rest);
            self.status.set_coded(&part, state, code, &reason);
            if n.is_multiple_of(COUNT) {
                counts.iter_mut().for_each(|count| count.tell(self.flow));
            }
            tokio::select! {
                _ = tick.tick() => {}
                _ = on.changed() => {}
                _ = resting.changed() => {}
            }
        }
    }

    fn judge(&self, on: &On, resting: bool) -> super::verdict::Verdict {
        let trouble = self.trouble.lock().expect("trouble lock").clone();
        let needed = !(self.switch.is_coded() && *on == On::Camera);
        let now = clock::now();
        judge(&Facts {
            now,
            on,
            encoder: trouble.as_deref().filter(|_| needed),
            resting,
            out: self.flow.last_out(),
            limit: self.camera.frame_deadline,
            doubt: self.watch.doubt(now),
        })
    }
}

fn counts(flow: &Flow) -> [Count; 4] {
    let count = |of: fn(&Flow) -> u64, begins, ends| Count {
        of,
        begins,
        ends,
        last: of(flow),
        told: false,
    };
    [
        count(
            Flow::shed,
            "the encoder falls behind: pictures are shed",
            "the encoder keeps up again",
        ),
        count(
            Flow::implausible,
            "implausible capture times: they are estimated",
            "capture times are plausible again",
        ),
        count(
            Flow::damaged_so_far,
            "the driver marks pictures as damaged: they are left out",
            "pictures are whole again",
        ),
        count(Flow::driver_lost, "the driver loses pictures", "the driver loses no more pictures"),
    ]
}

impl Count {
    /// A line when it begins, one when it ends.
    fn tell(&mut self, flow: &Flow) {
        let now = (self.of)(flow);
        let pictures = now - std::mem::replace(&mut self.last, now);
        match (pictures > 0, std::mem::replace(&mut self.told, pictures > 0)) {
            (true, false) => warn!(pictures, "{}", self.begins),
            (false, true) => info!("{}", self.ends),
            _ => {}
        }
    }
}
