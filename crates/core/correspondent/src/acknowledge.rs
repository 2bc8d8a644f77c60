//! The Binding Acknowledgement: RFC 6275 §9.5.4, RFC 5648 §6.2.

use core::net::Ipv6Addr;

use alloc::vec::Vec;
use homeport_wire::{
    BaFlags, BindingAcknowledgement, BuFlags, Lifetime, Message, MobilityOption, Sequence, Status,
    mobility_packet,
};

use crate::keys::BindingKey;
use crate::update::Update;

/// What to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) sequence: Sequence,
    pub(crate) lifetime: Lifetime,
}

/// What the answer is authenticated with.
#[derive(Clone, Debug)]
pub(crate) struct Association {
    pub(crate) key: BindingKey,
    /// The address that the authenticator covers: the one to be registered, or the home address.
    pub(crate) care_of: Ipv6Addr,
}

/// RFC 6275 §9.5.4: always when it was asked for, and for the refusals that the mobile node cannot
/// do without.
pub(crate) fn is_due(flags: BuFlags, status: Status) -> bool {
    flags.contains(BuFlags::ACKNOWLEDGE)
        || matches!(
            status,
            Status::INSUFFICIENT_RESOURCES
                | Status::SEQUENCE_OUT_OF_WINDOW
                | Status::EXPIRED_HOME_NONCE_INDEX
                | Status::EXPIRED_CARE_OF_NONCE_INDEX
                | Status::EXPIRED_NONCES
        )
}

/// The packet, to where the Binding Update came from. Without `association` the answer has no
/// authenticator: the nonces that would make its key are not known any more.
pub(crate) fn compose(
    update: &Update,
    correspondent: Ipv6Addr,
    association: Option<&Association>,
    answer: Answer,
) -> Vec<u8> {
    let mut options = BindingAcknowledgement::builder();
    for option in &update.bids {
        // The status of the message holds for the option; its address is not repeated.
        let option = option.acknowledged(Status::ACCEPTED);
        options.push(&MobilityOption::BindingIdentifier(option));
    }
    if association.is_some() {
        options.push_binding_authorization();
    }
    let mut message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status: answer.status,
        // K stays clear: there is no home agent's key management (RFC 6275 §6.1.8).
        flags: BaFlags::default(),
        sequence: answer.sequence,
        lifetime: answer.lifetime,
        options: options.finish(),
    });
    if let Some(Association { key, care_of }) = association {
        let octets = message.emit_unchecked();
        message = message.with_authenticator(&key.authenticator(*care_of, correspondent, &octets));
    }
    let octets = message.emit(correspondent, update.home_address);
    let routing = update.has_home_address_option.then_some(update.home_address);
    mobility_packet(correspondent, update.source, None, routing, &octets)
}
