//! What technicians do to a box over MQTT.

pub mod change;
