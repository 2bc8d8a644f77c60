//! The time in the log only grows, whatever the clocks of its leaders do.

use homeport_binding::LogTime;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct LogTimeNeverGoesBack(LogTime);

impl Invariant for LogTimeNeverGoesBack {
    fn name(&self) -> &'static str {
        "log_time_never_goes_back"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        let (last, now) = (self.0, applied.after.now());
        self.0 = now.max(last);
        if now >= last && now >= applied.batch.at {
            return Ok(());
        }
        Err(format!("at {} the log's time is {now:?} after {last:?}", applied.index))
    }
}
