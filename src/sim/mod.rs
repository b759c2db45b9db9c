//! The demo line: a picture, a Modbus PLC and MQTT sensors that agree with each other.

pub mod line;
pub mod picture;
