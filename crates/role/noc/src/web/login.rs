//! Logging in and out, and what every form that changes something must show.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use homeport_runtime::clock;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Noc, refusal};
use crate::{
    render,
    view::{Level, Part, View, What},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    token: String,
    /// Where to go then.
    #[serde(default)]
    then: String,
}

#[derive(Debug, Deserialize)]
struct LogOut {
    form_token: String,
}

/// `GET /login`
pub(super) async fn form(State(noc): State<Arc<Noc>>, Query(login): Query<Login>) -> Response {
    page(&noc, &login.then, None)
}

/// `POST /login`
pub(super) async fn log_in(
    State(noc): State<Arc<Noc>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(login) = read::<Login>(&headers, &body) else {
        return refusal(StatusCode::BAD_REQUEST, "this is not the form of the login page\n");
    };
    match noc.sessions.log_in(&login.token, clock::unix_ms()) {
        Ok(cookie) => {
            noc.logins.count("accepted");
            with_cookie(Redirect::to(here(&login.then)).into_response(), &cookie)
        }
        Err(refused) => {
            noc.logins.count(refused.word());
            tracing::warn!(reason = refused.word(), "a login was refused");
            let mut response = page(&noc, &login.then, Some(refused.words()));
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
    }
}

/// `POST /logout`
pub(super) async fn log_out(
    State(noc): State<Arc<Noc>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form = read::<LogOut>(&headers, &body);
    let may = |form: LogOut| noc.sessions.may_change(&headers, &form.form_token, clock::unix_ms());
    if !form.is_some_and(may) {
        return not_of_a_session();
    }
    with_cookie(Redirect::to("/").into_response(), &noc.sessions.log_out(&headers))
}

/// What a form without its session is told.
pub(super) fn not_of_a_session() -> Response {
    let words = "this form is of no session that is logged in: log in, and send it again\n";
    refusal(StatusCode::FORBIDDEN, words)
}

/// The fields of a form that one of our own pages sent.
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &str) -> Option<T> {
    let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if from.is_some_and(|from| from != b"same-origin") {
        return None;
    }
    // A form's body is written as a query is.
    let uri: Uri = format!("/?{body}").parse().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(form)| form)
}

/// An address on this host, whatever the form says.
pub(super) fn here(then: &str) -> &str {
    let is_path = then.starts_with('/') && !then.starts_with("//");
    let is_plain = then.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\');
    if is_path && is_plain { then } else { "/" }
}

fn page(noc: &Noc, then: &str, refused: Option<&str>) -> Response {
    let (seen, now_ms) = (noc.news().take(), clock::unix_ms());
    let note = |words: &str| Part {
        id: "refused",
        heading: "",
        what: What::Note(Level::Major, words.to_owned()),
    };
    let mut parts: Vec<Part> = refused.map(note).into_iter().collect();
    parts.push(Part { id: "login", heading: "", what: What::Login(here(then).to_owned()) });
    let view = View::new("Log in", parts);
    let frame = noc.frame("/login", &seen, None);
    Html(render::document(&frame, &view, now_ms)).into_response()
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (then, expected) in [
            ("/nodes?x=1", "/nodes?x=1"),
            ("//elsewhere.example/", "/"),
            ("/\\elsewhere.example/", "/"),
            ("https://elsewhere.example/", "/"),
            ("/a\r\nset-cookie:x", "/"),
            ("", "/"),
        ] {
            assert_eq!(here(then), expected);
        }
    }

    #[test]
    fn forms_of_other_sites_are_not_read() {
        let site = |value: &'static str| {
            HeaderMap::from_iter([(
                "sec-fetch-site".parse().expect("a name"),
                HeaderValue::from_static(value),
            )])
        };
        let read = |headers: &HeaderMap| {
            read::<Login>(headers, "token=a%20b%26&then=/").map(|it| it.token)
        };
        assert_eq!(read(&site("same-origin")).as_deref(), Some("a b&"));
        assert_eq!(read(&HeaderMap::new()).as_deref(), Some("a b&"));
        assert_eq!(read(&site("cross-site")), None);
        assert_eq!(read(&site("same-site")), None);
    }
}
