//! Binding Updates as packets (RFC 6275 §11.7.1, RFC 5648 §5, RFC 5555 §4.3, RFC 4285 §5).

use core::net::{Ipv4Addr, Ipv6Addr};

use alloc::vec::Vec;
use homeport_wire::{
    BidOption, BindingUpdate, BuFlags, Lifetime, Message, MobilityOption, OptionsBuilder, Sequence,
    mobility_packet,
};

use crate::authentication::{MN_HA_SUBTYPE, authenticator, covered_care_of};
use crate::event::{Path, Transmit};
use crate::flow::{FlowDraft, push_flows};
use crate::limits::AUTHENTICATOR_OCTETS;
use crate::settings::{NetworkPrefix, Settings};
use crate::time::NtpTime;

/// MN-ID subtype of a network access identifier (RFC 4283 §3).
const NAI_SUBTYPE: u8 = 1;
/// Option-Code of the mobile node's own address (RFC 5568 §6.4.4).
const OWN_LINK_LAYER_ADDRESS: u8 = 2;
/// Prefix length of a single IPv4 address (RFC 5555 §3.1.1).
const IPV4_HOST: u8 = 32;

/// What differs from one Binding Update to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Draft {
    pub(crate) sequence: Sequence,
    pub(crate) flags: BuFlags,
    pub(crate) lifetime: Lifetime,
    /// None make a plain update.
    pub(crate) bindings: Vec<BidOption>,
    pub(crate) flows: FlowDraft,
    pub(crate) path: Path,
    /// For the IPv4 Home Address option.
    pub(crate) ipv4_home_address: Option<Ipv4Addr>,
    /// For the Mobile Network Prefix options.
    pub(crate) prefixes: Vec<NetworkPrefix>,
    /// For the MESG-ID option.
    pub(crate) message_id: Option<NtpTime>,
}

/// The flags that all updates of a node have in common. A is always set: a registration that nobody
/// confirms is worth nothing.
pub(crate) fn flags(settings: &Settings, optional: &[(bool, BuFlags)]) -> BuFlags {
    let key_management = (settings.key_management_mobility, BuFlags::KEY_MANAGEMENT_MOBILITY);
    optional
        .iter()
        .chain([&key_management])
        .filter(|(wanted, _)| *wanted)
        .fold(BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION), |flags, (_, flag)| {
            flags.with(*flag)
        })
}

/// The packet.
pub(crate) fn compose(settings: &Settings, draft: &Draft) -> Transmit {
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: draft.sequence,
        flags: draft.flags,
        lifetime: draft.lifetime,
        options: {
            let mut options = BindingUpdate::builder();
            push_options(settings, draft, &mut options);
            push_identity(settings, draft.message_id, &mut options);
            options.finish()
        },
    });
    seal(settings, draft.path, message)
}

/// Fills in the authenticator, if one was reserved, and puts the message into the packet that fits
/// the path: with a Home Address option from a foreign link; without one, because the source is the
/// home address, at home and inside UDP. Binding Revocation Acknowledgements go the same way: RFC
/// 5846 is silent.
pub(crate) fn seal(settings: &Settings, path: Path, message: Message<'static>) -> Transmit {
    let (home, agent) = (settings.home_address, settings.home_agent);
    let mh = authenticated(settings, path, message).emit(home, agent);
    match path {
        Path::Foreign(from) => {
            Transmit::Ipv6 { from, packet: mobility_packet(from, agent, Some(home), None, &mh) }
        }
        Path::Home => {
            Transmit::Ipv6 { from: home, packet: mobility_packet(home, agent, None, None, &mh) }
        }
        Path::Udp(from) => {
            Transmit::Udp { from, payload: mobility_packet(home, agent, None, None, &mh) }
        }
    }
}

fn authenticated(settings: &Settings, path: Path, message: Message<'static>) -> Message<'static> {
    let Some(association) = &settings.authentication else {
        return message;
    };
    let header = message.emit_unchecked();
    let Some((covered, _)) = header.split_last_chunk::<AUTHENTICATOR_OCTETS>() else {
        return message;
    };
    let home = settings.home_address;
    let care_of: Ipv6Addr = covered_care_of(path, home);
    message.with_authenticator(&authenticator(association, care_of, home, covered))
}

/// Everything before the identity. The order is that of the home agent's answer: option 30 has to
/// come before the Binding Identifiers there (RFC 5648 §8.2), so 29 does here.
fn push_options(settings: &Settings, draft: &Draft, options: &mut OptionsBuilder) {
    if let Some(address) = draft.ipv4_home_address {
        options.push(&MobilityOption::Ipv4HomeAddress {
            prefix_len: IPV4_HOST,
            prefix_wanted: false,
            address,
        });
    }
    for prefix in &draft.prefixes {
        options.push(&MobilityOption::MobileNetworkPrefix {
            length: prefix.length,
            prefix: prefix.prefix,
        });
    }
    for binding in &draft.bindings {
        options.push(&MobilityOption::BindingIdentifier(*binding));
    }
    push_flows(&draft.flows, options);
    if draft.bindings.is_empty() {
        // RFC 6275 §11.7.1 and RFC 5555 §3.1.2: the address under the authenticator's protection.
        // With Binding Identifiers neither is allowed (RFC 5648 §5.2, §8.1), and at home there is
        // none.
        match draft.path {
            Path::Foreign(address) => {
                options.push(&MobilityOption::AlternateCareOf(address));
            }
            Path::Udp(address) => {
                options.push(&MobilityOption::Ipv4CareOf(address));
            }
            Path::Home => {}
        }
    }
    if let Some(address) = &settings.link_layer_address
        && draft.bindings.iter().any(|binding| binding.home)
    {
        options.push(&MobilityOption::LinkLayerAddress { code: OWN_LINK_LAYER_ADDRESS, address });
    }
}

/// MN-ID before the authenticator (RFC 4283 §3), MESG-ID between them, the authenticator last.
pub(crate) fn push_identity(
    settings: &Settings,
    message_id: Option<NtpTime>,
    options: &mut OptionsBuilder,
) {
    let Some(association) = &settings.authentication else {
        return;
    };
    options.push(&MobilityOption::MobileNodeIdentifier {
        subtype: NAI_SUBTYPE,
        identifier: &association.identifier,
    });
    if let Some(NtpTime(timestamp)) = message_id {
        options.push(&MobilityOption::MessageId { timestamp });
    }
    options.push_authentication(MN_HA_SUBTYPE, association.spi, AUTHENTICATOR_OCTETS);
}
