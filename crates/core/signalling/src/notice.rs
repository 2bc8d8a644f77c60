//! What the home agent says of its own accord, and what answers it: Binding Revocation (RFC 5846 §7),
//! Home Agent Switch (RFC 5142 §5.1), tests of care-of addresses (RFC 5648 §10), and Mobile Prefix
//! Advertisements (RFC 6275 §10.6.2), whose answer is a question of discovery.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_binding::{
    Authentication, CareOf, CareOfVerified, Command, Dispatch, DispatchMessage, HomePrefix, Policy,
    RevocationAnswer, Subscriber,
};
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BindingRevocation, BindingRevocationAcknowledgement,
    BindingRevocationIndication, HomeAgentSwitch, Icmpv6, Lifetime, Message, MobilityOption,
    Options, OptionsBuilder, PacketBuilder, RevocationFlags, RevocationTrigger, Status, Walk,
    encapsulate_v6, is_unicast_routable_v6, is_unicast_v6, mobility_packet, protocol, verification,
};

use crate::authenticate::{MN_HA_AUTHENTICATOR_LEN, Presented, mapped, verify};
use crate::choices;
use crate::discovery::advertisement;
use crate::drop_reason::DropReason;
use crate::esp::{Receipt, protect};
use crate::receive::{Reply, ReplyKind, UdpOuter};
use crate::update::{Association, MN_HA, NAI};

/// Of a packet that carries another (RFC 2473 §6.3).
const TUNNEL_HOP_LIMIT: u8 = 64;
/// Signalling over IPv4 (RFC 5555 §3.1).
const DSMIP_PORT: u16 = 4191;

/// The packet of a notice that is due; `random` is unpredictable, for what goes in ESP.
///
/// # Errors
/// When the records that it needs are gone: the home prefix, its IPv4 address, or the key.
pub fn notify(dispatch: &Dispatch, policy: &Policy, random: [u8; 16]) -> Result<Reply, DropReason> {
    let prefix = policy
        .home_prefix
        .as_ref()
        .map(|prefix| &prefix.record)
        .filter(|prefix| policy.home_address_served && prefix.home_agent == dispatch.home_agent)
        .ok_or(DropReason::HomeAgentNotServed)?;
    let outer = outer(dispatch.care_of, prefix)?;
    let subscriber = policy.subscriber.as_ref().map(|subscriber| &subscriber.record);
    let association = match prefix.authentication {
        Authentication::None => None,
        Authentication::MnHa => Some(association(dispatch, subscriber)?),
        Authentication::Ipsec if dispatch.esp.is_none() && dispatch.message.is_mobility() => {
            return Err(DropReason::NoSecurityAssociation);
        }
        Authentication::Ipsec => None,
    };
    let identity = subscriber.map(|s| s.nai.as_bytes()).unwrap_or_default();
    let (message, kind) = match &dispatch.message {
        DispatchMessage::Revocation { trigger, sequence, bids } => {
            revocation(*trigger, *sequence, bids, association.as_ref(), identity)
        }
        DispatchMessage::Switch { addresses, time_left } => {
            switch(addresses, *time_left, association.as_ref(), identity)
        }
        DispatchMessage::CareOfTest { .. } => {
            return care_of_test(dispatch).ok_or(DropReason::CareOfNotRoutable);
        }
        DispatchMessage::PrefixAdvertisement => {
            let reply = advertise(dispatch, prefix, outer)?;
            return match dispatch.esp {
                Some(number) => protect(&reply, number, policy, random),
                None => Ok(reply),
            };
        }
    };
    let message = match &association {
        Some(association) => association.seal(message, dispatch.home_address),
        None => message,
    };
    let message = message.emit(dispatch.home_agent, dispatch.home_address);
    let reply = Reply { packet: addressed(dispatch, &message), outer, kind };
    let mut reply = match dispatch.esp {
        Some(number) => protect(&reply, number, policy, random)?,
        None => reply,
    };
    if let Some(care_of) = tunnelled(dispatch) {
        let agent = dispatch.home_agent;
        reply.packet = encapsulate_v6(&reply.packet, agent, care_of, TUNNEL_HOP_LIMIT, 0, 0);
    }
    Ok(reply)
}

/// The test of a care-of address, where the notice is one. It needs no records: what is asked is whether the
/// mobile node is there, not who it is.
#[must_use]
pub fn care_of_test(dispatch: &Dispatch) -> Option<Reply> {
    let (DispatchMessage::CareOfTest { nonce }, CareOf::Ipv6(care_of)) =
        (&dispatch.message, dispatch.care_of)
    else {
        return None;
    };
    let (agent, home_address) = (dispatch.home_agent, dispatch.home_address);
    let data = &verification::data(*nonce);
    let request = Icmpv6::EchoRequest { identifier: 0, sequence: 0, data };
    let packet = PacketBuilder::new(agent, care_of)
        .routing_home_address(Some(home_address))
        .build(protocol::ICMPV6, &request.emit(agent, home_address));
    Some(Reply { packet, outer: None, kind: ReplyKind::CareOfTest })
}

