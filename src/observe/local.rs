//! The figures for who is on the box itself: the firmware's health gate, a shell.
//!
//! A Unix socket in the unit's runtime directory, which is there whatever the configuration
//! says of `metrics.listen`, and whether the site has given the box that address yet. Comes in:
//! a connection. Goes out: every figure as Prometheus text, `# EOF` (OpenMetrics 1.0) to tell
//! that it is whole, and the end. Beyond eight readers the next one waits, for a second at
//! most: then one that does not read is left, and counted.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The socket's name in the runtime directory.
pub const NAME: &str = "metrics.sock";

/// At once.
const READERS: usize = 8;
/// Each at most so long.
const READER: Duration = Duration::from_secs(1);
/// The daemon may take this long to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// More than any box has.
const MOST: u64 = 16 << 20;
const END: &str = "# EOF\n";

/// Where it is for a unit with such a `RuntimeDirectory=`: the first, where there are more
/// (`systemd.exec(5)`).
pub fn place(runtime: Option<&OsStr>) -> Option<PathBuf> {
    let first = runtime?.as_bytes().split(|byte| *byte == b':').next()?;
    Some(Path::new(OsStr::from_bytes(first)).join(NAME))
}

/// Answers with what `render` gives until `stop`.
///
/// # Errors
/// A socket that cannot be made, or that fails.
pub async fn serve(
    at: PathBuf,
    render: impl Fn() -> String,
    stop: CancellationToken,
) -> Result<()> {
    // Of a daemon before this one.
    let _ = fs::remove_file(&at);
    let listener =
        UnixListener::bind(&at).with_context(|| format!("listen on {}", at.display()))?;
    // Like the listener on loopback: who is on the box may read. The gate is root without a
    // capability, so that it needs the right like anybody else.
    fs::set_permissions(&at, Permissions::from_mode(0o666)).context("open it to readers")?;
    info!(at = %at.display(), "metrics for who is on the box");
    // Those that are left are dropped with it.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = readers.join_next() => {}
            next = listener.accept(), if readers.len() < READERS => {
                let (reader, _) = next.context("the local socket")?;
                readers.spawn(answer(reader, render() + END));
            }
        }
    }
}

async fn answer(mut reader: UnixStream, text: String) {
    let told = timeout(READER, async {
        reader.write_all(text.as_bytes()).await?;
        reader.shutdown().await
    });
    if !matches!(told.await, Ok(Ok(()))) {
        metrics::counter!("floorcast_local_readers_dropped_total").increment(1);
    }
}

/// Every figure of the daemon behind the socket `at`.
///
/// # Errors
/// No daemon, or none that answers in time with all of it.
pub async fn read(at: &Path) -> Result<String> {
    let name = at.display();
    let ask = async {
        let mut text = String::new();
        UnixStream::connect(at).await?.take(MOST).read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let asked = timeout(ANSWER, ask).await;
    let text = asked.with_context(|| format!("{name}: no answer in time; is the box too busy?"))?;
    let mut text =
        text.with_context(|| format!("{name}: no daemon answers; does floorcast.service run?"))?;
    ensure!(text.ends_with(END), "{name}: not all of it came; ask again");
    text.truncate(text.len() - END.len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn socket() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let at = place(Some(dir.path().as_os_str())).unwrap();
        (dir, at)
    }

    async fn connected(at: &Path) -> UnixStream {
        loop {
            match UnixStream::connect(at).await {
                Ok(reader) => return reader,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Those who do not read keep nobody else from it, and are left.
    #[tokio::test]
    async fn a_reader_gets_all_of_it_beside_those_that_do_not_read() {
        let (_dir, at) = socket();
        // What a daemon left that was killed.
        drop(std::os::unix::net::UnixListener::bind(&at).unwrap());
        let gone = read(&at).await.unwrap_err();
        assert!(format!("{gone:#}").contains("does floorcast.service run"), "{gone:#}");

        let asked = Cell::new(0);
        let render = || {
            asked.set(asked.get() + 1);
            // More than a socket takes for who does not read.
            format!("{}\n", asked.get()).repeat(4 << 20)
        };
        let client = async {
            let mut idle = Vec::new();
            for _ in 0..READERS {
                idle.push(connected(&at).await);
            }
            let mode = fs::metadata(&at).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o666, "the gate is nobody in particular");
            assert_eq!(read(&at).await.unwrap(), "9\n".repeat(4 << 20));
            let mut rest = Vec::new();
            idle.remove(0).read_to_end(&mut rest).await.unwrap();
            assert!(!rest.ends_with(END.as_bytes()), "it was waited for");
        };
        tokio::select! {
            served = serve(at.clone(), render, CancellationToken::new()) => panic!("{served:?}"),
            () = client => {}
        }
    }

    /// What a daemon that died in the middle had said is not all there is.
    #[tokio::test]
    async fn half_an_answer_is_none() {
        let (_dir, at) = socket();
        let listener = UnixListener::bind(&at).unwrap();
        let dies = async {
            listener.accept().await.unwrap().0.write_all(b"figures 1\n").await.unwrap();
        };
        let (said, ()) = tokio::join!(read(&at), dies);
        assert!(format!("{:#}", said.unwrap_err()).contains("not all of it"));
    }

    /// A unit may have more directories than one.
    #[test]
    fn it_is_in_the_first_runtime_directory() {
        let at = |dirs: &str| place(Some(OsStr::new(dirs)));
        assert_eq!(at("/run/a"), Some("/run/a/metrics.sock".into()));
        assert_eq!(at("/run/a:/run/b"), at("/run/a"));
        assert_eq!(place(None), None);
    }
}
