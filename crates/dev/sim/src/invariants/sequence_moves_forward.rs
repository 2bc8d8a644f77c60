//! Of two Binding Updates of a home address that are accepted the later one has the newer sequence number,
//! for as long as the number is remembered (RFC 6275 §9.5.1, §10.3.2).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_binding::limits::MAX_DELETE_BCE_TIMEOUT;
use homeport_binding::{Command, LogTime, Outcome, RequestId};
use homeport_wire::Sequence;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct SequenceMovesForward {
    /// The last accepted one, its log time, and its request id.
    last: BTreeMap<Ipv6Addr, (Sequence, LogTime, RequestId)>,
}

impl Invariant for SequenceMovesForward {
    fn name(&self) -> &'static str {
        "sequence_moves_forward"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        let now = applied.after.now();
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            let (Command::Register(r), Outcome::Answer(answer)) = (command, &verdict.outcome)
            else {
                continue;
            };
            // An earlier index: the first answer to a command that came again.
            if !answer.status.is_accepted() || verdict.revision != applied.index {
                continue;
            }
            let (home, sequence) = (r.home_address, r.sequence);
            if let Some((last, at, request_id)) = self.last.insert(home, (sequence, now, r.request_id))
                // The same one again, in the same entry.
                && request_id != r.request_id
                && at.until(now) < MAX_DELETE_BCE_TIMEOUT
                && !sequence.is_newer_than(last)
            {
                return Err(format!("{home}: {sequence} was accepted after {last}"));
            }
        }
        Ok(())
    }
}
