use alloc::vec;
use core::net::Ipv6Addr;

use homeport_wire::{Icmpv6, NeighbourOptions, NeighbourSolicitation};

use super::support::{ASKER, REQUEST, defender, home, ip, objection, sent, settings, solicitation};
use crate::{DropReason, HomeLink, Output};

/// The verdict that is out by `now_ms`.
fn verdict(link: &mut HomeLink, now_ms: u64) -> Option<bool> {
    let mut found = None;
    while let Some(output) = link.poll(now_ms) {
        if let Output::Probed { home_address, request_id, duplicate } = output {
            assert_eq!((home_address, request_id, found), (home(), REQUEST, None));
            found = Some(duplicate);
        }
    }
    found
}

#[test]
fn solicitations_go_out_and_silence_is_consent() {
    for (link_local, targets) in [(false, vec![home()]), (true, vec![home(), ip("fe80::100")])] {
        let mut link = defender();
        link.probe(6000, home(), REQUEST, link_local).unwrap();
        let frames = sent(&mut link, 6000);
        assert_eq!(frames.len(), targets.len());
        for (frame, target) in frames.iter().zip(targets) {
            assert_eq!(frame.from, Ipv6Addr::UNSPECIFIED);
            assert_eq!(frame.to, ip("ff02::1:ff00:100"));
            assert_eq!(frame.to_link, [0x33, 0x33, 0xff, 0, 1, 0]);
            assert_eq!(frame.hop_limit, 255);
            let options = NeighbourOptions::EMPTY;
            let message = NeighbourSolicitation { target, options };
            assert_eq!(frame.message(), Icmpv6::NeighbourSolicitation(message));
        }
        assert_eq!(verdict(&mut link, 6999), None);
        assert_eq!(link.deadline_ms().map(|at| at <= 7000), Some(true));
        assert_eq!(verdict(&mut link, 7000), Some(false));
        assert_eq!(verdict(&mut link, 9000), None);
    }
}

#[test]
fn an_objection_is_a_duplicate_where_the_address_was_asked_for() {
    let other_probe = |target| solicitation("::", "ff02::1:ff00:100", target, false);
    let asks = |target| solicitation("fe80::9", "ff02::1:ff00:100", target, true);
    let local = ip("fe80::100");
    for (name, link_local, heard, duplicate) in [
        ("NA for the home address", false, objection(home()), true),
        ("NA for the home address, L", true, objection(home()), true),
        ("NA for the link-local address, L", true, objection(local), true),
        ("NA for the link-local address", false, objection(local), false),
        ("another's probe", false, other_probe(home()), true),
        ("another's probe of the link-local address, L", true, other_probe(local), true),
        ("somebody asks for it", false, asks(home()), false),
        ("NA for another", true, objection(ip("2001:db8:0:1::101")), false),
    ] {
        let mut link = defender();
        link.probe(6000, home(), REQUEST, link_local).unwrap();
        // Whether it gets an answer besides is not what counts here.
        let _answered = link.receive(6500, ASKER, &heard);
        assert_eq!(verdict(&mut link, 6500), duplicate.then_some(true), "{name}");
        assert_eq!(verdict(&mut link, 7000), (!duplicate).then_some(false), "{name}");
    }
}

#[test]
fn a_newer_request_takes_the_place_and_the_time_of_the_older() {
    let mut link = defender();
    link.probe(6000, home(), [1; 16], false).unwrap();
    sent(&mut link, 6000);
    link.probe(6600, home(), REQUEST, false).unwrap();
    assert_eq!(sent(&mut link, 6600), []);
    assert_eq!(verdict(&mut link, 7000), Some(false));
}

#[test]
fn probes_end_without_verdict_when_they_are_not_wanted() {
    let mut link = defender();
    link.probe(6000, home(), REQUEST, false).unwrap();
    link.cancel_probe(home());
    assert_eq!(verdict(&mut link, 60_000), None);
    link.probe(60_000, home(), REQUEST, false).unwrap();
    link.set_defender(60_100, false);
    assert_eq!(verdict(&mut link, 70_000), None);
    let refused = link.probe(70_000, home(), REQUEST, false);
    assert_eq!(refused, Err(DropReason::NotDefender));
}

#[test]
fn the_number_of_probes_is_bounded() {
    let mut link = HomeLink::new(settings());
    link.set_defender(0, true);
    let max = u32::try_from(crate::limits::PROBES_MAX).unwrap();
    let address = |host: u32| Ipv6Addr::from_bits(home().to_bits() + u128::from(host));
    for host in 0..max {
        link.probe(0, address(host), REQUEST, false).unwrap();
    }
    assert_eq!(link.probe(0, address(max), REQUEST, false), Err(DropReason::Full));
    assert_eq!(link.probe(0, address(0), REQUEST, false), Ok(()));
}