/// The nonce that a mobile node repeats.
pub(crate) fn care_of_answer(walk: &Walk<'_>) -> Option<CareOfVerified> {
    if walk.upper != protocol::ICMPV6 {
        return None;
    }
    match Icmpv6::parse(walk.payload, walk.pseudo_header()).ok()? {
        Icmpv6::EchoReply { data, .. } => {
            let nonce = verification::nonce(data)?;
            Some(CareOfVerified { home_address: walk.pseudo_source(), nonce })
        }
        _ => None,
    }
}

/// RFC 6275 §10.6.3. No option of RFC 4285 goes into an ICMPv6 message: what it says counts only when a
/// solicitation has brought it (§11.4.3).
fn advertise(
    dispatch: &Dispatch,
    prefix: &HomePrefix,
    outer: Option<UdpOuter>,
) -> Result<Reply, DropReason> {
    if !prefix.prefix_discovery_allowed {
        return Err(DropReason::DiscoveryNotAllowed);
    }
    let (agent, home_address) = (dispatch.home_agent, dispatch.home_address);
    let message = advertisement(prefix, choices::UNSOLICITED_IDENTIFIER).emit(agent, home_address);
    let foreign = foreign(dispatch);
    let packet = PacketBuilder::new(agent, foreign.unwrap_or(home_address))
        .routing_home_address(foreign.map(|_| home_address))
        .build(protocol::ICMPV6, &message);
    Ok(Reply { packet, outer, kind: ReplyKind::UnsolicitedPrefixAdvertisement })
}

/// IPv4 care-of addresses get signalling in UDP, whatever carries their data (RFC 5555 §4.4).
fn outer(care_of: CareOf, prefix: &HomePrefix) -> Result<Option<UdpOuter>, DropReason> {
    let CareOf::Ipv4 { address, port, .. } = care_of else {
        return Ok(None);
    };
    let local = prefix.home_agent_ipv4.ok_or(DropReason::HomeAgentNotServed)?;
    Ok(Some(UdpOuter { peer: (address, port), local: (local, DSMIP_PORT) }))
}

/// RFC 4285 §5.1: with the care-of address that the mobile node knows.
fn association(
    dispatch: &Dispatch,
    subscriber: Option<&Subscriber>,
) -> Result<Association, DropReason> {
    let (spi, key) = subscriber
        .and_then(|subscriber| subscriber.mn_ha.clone())
        .ok_or(DropReason::NoSecurityAssociation)?;
    let care_of = match dispatch.care_of {
        CareOf::Ipv6(address) => address,
        CareOf::Ipv4 { announced, .. } => mapped(announced),
    };
    Ok(Association { spi, key, care_of })
}

fn revocation(
    trigger: RevocationTrigger,
    sequence: u16,
    bids: &[Bid],
    association: Option<&Association>,
    identity: &[u8],
) -> (Message<'static>, ReplyKind) {
    let mut options = BindingRevocation::builder();
    for bid in bids {
        options.push(&MobilityOption::BindingIdentifier(BidOption {
            bid: *bid,
            status: Status::ACCEPTED,
            home: false,
            priority: BidPriority::UNSET,
            care_of: BidCareOf::Absent,
        }));
    }
    let indication = BindingRevocationIndication {
        trigger,
        sequence,
        // P and G are for proxies; V is for the IPv4 home address alone.
        flags: RevocationFlags::default(),
        options: finish(options, association, identity),
    };
    let message = Message::BindingRevocation(BindingRevocation::Indication(indication));
    (message, ReplyKind::RevocationIndication)
}

fn switch(
    addresses: &[Ipv6Addr],
    time_left: Option<Lifetime>,
    association: Option<&Association>,
    identity: &[u8],
) -> (Message<'static>, ReplyKind) {
    let mut options = HomeAgentSwitch::builder(addresses.len());
    if let Some(interval) = time_left {
        options.push(&MobilityOption::BindingRefreshAdvice { interval });
    }
    let options = finish(options, association, identity);
    let message = HomeAgentSwitch { addresses: addresses.to_vec(), options };
    (Message::HomeAgentSwitch(message), ReplyKind::HomeAgentSwitch)
}

fn finish(
    mut options: OptionsBuilder,
    association: Option<&Association>,
    identity: &[u8],
) -> Options<'static> {
    if let Some(association) = association {
        if !identity.is_empty() {
            let (subtype, identifier) = (NAI, identity);
            options.push(&MobilityOption::MobileNodeIdentifier { subtype, identifier });
        }
        options.push_authentication(MN_HA, association.spi, MN_HA_AUTHENTICATOR_LEN);
    }
    options.finish()
}

