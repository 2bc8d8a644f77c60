//! IPv4: the home address that the home agent gives, and data with and without UDP (RFC 5555).

use std::net::Ipv4Addr;

use homeport_mobile::Settings;
use homeport_mobile::{Arrival, CareOf, Command, DropReason, Event, Input, Output, Path, Transmit};
use homeport_wire::{BuFlags, Ipv4AddressStatus, PacketBuilder, Status, encapsulate_v4, protocol};

use crate::support::*;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const GIVEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const FIXED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);

fn wishing(address: Ipv4Addr) -> Lab {
    Lab::new(Settings { ipv4_home_address: Some(address), ..settings() })
}

fn answer(lab: &mut Lab, seen: &Seen, ipv4: Option<(Ipv4AddressStatus, Ipv4Addr)>) {
    let answer = Answer::to(seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    lab.deliver(&Answer { ipv4, ..answer }, seen.path);
}

#[test]
fn what_is_asked_for_after_each_answer() {
    use Ipv4AddressStatus as S;
    // Asked for, the answer, and what the next update asks for.
    let rows = [
        (ANY, S::ACCEPTED, Some(GIVEN)),
        (FIXED, S::ACCEPTED, Some(GIVEN)),
        (ANY, S::REASON_UNSPECIFIED, Some(ANY)),
        (FIXED, S::REASON_UNSPECIFIED, Some(FIXED)),
        (ANY, S::ADMINISTRATIVELY_PROHIBITED, None),
        (FIXED, S::INCORRECT_HOME_ADDRESS, Some(ANY)),
        (ANY, S::INCORRECT_HOME_ADDRESS, None),
        (FIXED, S::INVALID_ADDRESS, Some(ANY)),
        (ANY, S::DYNAMIC_ASSIGNMENT_NOT_AVAILABLE, None),
        (ANY, S::PREFIX_NOT_AUTHORIZED, None),
    ];
    for (asked, status, next) in rows {
        let mut lab = wishing(asked);
        let request = lab.register(&[address(1, COA1)], false);
        let seen = lab.update();
        assert_eq!(seen.ipv4_home_address, Some(asked));
        let address = if status == S::ACCEPTED { GIVEN } else { asked };
        answer(&mut lab, &seen, Some((status, address)));
        // The IPv6 registration does not depend on it (RFC 5555 §4.4.1).
        assert!(lab.results(request)[0].1.is_success());
        assert!(lab.events().contains(&Event::Ipv4HomeAddress { status, address }), "{status}");
        assert_eq!(lab.node.ipv4_home_address(), (status == S::ACCEPTED).then_some(GIVEN));
        lab.command(Command::Refresh { bids: vec![], bulk: false });
        assert_eq!(lab.update().ipv4_home_address, next, "{asked} {status}");
    }
}

#[test]
fn packets_of_the_ipv4_home_address_go_through_the_tunnel_while_it_is_granted() {
    let there = Ipv4Addr::new(203, 0, 113, 9);
    let packet = encapsulate_v4(b"data", 17, GIVEN, there, 64, 0);
    let mut lab = wishing(ANY);
    lab.register(&[address(1, COA1)], false);
    let seen = lab.update();
    answer(&mut lab, &seen, Some((Ipv4AddressStatus::ACCEPTED, GIVEN)));
    assert!(matches!(lab.node.encapsulate(None, &packet), Ok(Transmit::Ipv6 { .. })));
    lab.command(Command::DeregisterAll { from: None });
    let last = lab.update();
    assert_eq!(last.ipv4_home_address, None);
    lab.accept(&last);
    assert_eq!(lab.node.encapsulate(None, &packet), Err(DropReason::InnerSource));
    // A later registration asks anew.
    lab.register(&[address(1, COA1)], false);
    assert_eq!(lab.update().ipv4_home_address, Some(ANY));
}

/// A node at an IPv4 care-of address whose registration was answered so.
fn at_ipv4(force_udp: bool, refresh_secs: Option<u32>, forced: bool) -> Lab {
    let mut lab = Lab::new(Settings { force_udp, ..settings() });
    lab.register(&[address(1, COA_V4)], false);
    let seen = lab.update();
    assert_eq!(seen.flags.contains(BuFlags::FORCE_UDP), force_udp);
    let accepted = Answer::to(&seen, Status::ACCEPTED, &[(1, Status::ACCEPTED)]);
    let answer = Answer { nat_refresh_secs: refresh_secs, force_udp: forced, ..accepted };
    lab.deliver(&answer, seen.path);
    lab
}

fn outgoing() -> Vec<u8> {
    PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::NO_NEXT, &[])
}

#[test]
fn data_goes_without_udp_only_where_nobody_needs_it() {
    // The node's F flag, the refresh time, the home agent's F bit, and whether data goes bare.
    let rows = [
        (false, Some(u32::MAX), false, true),
        (false, Some(u32::MAX), true, false),
        (true, Some(u32::MAX), false, false),
        (false, Some(110), false, false),
        (false, Some(0), false, false),
        (false, None, false, false),
    ];
    for (force_udp, refresh_secs, forced, expected) in rows {
        let lab = at_ipv4(force_udp, refresh_secs, forced);
        let sent = lab.node.encapsulate(None, &outgoing()).unwrap();
        let CareOf::V4(from) = COA_V4 else { panic!() };
        let bare = Transmit::Ipv4 {
            from,
            to: *HOME_AGENT_V4.ip(),
            protocol: protocol::IPV6,
            payload: outgoing(),
        };
        assert_eq!(sent == bare, expected, "{force_udp} {refresh_secs:?} {forced}: {sent:?}");
    }
}

#[test]
fn signalling_stays_in_udp() {
    let mut lab = at_ipv4(false, Some(u32::MAX), false);
    lab.command(Command::Refresh { bids: vec![], bulk: false });
    assert_eq!(lab.update().path, COA_V4.path());
}

#[test]
fn the_translators_time_sets_the_refresh() {
    let mut lab = at_ipv4(false, Some(110), false);
    lab.take();
    assert_eq!(lab.jump(), 110_000);
    assert_eq!(lab.update().path, COA_V4.path());
}

#[test]
fn bare_packets_come_in_from_the_home_agent_only() {
    let CareOf::V4(care_of) = COA_V4 else { panic!() };
    let inner = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::NO_NEXT, &[]);
    let stranger = Ipv4Addr::new(203, 0, 113, 66);
    let other = Ipv4Addr::new(192, 0, 2, 99);
    let rows = [
        (care_of, *HOME_AGENT_V4.ip(), None),
        (care_of, stranger, Some(DropReason::NotFromHomeAgent)),
        (other, *HOME_AGENT_V4.ip(), Some(DropReason::NotForNode)),
    ];
    for (care_of, peer, expected) in rows {
        let mut lab = at_ipv4(false, Some(u32::MAX), false);
        lab.take();
        let arrival = Arrival::Ipv4 { care_of, peer, dscp_ecn: 0, payload: &inner };
        lab.input(Input::Packet(arrival));
        assert_eq!(lab.drops().first().copied(), expected);
        let delivered = Output::Deliver { path: Path::Udp(care_of), packet: inner.clone() };
        assert_eq!(lab.take().contains(&delivered), expected.is_none());
    }
}
