//! Rest: a feed on demand encodes nothing while nobody watches.
//!
//! Comes in: the `on_demand` setting and who watches the ring. Goes out: rest
//! and wake, to the switch. The camera stays open and is looked at, so that its
//! state is true and its first picture is there at once. Rest begins
//! [`GRACE`] after the last viewer, and never before the feed's first key
//! frame, from which offers know its profile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::changed;
use super::switch::Switch;
use crate::config::camera::Settings;
use crate::feed::ring::Ring;

/// A viewer who looks at another feed for a moment comes back to a running one.
const GRACE: Duration = Duration::from_secs(5);

/// Rests and wakes; never resolves.
pub(super) async fn run(settings: &watch::Receiver<Settings>, ring: &Arc<Ring>, switch: &Switch) {
    let mut demand = Demand { settings: settings.clone(), watched: ring.watched() };
    loop {
        demand.becomes(false).await;
        let grace = async {
            ring.reader().next().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            () = demand.becomes(true) => continue,
            () = grace => {}
        }
        switch.rest();
        demand.becomes(true).await;
        switch.wake();
    }
}

/// Whether the feed is wanted.
struct Demand {
    settings: watch::Receiver<Settings>,
    watched: watch::Receiver<usize>,
}

impl Demand {
    fn is(&mut self) -> bool {
        let on_demand = self.settings.borrow_and_update().on_demand;
        *self.watched.borrow_and_update() > 0 || !on_demand
    }

    /// Resolves when there is demand, or none.
    async fn becomes(&mut self, wanted: bool) {
        while self.is() != wanted {
            tokio::select! {
                () = changed(&mut self.settings) => {}
                _ = self.watched.changed() => {}
            }
        }
    }
}
