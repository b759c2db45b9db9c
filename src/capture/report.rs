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

/// What was counted in the last second, and whether that was told.
#[derive(Default)]
struct Counts {
    shed: u64,
    strange: u64,
    shedding: bool,
    doubting: bool,
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
        let mut counts = Counts {
            shed: self.flow.shed(),
            strange: self.flow.implausible(),
            ..Counts::default()
        };
        for n in 0u64.. {
            let who = on.borrow_and_update().clone();
            let rest = *resting.borrow_and_update();
            rests.set(if rest { 1.0 } else { 0.0 });
            let (state, code, reason) = self.judge(&who, rest);
            self.status.set_coded(&part, state, code, &reason);
            if n.is_multiple_of(COUNT) {
                counts.tell(self.flow);
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

impl Counts {
    /// Shed pictures and strange stamps: a line when they begin, one when they end.
    fn tell(&mut self, flow: &Flow) {
        let pictures = flow.shed() - std::mem::replace(&mut self.shed, flow.shed());
        match (pictures > 0, std::mem::replace(&mut self.shedding, pictures > 0)) {
            (true, false) => warn!(pictures, "the encoder falls behind: pictures are shed"),
            (false, true) => info!("the encoder keeps up again"),
            _ => {}
        }
        let stamps = flow.implausible() - std::mem::replace(&mut self.strange, flow.implausible());
        match (stamps > 0, std::mem::replace(&mut self.doubting, stamps > 0)) {
            (true, false) => warn!(stamps, "implausible capture times: they are estimated"),
            (false, true) => info!("capture times are plausible again"),
            _ => {}
        }
    }
}
