//! Replicas at one revision have one state, whether they came there by the log or by a snapshot.

use std::collections::BTreeMap;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct OneState {
    /// Digest by index, and who was there first.
    states: BTreeMap<u64, (u64, u64)>,
}

impl Invariant for OneState {
    fn name(&self) -> &'static str {
        "one_state"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::State { replica, index, digest } = event else { return Ok(()) };
        let (known, first) = *self.states.entry(*index).or_insert((*digest, *replica));
        if known == *digest {
            return Ok(());
        }
        Err(format!("at {index} the state of replica {replica} is not that of replica {first}"))
    }
}
