use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding::CareOfVerified;
use homeport_wire::options::kind;
use homeport_wire::{
    BindingError, BindingErrorStatus, BindingRevocation, BindingUpdate, BuFlags, Disposition,
    Icmpv6, Malformed, Message, MobilityOption, Options, PacketBuilder, PseudoHeader, Status, Walk,
    is_unicast_routable_v6, is_unicast_v6, mobility_packet, protocol, walk,
};

use crate::choices;
use crate::correspondent::{CorrespondentProposal, Role};
use crate::discovery::Discovery;
use crate::drop_reason::DropReason;
use crate::esp::Sealed;
use crate::notice::{RevocationAcknowledgement, care_of_answer};
use crate::update::Update;

/// The IPv4 and UDP endpoints of a packet in UDP port 4191 (RFC 5555).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpOuter {
    /// The mobile node's side.
    pub peer: (Ipv4Addr, u16),
    /// The home agent's side.
    pub local: (Ipv4Addr, u16),
}

/// A packet as a forwarder hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'p> {
    /// From the IPv6 header on.
    pub packet: &'p [u8],
    /// Set when it came in UDP.
    pub outer: Option<UdpOuter>,
}

/// What was read.
#[derive(Debug)]
pub enum Received {
    /// A Binding Update: ask for the policy of its home address, then [`Update::judge`].
    Update(Box<Update>),
    /// In ESP: ask for the policy of its home address, then [`Sealed::open`].
    Protected(Box<Sealed>),
    /// A question of discovery: ask for the policy of its home address, then [`Discovery::answer`].
    Discovery(Discovery),
    /// A Binding Revocation Acknowledgement: ask for the policy of its home address, then
    /// [`RevocationAcknowledgement::judge`].
    Revocation(Box<RevocationAcknowledgement>),
    /// The answer to the test of a care-of address: for the store, when it is one.
    CareOfAnswer(CareOfVerified),
    /// A Home Test or a Care-of Test, to send within a limit: anybody may ask (RFC 6275 §9.4).
    Test(Reply),
    /// A Binding Update to the correspondent node: propose it to the store, then
    /// [`CorrespondentProposal::conclude`].
    Correspondence(CorrespondentProposal),
    /// To send, within the [`crate::ErrorBudget`].
    Reply(Reply),
    /// Nothing to do.
    Drop(DropReason),
}

impl Received {
    /// What came in UDP is answered in UDP.
    fn in_udp(self, outer: Option<UdpOuter>) -> Self {
        match self {
            Self::Test(reply) => Self::Test(Reply { outer, ..reply }),
            other => other,
        }
    }
}

/// A packet to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// From the IPv6 header on.
    pub packet: Vec<u8>,
    /// Send it in UDP between these.
    pub outer: Option<UdpOuter>,
    /// What it is.
    pub kind: ReplyKind,
}

/// Kind of a reply, for counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyKind {
    /// Binding Acknowledgement with this status.
    Acknowledgement(Status),
    /// Binding Error, in answer to what is counted under this reason.
    BindingError(Malformed),
    /// Home Test or Care-of Test (RFC 6275 §6.1.5, §6.1.6).
    AddressTest,
    /// Home Agent Address Discovery Reply (RFC 6275 §6.6).
    HomeAgentAddressDiscovery,
    /// Mobile Prefix Advertisement (RFC 6275 §6.8).
    MobilePrefixAdvertisement,
    /// ICMPv6 Parameter Problem, in answer to what is counted under this reason.
    ParameterProblem(Malformed),
    /// Binding Revocation Indication.
    RevocationIndication,
    /// Home Agent Switch.
    HomeAgentSwitch,
    /// Mobile Prefix Advertisement that nobody asked for (RFC 6275 §10.6.2).
    UnsolicitedPrefixAdvertisement,
    /// Test of a care-of address that no Binding Update has come from (RFC 5648 §10).
    CareOfTest,
}

/// Octets of the offending packet that an ICMPv6 error quotes: it stays within 1280 octets in all
/// (RFC 4443 §2.4).
const INVOKING_LEN_MAX: usize = 1280 - 40 - 8;

/// Where the options of a Binding Update begin in its Mobility Header (RFC 6275 §6.1.7).
const UPDATE_OPTIONS_AT: usize = 12;

