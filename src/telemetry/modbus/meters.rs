//! Metrics of one unit, handles cached: they are touched with every request.

use metrics::{Counter, counter};

use super::fault::Fault;

/// One unit's counters.
pub struct Meters {
    /// Requests sent, probes included.
    pub requests: Counter,
    /// Samples published, bad ones included.
    pub samples: Counter,
    /// Bad samples published.
    pub bad: Counter,
    /// Slots that passed without a request.
    pub skipped: Counter,
    /// Replies that came after their time, and were not taken.
    pub late: Counter,
    /// Sum of request sent minus due, microseconds.
    pub lateness_us: Counter,
    /// Sum of round trips, microseconds.
    pub trip_us: Counter,
    timeouts: Counter,
    exceptions: Counter,
    garbled: Counter,
    link: Counter,
}

impl Meters {
    /// Registers the counters of a unit.
    pub fn new(bus: &str, unit: u8) -> Self {
        let labels = [("bus", bus.to_owned()), ("unit", unit.to_string())];
        let fault = |kind: &'static str| {
            let [bus, unit] = labels.clone();
            counter!("floorcast_modbus_faults_total", &[bus, unit, ("kind", kind.to_owned())])
        };
        Self {
            requests: counter!("floorcast_modbus_requests_total", &labels),
            samples: counter!("floorcast_modbus_samples_total", &labels),
            bad: counter!("floorcast_modbus_bad_samples_total", &labels),
            skipped: counter!("floorcast_modbus_skipped_slots_total", &labels),
            late: counter!("floorcast_modbus_late_replies_total", &labels),
            lateness_us: counter!("floorcast_modbus_lateness_us_total", &labels),
            trip_us: counter!("floorcast_modbus_round_trip_us_total", &labels),
            timeouts: fault("timeout"),
            exceptions: fault("exception"),
            garbled: fault("garbled"),
            link: fault("link"),
        }
    }

    /// Counts a fault by its kind.
    pub fn fault(&self, fault: &Fault) {
        match fault {
            Fault::Timeout => &self.timeouts,
            Fault::Exception(_) => &self.exceptions,
            Fault::Garbled(_) => &self.garbled,
            Fault::Link(_) => &self.link,
        }
        .increment(1);
    }
}
