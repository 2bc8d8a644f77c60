use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use homeport_api::admin::home_prefixes_server::HomePrefixes;
use homeport_api::admin::{self as api};
use homeport_binding::{
    Authentication, Command, HomePrefix, Ipv6Prefix, Outcome, RefusalKind, Revised, SECURITY_SINCE,
    limits as binding_limits,
};
use ipnet::Ipv6Net;
use tonic::{Request, Response, Status};

use super::audited::{self, Caller};
use super::{
    Reason, Refused, address, done, execute, invalid, ipv4_prefix, ipv6_prefix, not_found,
    page_after, page_size, propose, read_barrier, write,
};
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl HomePrefixes for Service {
    async fn create_home_prefix(
        &self,
        request: Request<api::CreateHomePrefixRequest>,
    ) -> Result<Response<api::HomePrefix>, Status> {
        write(&self.0, request, create).await
    }

    async fn get_home_prefix(
        &self,
        request: Request<api::GetHomePrefixRequest>,
    ) -> Result<Response<api::HomePrefix>, Status> {
        let prefix = prefix_of(&request.into_inner().prefix)?;
        read_barrier(&self.0, false).await?;
        let found = self.0.node.read(|machine| machine.cache.home_prefix(prefix).map(message_of));
        found.map(Response::new).ok_or_else(|| no_home_prefix(prefix))
    }

    async fn list_home_prefixes(
        &self,
        request: Request<api::ListHomePrefixesRequest>,
    ) -> Result<Response<api::ListHomePrefixesResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after: Option<Ipv6Net> = page_after(&request.page_token)?;
        let after = after.and_then(|net| Ipv6Prefix::new(net.network(), net.prefix_len()));
        read_barrier(&self.0, false).await?;
        let (home_prefixes, more) = self.0.node.read(|machine| {
            let mut rest = machine.cache.home_prefixes_after(after);
            let page: Vec<_> = rest.by_ref().take(size).map(message_of).collect();
            (page, rest.next().is_some())
        });
        let last = home_prefixes.last().filter(|_| more);
        let next_page_token = last.map(|last| last.prefix.clone()).unwrap_or_default();
        Ok(Response::new(api::ListHomePrefixesResponse { home_prefixes, next_page_token }))
    }

    async fn update_home_prefix(
        &self,
        request: Request<api::UpdateHomePrefixRequest>,
    ) -> Result<Response<api::HomePrefix>, Status> {
        write(&self.0, request, update).await
    }

    async fn advertise_home_prefix(
        &self,
        request: Request<api::AdvertiseHomePrefixRequest>,
    ) -> Result<Response<api::AdvertiseHomePrefixResponse>, Status> {
        write(&self.0, request, advertise).await
    }

    async fn delete_home_prefix(
        &self,
        request: Request<api::DeleteHomePrefixRequest>,
    ) -> Result<Response<api::DeleteHomePrefixResponse>, Status> {
        write(&self.0, request, delete).await
    }
}

async fn create(
    store: Store,
    caller: Caller,
    request: api::CreateHomePrefixRequest,
) -> Result<api::HomePrefix, Status> {
    let mut message = request.home_prefix.ok_or_else(|| invalid("home_prefix", "missing"))?;
    set_verification(&store, &mut message);
    let record = record_of(&message)?;
    let command = Command::PutHomePrefix { home_prefix: record.clone(), must_not_exist: true };
    let revision = execute(&store, &caller, command).await?;
    Ok(message_of(&Revised { record, revision }))
}

async fn update(
    store: Store,
    caller: Caller,
    request: api::UpdateHomePrefixRequest,
) -> Result<api::HomePrefix, Status> {
    let api::UpdateHomePrefixRequest { home_prefix, update_mask, .. } = request;
    let changed = home_prefix.ok_or_else(|| invalid("home_prefix", "missing"))?;
    let prefix = prefix_of(&changed.prefix)?;
    if update_mask.is_empty() {
        return Err(invalid("update_mask", "missing; name the fields that change"));
    }
    let about = ("HomePrefix", prefix.to_string());
    let message = "somebody else keeps changing it";
    let mut refused = Refused::of_field(Reason::Changed, "prefix", message).status();
    for _ in 0..limits::UPDATES_MAX {
        read_barrier(&store, false).await?;
        let old = store.node.read(|machine| machine.cache.home_prefix(prefix).cloned());
        let old = old.ok_or_else(|| no_home_prefix(prefix))?;
        let mut message = message_of(&old);
        for field in &update_mask {
            replace(&mut message, &changed, field)?;
        }
        set_verification(&store, &mut message);
        let record = record_of(&message)?;
        let (home_prefix, base_revision) = (record.clone(), old.revision);
        let command = Command::UpdateHomePrefix { home_prefix, base_revision };
        if caller.validate_only {
            let revision = execute(&store, &caller, command).await?;
            return Ok(message_of(&Revised { record, revision }));
        }
        let command = audited::recorded(&store, &caller, command).await?;
        let verdict = propose(&store, command).await?;
        // What was read was not the newest: the same fields are changed in what is.
        let is_changed = matches!(&verdict.outcome,
            Outcome::Refused(refusal) if refusal.kind == RefusalKind::Changed);
        match done(verdict, &about) {
            Ok(revision) => {
                return Ok(message_of(&Revised { record, revision }));
            }
            Err(status) if is_changed => refused = status,
            Err(status) => return Err(status),
        }
    }
    Err(refused)
}

