//! `homeportctl home-prefixes`

use homeport_api::admin::{
    AdvertiseHomePrefixRequest, Authentication as ApiAuthentication, CreateHomePrefixRequest,
    DeleteHomePrefixRequest, GetHomePrefixRequest, HomePrefix, ListHomePrefixesRequest,
    UpdateHomePrefixRequest, home_prefixes_client::HomePrefixesClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Authentication, CreateHomePrefix, Format, HomePrefixAction, UpdateHomePrefix},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

const COLUMNS: [&str; 9] = [
    "PREFIX",
    "HOME-AGENT",
    "IPV4",
    "AUTHENTICATION",
    "MULTIPLE",
    "BULK",
    "HOME+FOREIGN",
    "BINDINGS-MAX",
    "LIFETIME-MAX",
];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &HomePrefixAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    match action {
        HomePrefixAction::Create(create) => {
            let home_prefix = Some(message(create));
            let request = CreateHomePrefixRequest { home_prefix, validate_only, request_id };
            let call = async |channel| {
                HomePrefixesClient::new(channel).create_home_prefix(request.clone()).await
            };
            let created = cluster.call(Effect::Change, call).await?;
            Ok(output::one(format, &COLUMNS, &created, rows, document))
        }
        HomePrefixAction::Update(update) => {
            let request = UpdateHomePrefixRequest { validate_only, request_id, ..changes(update) };
            let call = async |channel| {
                HomePrefixesClient::new(channel).update_home_prefix(request.clone()).await
            };
            let updated = cluster.call(Effect::Change, call).await?;
            Ok(output::one(format, &COLUMNS, &updated, rows, document))
        }
        HomePrefixAction::Advertise { prefix, within_secs } => {
            let (prefix, within_secs) = (prefix.clone(), *within_secs);
            let request = AdvertiseHomePrefixRequest {
                prefix: prefix.clone(),
                within_secs,
                validate_only,
                request_id,
            };
            let call = async |channel| {
                HomePrefixesClient::new(channel).advertise_home_prefix(request.clone()).await
            };
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("mobile nodes of {prefix} are being told")))
        }
        HomePrefixAction::Get { prefix } => {
            let request = GetHomePrefixRequest { prefix: prefix.clone() };
            let call = async |channel| {
                HomePrefixesClient::new(channel).get_home_prefix(request.clone()).await
            };
            let found = cluster.call(Effect::Read, call).await?;
            Ok(output::one(format, &COLUMNS, &found, rows, document))
        }
        HomePrefixAction::List(page) => {
            let found = super::collect(*page, async |page_size, page_token| {
                let request = ListHomePrefixesRequest { page_size, page_token };
                let call = async |channel| {
                    HomePrefixesClient::new(channel).list_home_prefixes(request.clone()).await
                };
                let list = cluster.call(Effect::Read, call).await?;
                Ok((list.home_prefixes, list.next_page_token))
            });
            Ok(output::list(format, &COLUMNS, &found.await?, rows, document))
        }
        HomePrefixAction::Delete { prefix } => {
            let prefix = prefix.clone();
            let request =
                DeleteHomePrefixRequest { prefix: prefix.clone(), validate_only, request_id };
            let call = async |channel| {
                HomePrefixesClient::new(channel).delete_home_prefix(request.clone()).await
            };
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("deleted {prefix}")))
        }
    }
}

fn message(create: &CreateHomePrefix) -> HomePrefix {
    let authentication = match create.authentication {
        Authentication::None => ApiAuthentication::None,
        Authentication::MnHa => ApiAuthentication::MnHa,
        Authentication::Ipsec => ApiAuthentication::Ipsec,
    };
    HomePrefix {
        prefix: create.prefix.clone(),
        home_agent: create.home_agent.to_string(),
        home_agent_ipv4: create.home_agent_ipv4.map(|a| a.to_string()).unwrap_or_default(),
        authentication: authentication.into(),
        multiple_care_of_allowed: create.multiple_care_of,
        bulk_allowed: create.bulk,
        home_and_foreign_allowed: create.home_and_foreign,
        bindings_per_home_address_max: create.bindings_max.unwrap_or_default(),
        lifetime_max_secs: create.lifetime_max_secs.unwrap_or_default(),
        only_router: create.only_router,
        loopback_care_of_allowed: create.loopback_care_of,
        revision: 0,
        valid_lifetime_secs: create.valid_lifetime_secs,
        preferred_lifetime_secs: create.preferred_lifetime_secs,
        force_udp_encapsulation: create.force_udp,
        force_udp_requests_allowed: create.force_udp_requests,
        nat_keepalive_secs: create.nat_keepalive_secs.unwrap_or_default(),
        ipv4_pool: create.ipv4_pool.clone().unwrap_or_default(),
        mobile_networks_allowed: create.mobile_networks_allowed,
        flow_bindings_per_home_address_max: create.flow_bindings_max,
        home_agent_discovery_allowed: create.home_agent_discovery,
        prefix_discovery_allowed: create.prefix_discovery,
        real_home_link: create.real_home_link,
        home_agent_preference: create.home_agent_preference.unwrap_or_default().into(),
        prefix_advertisement_delay_min_secs: create.prefix_advertisement_delay_min_secs,
        prefix_advertisement_delay_max_secs: create.prefix_advertisement_delay_max_secs,
        care_of_verification: create.care_of_verification,
    }
}