/// Reads a punted packet, at a home agent that is no correspondent node: steps 2 to 6 of the pipeline.
#[must_use]
pub fn receive(arrival: Arrival<'_>) -> Received {
    receive_as(arrival, None)
}

/// The same at one that may be a correspondent node too.
#[must_use]
pub fn receive_as(arrival: Arrival<'_>, role: Option<Role<'_>>) -> Received {
    let walk = match walk(arrival.packet) {
        Ok(walk) => walk,
        Err(malformed) => return refuse(arrival, None, malformed),
    };
    match walk.upper {
        protocol::MOBILITY => {}
        protocol::ESP | protocol::ICMPV6 => {}
        _ => return Received::Drop(DropReason::NotSignalling),
    }
    if walk.routing_home_address.is_some() {
        return Received::Drop(DropReason::ForeignRoutingHeader);
    }
    if walk.upper == protocol::ESP {
        return match Sealed::read(&walk, arrival) {
            Ok(sealed) => Received::Protected(Box::new(sealed)),
            Err(reason) => Received::Drop(reason),
        };
    }
    if let Some(answer) = care_of_answer(&walk) {
        return Received::CareOfAnswer(answer);
    }
    if walk.upper == protocol::ICMPV6 {
        return match Discovery::read(&walk, arrival.outer) {
            Ok(discovery) => Received::Discovery(discovery),
            Err(reason) => Received::Drop(reason),
        };
    }
    let pseudo = PseudoHeader::mobility(walk.pseudo_source(), walk.pseudo_destination());
    let parsed = Message::parse(walk.payload, pseudo);
    // A correspondent node speaks IPv6 alone, except in a tunnel for a home test.
    let role = role
        .filter(|_| !matches!(parsed, Ok(Message::BindingUpdate(_))) || arrival.outer.is_none());
    if let (Some(role), Ok(message)) = (role, &parsed)
        && let Some(received) = role.receive(&walk, message)
    {
        return received.in_udp(arrival.outer);
    }
    match parsed {
        Ok(Message::BindingUpdate(message)) => {
            if let Some(malformed) = malformed_network(&message.options) {
                return refuse(arrival, Some(&walk), malformed);
            }
            match check_update(&walk, &message, arrival.outer) {
                Ok(()) => Received::Update(Box::new(Update::new(&walk, message, arrival.outer))),
                Err(reason) => Received::Drop(reason),
            }
        }
        Ok(Message::BindingRevocation(BindingRevocation::Acknowledgement(message))) => {
            match RevocationAcknowledgement::check(&walk, message, arrival.outer) {
                Ok(acknowledgement) => Received::Revocation(Box::new(acknowledgement)),
                Err(reason) => Received::Drop(reason),
            }
        }
        // RFC 5847 speaks of gateways and anchors of Proxy Mobile IPv6; between mobile node and
        // home agent it is not defined, so the message is as good as unknown.
        Ok(Message::Heartbeat(heartbeat)) if choices::HEARTBEAT_IS_UNKNOWN => {
            let mh_type = Message::Heartbeat(heartbeat).mh_type();
            refuse(arrival, Some(&walk), Malformed::UnknownType { mh_type })
        }
        Ok(
            Message::BindingRefreshRequest(_)
            | Message::Heartbeat(_)
            | Message::HomeTestInit(_)
            | Message::CareOfTestInit(_)
            | Message::HomeTest(_)
            | Message::CareOfTest(_)
            | Message::BindingAcknowledgement(_)
            | Message::BindingError(_)
            | Message::HomeAgentSwitch(_)
            | Message::BindingRevocation(BindingRevocation::Indication(_)),
        ) => Received::Drop(DropReason::NotForHomeAgent),
        Err(malformed) => refuse(arrival, Some(&walk), malformed),
    }
}

/// A Mobile Network Prefix option with a wrong length is an error of the header (RFC 6275 §9.2 and,
/// for home agents of mobile routers, its tests): the sender is told where.
fn malformed_network(options: &Options<'_>) -> Option<Malformed> {
    let is_wrong = |option: &MobilityOption<'_>| {
        matches!(option, MobilityOption::Malformed { kind: kind::MOBILE_NETWORK_PREFIX, .. })
    };
    let (place, _) = options.entries().find(|(_, option)| is_wrong(option))?;
    let at = u16::try_from(place.saturating_add(UPDATE_OPTIONS_AT).saturating_add(1));
    Some(Malformed::OptionLength { at: at.unwrap_or(u16::MAX) })
}

