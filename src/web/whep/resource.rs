//! The HTTP side of WHEP: `POST /whep/<feed>` (`/whep`: the first feed), `DELETE` of what it made.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use serde::Deserialize;
use tokio::sync::oneshot;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{debug, warn};

use super::answer::{self, Addresses};
use super::engine::{Command, Open};
use super::gate::Refusal;
use super::offer::{LARGEST, Offer};
use super::viewer::{End, Mode};
use super::{FeedInfo, Whep, candidates};
use crate::model::FeedId;

/// An offer has to be all there after this.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// The resource's routes.
pub fn routes(whep: Whep) -> Router {
    let origins = match whep.origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(whep.origins.iter().filter_map(|o| o.parse().ok())),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_headers([CONTENT_TYPE, axum::http::header::AUTHORIZATION])
        .expose_headers([LOCATION, RETRY_AFTER])
        .max_age(Duration::from_secs(3600));
    Router::new()
        .route("/whep", post(open).options(options))
        .route("/whep/{feed}", post(open).options(options))
        .route("/whep/{feed}/{session}", delete(close).options(options))
        .layer(cors)
        .with_state(whep)
}

/// What does not come from a browser asks for no preflight; it learns what it may send.
async fn options() -> Response {
    let accept = HeaderValue::from_static("application/sdp");
    (StatusCode::NO_CONTENT, [("accept-post", accept)]).into_response()
}

#[derive(Deserialize)]
struct Wishes {
    mode: Option<String>,
}

/// A refusal: a short public sentence; the cause is in the log.
fn refuse(status: StatusCode, sentence: &'static str) -> Response {
    let reason = status.as_str().to_owned();
    metrics::counter!("floorcast_web_opens_refused_total", "status" => reason).increment(1);
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], sentence).into_response()
}

fn later(status: StatusCode, sentence: &'static str, seconds: u32) -> Response {
    let mut response = refuse(status, sentence);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

fn refusal(refusal: Refusal) -> Response {
    use StatusCode as S;
    match refusal {
        Refusal::Full => later(S::SERVICE_UNAVAILABLE, "viewer limit reached", 10),
        Refusal::Busy => later(S::SERVICE_UNAVAILABLE, "too many viewers are connecting", 2),
        Refusal::TooFast => later(S::TOO_MANY_REQUESTS, "too many opens from this address", 1),
    }
}

fn is_sdp(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/sdp")
}

async fn open(
    State(whep): State<Whep>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    feed: Option<Path<String>>,
    Query(wishes): Query<Wishes>,
    request: Request<Body>,
) -> Response {
    use StatusCode as S;
    if let Err(no) = whep.gate.knock(peer.ip(), Instant::now()) {
        return refusal(no);
    }
    let named = |id: &FeedId| feed.as_ref().is_none_or(|Path(feed)| *id.0 == **feed);
    let found = whep.showing.borrow().feeds.iter().find(|f| named(&f.id)).cloned();
    let Some(FeedInfo { id: feed, profile, .. }) = found else {
        return refuse(S::NOT_FOUND, "no such feed");
    };
    let mode = match wishes.mode.as_deref() {
        None => Mode::Exact,
        Some(name) => match Mode::parse(name) {
            Some(mode) => mode,
            None => return refuse(S::BAD_REQUEST, "mode is exact or fast"),
        },
    };
    if !is_sdp(request.headers()) {
        return refuse(S::UNSUPPORTED_MEDIA_TYPE, "send an offer as application/sdp");
    }
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|len: u64| len > LARGEST as u64) {
        return refuse(S::PAYLOAD_TOO_LARGE, "the offer is too large");
    }
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), LARGEST)).await
    {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refuse(S::PAYLOAD_TOO_LARGE, "the offer is too large"),
        Err(_) => return refuse(S::REQUEST_TIMEOUT, "the offer took too long"),
    };
    let offer = match std::str::from_utf8(&body).map_err(Into::into).and_then(Offer::parse) {
        Ok(offer) => offer,
        Err(error) => {
            debug!(%peer, "offer refused: {error:#}");
            return refuse(S::BAD_REQUEST, "the offer is not valid SDP for WebRTC");
        }
    };
    if offer.video().is_none() {
        let need = "the offer has no video section that receives H.264 with packetization-mode=1";
        return refuse(S::UNPROCESSABLE_ENTITY, need);
    }
    let admitted = match whep.gate.admit(Instant::now()) {
        Ok(admitted) => admitted,
        Err(no) => return refusal(no),
    };
    if let Some(old) = admitted.yields {
        let (reply, _) = oneshot::channel();
        let _ = whep.commands.send(Command::Close(old, End::Yielded, reply)).await;
    }
    let session = admitted.session;
    let addresses = Addresses { local: candidates::local(whep.media), extra: whep.extra.to_vec() };
    let profile = profile.load(Ordering::Relaxed);
    let profile = (profile != 0).then_some(profile);
    let made = answer::session(&offer, &whep.identity, &addresses, profile, Instant::now());
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            whep.gate.left(&session);
            warn!(%peer, "offer not answered: {error:#}");
            return refuse(S::UNPROCESSABLE_ENTITY, "the offer cannot be answered");
        }
    };
    let answer = made.answer.clone();
    let open = Open { session: session.clone(), feed: feed.clone(), mode, made };
    if whep.commands.send(Command::Open(Box::new(open))).await.is_err() {
        whep.gate.left(&session);
        return later(S::SERVICE_UNAVAILABLE, "stopping", 5);
    }
    metrics::counter!("floorcast_web_opens_total").increment(1);
    let location = format!("/whep/{feed}/{session}");
    let headers = [
        (CONTENT_TYPE, "application/sdp".to_owned()),
        (LOCATION, location),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    (S::CREATED, headers, answer).into_response()
}

async fn close(State(whep): State<Whep>, Path((_, session)): Path<(String, String)>) -> Response {
    let (reply, found) = oneshot::channel();
    let close = Command::Close(session.into(), End::Left, reply);
    let sent = whep.commands.send(close).await.is_ok();
    match sent && found.await.unwrap_or(false) {
        true => StatusCode::OK.into_response(),
        false => (StatusCode::NOT_FOUND, "no such session").into_response(),
    }
}
