//! An acknowledgement that accepts says what some entry of the log decided (design, section 2 step 5).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_binding::{Command, Outcome};
use homeport_wire::Lifetime;

use super::Invariant;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct AcknowledgedIsCommitted {
    /// Lifetimes granted by home address, sequence number and index.
    granted: BTreeMap<(Ipv6Addr, u16, u64), Lifetime>,
}

impl Invariant for AcknowledgedIsCommitted {
    fn name(&self) -> &'static str {
        "acknowledged_is_committed"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Applied(applied) => {
                for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
                    if let (Command::Register(r), Outcome::Answer(answer)) =
                        (command, &verdict.outcome)
                        && answer.status.is_accepted()
                    {
                        let key = (r.home_address, answer.sequence.0, verdict.revision);
                        self.granted.insert(key, answer.lifetime);
                    }
                }
                Ok(())
            }
            Event::Acknowledged(ack) if ack.status.is_accepted() => {
                let key = (ack.home_address, ack.sequence.0, ack.revision);
                if self.granted.get(&key) == Some(&ack.lifetime) {
                    return Ok(());
                }
                let (home, sequence) = (ack.home_address, ack.sequence);
                Err(format!("{home} was told that {sequence} is accepted, which no entry decided"))
            }
            _ => Ok(()),
        }
    }
}
