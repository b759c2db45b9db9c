//! WHEP: the picture and its figures to browsers (draft-ietf-wish-whep).
//!
//! Comes in: offers over HTTP from anyone. Goes out: sessions that the
//! [`engine`] serves. When the house is full, an open is refused with the time
//! to wait; nothing queues up.

pub mod answer;
pub mod candidates;
pub mod delay;
pub mod engine;
pub mod gate;
pub mod offer;
mod resource;
pub mod socket;
mod stun;
pub mod telemetry;
mod track;
pub mod viewer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio::sync::{mpsc, watch};

use super::Showing;
use crate::feed::ring::Ring;
use crate::model::{FeedId, Label};

pub use resource::routes;

/// A feed as viewers may see it.
#[derive(Clone)]
pub struct FeedInfo {
    /// Its name in URLs.
    pub id: FeedId,
    /// Its name for people.
    pub name: Label,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second, nominal.
    pub fps: f64,
    /// Its frames.
    pub ring: Arc<Ring>,
    /// The profile-level-id of its SPS, 0 while unknown; the engine fills it.
    pub profile: Arc<AtomicU32>,
}

/// What the HTTP side of WHEP shares.
#[derive(Clone)]
pub struct Whep {
    /// The feeds.
    pub showing: watch::Receiver<Arc<Showing>>,
    /// Who may come in.
    pub gate: gate::Gate,
    /// Certificate and crypto of all sessions.
    pub identity: answer::Identity,
    /// Where the media port is bound.
    pub media: SocketAddr,
    /// Configured outer addresses.
    pub extra: Arc<[SocketAddr]>,
    /// `*` or the origins that may embed.
    pub origins: Arc<[String]>,
    /// The engine's queue, bounded.
    pub commands: mpsc::Sender<engine::Command>,
}
