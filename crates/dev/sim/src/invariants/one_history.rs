//! What stands at an index stands there for ever and on every replica: Raft's state machine safety, and
//! with it that nothing acknowledged is ever lost.

use std::collections::BTreeMap;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct OneHistory {
    /// Content by index.
    entries: BTreeMap<u64, u64>,
}

impl Invariant for OneHistory {
    fn name(&self) -> &'static str {
        "one_history"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Entry { replica, index, content } = event else { return Ok(()) };
        let known = *self.entries.entry(*index).or_insert(*content);
        if known == *content {
            return Ok(());
        }
        Err(format!("replica {replica} applies another entry {index} than was applied before"))
    }
}
