//! The Binding Acknowledgement: RFC 6275 §9.5.4 and §10.3.1, RFC 5648 §6.2, RFC 5555 §4.2, RFC 4285 §5.

use homeport_binding::Answer;
use homeport_wire::{
    BaFlags, BidCareOf, BidOption, BindingAcknowledgement, Message, MobilityOption, Status,
    mobility_packet,
};

use crate::authenticate::{MN_HA_AUTHENTICATOR_LEN, mn_ha_authenticator};
use crate::receive::{Reply, ReplyKind};
use crate::update::{Association, MN_HA, Update, refused};

/// Answers as the store decided.
pub(crate) fn answer(update: &Update, association: Option<&Association>, answer: &Answer) -> Reply {
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status: answer.status,
        // K stays clear: the security associations are not made by IKE (RFC 6275 §10.3.1).
        flags: BaFlags::default(),
        sequence: answer.sequence,
        lifetime: answer.lifetime,
        options: options(update, association, answer),
    });
    let message = match association {
        Some(association) => {
            let octets = message.emit_unchecked();
            let (key, care_of) = (&association.key, association.care_of);
            let authenticator = mn_ha_authenticator(key, care_of, update.home_address, &octets);
            message.with_authenticator(&authenticator)
        }
        None => message,
    };
    let octets = message.emit(update.home_agent, update.home_address);
    // To where the Binding Update came from, whatever the cache says (RFC 6275 §9.5.4); in UDP, and
    // from the home link, the mobile node is addressed by its home address itself.
    let routing = update.has_home_address_option.then_some(update.home_address);
    let packet = mobility_packet(update.home_agent, update.source, None, routing, &octets);
    Reply { packet, outer: update.outer, kind: ReplyKind::Acknowledgement(answer.status) }
}

/// Refuses without the store.
pub(crate) fn refusal(update: &Update, association: Option<&Association>, status: Status) -> Reply {
    answer(update, association, &refused(update, status))
}

fn options(
    update: &Update,
    association: Option<&Association>,
    answer: &Answer,
) -> homeport_wire::Options<'static> {
    let mut builder = BindingAcknowledgement::builder();
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
