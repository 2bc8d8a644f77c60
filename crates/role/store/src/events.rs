//! What has happened lately, in memory: a log entry's events are the same on every replica, so whoever
//! watches can go on at another one. Nothing of it is replicated, for it would cost what Binding Updates cost.

use std::collections::VecDeque;

use homeport_binding::{Event, LogTime};

use crate::limits;

/// One event, and its place among all.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    /// Log index.
    pub(crate) revision: u64,
    /// Among the events of that entry.
    pub(crate) number: u32,
    pub(crate) at: LogTime,
    pub(crate) event: Event,
}

impl Happened {
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.revision, self.number)
    }
}

/// The newest events, oldest first. Those of the cluster are few, and not pushed out by the others.
#[derive(Default)]
pub(crate) struct Events {
    bindings: VecDeque<Happened>,
    cluster: VecDeque<Happened>,
    /// What happened up to here is not known, or not whole.
    forgotten: u64,
}

impl Events {
    /// Before this nothing is known.
    pub(crate) fn beginning_at(revision: u64) -> Self {
        Self { forgotten: revision, ..Self::default() }
    }

    pub(crate) fn extend(&mut self, revision: u64, at: LogTime, events: Vec<Event>) {
        for (number, event) in (0..).zip(events) {
            let (ring, max) = match event {
                Event::Binding { .. } => (&mut self.bindings, limits::BINDING_EVENTS_MAX),
                Event::Cluster(_) => (&mut self.cluster, limits::CLUSTER_EVENTS_MAX),
            };
            if ring.len() >= max
                && let Some(oldest) = ring.pop_front()
            {
                self.forgotten = self.forgotten.max(oldest.revision);
            }
            ring.push_back(Happened { revision, number, at, event });
        }
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Happened> {
        let (mut one, mut other) =
            (self.bindings.iter().rev().peekable(), self.cluster.iter().rev().peekable());
        std::iter::from_fn(move || match (one.peek(), other.peek()) {
            (Some(a), Some(b)) if a.place() < b.place() => other.next(),
            (Some(_), _) => one.next(),
            (None, _) => other.next(),
        })
    }

    /// Those of revisions after this one, oldest first.
    pub(crate) fn after(&self, revision: u64) -> Vec<&Happened> {
        let from = |ring: &VecDeque<Happened>| ring.partition_point(|it| it.revision <= revision);
        let bindings = self.bindings.range(from(&self.bindings)..);
        let cluster = self.cluster.range(from(&self.cluster)..);
        let mut all: Vec<&Happened> = bindings.chain(cluster).collect();
        all.sort_unstable_by_key(|it| it.place());
        all
    }
}

#[cfg(test)]
mod tests {
    use homeport_binding::{BindingEvent, ClusterEvent};

    use super::*;

    fn of_binding() -> Event {
        let home_address = std::net::Ipv6Addr::LOCALHOST;
        Event::Binding { home_address, what: BindingEvent::Deregistered }
    }

    fn of_cluster() -> Event {
        Event::Cluster(Box::new(ClusterEvent::Drained("front-ends/a".to_owned())))
    }

    #[test]
    fn many_events_of_bindings_leave_those_of_the_cluster() {
        let mut events = Events::beginning_at(7);
        assert_eq!(events.forgotten(), 7);
        events.extend(8, LogTime(1), vec![of_binding(), of_cluster(), of_binding()]);
        let places = |it: Vec<&Happened>| it.iter().map(|it| it.place()).collect::<Vec<_>>();
        assert_eq!(places(events.newest_first().collect()), [(8, 2), (8, 1), (8, 0)]);
        let last = u64::try_from(limits::BINDING_EVENTS_MAX).expect("is small") + 8;
        for revision in 9..=last {
            events.extend(revision, LogTime(revision), vec![of_binding()]);
        }
        assert_eq!(events.forgotten(), 8);
        let oldest = events.newest_first().last().expect("is there");
        assert_eq!((oldest.place(), &oldest.event), ((8, 1), &of_cluster()));
        assert_eq!(places(events.after(last - 2)), [(last - 1, 0), (last, 0)]);
        assert!(events.after(last).is_empty());
    }
}
