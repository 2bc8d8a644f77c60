//! The HTTP side.

mod act;
mod login;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response, Sse},
    routing::{get, post},
};
use homeport_runtime::{
    Shutdown, clock,
    listener::Bounded,
    metrics::{ReasonCounter, Registry},
};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{
    limits::{BODY_OCTETS_MAX, CONNECTIONS_MAX, DRAIN_MAX, LOOK_UPS_MAX, STREAMS_MAX},
    live,
    pages::{self, Seen, Sources},
    processes::Processes,
    render::{self, Frame, export},
    session::Sessions,
    status::Status,
    target::{Format, Target},
    view::View,
};

/// Nothing from elsewhere, nothing written into a page, not inside another site's frame; a browser that has
/// to forbid something tells it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
     report-uri /csp-report";

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/app.js");
const ICON: &str = include_str!("assets/icon.svg");

/// What the polls see, and that it ends.
#[derive(Clone)]
pub(crate) struct News {
    pub(crate) latest: watch::Receiver<Arc<Status>>,
    pub(crate) looked: watch::Receiver<Arc<Processes>>,
    pub(crate) shutdown: Shutdown,
}

impl News {
    /// What was seen last, which is then no news any more.
    pub(crate) fn take(&mut self) -> Seen {
        let status = Arc::clone(&self.latest.borrow_and_update());
        let processes = Arc::clone(&self.looked.borrow_and_update());
        Seen { status, processes }
    }

    /// Waits until something was seen; false when the process ends.
    pub(crate) async fn come(&mut self) -> bool {
        // Each branch only waits, so what is dropped is nothing.
        tokio::select! {
            changed = self.latest.changed() => changed.is_ok(),
            changed = self.looked.changed() => changed.is_ok(),
            () = self.shutdown.begun() => false,
        }
    }
}

/// What the handlers share.
pub(crate) struct Noc {
    sources: Arc<Sources>,
    news: News,
    sessions: Sessions,
    look_ups: Semaphore,
    streams: Arc<Semaphore>,
    refused: ReasonCounter,
    reports: ReasonCounter,
    logins: ReasonCounter,
    deeds: ReasonCounter,
}

const BUSY: &str = "busy";
const STREAMS: &str = "streams";

impl Noc {
    pub(crate) fn new(
        sources: Arc<Sources>,
        news: News,
        sessions: Sessions,
        registry: &mut Registry,
    ) -> Self {
        let help = "Requests that were refused, by what there was too much of";
        let refused = ReasonCounter::register(registry, "noc_refused", help, &[BUSY, STREAMS]);
        let help = "Reports of browsers that had to forbid something on a page";
        let reports = ReasonCounter::register(registry, "noc_reports", help, &["policy"]);
        let help = "Logins to the dashboard, by what became of them";
        let known = ["accepted", "wrong_token", "too_many"];
        let logins = ReasonCounter::register_by("outcome", registry, "noc_logins", help, &known);
        let help = "What who is logged in has asked for, by what became of it";
        let known = ["done", "failed", "refused"];
        let deeds = ReasonCounter::register_by("outcome", registry, "noc_deeds", help, &known);
        Self {
            sources,
            news,
            sessions,
            look_ups: Semaphore::new(LOOK_UPS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            refused,
            reports,
            logins,
            deeds,
        }
    }

    pub(crate) fn news(&self) -> News {
        self.news.clone()
    }

    /// What stands around a page for who sends these headers.
    pub(crate) fn frame(&self, address: &str, seen: &Seen, form_token: Option<String>) -> Frame {
        Frame {
            address: address.to_owned(),
            strip: pages::strip(seen),
            taken_ms: seen.status.taken_ms,
            form_token,
            can_log_in: self.sessions.can_log_in(),
        }
    }

    /// The page of an address; none when too many ask stores already.
    pub(crate) async fn view(&self, target: &Target, seen: &Seen, now_ms: u64) -> Option<View> {
        if !pages::asks(target.page) {
            return Some(pages::view(target, seen, &self.sources, now_ms).await);
        }
        let Ok(_place) = self.look_ups.try_acquire() else {
            self.refused.count(BUSY);
            return None;
        };
        Some(pages::view(target, seen, &self.sources, now_ms).await)
    }
}

/// Serves until the shutdown begins, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, noc: Noc, shutdown: Shutdown) {
    let listener = Bounded::new(listener, CONNECTIONS_MAX);
    let stop = shutdown.clone();
    let served = axum::serve(listener, router(noc))
        .with_graceful_shutdown(async move { stop.begun().await });
    let drained = async {
        shutdown.begun().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    // Both branches end the role; what is dropped is a connection that would not end.
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::error!(%error, "the dashboard has failed");
            }
        }
        () = drained => tracing::warn!("open requests did not end in time"),
    }
}