async fn advertise(
    store: Store,
    caller: Caller,
    request: api::AdvertiseHomePrefixRequest,
) -> Result<api::AdvertiseHomePrefixResponse, Status> {
    let prefix = prefix_of(&request.prefix)?;
    let within = request.within_secs.map(|secs| Duration::from_secs(secs.into()));
    execute(&store, &caller, Command::AdvertiseHomePrefix { prefix, within }).await?;
    Ok(api::AdvertiseHomePrefixResponse {})
}

async fn delete(
    store: Store,
    caller: Caller,
    request: api::DeleteHomePrefixRequest,
) -> Result<api::DeleteHomePrefixResponse, Status> {
    let prefix = prefix_of(&request.prefix)?;
    execute(&store, &caller, Command::DeleteHomePrefix(prefix)).await?;
    Ok(api::DeleteHomePrefixResponse {})
}

/// On where it is not said. But what nobody has asked for must not need replicas that are upgraded.
fn set_verification(store: &Store, message: &mut api::HomePrefix) {
    let is_possible = || store.proposer.is_known_by_all(SECURITY_SINCE);
    message.care_of_verification.get_or_insert_with(is_possible);
}

fn prefix_of(text: &str) -> Result<Ipv6Prefix, Status> {
    ipv6_prefix(text, "prefix")
}

fn no_home_prefix(prefix: Ipv6Prefix) -> Status {
    let about = ("HomePrefix", prefix.to_string());
    not_found("prefix", &about, &format!("no home prefix {prefix}"))
}

/// Takes one field over. Left out are those that name the record or that only the store writes.
fn replace(into: &mut api::HomePrefix, from: &api::HomePrefix, field: &str) -> Result<(), Status> {
    macro_rules! replace {
        ($($name:ident),* $(,)?) => {
            match field {
                $(stringify!($name) => into.$name.clone_from(&from.$name),)*
                _ => {
                    let message = format!("{field:?} is no field that can change; those are: {}",
                        [$(stringify!($name)),*].join(", "));
                    return Err(invalid("update_mask", &message));
                }
            }
        };
    }
    replace!(
        home_agent,
        home_agent_ipv4,
        authentication,
        multiple_care_of_allowed,
        bulk_allowed,
        home_and_foreign_allowed,
        bindings_per_home_address_max,
        lifetime_max_secs,
        only_router,
        loopback_care_of_allowed,
        valid_lifetime_secs,
        preferred_lifetime_secs,
        force_udp_encapsulation,
        force_udp_requests_allowed,
        nat_keepalive_secs,
        ipv4_pool,
        mobile_networks_allowed,
        flow_bindings_per_home_address_max,
        home_agent_discovery_allowed,
        prefix_discovery_allowed,
        real_home_link,
        home_agent_preference,
        prefix_advertisement_delay_min_secs,
        prefix_advertisement_delay_max_secs,
        care_of_verification,
    );
    Ok(())
}

