//! Keeps one screen up to date: a stream of server-sent events with the parts of its page that differ from
//! those that it was sent last.
//!
//! A screen's state is its page, so a browser that comes back is sent all of its parts, and goes on from
//! there. Nothing is queued: a slow reader is sent the newest state when it has taken the last.

use std::{convert::Infallible, sync::Arc};

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use homeport_runtime::clock;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    limits::{HEARTBEAT, LOOK_UP_AGAIN_MS},
    pages,
    render::{Strip, part, strip},
    target::Target,
    view::View,
    web::{News, Noc},
};

/// One screen.
struct Screen {
    noc: Arc<Noc>,
    target: Target,
    form_token: Option<String>,
    news: News,
    shown: Shown,
    /// It ends with the stream.
    _place: OwnedSemaphorePermit,
}

/// What a screen has been sent.
#[derive(Default)]
struct Shown {
    view: Option<View>,
    strip: Strip,
    /// When the page last asked a store, and as of which revision.
    asked_ms: u64,
    revision: Option<u64>,
}

/// The stream of a screen: all of its page first, which a browser compares with what it has.
pub(crate) fn events(
    noc: Arc<Noc>,
    target: Target,
    form_token: Option<String>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let (news, shown) = (noc.news(), Shown::default());
    let screen = Screen { noc, target, form_token, news, shown, _place: place };
    stream::unfold((screen, true), |(mut screen, is_first)| async move {
        if !is_first && !screen.news.come().await {
            return None;
        }
        let event = screen.next().await;
        Some((Ok(event), (screen, false)))
    })
}

impl Screen {
    /// What is new, or only that the stream lives.
    async fn next(&mut self) -> Event {
        let seen = self.news.take();
        let now_ms = clock::unix_ms();
        let frame = self.noc.frame(&self.target.address, &seen, self.form_token.clone());
        let mut parts = serde_json::Map::new();
        if self.must_look(&seen, now_ms)
            && let Some(view) = self.noc.view(&self.target, &seen, now_ms).await
        {
            let before = self.shown.view.take();
            let old = |id: &str| before.as_ref()?.parts.iter().find(|part| part.id == id);
            for one in view.parts.iter().filter(|one| old(one.id) != Some(*one)) {
                parts.insert(one.id.to_owned(), part(one, &frame, now_ms).into_string().into());
            }
            let ids: Vec<&str> = view.parts.iter().map(|one| one.id).collect();
            let has_other_parts = before.is_none_or(|before| {
                !before.parts.iter().map(|one| one.id).eq(ids.iter().copied())
            });
            if has_other_parts {
                parts.insert("order".to_owned(), json!(ids));
            }
            self.shown.view = Some(view);
        }
        let mut news = json!({ "taken_ms": frame.taken_ms, "now_ms": now_ms });
        if let Some(news) = news.as_object_mut() {
            if self.shown.strip != frame.strip {
                news.insert("strip".to_owned(), strip(&frame.strip).into_string().into());
                self.shown.strip = frame.strip;
            }
            if !parts.is_empty() {
                news.insert("parts".to_owned(), parts.into());
            }
        }
        Event::default().id(frame.taken_ms.to_string()).data(news.to_string())
    }

    /// A page that asks a store does so when something has changed there, and now and then.
    fn must_look(&mut self, seen: &pages::Seen, now_ms: u64) -> bool {
        if !pages::asks(self.target.page) {
            return true;
        }
        let revision = seen.status.revision;
        let is_old = now_ms.saturating_sub(self.shown.asked_ms) >= LOOK_UP_AGAIN_MS;
        if !is_old && self.shown.revision == revision {
            return false;
        }
        (self.shown.asked_ms, self.shown.revision) = (now_ms, revision);
        true
    }
}

/// Says that the stream lives when nothing else was said for a while.
pub(crate) fn heartbeat() -> axum::response::sse::KeepAlive {
    axum::response::sse::KeepAlive::new().interval(HEARTBEAT).text("lives")
}
