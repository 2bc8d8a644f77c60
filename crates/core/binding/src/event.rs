//! What has happened, for those who watch: a log entry's events are the same on every replica.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::Status;

use crate::cache::BindingCache;
use crate::home::{Bindings, CareOf};
use crate::operations::AlarmKey;
use crate::verdict::Silence;

/// Something that is worth a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// About one home address.
    Binding {
        /// The home address.
        home_address: Ipv6Addr,
        /// What happened.
        what: BindingEvent,
    },
    /// About the cluster.
    Cluster(Box<ClusterEvent>),
}

/// What happened to a home address. A Binding Update that only renews what is there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindingEvent {
    /// It is bound, and was not before.
    Registered(Option<CareOf>),
    /// Other care-of addresses than before; one that is new, where there is one.
    Moved(Option<CareOf>),
    /// The mobile node has ended its last binding.
    Deregistered,
    /// The last binding's lifetime has passed, or an operator's revocation is over.
    Ended,
    /// A Binding Update was refused.
    Refused(Status),
    /// A Binding Update was dropped without an answer.
    Dropped(Silence),
    /// An operator has deleted the subscriber.
    SubscriberDeleted,
}

/// What happened to the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClusterEvent {
    /// The leader has seen it.
    Seen(Seen),
    /// A node is to be drained.
    Drained(String),
    /// It is to serve again.
    Undrained(String),
    /// An alarm was raised, and why.
    AlarmRaised(AlarmKey, String),
    /// It ended, and what it was.
    AlarmCleared(AlarmKey, String),
}

/// What a leader sees and tells the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It leads.
    Leader {
        /// Its id.
        node_id: u64,
        /// In which term.
        term: u64,
    },
    /// A node is there: its resource name, "forwarders/edge-1".
    Joined(String),
    /// A node is there no more: its resource name.
    Left(String),
}

/// Events of the last log entry. They say how the state came about and are no part of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastEvents(Vec<Event>);

impl PartialEq for LastEvents {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LastEvents {}

impl LastEvents {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl BindingCache {
    fn happened(&mut self, event: Event) {
        self.events.0.push(event);
    }

    /// Something happened to the cluster.
    pub(crate) fn happened_to_cluster(&mut self, event: ClusterEvent) {
        self.happened(Event::Cluster(Box::new(event)));
    }

    /// Something happened to a home address.
    pub(crate) fn happened_to(&mut self, home_address: Ipv6Addr, what: BindingEvent) {
        self.happened(Event::Binding { home_address, what });
    }

    /// Hands over what the last log entry has brought about, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events.0)
    }
}

/// What a Binding Update has done to the bindings of a home address.
pub(crate) fn change(before: &Bindings, after: &Bindings) -> Option<BindingEvent> {
    if after.is_empty() {
        return (!before.is_empty()).then_some(BindingEvent::Deregistered);
    }
    let is_known = |care_of: CareOf| before.values().any(|binding| binding.care_of == care_of);
    let new = after.values().map(|binding| binding.care_of).find(|care_of| !is_known(*care_of));
    if before.is_empty() {
        return Some(BindingEvent::Registered(new));
    }
    (new.is_some() || before.len() != after.len()).then_some(BindingEvent::Moved(new))
}
