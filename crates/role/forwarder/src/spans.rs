//! Traces of Binding Updates, from the packet that came in to the acknowledgement that goes out.

use std::{collections::BTreeMap, time::Instant};

use homeport_forwarding::Punt;
use homeport_runtime::{config::TelemetryConfig, trace};
use homeport_wire::{protocol, walk};
use tracing::Span;

use crate::limits;

/// Mobility Header type of a Binding Update (RFC 6275 §6.1.7).
const BINDING_UPDATE: u8 = 5;

/// The steps of those that are traced, until they are answered.
#[derive(Debug)]
pub(crate) struct Spans {
    sampler: trace::Sampler,
    /// By ticket.
    under_way: BTreeMap<u64, Span>,
}

impl Spans {
    pub(crate) fn new(config: &TelemetryConfig) -> Self {
        Self { sampler: trace::Sampler::new(config), under_way: BTreeMap::new() }
    }

    /// What a front-end is told about the trace of this packet; empty when it has none.
    pub(crate) fn begin(&mut self, ticket: u64, punt: &Punt) -> String {
        // Where nothing is traced no packet is looked into.
        if !self.sampler.is_on() || !is_update(punt) || !self.sampler.take(Instant::now()) {
            return String::new();
        }
        if self.under_way.len() >= limits::UPDATES_TRACED_MAX {
            // Most of them were never answered, so it does not matter which one goes.
            self.under_way.pop_first();
        }
        let span = trace::root("forwarder.binding_update");
        let told = trace::parent_of(&span);
        self.under_way.insert(ticket, span);
        told
    }

    /// What was begun with this ticket is answered: its trace ends when the value is dropped.
    pub(crate) fn answered(&mut self, ticket: u64) -> Answered {
        let Some(whole) = self.under_way.remove(&ticket) else { return Answered::default() };
        Answered(Some(Box::new((trace::child("forwarder.table", &whole), whole))))
    }
}

/// The step from an answer until it is sent, within the whole; nothing of most.
#[derive(Debug, Default)]
pub(crate) struct Answered(Option<Box<(Span, Span)>>);

impl Answered {
    /// Notes how the answer was sent, and which revision the table has.
    pub(crate) fn sent(self, sent: &'static str, revision: u64) {
        if let Some(steps) = self.0 {
            let (table, _whole) = *steps;
            table.in_scope(|| tracing::info!(sent, revision, "acknowledgement"));
        }
    }
}

fn is_update(punt: &Punt) -> bool {
    walk(&punt.packet).is_ok_and(|walked| {
        walked.upper == protocol::MOBILITY && walked.payload.get(2) == Some(&BINDING_UPDATE)
    })
}
