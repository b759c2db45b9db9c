//! The figures for who is on the box itself: the firmware's health gate, a shell.
//!
//! A Unix socket in the unit's runtime directory, which is there whatever the configuration
//! says of `metrics.listen`, and whether the site has given the box that address yet. Comes in:
//! a connection. Goes out: every figure as Prometheus text, `# EOF` (OpenMetrics 1.0) to tell
//! that it is whole, and the end.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The socket's name in the runtime directory.
pub const NAME: &str = "metrics.sock";

/// One at a time, and each at most so long: a socket's buffer has room for all of it, so that
/// only who does not read takes longer.
const READER: Duration = Duration::from_secs(1);
/// The daemon may take this long to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// More than any box has.
const MOST: u64 = 16 << 20;
const END: &str = "# EOF\n";

/// Where it is for a unit with such a `RuntimeDirectory=`.
pub fn place(runtime: Option<&OsStr>) -> Option<PathBuf> {
    runtime.map(|dir| Path::new(dir).join(NAME))
}

/// Answers with what `render` gives until `stop`. A reader that does not read is left, and counted.
///
/// # Errors
/// A socket that cannot be made, or that fails.
pub async fn serve(
    at: PathBuf,
    render: impl Fn() -> String,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Of a daemon before this one.
    let _ = fs::remove_file(&at);
    let listener =
        UnixListener::bind(&at).with_context(|| format!("listen on {}", at.display()))?;
    // Like the listener on loopback: who is on the box may read. The gate is root without a
    // capability, so that it needs the right like anybody else.
    fs::set_permissions(&at, Permissions::from_mode(0o666)).context("open it to readers")?;
    loop {
        let (reader, _) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            next = listener.accept() => next.context("the local socket")?,
        };
        if !matches!(timeout(READER, answer(reader, render() + END)).await, Ok(Ok(()))) {
            metrics::counter!("floorcast_local_readers_dropped_total").increment(1);
        }
    }
}

async fn answer(mut reader: UnixStream, text: String) -> std::io::Result<()> {
    reader.write_all(text.as_bytes()).await?;
    reader.shutdown().await
}

/// Every figure of the daemon behind the socket `at`. Waits for it.
///
/// # Errors
/// No daemon, or none that answers in time with all of it.
pub fn read(at: &Path) -> anyhow::Result<String> {
    let ask = || {
        let socket = std::os::unix::net::UnixStream::connect(at)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let mut text = String::new();
        socket.take(MOST).read_to_string(&mut text).map(|_| text)
    };
    let mut text = ask().with_context(|| {
        format!("{}: no daemon answers; does floorcast.service run?", at.display())
    })?;
    ensure!(text.ends_with(END), "{}: the daemon ended in the middle", at.display());
    text.truncate(text.len() - END.len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Who does not read keeps nobody else from it for longer than its second.
    #[tokio::test]
    async fn a_reader_gets_all_of_it_after_one_that_does_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = place(Some(dir.path().as_os_str())).unwrap();
        // What a daemon left that was killed.
        drop(std::os::unix::net::UnixListener::bind(&at).unwrap());
        let gone = read(&at).unwrap_err();
        assert!(format!("{gone:#}").contains("does floorcast.service run"), "{gone:#}");

        let stop = CancellationToken::new();
        let asked = Cell::new(0);
        let render = || {
            asked.set(asked.get() + 1);
            if asked.get() == 1 { "a".repeat(8 << 20) } else { "figures 1\n".into() }
        };
        let client = async {
            let idle = loop {
                match UnixStream::connect(&at).await {
                    Ok(idle) => break idle,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let of = at.clone();
            let text = tokio::task::spawn_blocking(move || read(&of)).await.unwrap().unwrap();
            assert_eq!(text, "figures 1\n");
            drop(idle);
            stop.cancel();
        };
        let (served, ()) = tokio::join!(serve(at.clone(), render, stop.clone()), client);
        served.unwrap();
        assert_eq!(asked.get(), 2);
    }

    /// What a daemon that died in the middle had said is not all there is.
    #[test]
    fn half_an_answer_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(NAME);
        let listener = std::os::unix::net::UnixListener::bind(&at).unwrap();
        let dies = std::thread::spawn(move || {
            use std::io::Write;
            listener.accept().unwrap().0.write_all(b"figures 1\n").unwrap();
        });
        assert!(format!("{:#}", read(&at).unwrap_err()).contains("in the middle"));
        dies.join().unwrap();
    }
}
