//! After an accepted de-registration nothing of what it named is bound (RFC 6275 §10.3.2, RFC 5648 §6.2).

use homeport_binding::{Command, Outcome};

use super::Invariant;
use super::bulk_is_whole::is_alone;
use crate::checks::Event;

#[derive(Default)]
pub(super) struct DeregisteredIsGone;

impl Invariant for DeregisteredIsGone {
    fn name(&self) -> &'static str {
        "deregistered_is_gone"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            let (Command::Register(r), Outcome::Answer(answer)) = (command, &verdict.outcome)
            else {
                continue;
            };
            let counts = r.lifetime.is_deregistration()
                && answer.status.is_accepted()
                && verdict.revision == applied.index
                && is_alone(applied, command);
            let Some(home) = applied.after.home(r.home_address).filter(|_| counts) else {
                continue;
            };
            let is_named = |bid| r.bids.is_empty() || r.bids.iter().any(|option| option.bid == bid);
            if home.bindings.keys().any(|bid| is_named(*bid)) {
                let home = r.home_address;
                return Err(format!("{home} is still bound after it was de-registered"));
            }
        }
        Ok(())
    }
}
