//! A linearizable read sees whatever was acknowledged before it began.

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct ReadIsLinearizable;

impl Invariant for ReadIsLinearizable {
    fn name(&self) -> &'static str {
        "read_is_linearizable"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Read { replica, revision, at_least } if revision < at_least => Err(format!(
                "replica {replica} read at {revision} when {at_least} had been acknowledged"
            )),
            _ => Ok(()),
        }
    }
}
