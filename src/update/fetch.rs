//! A bundle from where it is to the disk, whole and as it should be.
//!
//! Comes in: an address and a hash. Goes out: the file, once its hash is right. A fetch that
//! broke off goes on where it ended. At most [`MOST`] bytes, and never the last [`KEEP`] of the
//! disk; a peer that sends nothing for [`SILENCE`] is given up, to be asked again.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::http::uri::Scheme;
use hyper::{Request, StatusCode, Uri, header};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::digest::{Context as Digest, SHA256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// A bundle's greatest size, bytes.
pub const MOST: u64 = 2 << 30;
/// So much of the disk stays free, bytes.
pub const KEEP: u64 = 64 << 20;
/// Whether that is so is looked at once for so many bytes.
const LOOK: u64 = 8 << 20;
/// A peer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// What cannot get better by asking again.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl std::fmt::Display for Hopeless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

fn hopeless(why: impl Into<String>) -> anyhow::Error {
    Hopeless(why.into()).into()
}

/// Fetches `url` into `file`, beginning where `file` ends. `told` hears how many bytes there
/// are, of how many if that is known.
///
/// # Errors
/// [`Hopeless`] where another attempt would end the same; else worth another.
pub async fn fetch(
    url: &str,
    file: &Path,
    sha256: &str,
    free: impl Fn() -> Option<u64>,
    mut told: impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let resumed = fs::metadata(file).await.is_ok_and(|there| there.len() > 0);
    if let Some(path) = url.strip_prefix("file://") {
        copy(Path::new(path), file, &free).await?;
    } else {
        download(url, file, &free, &mut told).await?;
    }
    let found = digest(file).await?;
    if found == sha256.to_ascii_lowercase() {
        return Ok(());
    }
    fs::remove_file(file).await.context("remove the wrong bundle")?;
    let why = format!("the bundle's sha256 is {found}: it is not the one that was asked for");
    // Perhaps half of it was another bundle's: the next attempt begins anew.
    ensure!(!resumed, why);
    Err(hopeless(why))
}

async fn copy(from: &Path, to: &Path, free: &impl Fn() -> Option<u64>) -> Result<()> {
    let size =
        fs::metadata(from).await.map_err(|e| hopeless(format!("{}: {e}", from.display())))?;
    ensure!(size.is_file(), hopeless(format!("{}: not a file", from.display())));
    room(size.len(), free)?;
    fs::copy(from, to).await.with_context(|| format!("copy {}", from.display()))?;
    // As what was downloaded: it is read again after a power cut.
    let copied = File::open(to).await.context("write the bundle")?;
    copied.sync_all().await.context("write the bundle")
}

fn room(wanted: u64, free: &impl Fn() -> Option<u64>) -> Result<()> {
    if wanted > MOST {
        return Err(hopeless(format!("the bundle has {wanted} bytes; at most {MOST} are taken")));
    }
    match free() {
        Some(left) if left < wanted + KEEP => Err(hopeless(format!(
            "the disk has {left} bytes left: {wanted} for the bundle and {KEEP} to spare are \
             needed; free space or take a smaller bundle"
        ))),
        _ => Ok(()),
    }
}

async fn download(
    url: &str,
    file: &Path,
    free: &impl Fn() -> Option<u64>,
    told: &mut impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let uri: Uri = url.parse().map_err(|e| hopeless(format!("url: {e}")))?;
    let out = OpenOptions::new().create(true).append(true).open(file).await;
    let mut out = out.with_context(|| format!("open {}", file.display()))?;
    let mut there = out.metadata().await.context("size of the bundle")?.len();
    let range = format!("bytes={there}-");
    let client = client(uri.scheme() == Some(&Scheme::HTTPS))?;
    let request = Request::get(uri).header(header::RANGE, range).body(Empty::<Bytes>::new());
    let request = request.map_err(|e| hopeless(format!("url: {e}")))?;
    let reply = timeout(SILENCE, client.request(request)).await.context("no answer in time")?;
    let reply = reply.context("ask for the bundle")?;
    let length = reply.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match reply.status() {
        StatusCode::PARTIAL_CONTENT => {
            let begins = reply.headers().get(header::CONTENT_RANGE).and_then(begins);
            if begins != Some(there) {
                out.set_len(0).await.context("begin anew")?;
                bail!("the server sent another part than was asked for: it is begun anew");
            }
        }
        // The server sends all of it.
        StatusCode::OK => {
            out.set_len(0).await.context("begin anew")?;
            there = 0;
        }
        // All of it is here already; its hash will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if there > 0 => return Ok(()),
        status if status.is_server_error() => bail!("the server says {status}"),
        status => return Err(hopeless(format!("the server says {status}"))),
    }
    let whole = length.map(|length| there + length);
    room(length.unwrap_or_default(), free)?;
    let mut body = reply.into_body();
    while let Some(part) = timeout(SILENCE, body.frame()).await.context("the server fell silent")? {
        let Ok(data) = part.context("receive")?.into_data() else { continue };
        let before = there;
        there += data.len() as u64;
        if before / LOOK != there / LOOK {
            room(0, free)?;
        }
        ensure!(there <= MOST, hopeless(format!("more than {MOST} bytes")));
        write(&mut out, &data).await?;
        told(there, whole);
    }
    out.sync_all().await.context("write the bundle")?;
    ensure!(whole.is_none_or(|whole| whole == there), "the connection broke");
    Ok(())
}

/// The first byte of a part: `bytes 300-999/1000` (RFC 9110, 14.4).
fn begins(range: &HeaderValue) -> Option<u64> {
    range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

async fn write(out: &mut File, data: &[u8]) -> Result<()> {
    match out.write_all(data).await {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(hopeless("the disk is full: free space, then send it anew"))
        }
        other => other.context("write the bundle"),
    }
}

/// A box without the system's authorities can still fetch what is signed anyway, in the open.
fn client(secure: bool) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>> {
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .context("TLS")?;
    let tls = if secure {
        tls.with_native_roots().map_err(|error| {
            hopeless(format!("{error}: the image needs ca-certificates; or use http://"))
        })?
    } else {
        tls.with_root_certificates(rustls::RootCertStore::empty())
    };
    let tls = tls.with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The SHA-256 of a file, 64 hexadecimal digits in lower case.
pub async fn digest(file: &Path) -> Result<String> {
    let mut open = File::open(file).await.context("read the bundle")?;
    let (mut digest, mut part) = (Digest::new(&SHA256), vec![0; 1 << 16]);
    loop {
        let n = open.read(&mut part).await.context("read the bundle")?;
        if n == 0 {
            break;
        }
        digest.update(&part[..n]);
    }
    Ok(digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A part is taken only where it begins with the byte that was asked for.
    #[test]
    fn parts_say_where_they_begin() {
        let first = |text| begins(&HeaderValue::from_static(text));
        assert_eq!(first("bytes 300-999/1000"), Some(300));
        assert_eq!(first("bytes 300-999/*"), Some(300));
        for odd in ["bytes */1000", "300-999/1000", "bytes -1-5/9", ""] {
            assert_eq!(first(odd), None, "{odd}");
        }
    }

    proptest! {
        /// Whatever a server says is a place or none.
        #[test]
        fn any_range_is_read(bytes: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                begins(&value);
            }
        }
    }
}
