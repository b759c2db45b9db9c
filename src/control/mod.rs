//! The box's own MQTT session: how it is set up, and what it publishes.

pub mod outbox;
pub mod tele;
