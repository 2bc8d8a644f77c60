//! A replica that has seen a term, and so has written its vote, never forgets it: not over a restart
//! either. Otherwise it could vote twice.

use std::collections::BTreeMap;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct TermNeverGoesBack {
    last: BTreeMap<u64, u64>,
}

impl Invariant for TermNeverGoesBack {
    fn name(&self) -> &'static str {
        "term_never_goes_back"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Status { replica, term } = event else { return Ok(()) };
        let last = self.last.insert(*replica, *term).unwrap_or(0);
        if *term >= last {
            return Ok(());
        }
        Err(format!("replica {replica} is in term {term} after {last}"))
    }
}
