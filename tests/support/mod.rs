//! What the integration tests share. A missing peer program fails a test
//! with the reason; nothing is skipped.
#![allow(dead_code, missing_docs)]

pub mod daemon;
pub mod mosquitto;
pub mod nats;
pub mod peer;
pub mod places;
pub mod rabbitmq;
pub mod rauc;
