//! The box's own MQTT session: how it is set up, and what it says by itself.

pub mod change;
pub mod outbox;
pub mod tele;
