//! What can be asked for. docs/reference/page-api.md describes it.

use super::guard::{self, Guard};
use super::looking::{Views, Watcher};
use super::server::Lasting;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response as AnyResponse};
use axum::routing::get;
use banyan_view::Moment;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;

/// Streams that are served at a time.
pub(super) const STREAMS_MAX: usize = 16;

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const ICON: &str = include_str!("assets/icon.svg");
const SCRIPT: &str = include_str!("assets/page.js");

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A view that can be replayed.
#[derive(Serialize)]
struct MomentLine {
    number: u64,
    at_s: f64,
}

/// All there is, behind the guard.
pub(super) fn routes(views: Arc<Views>, guard: Guard) -> Router {
    Router::new()
        .route("/", get(async || answer("text/html; charset=utf-8", PAGE)))
        .route("/icon.svg", get(async || answer("image/svg+xml", ICON)))
        .route("/page.css", get(async || answer("text/css; charset=utf-8", STYLE)))
        .route("/page.js", get(async || answer("text/javascript; charset=utf-8", SCRIPT)))
        .route("/api/view", get(view))
        .route("/api/events", get(events))
        .route("/api/history", get(history))
        .route("/api/history/{number}", get(moment))
        .route("/metrics", get(metrics))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is no such thing here\n"))
        .with_state(views)
        .layer(middleware::from_fn_with_state(Arc::new(guard), authorize))
}

/// Every request goes through here, and every answer.
async fn authorize(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> AnyResponse {
    let mut response = match guard::refusal(&guard, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    guard::armour(&mut response);
    response
}

fn answer(kind: &'static str, body: impl Into<Body>) -> AnyResponse {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn refuse(status: StatusCode, text: &'static str) -> AnyResponse {
    let mut response = answer(TEXT, text);
    *response.status_mut() = status;
    response
}

fn json(moment: Option<Moment>, otherwise: &'static str) -> AnyResponse {
    match moment {
        Some(moment) => answer(JSON, moment.json.to_string()),
        None => refuse(StatusCode::NOT_FOUND, otherwise),
    }
}

async fn view(State(views): State<Arc<Views>>) -> AnyResponse {
    json(views.latest(), "nothing was seen yet; ask again in a second\n")
}

async fn moment(State(views): State<Arc<Views>>, Path(number): Path<String>) -> AnyResponse {
    let found = number.parse().ok().and_then(|number| views.at(number));
    json(found, "no view of that time is kept; see /api/history\n")
}

async fn history(State(views): State<Arc<Views>>) -> AnyResponse {
    let lines: Vec<MomentLine> =
        views.moments().into_iter().map(|(number, at_s)| MomentLine { number, at_s }).collect();
    // Numbers have no text that fails.
    answer(JSON, serde_json::to_string(&lines).unwrap_or_default())
}

async fn metrics(State(views): State<Arc<Views>>) -> AnyResponse {
    answer("text/plain; version=0.0.4; charset=utf-8", views.metrics().to_string())
}

/// Views as they come, for as long as the client reads them.
async fn events(State(views): State<Arc<Views>>, Extension(lasting): Extension<Lasting>) -> AnyResponse {
    let Some(watcher) = views.watch(STREAMS_MAX) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many watch this page now\n");
    };
    lasting.begin();
    let next = async |mut watcher: Watcher| {
        let Moment { number, json, .. } = watcher.next().await?;
        let event = Event::default().event("view").id(number.to_string()).data(&*json);
        Some((Ok::<_, Infallible>(event), watcher))
    };
    Sse::new(stream::unfold(watcher, next)).into_response()
}
