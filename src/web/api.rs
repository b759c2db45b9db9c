//! `GET /api/studio`: what the page needs to know. Public tags only, ever.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;

use super::StudioInfo;
use super::whep::gate::Gate;
use crate::model::{Tag, TagId};

/// What the answer is made from.
#[derive(Clone)]
pub struct Api {
    /// The studio.
    pub info: Arc<StudioInfo>,
    /// For the number of viewers.
    pub gate: Gate,
}

/// The API's routes.
pub fn routes(api: Api) -> Router {
    // Public and without credentials: any page may read it.
    let cors = CorsLayer::new().allow_origin(tower_http::cors::Any);
    Router::new().route("/api/studio", get(studio)).layer(cors).with_state(api)
}

async fn studio(State(api): State<Api>) -> Response {
    let body = axum::Json(describe(&api));
    ([(CACHE_CONTROL, "no-store")], body).into_response()
}

fn describe(Api { info, gate }: &Api) -> Value {
    let showing = info.showing.borrow().clone();
    let (site, studio) = (&showing.site, &showing.studio);
    let feeds = showing.feeds.iter().map(|feed| {
        json!({
            "id": feed.id,
            "name": feed.name,
            "width": feed.width,
            "height": feed.height,
            "fps": feed.fps,
            "whep": format!("/whep/{}", feed.id),
            "state": super::state_json(&info.status, &feed.id, &info.wall),
        })
    });
    let tags = info.board.tags();
    let public = tags.iter().filter(|tag| tag.public);
    let figure = |id: TagId| studio.figures.iter().position(|figure| *figure == id);
    json!({
        "version": 1,
        "studio": showing.number,
        "box": { "site": site.site, "id": site.id },
        "name": studio.name,
        "brand": studio.brand,
        "accent": studio.accent,
        "logo": studio.logo.as_ref().map(|_| "/assets/logo"),
        "clock": { "state": info.wall.lock(), "error_us": info.wall.error_us() },
        "viewers": gate.viewers(),
        "feeds": feeds.collect::<Vec<_>>(),
        "tags": public.map(|t| tag(t, figure(t.id))).collect::<Vec<_>>(),
    })
}

fn tag(tag: &Tag, figure: Option<usize>) -> Value {
    json!({
        "id": tag.id,
        "name": tag.name,
        "label": tag.label,
        "unit": tag.unit,
        "decimals": tag.decimals,
        "range": tag.range,
        "warn": tag.warn,
        "stale_after_ms": tag.stale_after.as_millis() as u64,
        "figure": figure,
    })
}
