//! Modbus and MQTT to samples.
