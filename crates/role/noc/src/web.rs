//! The HTTP side: four addresses, none of which changes anything.

use std::{net::Ipv6Addr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use homeport_runtime::{Shutdown, clock, listener::Bounded};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{
    limits::{CONNECTIONS_MAX, DRAIN_MAX, LOOK_UPS_MAX, PARAMETER_OCTETS_MAX},
    page,
    status::{Homes, Seen, Status},
    stores::{Store, Stores},
};

/// Nothing from elsewhere, no scripts at all, not inside another site's frame.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");

struct Noc {
    stores: Arc<Stores>,
    latest: watch::Receiver<Arc<Status>>,
    look_ups: Semaphore,
}

/// Serves until the shutdown begins, then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    stores: Arc<Stores>,
    latest: watch::Receiver<Arc<Status>>,
    shutdown: Shutdown,
) {
    let listener = Bounded::new(listener, CONNECTIONS_MAX);
    let stop = shutdown.clone();
    let served = axum::serve(listener, router(stores, latest))
        .with_graceful_shutdown(async move { stop.begun().await });
    let drained = async {
        shutdown.begun().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    // Both branches end the role; what is dropped is a connection that would not end.
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::error!(%error, "the status page has failed");
            }
        }
        () = drained => tracing::warn!("open requests did not end in time"),
    }
}

pub(crate) fn router(stores: Arc<Stores>, latest: watch::Receiver<Arc<Status>>) -> Router {
    let noc = Noc { stores, latest, look_ups: Semaphore::new(LOOK_UPS_MAX) };
    Router::new()
        .route("/", get(html))
        .route("/api/status.json", get(json))
        .route("/style.css", get(async || fixed("text/css; charset=utf-8", STYLE)))
        .route("/icon.svg", get(async || fixed("image/svg+xml", ICON)))
        .with_state(Arc::new(noc))
        .layer(map_response(guarded))
}

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn fixed(kind: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], body).into_response()
}

/// What is asked for beyond the first page of home addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// A later page of home addresses, by its token.
    pub(crate) page: Option<String>,
    /// One home address.
    pub(crate) home: Option<String>,
}

async fn html(State(noc): State<Arc<Noc>>, Query(parameters): Query<Parameters>) -> Response {
    match view(&noc, &parameters).await {
        Ok(status) => Html(page::render(&status, &parameters, clock::unix_ms())).into_response(),
        Err(busy) => busy.into_response(),
    }
}

async fn json(State(noc): State<Arc<Noc>>, Query(parameters): Query<Parameters>) -> Response {
    match view(&noc, &parameters).await {
        Ok(status) => Json(status.as_ref()).into_response(),
        Err(busy) => busy.into_response(),
    }
}

type Busy = (StatusCode, &'static str);

/// The last poll's status, with another page or a single home address in place of the first page when
/// that was asked for.
async fn view(noc: &Noc, parameters: &Parameters) -> Result<Arc<Status>, Busy> {
    let mut status = Arc::clone(&noc.latest.borrow());
    let wanted = match parameters {
        Parameters { home: Some(home), .. } if !home.is_empty() => Wanted::Home(home.trim()),
        Parameters { page: Some(token), .. } if !token.is_empty() => Wanted::Page(token),
        Parameters { .. } => return Ok(status),
    };
    let Ok(_place) = noc.look_ups.try_acquire() else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "too many look-ups at once, try again\n"));
    };
    let found = look_up(&noc.stores, &status, wanted).await;
    let changed = Arc::make_mut(&mut status);
    match found {
        Ok(homes) => changed.homes = homes,
        Err(problem) => {
            changed.homes = Homes::default();
            changed.problems.push(problem);
        }
    }
    Ok(status)
}

#[derive(Clone, Copy)]
enum Wanted<'p> {
    Page(&'p str),
    Home(&'p str),
}

async fn look_up(stores: &Stores, status: &Status, wanted: Wanted<'_>) -> Result<Homes, String> {
    let store = || source(stores, status).ok_or("no store can be reached".to_owned());
    match wanted {
        Wanted::Page(token) if token.len() > PARAMETER_OCTETS_MAX => {
            Err("the page's token is too long to be one".to_owned())
        }
        Wanted::Page(token) => store()?.homes(token).await,
        Wanted::Home(home) => match home.parse::<Ipv6Addr>() {
            Ok(address) => store()?.home(&address.to_string()).await,
            Err(_) => {
                let start: String = home.chars().take(40).collect();
                Err(format!("\u{201c}{start}\u{201d} is not an IPv6 address"))
            }
        },
    }
}

/// The store that the lists came from, else any that answered the last poll.
fn source<'s>(stores: &'s Stores, status: &Status) -> Option<&'s Store> {
    let of_lists = status.homes.endpoint.as_deref();
    let reached = status
        .replicas
        .iter()
        .filter(|replica| matches!(replica.seen, Seen::Reached(_)))
        .map(|replica| replica.endpoint.as_str());
    of_lists.into_iter().chain(reached).find_map(|endpoint| stores.find(endpoint))
}
