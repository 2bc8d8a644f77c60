use std::net::Ipv6Addr;

use futures_util::stream::BoxStream;
use homeport_api::admin::events_server::Events;
use homeport_api::admin::{self as api, EventKind};
use homeport_binding::{BindingEvent, CareOf, ClusterEvent, Event, Seen};
use homeport_runtime::Shutdown;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{address, alarms, page_size, read_barrier, watching, wrong_token};
use crate::events::Happened;
use crate::streams::stream;
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store, pub(crate) Shutdown);

#[tonic::async_trait]
impl Events for Service {
    type WatchEventsStream = BoxStream<'static, Result<api::WatchEventsResponse, Status>>;

    async fn list_events(
        &self,
        request: Request<api::ListEventsRequest>,
    ) -> Result<Response<api::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let before = place_of(&request.page_token)?;
        let wanted = Wanted::of(&request.home_address, &request.kinds)?;
        read_barrier(&self.0, request.local).await?;
        let (mut found, forgotten_revision) = self.0.node.read(|machine| {
            let events = machine.events();
            let rest = events.newest_first().filter(|it| before.is_none_or(|at| it.place() < at));
            let recent = rest.take_while(|it| it.at.0 >= request.since_ms);
            let found = recent.filter(|it| wanted.takes(it)).take(size.saturating_add(1));
            (found.map(message_of).collect::<Vec<_>>(), events.forgotten())
        });
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more);
        let next_page_token = last.map(|it| format!("{}.{}", it.revision, it.number));
        Ok(Response::new(api::ListEventsResponse {
            events: found,
            next_page_token: next_page_token.unwrap_or_default(),
            forgotten_revision,
        }))
    }

    async fn watch_events(
        &self,
        request: Request<api::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        let wanted = Wanted::of(&request.home_address, &request.kinds)?;
        let (store, place) = (self.0.clone(), watching(&self.0)?);
        let stream = stream("events", &self.1, |out| async move {
            let _place = place;
            watch(store, request.after_revision, wanted, out).await;
        });
        Ok(Response::new(stream))
    }
}

/// Which events somebody wants to see.
struct Wanted {
    home_address: Option<Ipv6Addr>,
    kinds: Vec<i32>,
}

impl Wanted {
    fn of(home_address: &str, kinds: &[i32]) -> Result<Self, Status> {
        let home_address = if home_address.is_empty() {
            None
        } else {
            Some(address(home_address, "home_address", "2001:db8:0:1::100")?)
        };
        Ok(Self { home_address, kinds: kinds.to_vec() })
    }

    fn takes(&self, happened: &Happened) -> bool {
        let about = match &happened.event {
            Event::Binding { home_address, .. } => Some(*home_address),
            Event::Cluster(_) => None,
        };
        let is_about = self.home_address.is_none_or(|wanted| about == Some(wanted));
        is_about && (self.kinds.is_empty() || self.kinds.contains(&kind_of(&happened.event).into()))
    }
}

