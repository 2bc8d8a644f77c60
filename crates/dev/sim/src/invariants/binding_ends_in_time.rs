//! No binding outlives the lifetime that was granted, by the time in the log (RFC 6275 §10.3.1).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_binding::{Command, LogTime, Outcome};

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct BindingEndsInTime {
    /// The latest end that was granted to each home address.
    granted: BTreeMap<Ipv6Addr, LogTime>,
}

impl Invariant for BindingEndsInTime {
    fn name(&self) -> &'static str {
        "binding_ends_in_time"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        let now = applied.after.now();
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            if let (Command::Register(r), Outcome::Answer(answer)) = (command, &verdict.outcome)
                && verdict.revision == applied.index
            {
                let until = now.after(answer.lifetime.duration());
                let latest = self.granted.entry(r.home_address).or_insert(until);
                *latest = until.max(*latest);
            }
        }
        for (address, home) in applied.after.homes_after(None) {
            let latest = self.granted.get(&address).copied().unwrap_or_default();
            for (bid, binding) in &home.bindings {
                if binding.ends <= now {
                    return Err(format!("{address}, {bid:?} is bound after its end"));
                }
                if binding.ends > latest {
                    return Err(format!("{address}, {bid:?} ends later than was granted"));
                }
            }
        }
        Ok(())
    }
}
