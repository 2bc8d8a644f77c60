//! What each page shows.

mod alarms;
mod bindings;
mod check;
mod events;
mod kpis;
mod nodes;
mod overview;
mod prefixes;
mod subscriber;
mod subscribers;
mod topology;
mod wall;

use std::sync::Arc;

use crate::{
    processes::Processes,
    render::Strip,
    status::{Health, Status},
    stores::{Inspected, Store, Stores},
    target::{Page, Target},
    view::{Level, Part, Verdict, View, What},
};

/// What pages are made of, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) status: Arc<Status>,
    pub(crate) processes: Arc<Processes>,
}

/// Who is asked for what the polls do not bring.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) stores: Stores,
    pub(crate) forwarders: Vec<Inspected>,
}

impl Sources {
    /// The store that the last poll's lists were from, which is the leader when it answers.
    pub(crate) fn store(&self, status: &Status) -> Result<&Store, String> {
        let source = status.source.as_deref().and_then(|source| self.stores.find(source));
        source.ok_or("no store can be reached".to_owned())
    }
}

/// Whether the page asks a store, beyond what the polls bring.
pub(crate) const fn asks(page: Page) -> bool {
    matches!(
        page,
        Page::Subscribers | Page::Subscriber(_) | Page::Bindings | Page::Alarms | Page::Events
    )
}

/// The page of an address.
pub(crate) async fn view(target: &Target, seen: &Seen, sources: &Sources, now_ms: u64) -> View {
    match target.page {
        Page::Overview => overview::view(seen, now_ms),
        Page::Wall => wall::view(seen, now_ms),
        Page::Subscribers => subscribers::view(&target.parameters, seen, sources).await,
        Page::Subscriber(home) => subscriber::view(home, seen, sources).await,
        Page::Bindings => bindings::view(&target.parameters, seen, sources).await,
        Page::Prefixes => prefixes::view(seen),
        Page::Nodes => nodes::view(seen),
        Page::Topology => topology::view(seen),
        Page::Kpis => kpis::view(seen),
        Page::Check => check::view(seen, now_ms),
        Page::Alarms => alarms::view(&target.parameters, seen, sources).await,
        Page::AlarmHelp => alarms::help(),
        Page::Events => events::view(&target.parameters, seen, sources).await,
    }
}

/// How it is, in a few words.
pub(crate) fn strip(seen: &Seen) -> Strip {
    let (level, words) = health(seen.status.health);
    Strip { level, words, alarms: alarms::counts(&seen.status) }
}

const fn health(health: Health) -> (Level, &'static str) {
    match health {
        Health::Unknown => (Level::Unknown, "Not known yet"),
        Health::Working => (Level::Good, "Working"),
        Health::Degraded => (Level::Minor, "Working, with problems"),
        Health::Down => (Level::Critical, "Down: no mobile node can register"),
    }
}

fn verdict(seen: &Seen) -> Part {
    let (level, words) = health(seen.status.health);
    let lines = seen.status.problems.clone();
    part("verdict", "", What::Verdict(Verdict { level, words, lines }))
}

/// A part of a page.
const fn part(id: &'static str, heading: &'static str, what: What) -> Part {
    Part { id, heading, what }
}

/// A remark that something could not be asked.
fn problem(error: String) -> Part {
    part("problem", "", What::Note(Level::Major, error))
}
