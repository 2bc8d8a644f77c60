//! `homeportctl subscribers`

mod find;
mod import;

use std::{fs, io::Read as _, path::Path};

use homeport_api::admin::{
    CreateSubscriberRequest, DeleteSubscriberRequest, GetSubscriberRequest, ListSubscribersRequest,
    Subscriber, subscribers_client::SubscribersClient,
};
use serde_json::{Value, json};

use super::hexadecimal;
use crate::{
    arguments::{CreateSubscriber, Format, SubscriberAction},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

/// RFC 4285's key.
const KEY_OCTETS: usize = 16;

/// More than any form of a key; a file above it is the wrong file.
const KEY_FILE_OCTETS_MAX: u64 = 256;

const COLUMNS: [&str; 10] = [
    "HOME-ADDRESS",
    "NAI",
    "SPI",
    "KEY",
    "MESSAGE-ID",
    "MULTIPLE",
    "BULK",
    "BINDINGS-MAX",
    "MOBILE-NETWORKS",
    "IPV4",
];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &SubscriberAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    match action {
        SubscriberAction::Create(create) => {
            let subscriber = Some(message(create)?);
            let request = CreateSubscriberRequest { subscriber, validate_only, request_id };
            let call = async |channel| {
                SubscribersClient::new(channel).create_subscriber(request.clone()).await
            };
            let created = cluster.call(Effect::Change, call).await?;
            Ok(output::one(format, &COLUMNS, &created, rows, document))
        }
        SubscriberAction::Import(import) => import::run(cluster, format, import).await,
        SubscriberAction::Get { home_address } => {
            let request = GetSubscriberRequest { home_address: home_address.to_string() };
            let call = async |channel| {
                SubscribersClient::new(channel).get_subscriber(request.clone()).await
            };
            let found = cluster.call(Effect::Read, call).await?;
            Ok(output::one(format, &COLUMNS, &found, rows, document))
        }
        SubscriberAction::Find { query, page, local } => {
            find::run(cluster, format, query, *page, *local).await
        }
        SubscriberAction::List(listing) => {
            let found = super::collect(listing.page, async |page_size, page_token| {
                let (filter, order_by) = (listing.filter.clone(), listing.order_by.clone());
                let request = ListSubscribersRequest { page_size, page_token, filter, order_by };
                let call = async |channel| {
                    SubscribersClient::new(channel).list_subscribers(request.clone()).await
                };
                let list = cluster.call(Effect::Read, call).await?;
                Ok((list.subscribers, list.next_page_token))
            });
            Ok(output::list(format, &COLUMNS, &found.await?, rows, document))
        }
        SubscriberAction::Delete { home_address } => {
            let home_address = home_address.to_string();
            let request = DeleteSubscriberRequest {
                home_address: home_address.clone(),
                validate_only,
                request_id,
            };
            let call = async |channel| {
                SubscribersClient::new(channel).delete_subscriber(request.clone()).await
            };
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("deleted {home_address}")))
        }
    }
}

fn message(create: &CreateSubscriber) -> Result<Subscriber, Failure> {
    Ok(Subscriber {
        home_address: create.home_address.to_string(),
        nai: create.nai.clone(),
        spi: create.spi.unwrap_or_default(),
        key: key(create)?.into(),
        key_present: false,
        message_id_required: create.message_id_required,
        multiple_care_of_allowed: create.multiple_care_of,
        bulk_allowed: create.bulk,
        bindings_per_home_address_max: create.bindings_max,
        revision: 0,
        mobile_networks_allowed: create.mobile_networks_allowed,
        flow_bindings_per_home_address_max: create.flow_bindings_max,
        home_prefix: create.home_prefix.clone().unwrap_or_default(),
        mobile_networks: create.mobile_networks.clone(),
        mobile_networks_explicit: create.mobile_networks_explicit,
        ipv4_home_address: create.ipv4_home_address.clone().unwrap_or_default(),
    })
}

/// The key out of the file or the flag; empty when neither is given. Errors never show it.
fn key(create: &CreateSubscriber) -> Result<Vec<u8>, Failure> {
    let wrong = |source: &str| {
        let what = format!("{source}: is not a key; expected 32 hexadecimal digits");
        Failure::Usage(what)
    };
    if let Some(digits) = &create.key_hex {
        return key_octets(digits).ok_or_else(|| wrong("--key-hex"));
    }
    let Some(file) = &create.key_file else {
        return Ok(Vec::new());
    };
    let octets = read(file).map_err(|error| {
        Failure::Usage(format!("--key-file: cannot read {}: {error}", file.display()))
    })?;
    if octets.len() == KEY_OCTETS {
        return Ok(octets);
    }
    let digits = std::str::from_utf8(&octets).ok();
    digits.and_then(key_octets).ok_or_else(|| {
        wrong(&format!("--key-file {}: neither {KEY_OCTETS} octets; it", file.display()))
    })
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().take(KEY_FILE_OCTETS_MAX).read_to_end(&mut octets)?;
    } else {
        fs::File::open(file)?.take(KEY_FILE_OCTETS_MAX).read_to_end(&mut octets)?;
    }
    Ok(octets)
}

fn key_octets(text: &str) -> Option<Vec<u8>> {
    hexadecimal(text).filter(|octets| octets.len() == KEY_OCTETS)
}

fn rows(subscriber: &Subscriber) -> Vec<Vec<String>> {
    let inherited = |value: Option<bool>| value.map_or("-".to_owned(), output::yes_no);
    vec![vec![
        subscriber.home_address.clone(),
        output::or_dash(Some(&subscriber.nai).filter(|nai| !nai.is_empty())),
        output::or_dash(Some(subscriber.spi).filter(|spi| *spi != 0)),
        output::yes_no(subscriber.key_present),
        if subscriber.message_id_required { "required" } else { "optional" }.to_owned(),
        inherited(subscriber.multiple_care_of_allowed),
        inherited(subscriber.bulk_allowed),
        output::or_dash(subscriber.bindings_per_home_address_max),
        output::or_dash(Some(subscriber.mobile_networks.join(",")).filter(|list| !list.is_empty())),
        output::or_dash(Some(&subscriber.ipv4_home_address).filter(|text| !text.is_empty())),
    ]]
}

fn document(subscriber: &Subscriber) -> Value {
    json!({
        "home_address": subscriber.home_address,
        "nai": subscriber.nai,
        "spi": subscriber.spi,
        "key_present": subscriber.key_present,
        "message_id_required": subscriber.message_id_required,
        "multiple_care_of_allowed": subscriber.multiple_care_of_allowed,
        "bulk_allowed": subscriber.bulk_allowed,
        "bindings_per_home_address_max": subscriber.bindings_per_home_address_max,
        "mobile_networks_allowed": subscriber.mobile_networks_allowed,
        "flow_bindings_per_home_address_max": subscriber.flow_bindings_per_home_address_max,
        "home_prefix": subscriber.home_prefix,
        "mobile_networks": subscriber.mobile_networks,
        "mobile_networks_explicit": subscriber.mobile_networks_explicit,
        "ipv4_home_address": subscriber.ipv4_home_address,
        "revision": subscriber.revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_octets_in_hexadecimal() {
        let digits = "000102030405060708090a0B0c0D0e0f";
        assert_eq!(key_octets(digits), Some((0..16).collect()));
        assert_eq!(key_octets(&format!(" {digits}\n")), Some((0..16).collect()));
        for wrong in ["", "00", &digits[1..], &format!("{digits}00"), &digits.replace('a', "g")] {
            assert_eq!(key_octets(wrong), None, "{wrong}");
        }
    }
}