/// What the command line names, and the names of that.
fn changes(update: &UpdateHomePrefix) -> UpdateHomePrefixRequest {
    let mut request = UpdateHomePrefixRequest::default();
    let mut record = HomePrefix { prefix: update.prefix.clone(), ..HomePrefix::default() };
    macro_rules! take {
        ($($field:ident: $value:expr),* $(,)?) => {
            $(if let Some(value) = $value {
                record.$field = value.into();
                request.update_mask.push(stringify!($field).to_owned());
            })*
        };
    }
    take!(
        home_agent_ipv4: update.home_agent_ipv4.map(|address| address.to_string()),
        multiple_care_of_allowed: update.multiple_care_of,
        bulk_allowed: update.bulk,
        home_and_foreign_allowed: update.home_and_foreign,
        bindings_per_home_address_max: update.bindings_max,
        lifetime_max_secs: update.lifetime_max_secs,
        only_router: update.only_router,
        loopback_care_of_allowed: update.loopback_care_of,
        valid_lifetime_secs: update.valid_lifetime_secs,
        preferred_lifetime_secs: update.preferred_lifetime_secs,
        force_udp_encapsulation: update.force_udp,
        force_udp_requests_allowed: update.force_udp_requests,
        nat_keepalive_secs: update.nat_keepalive_secs,
        ipv4_pool: update.ipv4_pool.clone(),
        mobile_networks_allowed: update.mobile_networks_allowed,
        flow_bindings_per_home_address_max: update.flow_bindings_max,
        home_agent_discovery_allowed: update.home_agent_discovery,
        prefix_discovery_allowed: update.prefix_discovery,
        home_agent_preference: update.home_agent_preference,
        prefix_advertisement_delay_min_secs: update.prefix_advertisement_delay_min_secs,
        prefix_advertisement_delay_max_secs: update.prefix_advertisement_delay_max_secs,
        care_of_verification: update.care_of_verification,
    );
    request.home_prefix = Some(record);
    request
}

fn authentication(prefix: &HomePrefix) -> &'static str {
    match prefix.authentication() {
        ApiAuthentication::Unspecified => "unspecified",
        ApiAuthentication::None => "none",
        ApiAuthentication::MnHa => "mn-ha",
        ApiAuthentication::Ipsec => "ipsec",
    }
}

fn rows(prefix: &HomePrefix) -> Vec<Vec<String>> {
    let ipv4 = Some(&prefix.home_agent_ipv4).filter(|address| !address.is_empty());
    vec![vec![
        prefix.prefix.clone(),
        prefix.home_agent.clone(),
        output::or_dash(ipv4),
        authentication(prefix).to_owned(),
        output::yes_no(prefix.multiple_care_of_allowed()),
        output::yes_no(prefix.bulk_allowed()),
        output::yes_no(prefix.home_and_foreign_allowed()),
        prefix.bindings_per_home_address_max.to_string(),
        format!("{} s", prefix.lifetime_max_secs),
    ]]
}

pub(super) fn document(prefix: &HomePrefix) -> Value {
    json!({
        "prefix": prefix.prefix,
        "home_agent": prefix.home_agent,
        "home_agent_ipv4": prefix.home_agent_ipv4,
        "authentication": authentication(prefix),
        "multiple_care_of_allowed": prefix.multiple_care_of_allowed(),
        "bulk_allowed": prefix.bulk_allowed(),
        "home_and_foreign_allowed": prefix.home_and_foreign_allowed(),
        "bindings_per_home_address_max": prefix.bindings_per_home_address_max,
        "lifetime_max_secs": prefix.lifetime_max_secs,
        "only_router": prefix.only_router,
        "loopback_care_of_allowed": prefix.loopback_care_of_allowed,
        "valid_lifetime_secs": prefix.valid_lifetime_secs,
        "preferred_lifetime_secs": prefix.preferred_lifetime_secs,
        "force_udp_encapsulation": prefix.force_udp_encapsulation,
        "force_udp_requests_allowed": prefix.force_udp_requests_allowed,
        "nat_keepalive_secs": prefix.nat_keepalive_secs,
        "ipv4_pool": prefix.ipv4_pool,
        "mobile_networks_allowed": prefix.mobile_networks_allowed,
        "flow_bindings_per_home_address_max": prefix.flow_bindings_per_home_address_max,
        "home_agent_discovery_allowed": prefix.home_agent_discovery_allowed,
        "prefix_discovery_allowed": prefix.prefix_discovery_allowed,
        "real_home_link": prefix.real_home_link,
        "home_agent_preference": prefix.home_agent_preference,
        "prefix_advertisement_delay_min_secs": prefix.prefix_advertisement_delay_min_secs,
        "prefix_advertisement_delay_max_secs": prefix.prefix_advertisement_delay_max_secs,
        "care_of_verification": prefix.care_of_verification(),
        "revision": prefix.revision,
    })
}
