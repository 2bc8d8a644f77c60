//! What who is logged in may do: each a form of one field, `name`.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use homeport_runtime::clock;
use serde::Deserialize;

use super::{
    Noc,
    login::{here, not_of_a_session, read},
    refusal,
};
use crate::{
    render,
    view::{Level, Part, View, What},
};

#[derive(Debug, Deserialize)]
struct Act {
    form_token: String,
    /// What it is done to.
    name: String,
    /// Where to go then.
    then: String,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Ends the bindings of a home address (RFC 5846).
    Revoke,
    /// Makes another voter lead.
    Lead,
    /// Takes note of an alarm.
    Acknowledge,
    /// Puts an alarm aside for a while.
    Shelve,
    /// Shows it again.
    Unshelve,
    /// Lets forwarders use other front-ends.
    Drain,
    /// Lets them use this one again.
    Undrain,
}

impl Deed {
    fn of(word: &str) -> Option<Self> {
        match word {
            "revoke" => Some(Self::Revoke),
            "lead" => Some(Self::Lead),
            "acknowledge" => Some(Self::Acknowledge),
            "shelve" => Some(Self::Shelve),
            "unshelve" => Some(Self::Unshelve),
            "drain" => Some(Self::Drain),
            "undrain" => Some(Self::Undrain),
            _ => None,
        }
    }
}

/// `POST /act/{deed}`
pub(super) async fn act(
    State(noc): State<Arc<Noc>>,
    Path(deed): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(known) = Deed::of(&deed) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such deed\n");
    };
    let Some(form) = read::<Act>(&headers, &body) else {
        return refusal(StatusCode::BAD_REQUEST, "this is not a form of one of these pages\n");
    };
    if !noc.sessions.may_change(&headers, &form.form_token, clock::unix_ms()) {
        noc.deeds.count("refused");
        return not_of_a_session();
    }
    match done(&noc, known, &form.name).await {
        Ok(()) => {
            noc.deeds.count("done");
            tracing::info!(deed, "done for who is logged in");
            Redirect::to(here(&form.then)).into_response()
        }
        Err(error) => {
            noc.deeds.count("failed");
            tracing::warn!(deed, %error, "not done for who is logged in");
            failed(&noc, &form.then, error)
        }
    }
}

async fn done(noc: &Noc, deed: Deed, name: &str) -> Result<(), String> {
    let seen = noc.news().take();
    let store = noc.sources.store(&seen.status)?;
    match deed {
        Deed::Revoke => store.revoke(name).await,
        Deed::Acknowledge => store.acknowledge(name).await,
        Deed::Shelve => store.shelve(name, true).await,
        Deed::Unshelve => store.shelve(name, false).await,
        Deed::Drain => store.drain(name).await,
        Deed::Undrain => store.undrain(name).await,
        Deed::Lead => {
            let node_id = name.parse().map_err(|_| format!("{name:?} is no node's number"))?;
            store.transfer_leadership(node_id).await
        }
    }
}

fn failed(noc: &Noc, then: &str, error: String) -> Response {
    let note = |id, level, words| Part { id, heading: "", what: What::Note(level, words) };
    let parts = vec![
        note("failed", Level::Major, error),
        note("back", Level::Plain, format!("Go back to {}.", here(then))),
    ];
    let view = View::new("Not done", parts);
    let frame = noc.frame("/login", &noc.news().take(), None);
    let html = Html(render::document(&frame, &view, clock::unix_ms()));
    (StatusCode::BAD_GATEWAY, html).into_response()
}
