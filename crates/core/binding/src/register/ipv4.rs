//! The IPv4 home address (RFC 5555 §4.1, §5.3): independent of what becomes of the bindings.

use core::net::Ipv4Addr;

use homeport_wire::{Ipv4AddressStatus, is_unicast_routable_v4};

use crate::choices;
use crate::command::Ipv4HomeAddressRequest;
use crate::ownership::Ipv4Homes;
use crate::prefix::{Ipv4Prefix, Ipv6Prefix};
use crate::verdict::Ipv4AddressAnswer;

/// What is known of the home address that asks.
pub(super) struct Ipv4Rules<'a> {
    pub(super) homes: &'a Ipv4Homes,
    /// Whose pool it is.
    pub(super) home_prefix: Ipv6Prefix,
    /// The subscriber's own.
    pub(super) own: Option<Ipv4Prefix>,
    /// In force until now.
    pub(super) held: Option<Ipv4Prefix>,
}

impl Ipv4Rules<'_> {
    /// The address or prefix that is in force from now on, and the option that says so.
    pub(super) fn decide(
        &self,
        request: Ipv4HomeAddressRequest,
    ) -> (Option<Ipv4Prefix>, Ipv4AddressAnswer) {
        let granted = match request.prefix_len {
            1..=32 if request.address.is_unspecified() => self.assign(request.prefix_wanted),
            1..=32 if is_unicast_routable_v4(request.address) => self.confirm(request),
            0 => Err(choices::IPV4_PREFIX_LEN_ZERO),
            _ => Err(Ipv4AddressStatus::INVALID_ADDRESS),
        };
        let answer = match granted {
            Ok(prefix) => Ipv4AddressAnswer {
                status: Ipv4AddressStatus::ACCEPTED,
                prefix_len: prefix.len(),
                address: prefix.address(),
            },
            Err(status) => Ipv4AddressAnswer { status, prefix_len: 0, address: request.address },
        };
        (granted.ok(), answer)
    }

    /// 0.0.0.0: the subscriber's own, else what it has, else the next of the pool.
    fn assign(&self, prefix_wanted: bool) -> Result<Ipv4Prefix, Ipv4AddressStatus> {
        if prefix_wanted {
            return self.own_prefix().ok_or(Ipv4AddressStatus::PREFIX_NOT_AUTHORIZED);
        }
        if let Some(own) = self.own {
            return Ok(Ipv4Prefix::host(first_host(own)));
        }
        self.held_of_pool()
            .or_else(|| self.homes.lowest_free(self.home_prefix).map(Ipv4Prefix::host))
            .ok_or(Ipv4AddressStatus::DYNAMIC_ASSIGNMENT_NOT_AVAILABLE)
    }

    /// A certain address: only one that it has anyway.
    fn confirm(&self, request: Ipv4HomeAddressRequest) -> Result<Ipv4Prefix, Ipv4AddressStatus> {
        let asked = Ipv4Prefix::host(request.address);
        let is_own = self.own.is_some_and(|own| own.contains(request.address));
        if !is_own && self.held_of_pool() != Some(asked) {
            return Err(Ipv4AddressStatus::INCORRECT_HOME_ADDRESS);
        }
        if request.prefix_wanted {
            return self.own_prefix().ok_or(Ipv4AddressStatus::PREFIX_NOT_AUTHORIZED);
        }
        Ok(asked)
    }

    fn own_prefix(&self) -> Option<Ipv4Prefix> {
        self.own.filter(|own| own.len() < 32)
    }

    /// What it has out of a pool, while the pool still has it.
    fn held_of_pool(&self) -> Option<Ipv4Prefix> {
        let is_of_pool = |held: &Ipv4Prefix| {
            held.len() == 32
                && self.homes.owner(*held).is_none()
                && self.homes.is_of_pool(self.home_prefix, held.address())
        };
        self.held.filter(is_of_pool)
    }
}

/// The first address of a prefix that a node can have.
fn first_host(prefix: Ipv4Prefix) -> Ipv4Addr {
    let first = prefix.address().to_bits();
    Ipv4Addr::from_bits(if prefix.len() <= 30 { first.saturating_add(1) } else { first })
}
