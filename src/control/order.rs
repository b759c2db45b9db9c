//! What control asks of the application, which alone knows every part.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;

use super::overlay::Overlay;
use crate::config::Config;
use crate::config::camera::ControlValue;
use crate::model::update::Ask;
use crate::model::{self, Mono};

/// Something to be done with what is on air. One at a time: the others wait.
pub enum Order {
    /// Turn what is on air into this; answers why not.
    TurnInto(Box<Config>, oneshot::Sender<Result<(), String>>),
    /// Do this, and answer what came of it.
    Do(Deed, oneshot::Sender<Done>),
    /// End in order, and be started again by who started the box.
    Restart,
}

/// What a command wants of what is on air. Feeds and parts are those on air.
pub enum Deed {
    /// Close and open cameras as this says, from now on.
    Cover(Overlay),
    /// A JPEG of what a feed shows.
    Snapshot {
        /// Which.
        feed: String,
        /// At most this wide, pixels.
        width: Option<u32>,
    },
    /// End a part and begin it anew: `camera line`, `modbus plc`, `mqtt shop`.
    Begin(String),
    /// The newest log lines.
    Logs {
        /// How many.
        lines: usize,
        /// Not those below this.
        level: Option<String>,
    },
    /// What only the application knows: `log`, newest first, and `metrics`, in lines.
    Inside,
    /// Show box and camera by name.
    Identify {
        /// Which; all of them unless given.
        feed: Option<String>,
        /// For how long, seconds.
        seconds: u64,
    },
    /// Set controls of a camera while it runs.
    Control {
        /// Which.
        camera: String,
        /// By name.
        controls: BTreeMap<String, ControlValue>,
    },
    /// Write a tag, if the configuration's list lets it.
    Write {
        /// Which.
        tag: String,
        /// In the tag's own unit.
        value: model::Value,
        /// Nothing is sent later than this.
        until: Mono,
    },
    /// Install another version of the box's firmware.
    Update(Ask),
    /// What the machine has: cameras, encoders with a trial each, serial lines.
    Probe,
}

/// What came of a deed, or why nothing did.
pub type Done = Result<Made, Undone>;

/// Why a deed was not done.
#[derive(Debug, Default)]
pub struct Undone {
    /// It was not even begun.
    pub refused: bool,
    /// Why.
    pub reason: String,
    /// What to do about it; the usual if empty.
    pub remedy: String,
    /// For the answer; an object, or nothing.
    pub body: Value,
}

impl From<String> for Undone {
    fn from(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }
}

/// What a deed gives.
#[derive(Debug, Default)]
pub struct Made {
    /// For the answer; an object.
    pub body: Value,
    /// A picture.
    pub jpeg: Option<Bytes>,
}

impl From<Value> for Made {
    fn from(body: Value) -> Self {
        Self { body, jpeg: None }
    }
}
