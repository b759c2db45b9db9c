use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Serves `router` and asks it over a socket; headers in lower case, then the body.
async fn ask(router: Router, request: &str) -> (String, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{request}\r\nhost: page\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    server.abort();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

fn page() -> Router {
    router(None, &["*".to_owned()]).unwrap()
}

/// The page's script, found as a browser finds it.
async fn script_url() -> String {
    let (_, html) = ask(page(), "GET / HTTP/1.1").await;
    let html = String::from_utf8(html).unwrap();
    let at = html.find("/assets/app-").unwrap();
    let url = html[at..].split('"').find(|u| u.ends_with(".js") || u.ends_with(".css")).unwrap();
    url.to_owned()
}

/// The page runs nothing but its own files, and is asked for anew each time.
#[tokio::test]
async fn page_carries_its_policy_and_is_revalidated() {
    let (head, body) = ask(page(), "GET / HTTP/1.1").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-security-policy: default-src 'self'; script-src 'self' 'sha256-"),
        "{head}"
    );
    assert!(head.contains("frame-ancestors *"), "{head}");
    assert!(head.contains("cache-control: no-cache"), "{head}");
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(body.starts_with(b"<!doctype html>"));
}

/// Assets carry their content in their name, so they never need asking again.
#[tokio::test]
async fn assets_are_immutable() {
    let (head, _) = ask(page(), &format!("GET {} HTTP/1.1", script_url().await)).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("immutable"), "{head}");
}

/// Who accepts gzip gets it; who refuses it by weight zero does not.
#[tokio::test]
async fn gzip_is_sent_only_to_those_who_accept_it() {
    let (head, body) = ask(page(), "GET / HTTP/1.1\r\naccept-encoding: br, gzip").await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert_eq!(body[..2], [0x1f, 0x8b]);
    let (head, _) = ask(page(), "GET / HTTP/1.1\r\naccept-encoding: gzip;q=0").await;
    assert!(!head.contains("content-encoding"), "{head}");
}

/// The same content is not sent twice; another encoding of it is other content.
#[tokio::test]
async fn known_content_is_not_sent_again() {
    let (head, _) = ask(page(), "GET / HTTP/1.1").await;
    let etag = head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
    let (head, body) = ask(page(), &format!("GET / HTTP/1.1\r\nif-none-match: W/{etag}")).await;
    assert!(head.starts_with("http/1.1 304"), "{head}");
    assert!(body.is_empty());
    let zipped = format!("GET / HTTP/1.1\r\naccept-encoding: gzip\r\nif-none-match: {etag}");
    assert!(ask(page(), &zipped).await.0.starts_with("http/1.1 200"));
}

/// A logo is a picture: anything else is refused at start, not shown broken.
#[tokio::test]
async fn only_a_small_picture_is_a_logo() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let open = |path: &Path| router::<()>(Some(path), &[]);
    assert!(open(&file("a.svg", b"hello")).is_err());
    assert!(open(&file("b.svg", &[b"<svg>".to_vec(), vec![b' '; 100_000]].concat())).is_err());
    assert!(open(&dir.path().join("none.svg")).is_err());
    let svg = file("c.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>");
    let (head, _) = ask(open(&svg).unwrap(), "GET /assets/logo HTTP/1.1").await;
    assert!(head.contains("content-type: image/svg+xml"), "{head}");
    assert!(head.contains("sandbox"), "{head}");
}
