//! Telemetry's task, for as long as a revision wants it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::outbox::Outbox;
use super::post::Line;
use super::tele::{self, Way};
use crate::clock::{self, WallClock};
use crate::config::Config;
use crate::feed::board::Board;
use crate::status::Status;
use crate::task::{Backoff, supervise};

/// What is left may take this long to be on disk.
const LAST: Duration = Duration::from_secs(2);

/// The running task.
pub struct Teller {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Teller {
    /// Publishes the board's samples below `root`, through an outbox of at most `most`
    /// bytes in `dir`. One that cannot be opened is tried again; the status says why.
    pub fn start(
        dir: PathBuf,
        most: u64,
        root: String,
        board: Arc<Board>,
        wall: Arc<WallClock>,
        line: Line,
        status: Status,
    ) -> Self {
        let stop = CancellationToken::new();
        let until = stop.clone();
        let tell = supervise("tele".into(), stop.clone(), Backoff::DEVICE, move || {
            let (dir, root, now) = (dir.clone(), root.clone(), wall.utc(clock::now()));
            let (board, wall, status) = (board.clone(), wall.clone(), status.clone());
            let (sessions, until) = (line.clone(), until.clone());
            async move {
                let of = status.clone();
                let outbox = spawn_blocking(move || Outbox::open(&dir, most, now, of)).await??;
                let boot = clock::boot_id().to_owned();
                let way = Way { outbox: Arc::new(outbox), root, boot, sessions };
                tele::run(way, board, wall, status, until).await
            }
        });
        Self { stop, task: AbortOnDropHandle::new(tokio::spawn(tell)) }
    }

    /// Whether another one is to take its place.
    pub fn differs(old: &Config, new: &Config) -> bool {
        let wanted = |c: &Config| (c.control.telemetry, c.control.outbox_max, c.site.clone());
        wanted(old) != wanted(new)
    }

    /// Ends it, with what it has on disk.
    pub async fn end(self) {
        self.stop.cancel();
        // Late is as good as gone: what is on disk by then is kept.
        let _ = timeout(LAST, self.task).await;
    }
}
