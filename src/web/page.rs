//! The page that viewers open: embedded, compressed when it was built.
//!
//! Comes in: a GET. Goes out: a file of the page, or the brand's logo. Nothing
//! is compressed, read from disk or allocated per request beyond its headers,
//! so there is nothing here to fill up.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// One file of the page.
struct File {
    url: &'static str,
    /// Names the content, not yet its encoding.
    etag: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// Where the logo is served, if one is configured.
pub const LOGO_URL: &str = "/assets/logo";

/// A larger logo costs phones more than it tells.
const LOGO_BYTES: usize = 100_000;

const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// Routes for `GET /`, `GET /assets/*` and [`LOGO_URL`].
///
/// `logo` is an SVG or PNG file; `embed` lists the origins whose pages may
/// show this one in a frame, `*` for all (`web.cors_origins`).
///
/// # Errors
/// The logo cannot be read, is neither SVG nor PNG, or is too large; an origin
/// is no header text.
pub fn router<S>(logo: Option<&Path>, embed: &[String]) -> anyhow::Result<Router<S>>
where
    S: Clone + Send + Sync + 'static,
{
    let policy = policy(embed)?;
    let mut router = Router::new();
    for file in FILES {
        let policy = policy.clone();
        router = router.route(
            file.url,
            get(move |headers: HeaderMap| async move { file.answer(&headers, policy) }),
        );
    }
    if let Some(path) = logo {
        let logo = Logo::read(path).with_context(|| format!("studio.logo: {}", path.display()))?;
        router = router.route(LOGO_URL, get(move || async move { logo.answer() }));
    }
    Ok(router)
}

/// Everything from this host; inline only the script that the build put there
/// with its hash; frames as configured.
fn policy(embed: &[String]) -> anyhow::Result<HeaderValue> {
    let frames = if embed.is_empty() { "'self'".to_owned() } else { embed.join(" ") };
    let early = early_hash().context("the page lacks its early script")?;
    HeaderValue::from_str(&format!(
        "default-src 'self'; script-src 'self' 'sha256-{early}'; object-src 'none'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {frames}"
    ))
    .context("web.cors_origins: not fit for a header")
}

/// As the build wrote it beside the script, base64.
fn early_hash() -> Option<&'static str> {
    let page = FILES.iter().find(|file| file.url == "/")?;
    let page = std::str::from_utf8(page.plain).ok()?;
    page.split_once("data-sha256=\"")?.1.split_once('"').map(|(hash, _)| hash)
}

impl File {
    fn answer(&'static self, headers: &HeaderMap, policy: HeaderValue) -> Response {
        let zipped = accepts_gzip(headers);
        let etag = format!("\"{}{}\"", self.etag, if zipped { "-gz" } else { "" });
        // Assets carry their content in their name; the page itself is asked for anew.
        let cache = match self.url {
            "/" => "no-cache",
            _ => "public, max-age=31536000, immutable",
        };
        let common = [
            (ETAG, HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""))),
            (CACHE_CONTROL, HeaderValue::from_static(cache)),
            (VARY, HeaderValue::from_static("accept-encoding")),
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (PERMISSIONS, HeaderValue::from_static("camera=(), microphone=(), geolocation=()")),
        ];
        if known(headers, &etag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let body = Bytes::from_static(if zipped { self.gzip } else { self.plain });
        let kind = [(CONTENT_TYPE, HeaderValue::from_static(media_type(self.url)))];
        if zipped {
            let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            return (common, kind, encoding, body).into_response();
        }
        (common, kind, body).into_response()
    }
}

fn media_type(url: &str) -> &'static str {
    match url.rsplit_once('.').map(|(_, end)| end) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

/// RFC 9110, 12.5.3, as far as gzip goes: named, or `*`, and not with weight zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    listed.flat_map(|v| v.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|n| n.eq_ignore_ascii_case("gzip") || n == "*");
        let refused = parts.any(|p| {
            p.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        named && !refused
    })
}

/// RFC 9110, 13.1.2: weak comparison with each listed tag.
fn known(headers: &HeaderMap, etag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    listed
        .flat_map(|v| v.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

/// The brand's logo, read once at start.
#[derive(Clone)]
struct Logo {
    bytes: Bytes,
    kind: &'static str,
}

/// Whether the logo is fit to be shown.
///
/// # Errors
/// As [`router`].
pub fn check_logo(path: &Path) -> anyhow::Result<()> {
    Logo::read(path).map(drop).with_context(|| format!("studio.logo: {}", path.display()))
}

impl Logo {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).context("read")?;
        ensure!(bytes.len() <= LOGO_BYTES, "{} bytes; at most {LOGO_BYTES}", bytes.len());
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
        let kind = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            "image/png"
        } else if head.contains("<svg") {
            "image/svg+xml"
        } else {
            bail!("neither SVG nor PNG");
        };
        Ok(Self { bytes: bytes.into(), kind })
    }

    /// An SVG opened by itself must not run what it carries: it is sandboxed.
    fn answer(&self) -> Response {
        let headers = [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, "public, max-age=300"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        ];
        (headers, self.bytes.clone()).into_response()
    }
}

#[cfg(test)]
mod tests;
