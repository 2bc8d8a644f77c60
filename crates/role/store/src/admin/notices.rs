use std::net::Ipv6Addr;
use std::time::Duration;

use futures_util::future::join_all;
use homeport_api::admin::home_agents_server::HomeAgents;
use homeport_api::admin::revocations_server::Revocations;
use homeport_api::admin::switch_home_agent_request::Target;
use homeport_api::admin::{self as api};
use homeport_binding::{Command, Ipv6Prefix, Outcome, Refusal, RefusalKind, Revoke, Switch};
use homeport_wire::{Bid, Lifetime, RevocationTrigger};
use tonic::{Request, Response, Status};

use super::audited::{self, Caller};
use super::{
    Reason, Refused, address, execute, invalid, ipv6_prefix, not_found, of_another_kind,
    read_barrier, refused, status_of, write,
};
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Revocations for Service {
    async fn revoke_bindings(
        &self,
        request: Request<api::RevokeBindingsRequest>,
    ) -> Result<Response<api::RevokeBindingsResponse>, Status> {
        write(&self.0, request, revoke).await
    }
}

async fn revoke(
    store: Store,
    caller: Caller,
    request: api::RevokeBindingsRequest,
) -> Result<api::RevokeBindingsResponse, Status> {
    let trigger = match request.trigger {
        None => RevocationTrigger::ADMINISTRATIVE,
        Some(value) => trigger_of(value)?,
    };
    let home_address = address(&request.home_address, "home_address", "2001:db8:0:1::100")?;
    let bid = |bid: u32| {
        let wrong = || invalid("bids", &format!("{bid} is not in 1..=65535"));
        u16::try_from(bid).ok().filter(|bid| *bid != 0).map(Bid).ok_or_else(wrong)
    };
    let bids = request.bids.into_iter().map(bid).collect::<Result<_, _>>()?;
    let revoke = Command::Revoke(Revoke { home_address, bids, trigger });
    let revision = execute(&store, &caller, revoke).await?;
    Ok(api::RevokeBindingsResponse { revision })
}

/// The values of the API are those of the wire; which will do is the store's to say.
fn trigger_of(value: i32) -> Result<RevocationTrigger, Status> {
    let trigger = u8::try_from(value).map(RevocationTrigger);
    trigger.map_err(|_| invalid("trigger", &format!("{value} is not among 0, 1, 5, 6, 7")))
}

#[tonic::async_trait]
impl HomeAgents for Service {
    async fn switch_home_agent(
        &self,
        request: Request<api::SwitchHomeAgentRequest>,
    ) -> Result<Response<api::SwitchHomeAgentResponse>, Status> {
        write(&self.0, request, switch).await
    }
}

async fn switch(
    store: Store,
    caller: Caller,
    request: api::SwitchHomeAgentRequest,
) -> Result<api::SwitchHomeAgentResponse, Status> {
    let addresses = request
        .addresses
        .iter()
        .map(|text| address(text, "addresses", "2001:db8:0:2::1"))
        .collect::<Result<Vec<Ipv6Addr>, _>>()?;
    let time_left = request.time_left_secs.map(time_left_of).transpose()?;
    let command = move |home_address, delay| {
        let addresses = addresses.clone();
        Command::Switch(Switch { home_address, addresses, delay, time_left })
    };
    match request.target {
        Some(Target::HomeAddress(text)) => {
            let home_address = address(&text, "home_address", "2001:db8:0:1::100")?;
            execute(&store, &caller, command(home_address, Duration::ZERO)).await?;
            let response = api::SwitchHomeAgentResponse { home_addresses: 1, last_after_secs: 0 };
            Ok(response)
        }
        Some(Target::Prefix(text)) => {
            read_barrier(&store, false).await?;
            let home_addresses = bound_in(&store, ipv6_prefix(&text, "prefix")?)?;
            if caller.validate_only {
                let asked = check_all(&store, &home_addresses, command)?;
                let last_after_secs = asked.saturating_sub(1);
                return Ok(api::SwitchHomeAgentResponse { home_addresses: asked, last_after_secs });
            }
            let (about, after) =
                (("HomePrefix", text), format!("{} mobile nodes", home_addresses.len()));
            audited::record(&store, &caller, about, after).await?;
            let asked = switch_all(&store, &home_addresses, command).await?;
            let last_after_secs = asked.saturating_sub(1);
            let response = api::SwitchHomeAgentResponse { home_addresses: asked, last_after_secs };
            Ok(response)
        }
        None => Err(invalid("target", "missing; expected home_address or prefix")),
    }
}

