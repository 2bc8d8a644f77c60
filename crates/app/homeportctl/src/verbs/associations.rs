//! `homeportctl associations`

use std::{fs, io::Read as _, path::Path};

use homeport_api::admin::{
    CreateSecurityAssociationRequest, DeleteSecurityAssociationRequest, EspDirection, EspSuite,
    ListSecurityAssociationsRequest, Protects as ApiProtects, SecurityAssociation,
    security_associations_client::SecurityAssociationsClient,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::hexadecimal;
use crate::{
    arguments::{AssociationAction, CreateAssociation, Format, Protects},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

/// More than four of the longest keys.
const KEYS_FILE_OCTETS_MAX: u64 = 4096;

const COLUMNS: [&str; 9] = [
    "HOME-ADDRESS",
    "IN-SPI",
    "OUT-SPI",
    "SUITE",
    "PROTECTS",
    "WINDOW",
    "RECEIVED",
    "SENT",
    "FROM",
];

/// Names of suites, as they are written.
const SUITES: [(&str, EspSuite); 7] = [
    ("aes-gcm-16", EspSuite::AesGcm16),
    ("aes-cbc-hmac-sha2-256", EspSuite::AesCbcHmacSha2256),
    ("aes-cbc-hmac-sha2-384", EspSuite::AesCbcHmacSha2384),
    ("aes-cbc-hmac-sha2-512", EspSuite::AesCbcHmacSha2512),
    ("null-hmac-sha2-256", EspSuite::NullHmacSha2256),
    ("null-hmac-sha2-384", EspSuite::NullHmacSha2384),
    ("null-hmac-sha2-512", EspSuite::NullHmacSha2512),
];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &AssociationAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    match action {
        AssociationAction::Create(create) => {
            let security_association = Some(message(create)?);
            let request = CreateSecurityAssociationRequest {
                security_association,
                validate_only,
                request_id,
            };
            let call = async |channel| {
                let mut client = SecurityAssociationsClient::new(channel);
                client.create_security_association(request.clone()).await
            };
            let created = cluster.call(Effect::Change, call).await?;
            Ok(output::one(format, &COLUMNS, &created, rows, document))
        }
        AssociationAction::List { page, filter } => {
            let found = super::collect(*page, async |page_size, page_token| {
                let filter = filter.clone();
                let request = ListSecurityAssociationsRequest { page_size, page_token, filter };
                let call = async |channel| {
                    let mut client = SecurityAssociationsClient::new(channel);
                    client.list_security_associations(request.clone()).await
                };
                let list = cluster.call(Effect::Read, call).await?;
                Ok((list.security_associations, list.next_page_token))
            });
            Ok(output::list(format, &COLUMNS, &found.await?, rows, document))
        }
        AssociationAction::Delete { home_address, inbound_spi } => {
            let (home_address, inbound_spi) = (home_address.to_string(), *inbound_spi);
            let request = DeleteSecurityAssociationRequest {
                home_address: home_address.clone(),
                inbound_spi,
                validate_only,
                request_id,
            };
            let call = async |channel| {
                let mut client = SecurityAssociationsClient::new(channel);
                client.delete_security_association(request.clone()).await
            };
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("deleted {home_address} {inbound_spi:#x}")))
        }
    }
}

/// Keys as the file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    inbound_encryption: String,
    #[serde(default)]
    inbound_authentication: String,
    #[serde(default)]
    outbound_encryption: String,
    #[serde(default)]
    outbound_authentication: String,
}

