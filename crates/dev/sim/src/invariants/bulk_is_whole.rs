//! What a bulk registration was told is bound is bound, every BID of it (RFC 5648 §6.2).

use homeport_binding::{CareOf, Command, Outcome};
use homeport_wire::BidCareOf;

use super::Invariant;
use crate::checks::{Applied, Event};

#[derive(Default)]
pub(super) struct BulkIsWhole;

impl Invariant for BulkIsWhole {
    fn name(&self) -> &'static str {
        "bulk_is_whole"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Applied(applied) = event else { return Ok(()) };
        for (command, verdict) in applied.batch.commands.iter().zip(applied.verdicts) {
            let (Command::Register(r), Outcome::Answer(answer)) = (command, &verdict.outcome)
            else {
                continue;
            };
            if r.lifetime.is_deregistration()
                || !answer.status.is_accepted()
                || verdict.revision != applied.index
                || !is_alone(applied, command)
            {
                continue;
            }
            let home = applied.after.home(r.home_address);
            for (option, status) in r.bids.iter().zip(&answer.bid_statuses) {
                let bound = home.and_then(|home| home.bindings.get(&option.bid));
                let care_of = match option.care_of {
                    BidCareOf::V6(address) => Some(CareOf::Ipv6(address)),
                    BidCareOf::V4(_) | BidCareOf::Absent => bound.map(|binding| binding.care_of),
                };
                let is_bound = bound.map(|binding| binding.care_of) == care_of && care_of.is_some();
                if status.is_accepted() && !is_bound {
                    let (home, bid) = (r.home_address, option.bid);
                    return Err(format!("{home}: {bid:?} was accepted and is not bound"));
                }
            }
        }
        Ok(())
    }
}

/// No other command of the entry is about the same home address.
pub(super) fn is_alone(applied: &Applied<'_>, command: &Command) -> bool {
    let home_of = |command: &Command| match command {
        Command::Register(r) => Some(r.home_address),
        _ => None,
    };
    let same = applied.batch.commands.iter().filter(|other| home_of(other) == home_of(command));
    same.count() == 1
}
