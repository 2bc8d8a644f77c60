//! A command that comes again, under its request id, has its first answer and no second effect, for as long
//! as the log's time does not forget the home address.

use std::collections::BTreeMap;

use homeport_binding::limits::MAX_DELETE_BCE_TIMEOUT;
use homeport_binding::{Command, LogTime, Outcome, RequestId, Verdict};

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct ExactlyOnce {
    /// With the log time of the first answer.
    decided: BTreeMap<RequestId, (Verdict, LogTime)>,
}

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly_once"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        let now = applied.after.now();
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            let Command::Register(r) = command else { continue };
            // Only what was accepted has an effect that is remembered for certain.
            let Outcome::Answer(answer) = &verdict.outcome else { continue };
            let (first, at) = match self.decided.get(&r.request_id) {
                Some(first) => first,
                None if answer.status.is_accepted() => {
                    self.decided.insert(r.request_id, (verdict.clone(), now));
                    continue;
                }
                None => continue,
            };
            if first != verdict && at.until(now) < MAX_DELETE_BCE_TIMEOUT {
                let (home, index) = (r.home_address, applied.index);
                return Err(format!(
                    "{home}: a command of entry {} has another answer in entry {index}: {verdict:?} after {first:?}",
                    first.revision
                ));
            }
        }
        Ok(())
    }
}