fn message(create: &CreateAssociation) -> Result<SecurityAssociation, Failure> {
    let found = SUITES.iter().find(|(name, _)| *name == create.suite);
    let Some((_, suite)) = found else {
        let names = SUITES.map(|(name, _)| name).join(", ");
        return Err(Failure::Usage(format!("--suite {}: not one of {names}", create.suite)));
    };
    let file = keys(&create.keys_file)?;
    let direction = |spi, [encryption, authentication]: [(&str, &str); 2]| {
        Ok::<_, Failure>(EspDirection {
            spi,
            encryption_key: key(create, encryption)?.into(),
            authentication_key: key(create, authentication)?.into(),
        })
    };
    let inbound = direction(
        create.inbound_spi,
        [
            ("inbound_encryption", &file.inbound_encryption),
            ("inbound_authentication", &file.inbound_authentication),
        ],
    )?;
    let outbound = direction(
        create.outbound_spi,
        [
            ("outbound_encryption", &file.outbound_encryption),
            ("outbound_authentication", &file.outbound_authentication),
        ],
    )?;
    let protects = match create.protects {
        Protects::Mobility => ApiProtects::Mobility,
        Protects::PrefixDiscovery => ApiProtects::PrefixDiscovery,
        Protects::Signalling => ApiProtects::Signalling,
    };
    Ok(SecurityAssociation {
        home_address: create.home_address.to_string(),
        protects: protects.into(),
        suite: (*suite).into(),
        extended_sequence_numbers: create.extended_sequence_numbers,
        replay_window: create.replay_window,
        inbound: Some(inbound),
        outbound: Some(outbound),
        ..SecurityAssociation::default()
    })
}

/// Errors never show what is in it.
fn keys(file: &Path) -> Result<KeysFile, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Usage(format!("--keys-file {}: {error}", file.display()))
    };
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(KEYS_FILE_OCTETS_MAX).read_to_string(&mut text)
    } else {
        let opened = fs::File::open(file).map_err(|error| wrong(&error))?;
        opened.take(KEYS_FILE_OCTETS_MAX).read_to_string(&mut text)
    };
    read.map_err(|error| wrong(&error))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| wrong(&error.message()))
}

fn key(create: &CreateAssociation, (name, text): (&str, &str)) -> Result<Vec<u8>, Failure> {
    hexadecimal(text).ok_or_else(|| {
        let file = create.keys_file.display();
        Failure::Usage(format!(
            "--keys-file {file}: {name}: expected hexadecimal digits, two for each octet"
        ))
    })
}

fn suite_name(association: &SecurityAssociation) -> &'static str {
    let found = SUITES.iter().find(|(_, suite)| *suite == association.suite());
    found.map_or("unknown", |(name, _)| name)
}

const fn protects_name(protects: ApiProtects) -> &'static str {
    match protects {
        ApiProtects::Mobility => "mobility",
        ApiProtects::PrefixDiscovery => "prefix-discovery",
        ApiProtects::Signalling | ApiProtects::Unspecified => "signalling",
    }
}

fn spi_of(direction: Option<&EspDirection>) -> u32 {
    direction.map_or(0, |direction| direction.spi)
}

fn rows(association: &SecurityAssociation) -> Vec<Vec<String>> {
    let from = Some(&association.ike_agent).filter(|agent| !agent.is_empty());
    vec![vec![
        association.home_address.clone(),
        format!("{:#x}", spi_of(association.inbound.as_ref())),
        format!("{:#x}", spi_of(association.outbound.as_ref())),
        suite_name(association).to_owned(),
        protects_name(association.protects()).to_owned(),
        association.replay_window.to_string(),
        association.received_sequence.to_string(),
        association.sent_sequence.to_string(),
        from.map_or("by hand".to_owned(), |agent| format!("IKE at {agent}")),
    ]]
}

fn document(association: &SecurityAssociation) -> Value {
    json!({
        "home_address": association.home_address,
        "protects": protects_name(association.protects()),
        "suite": suite_name(association),
        "extended_sequence_numbers": association.extended_sequence_numbers,
        "replay_window": association.replay_window,
        "inbound_spi": spi_of(association.inbound.as_ref()),
        "outbound_spi": spi_of(association.outbound.as_ref()),
        "ike_agent": association.ike_agent,
        "received_sequence": association.received_sequence,
        "sent_sequence": association.sent_sequence,
        "revision": association.revision,
    })
}
