//! A subscriber never sees an older revision after a newer one, whichever replica it asks.

use std::collections::BTreeMap;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct FeedNeverGoesBack {
    last: BTreeMap<usize, u64>,
}

impl Invariant for FeedNeverGoesBack {
    fn name(&self) -> &'static str {
        "feed_never_goes_back"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Feed { subscriber, revision, .. } = event else { return Ok(()) };
        let last = self.last.insert(*subscriber, *revision).unwrap_or(0);
        if *revision >= last {
            return Ok(());
        }
        Err(format!("subscriber {subscriber} is sent to {revision} after {last}"))
    }
}
