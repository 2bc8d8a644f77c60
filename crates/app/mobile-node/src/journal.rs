//! A record of every Binding Update that left, and of its answer.

use std::collections::VecDeque;

use homeport_mobile::Event;
use serde::Serialize;

/// A Binding Update.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct UpdateRecord {
    /// Sequence number.
    pub sequence: u16,
    /// Wall time in milliseconds when it left.
    pub sent_unix_ms: u64,
    /// Milliseconds since the node started.
    pub sent_ms: u64,
    /// The care-of address that it left from.
    pub path: String,
    /// Its Binding Identifier options; none in a plain update.
    pub bids: Vec<u16>,
    /// Lifetime asked for; zero ends bindings.
    pub lifetime_secs: u32,
    /// 1 for the first, more for retransmissions.
    pub attempt: u8,
    /// Its answer.
    pub acknowledgement: Option<Acknowledgement>,
}

/// A Binding Acknowledgement.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Acknowledgement {
    /// Milliseconds after the update left.
    pub round_trip_ms: u64,
    /// Wall time in milliseconds when it came.
    pub received_unix_ms: u64,
    /// Status of the message.
    pub status: u8,
    /// Lifetime granted.
    pub lifetime_secs: u32,
    /// Effective status of each binding.
    pub bids: Vec<(u16, u8)>,
}

impl UpdateRecord {
    /// True when the home agent has accepted all of it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.acknowledgement.as_ref().is_some_and(|answer| {
            answer.status < 128 && answer.bids.iter().all(|(_, status)| *status < 128)
        })
    }
}

/// The newest updates.
#[derive(Debug)]
pub(crate) struct Journal {
    updates: VecDeque<UpdateRecord>,
    updates_max: usize,
    dropped: u64,
}

impl Journal {
    pub(crate) fn new(updates_max: usize) -> Self {
        Self { updates: VecDeque::new(), updates_max: updates_max.max(1), dropped: 0 }
    }

    /// Notes what belongs here.
    pub(crate) fn note(&mut self, event: &Event, unix_ms: u64, now_ms: u64) {
        match event {
            Event::Sent { sequence, path, bids, lifetime, attempt, .. } => {
                if self.updates.len() >= self.updates_max {
                    self.updates.pop_front();
                    self.dropped = self.dropped.saturating_add(1);
                }
                self.updates.push_back(UpdateRecord {
                    sequence: sequence.0,
                    sent_unix_ms: unix_ms,
                    sent_ms: now_ms,
                    path: path.to_string(),
                    bids: bids.iter().map(|bid| bid.0).collect(),
                    lifetime_secs: lifetime.secs(),
                    attempt: *attempt,
                    acknowledgement: None,
                });
            }
            Event::Acknowledged { sequence, status, lifetime, bids, round_trip_ms } => {
                // The newest of this number: the number comes round again.
                let answered =
                    self.updates.iter_mut().rev().find(|update| update.sequence == sequence.0);
                if let Some(update) = answered {
                    update.acknowledgement = Some(Acknowledgement {
                        round_trip_ms: *round_trip_ms,
                        received_unix_ms: unix_ms,
                        status: status.0,
                        lifetime_secs: lifetime.secs(),
                        bids: bids.iter().map(|(bid, status)| (bid.0, status.0)).collect(),
                    });
                }
            }
            _ => {}
        }
    }

    pub(crate) fn updates(&self) -> Vec<UpdateRecord> {
        self.updates.iter().cloned().collect()
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
