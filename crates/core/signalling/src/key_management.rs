//! The K bit (RFC 6275 §10.3.1, RFC 4877): where the endpoint of a mobile node's IKE association is to be after
//! its Binding Update. Moving it is others' work; only when they have confirmed it does the acknowledgement say K.

use alloc::string::String;
use core::net::Ipv6Addr;

use homeport_binding::{Origin, Outcome, Policy, Verdict};
use homeport_wire::{BidCareOf, BuFlags, MobilityOption};

use crate::update::{Proposal, Update};

/// An IKE association, and where the mobile node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `host:port` of the agent beside the IKE daemon.
    pub agent: String,
    /// By which the daemon knows what it has negotiated with this mobile node.
    pub request_id: u32,
    /// Whose association.
    pub home_address: Ipv6Addr,
    /// Its other end.
    pub home_agent: Ipv6Addr,
    /// Where the mobile node is.
    pub care_of: Ipv6Addr,
    /// Revision of the binding: what is newer prevails.
    pub revision: u64,
}

/// What an accepted Binding Update under keys of IKE asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndpointChange {
    /// The endpoint is to be there before the acknowledgement says that it is.
    Move(Endpoint),
    /// The mobile node negotiates anew: associations with other endpoints are to be closed.
    Close(Endpoint),
}

impl Proposal {
    /// What the verdict means for the IKE association; `policy` is the one that it was judged by. Nothing where
    /// the Binding Update is refused, or is not protected by keys of IKE; nothing over UDP, where the mobile
    /// node's address is of IPv4.
    #[must_use]
    pub fn endpoint_change(&self, policy: &Policy, verdict: &Verdict) -> Option<EndpointChange> {
        let update = self.update();
        let Outcome::Answer(answer) = &verdict.outcome else { return None };
        let inbound_spi = update.receipt.as_ref()?.inbound_spi();
        let mut bids = answer.bid_statuses.iter();
        let is_registered = answer.bid_statuses.is_empty() || bids.any(|it| it.is_accepted());
        if !answer.status.is_accepted() || !is_registered || update.outer.is_some() {
            return None;
        }
        let mut known = policy.associations.iter().map(|it| &it.revised.record);
        let record = known.find(|it| it.inbound_spi == inbound_spi)?;
        let Origin::Ike { address, request_id, .. } = &record.origin else { return None };
        let endpoint = Endpoint {
            agent: address.clone(),
            request_id: *request_id,
            home_address: update.home_address,
            home_agent: update.home_agent,
            care_of: update.named_care_of(),
            revision: verdict.revision,
        };
        if update.message.flags.contains(BuFlags::KEY_MANAGEMENT_MOBILITY) {
            return Some(EndpointChange::Move(endpoint));
        }
        // Other care-of addresses stay where BIDs are used, and IKE may run over one of them (RFC 5648 §9).
        update.bids().next().is_none().then_some(EndpointChange::Close(endpoint))
    }
}

impl Update {
    /// The care-of address that it is about: where there are several, that of its one BID option, else where it
    /// came from (RFC 5648 does not speak of it). The home address of who is at home again (RFC 6275 §10.3.2).
    fn named_care_of(&self) -> Ipv6Addr {
        let mut bids = self.bids();
        let alternate = self.message.options.iter().find_map(|option| match option {
            MobilityOption::AlternateCareOf(address) => Some(address),
            _ => None,
        });
        let ends = self.message.lifetime.is_deregistration();
        match (bids.next(), bids.next()) {
            (None, _) if ends => self.home_address,
            (None, _) => alternate.unwrap_or(self.source),
            (Some(only), None) if !ends => match only.care_of {
                _ if only.home => self.home_address,
                BidCareOf::V6(address) => address,
                BidCareOf::V4(_) | BidCareOf::Absent => self.source,
            },
            _ => self.source,
        }
    }
}