/// An indication takes the routing header (RFC 5846 §7.1), which RFC 6275 §6.1 gives to nothing else
/// but acknowledgements: a switch goes through the tunnel. At home, and in UDP, the mobile node is
/// addressed by its home address itself.
fn addressed(dispatch: &Dispatch, message: &[u8]) -> Vec<u8> {
    let (agent, home_address) = (dispatch.home_agent, dispatch.home_address);
    match foreign(dispatch) {
        Some(care_of) if tunnelled(dispatch).is_none() => {
            mobility_packet(agent, care_of, None, Some(home_address), message)
        }
        _ => mobility_packet(agent, home_address, None, None, message),
    }
}

/// The end of the tunnel that it goes through.
fn tunnelled(dispatch: &Dispatch) -> Option<Ipv6Addr> {
    let is_switch = matches!(dispatch.message, DispatchMessage::Switch { .. });
    foreign(dispatch).filter(|_| is_switch)
}

/// The IPv6 care-of address of a mobile node that is away.
fn foreign(dispatch: &Dispatch) -> Option<Ipv6Addr> {
    match dispatch.care_of {
        CareOf::Ipv6(address) if address != dispatch.home_address => Some(address),
        CareOf::Ipv6(_) | CareOf::Ipv4 { .. } => None,
    }
}

/// A Binding Revocation Acknowledgement that is well formed.
#[derive(Debug)]
pub struct RevocationAcknowledgement {
    home_address: Ipv6Addr,
    home_agent: Ipv6Addr,
    source: Ipv6Addr,
    outer: Option<UdpOuter>,
    message: BindingRevocationAcknowledgement<'static>,
    /// As received: the authenticator covers these octets.
    octets: Vec<u8>,
    /// It came in ESP, and was authentic.
    pub(crate) receipt: Option<Receipt>,
}

impl RevocationAcknowledgement {
    /// RFC 5846 does not say how the mobile node is named: by a Home Address option, or as source.
    pub(crate) fn check(
        walk: &Walk<'_>,
        message: BindingRevocationAcknowledgement<'_>,
        outer: Option<UdpOuter>,
    ) -> Result<Self, DropReason> {
        let home_address = walk.pseudo_source();
        if !is_unicast_v6(walk.header.source) {
            return Err(DropReason::SourceNotUnicast);
        }
        if !is_unicast_routable_v6(home_address) {
            return Err(DropReason::HomeAddressNotRoutable);
        }
        // Copied from the indication, where ours has none of them.
        let [proxy, ipv4_only, global] =
            [RevocationFlags::PROXY, RevocationFlags::IPV4_ONLY, RevocationFlags::GLOBAL]
                .map(|flag| message.flags.contains(flag));
        if proxy || ipv4_only || global {
            return Err(DropReason::NotForHomeAgent);
        }
        let BindingRevocationAcknowledgement { status, sequence, flags, options } = message;
        let options = options.into_owned();
        Ok(Self {
            home_address,
            home_agent: walk.header.destination,
            source: walk.header.source,
            outer,
            message: BindingRevocationAcknowledgement { status, sequence, flags, options },
            octets: Vec::from(walk.payload),
            receipt: None,
        })
    }

    /// Whose policy decides.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        self.home_address
    }

    /// To whom it was sent.
    #[must_use]
    pub const fn home_agent(&self) -> Ipv6Addr {
        self.home_agent
    }

    /// The command for the store, when the message is authentic.
    ///
    /// # Errors
    /// When it is not: nothing answers it.
    pub fn judge(&self, policy: &Policy) -> Result<Command, DropReason> {
        let prefix = policy
            .home_prefix
            .as_ref()
            .filter(|prefix| {
                policy.home_address_served && prefix.record.home_agent == self.home_agent
            })
            .ok_or(DropReason::HomeAgentNotServed)?;
        match prefix.record.authentication {
            Authentication::None => {}
            Authentication::MnHa => self.authenticate(policy)?,
            Authentication::Ipsec if self.receipt.is_some() => {}
            Authentication::Ipsec => return Err(DropReason::EspRequired),
        }
        let (home_address, sequence) = (self.home_address, self.message.sequence);
        let answer = Command::RevocationAnswer(RevocationAnswer { home_address, sequence });
        Ok(match &self.receipt {
            Some(receipt) => receipt.command(Some(answer)),
            None => answer,
        })
    }

    fn authenticate(&self, policy: &Policy) -> Result<(), DropReason> {
        let subscriber = policy.subscriber.as_ref().map(|subscriber| &subscriber.record);
        let Presented { key, .. } = Presented::find(&self.message.options, subscriber)?;
        let wire_address = self.outer.map_or(self.source, |outer| mapped(outer.peer.0));
        let candidates = core::iter::once(wire_address);
        verify(&key, candidates, self.home_address, &self.octets)
            .map(|_| ())
            .ok_or(DropReason::AuthenticationFailed)
    }
}
