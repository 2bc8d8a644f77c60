//! A command that comes again, under its request id, has its first answer and no second effect.

use std::collections::BTreeMap;

use homeport_binding::{Command, Outcome, RequestId, Verdict};

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct ExactlyOnce {
    decided: BTreeMap<RequestId, Verdict>,
}

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly_once"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            let Command::Register(r) = command else { continue };
            // Only what was accepted has an effect that is remembered for certain.
            let Outcome::Answer(answer) = &verdict.outcome else { continue };
            let first = match self.decided.get(&r.request_id) {
                Some(first) => first,
                None if answer.status.is_accepted() => {
                    self.decided.insert(r.request_id, verdict.clone());
                    continue;
                }
                None => continue,
            };
            if first != verdict {
                let (home, index) = (r.home_address, applied.index);
                return Err(format!(
                    "{home}: a command of entry {} has another answer in entry {index}",
                    first.revision
                ));
            }
        }
        Ok(())
    }
}