/// RFC 6275 §9.5.1, as far as it needs no state.
fn check_update(
    walk: &Walk<'_>,
    message: &BindingUpdate<'_>,
    outer: Option<UdpOuter>,
) -> Result<(), DropReason> {
    let home_address = walk.pseudo_source();
    if !is_unicast_v6(walk.header.source) {
        return Err(DropReason::SourceNotUnicast);
    }
    if !is_unicast_routable_v6(home_address) {
        return Err(DropReason::HomeAddressNotRoutable);
    }
    let is_home_registration = message.flags.contains(BuFlags::HOME_REGISTRATION);
    let (mut has_bid, mut alternate) = (false, None);
    for option in message.options.iter() {
        match option {
            MobilityOption::NonceIndices { .. } if is_home_registration => {
                return Err(DropReason::NonceIndices);
            }
            // RFC 5648 §4.4 has a status of its own for these.
            MobilityOption::Malformed { kind: kind::BINDING_IDENTIFIER, .. } => has_bid = true,
            MobilityOption::Malformed { .. } => return Err(DropReason::MalformedOption),
            MobilityOption::BindingIdentifier(_) => has_bid = true,
            MobilityOption::AlternateCareOf(address) => alternate = Some(address),
            _ => {}
        }
    }
    if message.lifetime.is_deregistration() || outer.is_some() {
        return Ok(());
    }
    if !has_bid && !is_unicast_routable_v6(alternate.unwrap_or(walk.header.source)) {
        return Err(DropReason::CareOfNotRoutable);
    }
    Ok(())
}

/// Answers malformed octets as RFC 6275 §9.2 and RFC 8200 §4 want it.
fn refuse(arrival: Arrival<'_>, walk: Option<&Walk<'_>>, malformed: Malformed) -> Received {
    let silent = Received::Drop(DropReason::Malformed(malformed));
    let Ok((header, _)) = homeport_wire::Ipv6Header::parse(arrival.packet) else {
        return silent;
    };
    if !is_unicast_v6(header.source) || !is_unicast_v6(header.destination) {
        return silent;
    }
    let (packet, kind) = match malformed.disposition() {
        Disposition::Discard => return silent,
        Disposition::BindingError { status } => {
            let home_address = walk.and_then(|walk| walk.home_address).map(|o| o.address);
            let packet = binding_error(header.destination, header.source, home_address, status);
            (packet, ReplyKind::BindingError(malformed))
        }
        Disposition::ParameterProblem { pointer_from_mh } => {
            let offset = walk.map_or(0, |walk| walk.upper_offset);
            let pointer = offset.saturating_add(usize::from(pointer_from_mh));
            let packet = parameter_problem(arrival.packet, header, 0, pointer);
            (packet, ReplyKind::ParameterProblem(malformed))
        }
        Disposition::PacketProblem { code, pointer, .. } => {
            let packet = parameter_problem(arrival.packet, header, code, pointer);
            (packet, ReplyKind::ParameterProblem(malformed))
        }
    };
    Received::Reply(Reply { packet, outer: arrival.outer, kind })
}

/// RFC 6275 §9.3.3: to where the packet came from, with the home address that it named.
fn binding_error(
    from: Ipv6Addr,
    to: Ipv6Addr,
    home_address: Option<Ipv6Addr>,
    status: BindingErrorStatus,
) -> Vec<u8> {
    let message = Message::BindingError(BindingError {
        status,
        home_address: home_address.unwrap_or(Ipv6Addr::UNSPECIFIED),
        options: Options::EMPTY,
    });
    mobility_packet(from, to, None, None, &message.emit(from, to))
}

fn parameter_problem(
    packet: &[u8],
    header: homeport_wire::Ipv6Header,
    code: u8,
    pointer: usize,
) -> Vec<u8> {
    let invoking = packet.get(..INVOKING_LEN_MAX).unwrap_or(packet);
    let pointer = u32::try_from(pointer).unwrap_or(u32::MAX);
    let (from, to) = (header.destination, header.source);
    let message = Icmpv6::ParameterProblem { code, pointer, invoking }.emit(from, to);
    PacketBuilder::new(from, to).build(protocol::ICMPV6, &message)
}