fn router(noc: Noc) -> Router {
    Router::new()
        .route("/live", get(stream))
        .route("/csp-report", post(report))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/act/{deed}", post(act::act))
        .route("/style.css", get(async || fixed("text/css; charset=utf-8", STYLE)))
        .route("/app.js", get(async || fixed("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(async || fixed("image/svg+xml", ICON)))
        .fallback(get(page))
        .with_state(Arc::new(noc))
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .layer(map_response(guarded))
}

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Part of the program, so it changes with it: asked for again after a minute.
fn fixed(kind: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=60")], body).into_response()
}

async fn page(State(noc): State<Arc<Noc>>, headers: HeaderMap, uri: Uri) -> Response {
    let Some(target) = Target::of(&uri) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such page\n");
    };
    let (seen, now_ms) = (noc.news().take(), clock::unix_ms());
    let Some(view) = noc.view(&target, &seen, now_ms).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many look-ups at once, try again\n");
    };
    let (taken_ms, wanted) = (seen.status.taken_ms, target.parameters.table.as_deref());
    let no_table = || refusal(StatusCode::NOT_FOUND, "there is no such table on this page\n");
    match target.format {
        Format::Html if view.found.is_some() => {
            Redirect::to(view.found.as_deref().unwrap_or("/")).into_response()
        }
        Format::Html => {
            let form_token = noc.sessions.form_token(&headers, now_ms);
            let frame = noc.frame(&target.address, &seen, form_token);
            Html(render::document(&frame, &view, now_ms)).into_response()
        }
        Format::Json => match export::json(&view, taken_ms, wanted) {
            Some(json) => axum::Json(json).into_response(),
            None => no_table(),
        },
        Format::Csv => match export::csv(&view, wanted) {
            Some(csv) => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv).into_response(),
            None => no_table(),
        },
    }
}

#[derive(Deserialize)]
struct Live {
    /// Path and query of the page.
    of: String,
}

async fn stream(
    State(noc): State<Arc<Noc>>,
    headers: HeaderMap,
    Query(live): Query<Live>,
) -> Response {
    let target = live.of.parse::<Uri>().ok().and_then(|uri| Target::of(&uri));
    let Some(target) = target.filter(|target| target.format == Format::Html) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such page\n");
    };
    let Ok(place) = Arc::clone(&noc.streams).try_acquire_owned() else {
        noc.refused.count(STREAMS);
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many screens at once\n");
    };
    let form_token = noc.sessions.form_token(&headers, clock::unix_ms());
    let events = live::events(noc, target, form_token, place);
    Sse::new(events).keep_alive(live::heartbeat()).into_response()
}

/// The body is only counted: anybody can send one.
async fn report(State(noc): State<Arc<Noc>>) -> StatusCode {
    noc.reports.count("policy");
    tracing::warn!("a browser had to forbid something on a page of this dashboard");
    StatusCode::NO_CONTENT
}

fn refusal(status: StatusCode, words: &'static str) -> Response {
    (status, words).into_response()
}
