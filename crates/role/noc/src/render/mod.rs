//! Views as HTML. Markup is written in this program alone; every value goes through maud's escaping.

pub(crate) mod export;
mod graph;
mod parts;
mod plot;
#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, html};

pub(crate) use self::parts::part;
use crate::{
    format::{TimeOfDay, Timestamp, secs_between},
    limits::{REFRESH_SECS, STALE_AFTER_MS},
    view::{Level, View},
};

/// The pages in the order of the navigation: path, name, and the key after `g`.
pub(crate) const NAVIGATION: [(&str, &str, &str); 10] = [
    ("/", "Overview", "o"),
    ("/alarms", "Alarms", "a"),
    ("/events", "Events", "e"),
    ("/subscribers", "Subscribers", "s"),
    ("/bindings", "Bindings", "b"),
    ("/prefixes", "Home prefixes", "p"),
    ("/nodes", "Nodes", "n"),
    ("/topology", "Topology", "t"),
    ("/kpis", "KPIs", "k"),
    ("/check", "Check", "c"),
];

/// What stands around a page's own parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Path and query of this page.
    pub(crate) address: String,
    pub(crate) strip: Strip,
    /// When what is shown was seen, milliseconds since the Unix epoch; 0: nothing was.
    pub(crate) taken_ms: u64,
    /// The form token of who is logged in.
    pub(crate) form_token: Option<String>,
    /// There is somebody who may log in.
    pub(crate) can_log_in: bool,
}

impl Frame {
    /// Where this page's news come from; a form has none.
    fn live(&self) -> Option<String> {
        let of = crate::format::Percent(&self.address);
        (!self.address.starts_with("/login")).then(|| format!("/live?of={of}"))
    }
}

/// How it is, on every page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Strip {
    pub(crate) level: Level,
    pub(crate) words: &'static str,
    /// Active alarms by severity, worst first; none when they are not known.
    pub(crate) alarms: Option<[(Level, usize); 4]>,
}

/// The whole document as of `now_ms`.
pub(crate) fn document(frame: &Frame, view: &View, now_ms: u64) -> String {
    let is_wall = frame.address == "/wall";
    let is_stale = frame.taken_ms == 0 || now_ms.saturating_sub(frame.taken_ms) > STALE_AFTER_MS;
    let class = match frame.address.split('?').next() {
        Some("/wall") => Some("on-wall"),
        Some("/kpis") => Some("plots"),
        Some(_) | None => None,
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" data-stale[is_stale] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (tab(frame, view)) }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="/icon.svg";
                script src="/app.js" {}
                noscript { meta http-equiv="refresh" content=(REFRESH_SECS); }
            }
            body data-live=[frame.live()]
                data-seen=(frame.taken_ms) data-stale-after=(STALE_AFTER_MS)
                class=[class] {
                @if is_wall {
                    div.corner {
                        a href="/" { "Homeport" } " " (strip(&frame.strip)) " " (clock(frame, now_ms))
                    }
                } @else {
                    (heading(frame, now_ms))
                }
                main id="main" {
                    @if !is_wall { h1 { (view.title) } }
                    p.lost hidden role="alert" {
                        "This screen gets no news. What it shows is from the time above."
                    }
                    @for one in &view.parts { (part(one, frame, now_ms)) }
                }
                (help())
            }
        }
    };
    page.into_string()
}

/// A tab that is not in front says whether something is wrong.
fn tab(frame: &Frame, view: &View) -> String {
    let sign = match frame.strip.level {
        Level::Plain | Level::Good => String::new(),
        level => format!("({}) ", level.sign()),
    };
    format!("{sign}{} \u{b7} Homeport", view.title)
}

fn heading(frame: &Frame, now_ms: u64) -> Markup {
    let path = frame.address.split('?').next().unwrap_or_default();
    let is_here = |to: &str| path == to || (to != "/" && path.starts_with(&format!("{to}/")));
    html! {
        a.skip href="#main" { "To the content" }
        header {
            div.bar {
                a.brand href="/" { img src="/icon.svg" alt="" width="24" height="24"; "Homeport" }
                (strip(&frame.strip))
                form.find role="search" action="/subscribers" method="get" {
                    input #find name="q" type="search" maxlength="253" spellcheck="false"
                        autocomplete="off" placeholder="NAI, address or prefix"
                        aria-label="Find a subscriber" aria-keyshortcuts="/";
                }
                (clock(frame, now_ms))
                div.tools {
                    button #theme type="button" title="Dark or light" { "Theme" }
                    button #help-button type="button" title="Keys (?)" { "?" }
                    @if let Some(token) = &frame.form_token {
                        form method="post" action="/logout" {
                            input type="hidden" name="form_token" value=(token);
                            button { "Log out" }
                        }
                    } @else if frame.can_log_in {
                        a href={ "/login?then=" (crate::format::Percent(path)) } { "Log in" }
                    }
                }
            }
            nav aria-label="Pages" {
                @for (to, name, _) in NAVIGATION {
                    a href=(to) aria-current=[is_here(to).then_some("page")] { (name) }
                }
                a.last href="/wall" { "Wall" }
            }
        }
    }
}

/// The severity strip.
pub(crate) fn strip(strip: &Strip) -> Markup {
    html! {
        div #strip.strip.{ "level-" (strip.level.word()) } role="status" {
            a href="/check" {
                span.sign aria-hidden="true" { (strip.level.sign()) }
                " " (strip.words)
            }
            a.alarms href="/alarms" aria-label="Alarms" {
                @match &strip.alarms {
                    Some(alarms) => @for (level, count) in alarms { (counted(*level, *count)) },
                    None => span.badge.level-unknown title="alarms are not known" { "? alarms" },
                }
            }
        }
    }
}

/// A severity that nothing has is shown as well, without its colour.
fn counted(level: Level, count: usize) -> Markup {
    let shown = if count == 0 { Level::Plain } else { level };
    html! {
        span.badge.{ "level-" (shown.word()) } title={ (count) " " (level.word()) } {
            (level.sign()) " " (count)
        }
    }
}

/// What time it is, and of when the page is. Scripts keep both going.
fn clock(frame: &Frame, now_ms: u64) -> Markup {
    html! {
        p.clock {
            time #now datetime=(Timestamp(now_ms)) { (TimeOfDay(now_ms)) " UTC" }
            " "
            span #age data-taken=(frame.taken_ms) {
                @if frame.taken_ms == 0 {
                    "nothing seen yet"
                } @else {
                    "data " (secs_between(frame.taken_ms, now_ms)) " s old"
                }
            }
        }
    }
}

fn help() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl {
                dt { kbd { "/" } } dd { "find a subscriber" }
                dt { kbd { "j" } " " kbd { "k" } } dd { "next, previous row" }
                dt { kbd { "Enter" } } dd { "open the row" }
                @for (_, name, key) in NAVIGATION {
                    dt { kbd { "g" } " " kbd { (key) } } dd { (name) }
                }
                dt { kbd { "g" } " " kbd { "w" } } dd { "Wall" }
                dt { kbd { "d" } } dd { "dark or light" }
                dt { kbd { "?" } } dd { "this list" }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}
