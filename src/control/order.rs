//! What control asks of the application, which alone knows every part.

use tokio::sync::oneshot;

use crate::config::Config;

/// Something to be done with what is on air. One at a time: the others wait.
pub enum Order {
    /// Turn what is on air into this; answers why not.
    TurnInto(Box<Config>, oneshot::Sender<Result<(), String>>),
    /// End in order, and be started again by who started the box.
    Restart,
}
