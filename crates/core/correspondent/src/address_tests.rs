//! Answers to who has its addresses tested (RFC 6275 §9.4). Nothing is kept of it.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    BidOption, CareOfTest, CareOfTestInit, HomeTest, HomeTestInit, Message, MobilityOption,
    Options, Status, Walk, is_unicast_routable_v6, mobility_packet,
};

use crate::event::DropReason;
use crate::keys::TokenKind;
use crate::secret::Secret;

/// The address that a test message asks about: its source.
pub(crate) fn tested(walk: &Walk<'_>, own: Ipv6Addr) -> Result<Ipv6Addr, DropReason> {
    let source = walk.header.source;
    if walk.home_address.is_some() {
        return Err(DropReason::HomeAddressOption);
    }
    if !is_unicast_routable_v6(source) || source == own {
        return Err(DropReason::SourceNotRoutable);
    }
    Ok(source)
}

/// RFC 6275 §9.4.1, §9.4.3.
pub(crate) fn home_test(
    own: Ipv6Addr,
    home_address: Ipv6Addr,
    init: &HomeTestInit<'_>,
    secret: &Secret,
) -> Vec<u8> {
    let test = Message::HomeTest(HomeTest {
        nonce_index: secret.index,
        cookie: init.cookie,
        token: secret.token(TokenKind::Home, home_address),
        options: Options::EMPTY,
    });
    mobility_packet(own, home_address, None, None, &test.emit(own, home_address))
}

/// RFC 6275 §9.4.2, §9.4.4; RFC 5648 §5.2: the Binding Identifier option is copied.
pub(crate) fn care_of_test(
    own: Ipv6Addr,
    care_of: Ipv6Addr,
    init: &CareOfTestInit<'_>,
    secret: &Secret,
) -> Vec<u8> {
    let mut options = CareOfTest::builder();
    let named = init.options.iter().find_map(|option| match option {
        MobilityOption::BindingIdentifier(option) => Some(option),
        _ => None,
    });
    if let Some(option) = named {
        let option: BidOption = option.acknowledged(Status::ACCEPTED);
        options.push(&MobilityOption::BindingIdentifier(option));
    }
    let test = Message::CareOfTest(CareOfTest {
        nonce_index: secret.index,
        cookie: init.cookie,
        token: secret.token(TokenKind::CareOf, care_of),
        options: options.finish(),
    });
    mobility_packet(own, care_of, None, None, &test.emit(own, care_of))
}