/// Binding Refresh Advice counts in units of four seconds.
fn time_left_of(secs: u32) -> Result<Duration, Status> {
    let max = Lifetime(u16::MAX).secs();
    if !(u32::from(Lifetime::UNIT_SECS)..=max).contains(&secs) {
        let message = format!("{secs} s is not in {}..={max} s", Lifetime::UNIT_SECS);
        return Err(invalid("time_left_secs", &message));
    }
    Ok(Duration::from_secs(secs.into()))
}

/// Home addresses of the prefix that have bindings.
fn bound_in(store: &Store, prefix: Ipv6Prefix) -> Result<Vec<Ipv6Addr>, Status> {
    let max = limits::HOME_ADDRESSES_PER_SWITCH_MAX;
    store.node.read(|machine| {
        let mut home_prefixes = machine.cache.home_prefixes_after(None);
        let is_part =
            |home: Ipv6Prefix| home.len() <= prefix.len() && home.contains(prefix.address());
        if !home_prefixes.any(|home| is_part(home.record.prefix)) {
            let message = format!("{prefix} is no home prefix and no part of one");
            return Err(not_found("prefix", &("HomePrefix", prefix.to_string()), &message));
        }
        let before = prefix.address().to_bits().checked_sub(1).map(Ipv6Addr::from_bits);
        let bound: Vec<_> = machine
            .cache
            .homes_after(before)
            .take_while(|(home_address, _)| prefix.contains(*home_address))
            .filter(|(_, home)| !home.bindings.is_empty())
            .map(|(home_address, _)| home_address)
            .take(max.saturating_add(1))
            .collect();
        if bound.len() > max {
            let message =
                format!("{prefix} has more than {max} mobile nodes; name parts of it in turn");
            return Err(Refused::of_field(Reason::LimitReached, "prefix", &message).status());
        }
        Ok(bound)
    })
}

/// How many would take it.
fn check_all(
    store: &Store,
    home_addresses: &[Ipv6Addr],
    switch: impl Fn(Ipv6Addr, Duration) -> Command,
) -> Result<u64, Status> {
    if let Some(first) = home_addresses.first() {
        let first = store.proposer.check(switch(*first, Duration::ZERO));
        first.map_err(|error| status_of(&error))?;
    }
    let mut asked = 0_u64;
    for chunk in home_addresses.chunks(limits::COMMANDS_PER_ENTRY_MAX) {
        let checked = store.node.read(|machine| {
            let each = chunk.iter().map(|home_address| switch(*home_address, Duration::ZERO));
            each.map(|command| machine.cache.check(&command)).collect::<Vec<_>>()
        });
        for checked in checked {
            match checked {
                Ok(()) => asked = asked.saturating_add(1),
                Err(refusal) => pass_over(&refusal)?,
            }
        }
    }
    Ok(asked)
}

/// Who has left or is being revoked.
fn pass_over(refusal: &Refusal) -> Result<(), Status> {
    match refusal.kind {
        RefusalKind::NotFound | RefusalKind::InUse => Ok(()),
        _ => Err(refused(refusal, &("HomeBindings", String::new()))),
    }
}

/// One command for each, whose delays make them one a second; how many took it. Who has left or is
/// being revoked meanwhile is passed over.
async fn switch_all(
    store: &Store,
    home_addresses: &[Ipv6Addr],
    switch: impl Fn(Ipv6Addr, Duration) -> Command,
) -> Result<u64, Status> {
    let mut asked = 0_u32;
    for chunk in home_addresses.chunks(limits::COMMANDS_PER_ENTRY_MAX) {
        let proposed = chunk.iter().enumerate().map(|(at, home_address)| {
            let place = asked.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
            let delay = limits::SWITCH_INTERVAL.saturating_mul(place);
            store.proposer.propose(switch(*home_address, delay))
        });
        for verdict in join_all(proposed).await {
            match verdict.map_err(|error| status_of(&error))?.outcome {
                Outcome::Done => asked = asked.saturating_add(1),
                Outcome::Refused(refusal) => pass_over(&refusal)?,
                Outcome::Answer(_)
                | Outcome::Silent(_)
                | Outcome::StalePolicy
                | Outcome::Pending => return Err(of_another_kind()),
            }
        }
    }
    Ok(asked.into())
}