fn record_of(message: &api::HomePrefix) -> Result<HomePrefix, Status> {
    let authentication = match message.authentication() {
        api::Authentication::None => Authentication::None,
        api::Authentication::MnHa => Authentication::MnHa,
        api::Authentication::Ipsec => Authentication::Ipsec,
        api::Authentication::Unspecified => {
            return Err(invalid(
                "authentication",
                "choose AUTHENTICATION_MN_HA, or AUTHENTICATION_NONE for a laboratory",
            ));
        }
    };
    let home_agent: Ipv6Addr = address(&message.home_agent, "home_agent", "2001:db8:0:1::1")?;
    let home_agent_ipv4: Option<Ipv4Addr> = if message.home_agent_ipv4.is_empty() {
        None
    } else {
        Some(address(&message.home_agent_ipv4, "home_agent_ipv4", "198.51.100.1")?)
    };
    let defaults = HomePrefix::new(prefix_of(&message.prefix)?, home_agent, authentication);
    let bindings_max = match message.bindings_per_home_address_max {
        0 => binding_limits::BINDINGS_PER_HOME_ADDRESS_DEFAULT,
        max => u8::try_from(max)
            .map_err(|_| invalid("bindings_per_home_address_max", "not in 1..=64"))?,
    };
    let flow_bindings_per_home_address_max = match message.flow_bindings_per_home_address_max {
        None => binding_limits::FLOW_BINDINGS_PER_HOME_ADDRESS_DEFAULT,
        Some(max) => u8::try_from(max)
            .map_err(|_| invalid("flow_bindings_per_home_address_max", "not in 0..=64"))?,
    };
    Ok(HomePrefix {
        home_agent_ipv4,
        multiple_care_of_allowed: message.multiple_care_of_allowed.unwrap_or(true),
        bulk_allowed: message.bulk_allowed.unwrap_or(true),
        home_and_foreign_allowed: message.home_and_foreign_allowed.unwrap_or(true),
        bindings_per_home_address_max: bindings_max,
        lifetime_max_secs: match message.lifetime_max_secs {
            0 => binding_limits::LIFETIME_SECS_DEFAULT,
            secs => secs,
        },
        only_router: message.only_router,
        loopback_care_of_allowed: message.loopback_care_of_allowed,
        valid_lifetime_secs: message.valid_lifetime_secs.unwrap_or(u32::MAX),
        preferred_lifetime_secs: message
            .preferred_lifetime_secs
            .or(message.valid_lifetime_secs)
            .unwrap_or(u32::MAX),
        force_udp_encapsulation: message.force_udp_encapsulation.unwrap_or(true),
        force_udp_requests_allowed: message.force_udp_requests_allowed.unwrap_or(true),
        nat_keepalive_secs: match message.nat_keepalive_secs {
            0 => binding_limits::NAT_KEEPALIVE_SECS,
            secs => secs,
        },
        ipv4_pool: ipv4_prefix(&message.ipv4_pool, "ipv4_pool")?,
        mobile_networks_allowed: message.mobile_networks_allowed.unwrap_or(true),
        flow_bindings_per_home_address_max,
        home_agent_discovery_allowed: message.home_agent_discovery_allowed,
        prefix_discovery_allowed: message.prefix_discovery_allowed,
        real_home_link: message.real_home_link,
        home_agent_preference: u16::try_from(message.home_agent_preference)
            .map_err(|_| invalid("home_agent_preference", "not in 0..=65535"))?,
        prefix_advertisement_delay_min_secs: message
            .prefix_advertisement_delay_min_secs
            .unwrap_or(binding_limits::PREFIX_ADVERTISEMENT_DELAY_MIN_SECS),
        prefix_advertisement_delay_max_secs: message
            .prefix_advertisement_delay_max_secs
            .unwrap_or(binding_limits::PREFIX_ADVERTISEMENT_DELAY_MAX_SECS),
        care_of_verification: message.care_of_verification(),
        ..defaults
    })
}

pub(super) fn message_of(revised: &Revised<HomePrefix>) -> api::HomePrefix {
    let record = &revised.record;
    api::HomePrefix {
        prefix: record.prefix.to_string(),
        home_agent: record.home_agent.to_string(),
        home_agent_ipv4: record.home_agent_ipv4.map(|a| a.to_string()).unwrap_or_default(),
        authentication: match record.authentication {
            Authentication::None => api::Authentication::None,
            Authentication::MnHa => api::Authentication::MnHa,
            Authentication::Ipsec => api::Authentication::Ipsec,
        }
        .into(),
        multiple_care_of_allowed: Some(record.multiple_care_of_allowed),
        bulk_allowed: Some(record.bulk_allowed),
        home_and_foreign_allowed: Some(record.home_and_foreign_allowed),
        bindings_per_home_address_max: record.bindings_per_home_address_max.into(),
        lifetime_max_secs: record.lifetime_max_secs,
        only_router: record.only_router,
        loopback_care_of_allowed: record.loopback_care_of_allowed,
        valid_lifetime_secs: Some(record.valid_lifetime_secs),
        preferred_lifetime_secs: Some(record.preferred_lifetime_secs),
        force_udp_encapsulation: Some(record.force_udp_encapsulation),
        force_udp_requests_allowed: Some(record.force_udp_requests_allowed),
        nat_keepalive_secs: record.nat_keepalive_secs,
        ipv4_pool: record.ipv4_pool.map(|pool| pool.to_string()).unwrap_or_default(),
        mobile_networks_allowed: Some(record.mobile_networks_allowed),
        flow_bindings_per_home_address_max: Some(record.flow_bindings_per_home_address_max.into()),
        home_agent_discovery_allowed: record.home_agent_discovery_allowed,
        prefix_discovery_allowed: record.prefix_discovery_allowed,
        real_home_link: record.real_home_link,
        home_agent_preference: record.home_agent_preference.into(),
        prefix_advertisement_delay_min_secs: Some(record.prefix_advertisement_delay_min_secs),
        prefix_advertisement_delay_max_secs: Some(record.prefix_advertisement_delay_max_secs),
        care_of_verification: Some(record.care_of_verification),
        revision: revised.revision,
    }
}
