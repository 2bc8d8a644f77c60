//! The Binding Acknowledgement: RFC 6275 §9.5.4 and §10.3.1, RFC 3963 §6.2, RFC 4285 §5, RFC 5555
//! §4.2, RFC 5648 §6.2 and §8.2, RFC 6089 §5.3.

use homeport_binding::{Answer, Ipv4AddressAnswer, Policy};
use homeport_wire::limits::{MOBILITY_HEADER_OCTETS_MAX, MOBILITY_OPTIONS_MAX};
use homeport_wire::{
    BaFlags, BidCareOf, BidOption, BindingAcknowledgement, FlowIdentification, FlowStatus,
    Ipv4AddressStatus, Message, MobilityOption, OptionsBuilder, Status, mobility_packet,
};

use crate::authenticate::MN_HA_AUTHENTICATOR_LEN;
use crate::choices;
use crate::receive::{Reply, ReplyKind};
use crate::update::{Association, MN_HA, Update, refused};

/// Answers as the store decided; K says that the IKE endpoint has moved (RFC 6275 §10.3.1).
pub(crate) fn answer(
    update: &Update,
    association: Option<&Association>,
    answer: &Answer,
    endpoint_moved: bool,
) -> Reply {
    let mut flags = BaFlags::default();
    for (flag, is_set) in [
        (BaFlags::MOBILE_ROUTER, answer.mobile_router),
        (BaFlags::KEY_MANAGEMENT_MOBILITY, endpoint_moved && answer.status.is_accepted()),
    ] {
        if is_set {
            flags = flags.with(flag);
        }
    }
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status: answer.status,
        flags,
        sequence: answer.sequence,
        lifetime: answer.lifetime,
        options: options(update, association, answer),
    });
    let message = match association {
        Some(association) => association.seal(message, update.home_address),
        None => message,
    };
    let octets = message.emit(update.home_agent, update.home_address);
    // To where the Binding Update came from, whatever the cache says (RFC 6275 §9.5.4); in UDP, and
    // from the home link, the mobile node is addressed by its home address itself.
    let is_away = update.has_home_address_option && update.source != update.home_address;
    let routing = is_away.then_some(update.home_address);
    let packet = mobility_packet(update.home_agent, update.source, None, routing, &octets);
    Reply { packet, outer: update.outer, kind: ReplyKind::Acknowledgement(answer.status) }
}

/// Refuses without the store.
pub(crate) fn refusal(
    update: &Update,
    association: Option<&Association>,
    status: Status,
    policy: &Policy,
) -> Reply {
    answer(update, association, &refused(update, status, policy), false)
}

/// In the order of what must stand before what: the IPv4 Address Acknowledgement before BID options
/// (RFC 5648 §8.2), the identity before and nothing behind the authenticator (RFC 4285 §5).
fn options(
    update: &Update,
    association: Option<&Association>,
    answer: &Answer,
) -> homeport_wire::Options<'static> {
    let mut builder = BindingAcknowledgement::builder();
    if let Some(ipv4) = ipv4_address(update, answer) {
        let Ipv4AddressAnswer { status, prefix_len, address } = ipv4;
        let status = status.0;
        builder.push(&MobilityOption::Ipv4AddressAck { status, prefix_len, address });
    }
    let mut statuses = answer.bid_statuses.iter();
    for option in update.bids() {
        let Some(bid) = option.bid else { continue };
        builder.push(&MobilityOption::BindingIdentifier(BidOption {
            bid,
            status: statuses.next().copied().unwrap_or(Status::ACCEPTED),
            home: option.home,
            priority: option.priority,
            // Omitted in an acknowledgement: RFC 5648, erratum 1904.
            care_of: BidCareOf::Absent,
        }));
    }
    push_flows(&mut builder, update, answer);
    if let Some(nat) = answer.nat_detection {
        let (force_udp, refresh_secs) = (nat.force_udp, nat.refresh_secs);
        builder.push(&MobilityOption::NatDetection { force_udp, refresh_secs });
    }
    let Some(association) = association else {
        return builder.finish();
    };
    for option in update.message.options.iter() {
        if matches!(option, MobilityOption::MobileNodeIdentifier { .. }) {
            builder.push(&option);
        }
    }
    if let Some(received) = update.message_id() {
        let timestamp = match answer.ntp_secs {
            // RFC 4285 §5.3: our seconds, so that the mobile node can set its clock.
            Some(secs) => u64::from(secs) << 32 | received & 0xffff_ffff,
            None => received,
        };
        builder.push(&MobilityOption::MessageId { timestamp });
    }
    builder.push_authentication(MN_HA, association.spi, MN_HA_AUTHENTICATOR_LEN);
    builder.finish()
}

/// RFC 5555 §4.4: who asks is answered, also when the Binding Update is refused.
fn ipv4_address(update: &Update, answer: &Answer) -> Option<Ipv4AddressAnswer> {
    let request = update.ipv4_home_address()?;
    let unasked = Ipv4AddressAnswer {
        status: Ipv4AddressStatus::REASON_UNSPECIFIED,
        prefix_len: 0,
        address: request.address,
    };
    Some(answer.ipv4_address.unwrap_or(unasked))
}

/// RFC 6089 §5.3: each Flow Identification option comes back with its status, and each FID that the
/// Flow Summary names in vain has one of its own.
fn push_flows(builder: &mut OptionsBuilder, update: &Update, answer: &Answer) {
    for (flow, status) in update.flows().zip(&answer.flow_statuses) {
        let flow = FlowIdentification { status: *status, ..flow };
        builder.push(&MobilityOption::FlowIdentification(flow));
    }
    let (octets, options) = update.size();
    let octets_left = MOBILITY_HEADER_OCTETS_MAX.saturating_sub(octets.saturating_add(RESERVE));
    let options_left = MOBILITY_OPTIONS_MAX.saturating_sub(options.saturating_add(2));
    // FIDs that find no room are not told: the mobile node asks again for what it misses.
    let room = options_left.min(octets_left / NOT_FOUND_LEN);
    for fid in answer.flows_not_found.iter().take(room) {
        builder.push(&MobilityOption::FlowIdentification(FlowIdentification {
            fid: *fid,
            priority: choices::FLOW_NOT_FOUND_PRIORITY,
            status: FlowStatus::FID_NOT_FOUND,
            sub_options: &[],
        }));
    }
}

/// Octets of a Flow Identification option without sub-options.
const NOT_FOUND_LEN: usize = 8;
/// Octets that the acknowledgement may hold beside what it copies from the Binding Update: the NAT
/// Detection option, and padding.
const RESERVE: usize = 48;
