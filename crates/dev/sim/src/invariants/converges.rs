//! When all faults are over every replica and every subscriber reaches the same revision, and a mobile node
//! is acknowledged, within the time allowed.

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct Converges;

impl Invariant for Converges {
    fn name(&self) -> &'static str {
        "converges"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::NotConverged { what } => Err((*what).to_owned()),
            _ => Ok(()),
        }
    }
}