/// Messages of at most so many events each, until the reader goes.
async fn watch(
    store: Store,
    after: Option<u64>,
    wanted: Wanted,
    out: mpsc::Sender<api::WatchEventsResponse>,
) {
    let mut applied = store.node.applied();
    let mut seen = after.unwrap_or_else(|| store.node.read(|machine| machine.cache.revision()));
    // The first message says from where on it goes, although nothing has happened.
    let mut is_first = true;
    loop {
        applied.borrow_and_update();
        let (events, reached, events_lost) = store.node.read(|machine| {
            let ring = machine.events();
            let (new, reached) = revisions_of(ring.after(seen), machine.cache.revision());
            let events = new.into_iter().filter(|it| wanted.takes(it)).map(message_of);
            (events.collect::<Vec<_>>(), reached, seen < ring.forgotten())
        });
        let is_behind = reached > seen;
        seen = reached.max(seen);
        if is_first || !events.is_empty() || events_lost {
            is_first = false;
            let message = api::WatchEventsResponse { events, revision: seen, events_lost };
            if out.send(message).await.is_err() {
                return;
            }
            if events_lost {
                seen = seen.max(store.node.read(|machine| machine.events().forgotten()));
            }
        }
        if is_behind && store.node.read(|machine| machine.cache.revision()) > seen {
            continue;
        }
        // Some together: each event alone would cost more than it says.
        tokio::time::sleep(limits::WATCH_INTERVAL).await;
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

/// The first events of them that one message holds, those of whole revisions; and the revision that is reached.
fn revisions_of(events: Vec<&Happened>, newest: u64) -> (Vec<&Happened>, u64) {
    let max = limits::EVENTS_PER_MESSAGE_MAX;
    let Some(last) = events.get(max).map(|it| it.revision) else { return (events, newest) };
    let end = events.partition_point(|it| it.revision < last);
    // One log entry has no more events than commands, and two.
    let end = if end == 0 { events.partition_point(|it| it.revision <= last) } else { end };
    let reached = events.get(end.saturating_sub(1)).map_or(newest, |it| it.revision);
    (events.into_iter().take(end).collect(), reached)
}

/// The place in the token: "120.3".
fn place_of(token: &str) -> Result<Option<(u64, u32)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once('.');
    let place = place.and_then(|(at, number)| Some((at.parse().ok()?, number.parse().ok()?)));
    place.map(Some).ok_or_else(wrong_token)
}

fn kind_of(event: &Event) -> EventKind {
    match event {
        Event::Binding { what, .. } => match what {
            BindingEvent::Registered(_) => EventKind::Registered,
            BindingEvent::Moved(_) => EventKind::Moved,
            BindingEvent::Deregistered => EventKind::Deregistered,
            BindingEvent::Ended => EventKind::Ended,
            BindingEvent::Refused(_) => EventKind::Refused,
            BindingEvent::Dropped(_) => EventKind::Dropped,
            BindingEvent::SubscriberDeleted => EventKind::SubscriberDeleted,
        },
        Event::Cluster(event) => match event.as_ref() {
            ClusterEvent::Seen(Seen::Leader { .. }) => EventKind::LeaderChanged,
            ClusterEvent::Seen(Seen::Joined(_)) => EventKind::NodeJoined,
            ClusterEvent::Seen(Seen::Left(_)) => EventKind::NodeLeft,
            ClusterEvent::Drained(_) => EventKind::NodeDrained,
            ClusterEvent::Undrained(_) => EventKind::NodeUndrained,
            ClusterEvent::AlarmRaised(..) => EventKind::AlarmRaised,
            ClusterEvent::AlarmCleared(..) => EventKind::AlarmCleared,
        },
    }
}

fn message_of(happened: &Happened) -> api::Event {
    let message = api::Event {
        revision: happened.revision,
        number: happened.number,
        at_ms: happened.at.0,
        kind: kind_of(&happened.event).into(),
        ..api::Event::default()
    };
    match &happened.event {
        Event::Binding { home_address, what } => {
            let home_address = home_address.to_string();
            with_binding(api::Event { home_address, ..message }, *what)
        }
        Event::Cluster(event) => with_cluster(message, event),
    }
}

fn with_binding(message: api::Event, what: BindingEvent) -> api::Event {
    match what {
        BindingEvent::Registered(care_of) | BindingEvent::Moved(care_of) => {
            let care_of = care_of.map(CareOf::address);
            let care_of_address = care_of.map(|it| it.to_string()).unwrap_or_default();
            api::Event { care_of_address, ..message }
        }
        BindingEvent::Refused(status) => api::Event {
            status: status.0.into(),
            text: status.to_string(),
            rfc_section: status.rfc_section().to_owned(),
            ..message
        },
        BindingEvent::Dropped(silence) => api::Event {
            text: silence.name().to_owned(),
            rfc_section: silence.rfc_section().to_owned(),
            ..message
        },
        BindingEvent::Deregistered | BindingEvent::Ended | BindingEvent::SubscriberDeleted => {
            message
        }
    }
}

fn with_cluster(message: api::Event, event: &ClusterEvent) -> api::Event {
    match event {
        ClusterEvent::Seen(Seen::Leader { node_id, term }) => api::Event {
            resource: format!("stores/{node_id}"),
            text: format!("leads in term {term}"),
            ..message
        },
        ClusterEvent::Seen(Seen::Joined(node) | Seen::Left(node))
        | ClusterEvent::Drained(node)
        | ClusterEvent::Undrained(node) => api::Event { resource: node.clone(), ..message },
        ClusterEvent::AlarmRaised(key, text) | ClusterEvent::AlarmCleared(key, text) => {
            api::Event { resource: alarms::name_of(key), text: text.clone(), ..message }
        }
    }
}
