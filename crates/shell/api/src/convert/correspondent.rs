//! Mobile nodes as correspondents of the home agents.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use homeport_binding as core;
use homeport_binding::correspondent::{Binding, Home, Millis, Request, Spent};
use homeport_wire::{Bid, BidOption, BuFlags, Lifetime, Sequence};
use prost::bytes::Bytes;

use super::record::{remembered_message, remembered_of};
use super::{Invalid, invalid, ipv6, ipv6_octets, priority_of, u16_of};
use crate::binding as proto;

impl From<core::Correspondence> for proto::Correspond {
    fn from(asked: core::Correspondence) -> Self {
        let request = asked.request;
        let option = |option: BidOption| core::BidRequest {
            bid: Some(option.bid),
            home: option.home,
            priority: option.priority,
            care_of: option.care_of,
            malformed: false,
        };
        Self {
            request_id: Bytes::copy_from_slice(&asked.request_id),
            home_address: ipv6_octets(asked.home_address),
            home_agent: ipv6_octets(request.correspondent),
            sequence: request.sequence.0.into(),
            lifetime: request.lifetime.0.into(),
            flags: request.flags.0.into(),
            bids: request.bids.into_iter().map(option).map(Into::into).collect(),
            malformed_bid: request.has_malformed_bid,
            care_of: ipv6_octets(request.care_of),
            proven: ipv6_octets(request.proven),
            home_nonce: request.nonces.0.into(),
            care_of_nonce: request.nonces.1.into(),
            nonces_end_ms: request.nonces_end.0,
        }
    }
}

impl TryFrom<proto::Correspond> for core::Correspondence {
    type Error = Invalid;

    fn try_from(message: proto::Correspond) -> Result<Self, Invalid> {
        let request_id = message.request_id.as_ref().try_into();
        let bids = message.bids.into_iter().map(|option| {
            let option = core::BidRequest::try_from(option)?;
            let bid = option.bid.ok_or_else(|| invalid("correspond.bids.bid", "a value"))?;
            let named = BidOption::refresh(bid).with_home(option.home);
            Ok(BidOption { care_of: option.care_of, ..named.with_priority(option.priority) })
        });
        Ok(Self {
            request_id: request_id.map_err(|_| invalid("correspond.request_id", "16 octets"))?,
            home_address: ipv6(&message.home_address, "correspond.home_address")?,
            request: Request {
                correspondent: ipv6(&message.home_agent, "correspond.home_agent")?,
                sequence: Sequence(u16_of(message.sequence, "correspond.sequence")?),
                lifetime: Lifetime(u16_of(message.lifetime, "correspond.lifetime")?),
                flags: BuFlags(u16_of(message.flags, "correspond.flags")?),
                bids: bids.collect::<Result<_, Invalid>>()?,
                has_malformed_bid: message.malformed_bid,
                care_of: ipv6(&message.care_of, "correspond.care_of")?,
                proven: ipv6(&message.proven, "correspond.proven")?,
                nonces: (
                    u16_of(message.home_nonce, "correspond.home_nonce")?,
                    u16_of(message.care_of_nonce, "correspond.care_of_nonce")?,
                ),
                nonces_end: Millis(message.nonces_end_ms),
            },
        })
    }
}

fn spent_message(
    (home, care_of_nonce): (u16, u16),
    care_of: Ipv6Addr,
    until: Millis,
) -> proto::SpentNonces {
    proto::SpentNonces {
        home_nonce: home.into(),
        care_of_nonce: care_of_nonce.into(),
        care_of: ipv6_octets(care_of),
        until_ms: until.0,
    }
}

fn spent_of(message: &proto::SpentNonces) -> Result<Spent, Invalid> {
    Ok(Spent {
        nonces: (
            u16_of(message.home_nonce, "nonces.home_nonce")?,
            u16_of(message.care_of_nonce, "nonces.care_of_nonce")?,
        ),
        care_of: ipv6(&message.care_of, "nonces.care_of")?,
        until: Millis(message.until_ms),
    })
}

/// The message of a correspondent.
#[must_use]
pub fn correspondent_message(
    home_address: Ipv6Addr,
    home_agent: Ipv6Addr,
    peer: core::Peer,
) -> proto::Correspondent {
    let bindings =
        peer.home.bindings.into_iter().map(|(bid, binding)| proto::CorrespondentBinding {
            bid: bid.map(|bid| bid.0.into()),
            care_of: ipv6_octets(binding.care_of),
            priority: binding.priority.value().into(),
            lifetime: binding.lifetime.0.into(),
            registered_ms: binding.confirmed.0,
            nonces: Some(spent_message(binding.nonces, binding.care_of, binding.nonces_end)),
        });
    let spent = peer.home.spent.iter();
    proto::Correspondent {
        home_address: ipv6_octets(home_address),
        home_agent: ipv6_octets(home_agent),
        sequence: peer.home.sequence.0.into(),
        bindings: bindings.collect(),
        guard_ms: peer.home.guard.0,
        spent: spent.map(|it| spent_message(it.nonces, it.care_of, it.until)).collect(),
        remembered: peer.remembered.into_iter().map(remembered_message).collect(),
    }
}

/// Home address, home agent and what is known, from the message.
///
/// # Errors
/// When a field does not hold what it must.
pub fn correspondent_of(
    message: proto::Correspondent,
) -> Result<(Ipv6Addr, Ipv6Addr, core::Peer), Invalid> {
    let home_address = ipv6(&message.home_address, "correspondent.home_address")?;
    let home_agent = ipv6(&message.home_agent, "correspondent.home_agent")?;
    let mut bindings = BTreeMap::new();
    for message in message.bindings {
        let (bid, binding) = binding_of(&message)?;
        if bindings.insert(bid, binding).is_some() {
            return Err(invalid("correspondent.bindings", "each BID once"));
        }
    }
    let mut home = Home::new(Sequence(u16_of(message.sequence, "correspondent.sequence")?));
    home.bindings = bindings;
    home.guard = Millis(message.guard_ms);
    home.spent = message.spent.iter().map(spent_of).collect::<Result<_, Invalid>>()?;
    let remembered = message.remembered.into_iter().map(remembered_of);
    let remembered = remembered.collect::<Result<_, Invalid>>()?;
    Ok((home_address, home_agent, core::Peer { home, remembered }))
}

fn binding_of(message: &proto::CorrespondentBinding) -> Result<(Option<Bid>, Binding), Invalid> {
    let bid = message.bid.map(|bid| u16_of(bid, "correspondent.bindings.bid")).transpose()?;
    let nonces = message.nonces.as_ref();
    let nonces = nonces.ok_or_else(|| invalid("correspondent.bindings.nonces", "a value"))?;
    let nonces = spent_of(nonces)?;
    let binding = Binding::new(
        Millis(message.registered_ms),
        ipv6(&message.care_of, "correspondent.bindings.care_of")?,
        priority_of(message.priority, "correspondent.bindings.priority")?,
        Lifetime(u16_of(message.lifetime, "correspondent.bindings.lifetime")?),
        nonces.nonces,
        nonces.until,
    );
    Ok((bid.map(Bid), binding))
}
