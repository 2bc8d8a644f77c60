use std::net::Ipv6Addr;

use homeport_api::admin::security_associations_server::SecurityAssociations;
use homeport_api::admin::{self as api};
use homeport_binding::{Association, Command, Origin, Protects, Revised, SecurityAssociation};
use homeport_esp::{Keys, Suite, Window};
use tonic::{Request, Response, Status};

use super::audited::Caller;
use super::lists::{Asked, Field, Filter, Key, Kind};
use super::{address, execute, invalid, read_barrier, write};
use crate::Store;

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl SecurityAssociations for Service {
    async fn create_security_association(
        &self,
        request: Request<api::CreateSecurityAssociationRequest>,
    ) -> Result<Response<api::SecurityAssociation>, Status> {
        write(&self.0, request, create).await
    }

    async fn list_security_associations(
        &self,
        request: Request<api::ListSecurityAssociationsRequest>,
    ) -> Result<Response<api::ListSecurityAssociationsResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::of(&request.filter, &FIELDS)?;
        let asked = Asked::of(request.page_size, &request.page_token, filter, "", &[])?;
        read_barrier(&self.0, false).await?;
        let response = self.0.node.read(|machine| {
            let all = machine.cache.associations_after(asked.start());
            let matching = all.filter(|(home_address, _)| {
                asked.filter.holds(|_, test| test.address(*home_address))
            });
            let (page, next_page_token) = asked.page(matching, |_, _| Key::Number(0));
            let page = page.into_iter().flatten();
            let security_associations = page.map(message_of).collect();
            api::ListSecurityAssociationsResponse { security_associations, next_page_token }
        });
        Ok(Response::new(response))
    }

    async fn delete_security_association(
        &self,
        request: Request<api::DeleteSecurityAssociationRequest>,
    ) -> Result<Response<api::DeleteSecurityAssociationResponse>, Status> {
        write(&self.0, request, delete).await
    }
}

const FIELDS: [Field; 1] = [("home_address", Kind::Address)];

async fn create(
    store: Store,
    caller: Caller,
    request: api::CreateSecurityAssociationRequest,
) -> Result<api::SecurityAssociation, Status> {
    let message = request.security_association;
    let message = message.ok_or_else(|| invalid("security_association", "missing"))?;
    let association = record_of(message)?;
    association.check_keys().map_err(|(field, error)| invalid(field, &error.to_string()))?;
    let record = association.clone();
    let command = Command::PutSecurityAssociation { association, must_not_exist: true };
    let revision = execute(&store, &caller, command).await?;
    let window = Window::new(record.replay_window);
    Ok(message_of(&Association { revised: Revised { record, revision }, window, sent: 0 }))
}

async fn delete(
    store: Store,
    caller: Caller,
    request: api::DeleteSecurityAssociationRequest,
) -> Result<api::DeleteSecurityAssociationResponse, Status> {
    let home_address = home_address_of(&request.home_address)?;
    let inbound_spi = request.inbound_spi;
    let command = Command::DeleteSecurityAssociation { home_address, inbound_spi };
    execute(&store, &caller, command).await?;
    Ok(api::DeleteSecurityAssociationResponse {})
}

fn home_address_of(text: &str) -> Result<Ipv6Addr, Status> {
    address(text, "home_address", "2001:db8:0:1::100")
}

fn record_of(message: api::SecurityAssociation) -> Result<SecurityAssociation, Status> {
    let home_address = home_address_of(&message.home_address)?;
    let mut suites = Suite::ALL.into_iter();
    let suite = suites.find(|suite| suite_message(*suite) == message.suite()).ok_or_else(|| {
        let names = Suite::ALL.map(Suite::name).join(", ");
        invalid("suite", &format!("missing or not known; one of {names}"))
    })?;
    let protects = match message.protects() {
        api::Protects::Mobility => Protects::Mobility,
        api::Protects::PrefixDiscovery => Protects::PrefixDiscovery,
        api::Protects::Signalling | api::Protects::Unspecified => Protects::Signalling,
    };
    let (inbound_spi, inbound) = direction_of(message.inbound, "inbound")?;
    let (outbound_spi, outbound) = direction_of(message.outbound, "outbound")?;
    Ok(SecurityAssociation {
        home_address,
        protects,
        suite,
        extended_sequence_numbers: message.extended_sequence_numbers,
        replay_window: message.replay_window,
        inbound_spi,
        inbound,
        outbound_spi,
        outbound,
        origin: Origin::Static,
    })
}

fn direction_of(message: Option<api::EspDirection>, field: &str) -> Result<(u32, Keys), Status> {
    let message = message.ok_or_else(|| invalid(field, "missing"))?;
    let encryption = message.encryption_key.to_vec();
    let authentication = message.authentication_key.to_vec();
    Ok((message.spi, Keys { encryption, authentication }))
}

const fn suite_message(suite: Suite) -> api::EspSuite {
    match suite {
        Suite::AesGcm16 => api::EspSuite::AesGcm16,
        Suite::AesCbcHmacSha256 => api::EspSuite::AesCbcHmacSha2256,
        Suite::AesCbcHmacSha384 => api::EspSuite::AesCbcHmacSha2384,
        Suite::AesCbcHmacSha512 => api::EspSuite::AesCbcHmacSha2512,
        Suite::NullHmacSha256 => api::EspSuite::NullHmacSha2256,
        Suite::NullHmacSha384 => api::EspSuite::NullHmacSha2384,
        Suite::NullHmacSha512 => api::EspSuite::NullHmacSha2512,
    }
}

/// The keys stay in the store.
pub(super) fn message_of(association: &Association) -> api::SecurityAssociation {
    let record = &association.revised.record;
    let direction = |spi| Some(api::EspDirection { spi, ..Default::default() });
    let protects = match record.protects {
        Protects::Mobility => api::Protects::Mobility,
        Protects::PrefixDiscovery => api::Protects::PrefixDiscovery,
        Protects::Signalling => api::Protects::Signalling,
    };
    api::SecurityAssociation {
        home_address: record.home_address.to_string(),
        protects: protects.into(),
        suite: suite_message(record.suite).into(),
        extended_sequence_numbers: record.extended_sequence_numbers,
        replay_window: record.replay_window,
        inbound: direction(record.inbound_spi),
        outbound: direction(record.outbound_spi),
        ike_agent: match &record.origin {
            Origin::Static => String::new(),
            Origin::Ike { agent, .. } => agent.clone(),
        },
        revision: association.revised.revision,
        received_sequence: association.window.top(),
        sent_sequence: association.sent,
    }
}
