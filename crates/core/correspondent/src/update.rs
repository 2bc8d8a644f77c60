//! A Binding Update to a correspondent node as it was read (RFC 6275 §9.5.1, RFC 5648 §6.2).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::options::kind;
use homeport_wire::{
    BidCareOf, BidOption, BindingUpdate, BuFlags, Lifetime, MobilityOption, Sequence, Walk,
    is_unicast_routable_v6, is_unicast_v6,
};

use crate::cache::{Home, NoncePair};
use crate::event::DropReason;
use crate::limits::AUTHENTICATOR_OCTETS;
use crate::proof::Proof;
use crate::rules::Request;

/// A Binding Update whose addresses are in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    pub(crate) home_address: Ipv6Addr,
    /// IPv6 source on the wire.
    pub(crate) source: Ipv6Addr,
    pub(crate) has_home_address_option: bool,
    pub(crate) sequence: Sequence,
    pub(crate) flags: BuFlags,
    pub(crate) lifetime: Lifetime,
    pub(crate) nonces: Option<NoncePair>,
    pub(crate) has_malformed_bid: bool,
    /// The readable BID options in their order.
    pub(crate) bids: Vec<BidOption>,
    alternate: Option<Ipv6Addr>,
    /// RFC 6275 §9.5.1: the option must be there, be the last, and have nothing behind it.
    is_authorized_at_its_end: bool,
    /// The Mobility Header as received: the authenticator covers its octets.
    pub(crate) octets: Vec<u8>,
}

impl Update {
    /// Reads what needs no state.
    ///
    /// # Errors
    /// When it is to be dropped.
    pub fn read(walk: &Walk<'_>, message: &BindingUpdate<'_>) -> Result<Self, DropReason> {
        let mut update = Self {
            home_address: walk.pseudo_source(),
            source: walk.header.source,
            has_home_address_option: walk.home_address.is_some(),
            sequence: message.sequence,
            flags: message.flags,
            lifetime: message.lifetime,
            nonces: None,
            has_malformed_bid: false,
            bids: Vec::new(),
            alternate: None,
            is_authorized_at_its_end: is_authorized_at_its_end(message),
            octets: walk.payload.to_vec(),
        };
        if !is_unicast_v6(update.source) {
            return Err(DropReason::SourceNotRoutable);
        }
        if !is_unicast_routable_v6(update.home_address) {
            return Err(DropReason::HomeAddressNotRoutable);
        }
        for option in message.options.iter() {
            match option {
                MobilityOption::NonceIndices { home, care_of } => {
                    update.nonces = Some((home, care_of));
                }
                MobilityOption::AlternateCareOf(address) => update.alternate = Some(address),
                MobilityOption::BindingIdentifier(option) => update.bids.push(option),
                // RFC 5648 §4.4 has a status of its own for these.
                MobilityOption::Malformed { kind: kind::BINDING_IDENTIFIER, .. } => {
                    update.has_malformed_bid = true;
                }
                MobilityOption::Malformed { .. } => return Err(DropReason::MalformedOption),
                _ => {}
            }
        }
        Ok(update)
    }

    /// Whose binding it is about.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        self.home_address
    }

    /// The nonces that the authenticator was made with, where all that a binding needs is there.
    pub(crate) fn authorized(&self) -> Result<NoncePair, DropReason> {
        let nonces = self.nonces.ok_or(DropReason::NonceIndicesMissing)?;
        if !self.is_authorized_at_its_end {
            return Err(DropReason::AuthorizationMissing);
        }
        let is_plain = !self.deletes() && !self.has_bids();
        if is_plain && !is_unicast_routable_v6(self.plain_care_of()) {
            return Err(DropReason::CareOfNotRoutable);
        }
        Ok(nonces)
    }

    /// What is asked for, once it is proven.
    pub(crate) fn request(
        &self,
        proof: &Proof,
        nonces: NoncePair,
        correspondent: Ipv6Addr,
    ) -> Request {
        Request {
            correspondent,
            sequence: self.sequence,
            lifetime: self.lifetime,
            flags: self.flags,
            bids: self.bids.clone(),
            has_malformed_bid: self.has_malformed_bid,
            care_of: self.plain_care_of(),
            proven: proof.association.care_of,
            nonces,
            nonces_end: proof.replay_ends,
        }
    }

    fn has_bids(&self) -> bool {
        self.has_malformed_bid || !self.bids.is_empty()
    }

    pub(crate) const fn deletes(&self) -> bool {
        self.lifetime.is_deregistration()
    }

    /// The address of a binding without BID (RFC 6275 §9.5.1).
    pub(crate) fn plain_care_of(&self) -> Ipv6Addr {
        self.alternate.unwrap_or(self.source)
    }

    /// Addresses that the authenticator may cover: the one that is to be registered. Where a BID
    /// option does not say which that is, the mobile node can only have meant its source.
    pub(crate) fn covered(&self, known: Option<&Home>) -> [Ipv6Addr; 2] {
        if self.deletes() {
            return [self.home_address; 2];
        }
        let Some(first) = self.bids.first() else {
            let address = if self.has_malformed_bid { self.source } else { self.plain_care_of() };
            return [address; 2];
        };
        let stored = known.and_then(|home| home.bindings.get(&Some(first.bid)));
        let named = match first.care_of {
            BidCareOf::V6(address) => address,
            BidCareOf::Absent => stored.map_or(self.source, |binding| binding.care_of),
            BidCareOf::V4(_) => self.source,
        };
        // Which of several addresses a bulk update is authenticated for is not defined, because it
        // is refused; the refusal must reach its sender all the same.
        let is_bulk = self.bids.len() > 1;
        [named, if is_bulk || self.has_malformed_bid { self.source } else { named }]
    }
}

fn is_authorized_at_its_end(message: &BindingUpdate<'_>) -> bool {
    let options = &message.options;
    let is_authorization =
        |option: &MobilityOption<'_>| matches!(option, MobilityOption::BindingAuthorizationData(_));
    options.iter().filter(is_authorization).count() == 1
        && options.iter().last().is_some_and(|last| is_authorization(&last))
        && options.authenticator_len() == Some(AUTHENTICATOR_OCTETS)
}
