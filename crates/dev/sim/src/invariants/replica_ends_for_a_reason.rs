//! A replica ends by itself only when its disk failed or is not the one that it was.

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct ReplicaEndsForAReason;

impl Invariant for ReplicaEndsForAReason {
    fn name(&self) -> &'static str {
        "replica_ends_for_a_reason"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Ended { replica, why, expected: false } => {
                Err(format!("replica {replica} ended: {why}"))
            }
            _ => Ok(()),
        }
    }
}
