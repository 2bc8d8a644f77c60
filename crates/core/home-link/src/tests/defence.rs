use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{Icmpv6, NeighbourFlags, NeighbourOption};

use super::support::{
    ASKER, OWN, Sent, defender, home, home_agent, ip, packet, sent, settings, solicitation,
};
use crate::{Defence, DropReason, HomeLink, Settings};

const LINK_LOCAL: &str = "fe80::100";

fn targets(sent: &[Sent]) -> Vec<Ipv6Addr> {
    sent.iter().filter_map(Sent::advertisement).map(|message| message.target).collect()
}

#[test]
fn a_defended_address_is_announced_three_times() {
    for (defence, expected) in [
        (Defence { link_local: false, router: false }, vec![home()]),
        (Defence { link_local: true, router: false }, vec![ip(LINK_LOCAL), home()]),
    ] {
        let mut link = defender();
        link.defend(6000, home(), defence);
        for at_ms in [6000, 7000, 8000] {
            let mut frames = sent(&mut link, at_ms);
            frames.sort_by_key(|frame| frame.octets[8] == 0x20);
            assert_eq!(targets(&frames), expected, "{defence:?} at {at_ms}");
            for frame in &frames {
                let message = frame.advertisement().unwrap();
                assert_eq!(message.flags, NeighbourFlags::OVERRIDE);
                assert_eq!(frame.to, ip("ff02::1"));
                assert_eq!(frame.to_link, [0x33, 0x33, 0, 0, 0, 1]);
                assert_eq!(frame.hop_limit, 255);
                let options: Vec<_> = message.options.iter().collect();
                assert_eq!(options, [NeighbourOption::TargetLinkLayer(&OWN)]);
            }
        }
        assert_eq!(sent(&mut link, 15_000), []);
    }
}

#[test]
fn a_mobile_router_is_announced_as_router() {
    let mut link = defender();
    link.defend(6000, home(), Defence { link_local: false, router: true });
    let frames = sent(&mut link, 6000);
    let flags = NeighbourFlags::OVERRIDE.with(NeighbourFlags::ROUTER);
    assert_eq!(frames[0].advertisement().unwrap().flags, flags);
}

#[test]
fn solicitations_are_answered_while_the_address_is_defended() {
    let solicited = NeighbourFlags::SOLICITED;
    let none = NeighbourFlags::default();
    // Link-local too, source, destination, target, SLLA option, flags of the answer.
    let rows = [
        (false, "fe80::9", "ff02::1:ff00:100", "2001:db8:0:1::100", true, Some(solicited)),
        (false, "fe80::9", "2001:db8:0:1::100", "2001:db8:0:1::100", true, Some(solicited)),
        (false, "fe80::9", "2001:db8:0:1::100", "2001:db8:0:1::100", false, Some(solicited)),
        (false, "::", "ff02::1:ff00:100", "2001:db8:0:1::100", false, Some(none)),
        (true, "fe80::9", "ff02::1:ff00:100", LINK_LOCAL, true, Some(solicited)),
        (true, "fe80::9", LINK_LOCAL, LINK_LOCAL, false, Some(solicited)),
        (true, "::", "ff02::1:ff00:100", LINK_LOCAL, false, Some(none)),
        (false, "fe80::9", "ff02::1:ff00:100", LINK_LOCAL, true, None),
        (false, "fe80::9", LINK_LOCAL, LINK_LOCAL, false, None),
        (false, "::", "ff02::1:ff00:100", LINK_LOCAL, false, None),
        (true, "fe80::9", "ff02::1:ff00:101", "2001:db8:0:1::101", true, None),
        (true, "::", "ff02::1:ff00:101", "fe80::101", false, None),
    ];
    for (link_local, from, to, target, with_address, expected) in rows {
        let mut link = defender();
        link.defend(6000, home(), Defence { link_local, router: false });
        sent(&mut link, 20_000);
        let request = solicitation(from, to, ip(target), with_address);
        let received = link.receive(20_000, ASKER, &request);
        let frames = sent(&mut link, 20_000);
        let Some(flags) = expected else {
            assert_eq!(received, Err(DropReason::NotConcerned), "{from} {to} {target}");
            assert_eq!(frames, [], "{from} {to} {target}");
            continue;
        };
        assert_eq!(received, Ok(()));
        let [answer] = frames.as_slice() else { panic!("{frames:?}") };
        let message = answer.advertisement().unwrap();
        assert_eq!((message.target, message.flags), (ip(target), flags));
        let options: Vec<_> = message.options.iter().collect();
        assert_eq!(options, [NeighbourOption::TargetLinkLayer(&OWN)]);
        let to = if from == "::" { ip("ff02::1") } else { ip(from) };
        assert_eq!(answer.to, to);
        link.release(home());
        assert_eq!(link.receive(20_001, ASKER, &request), Err(DropReason::NotConcerned));
        assert_eq!(sent(&mut link, 20_001), []);
    }
}

#[test]
fn the_cluster_address_is_answered_for_as_router_and_owner() {
    let mut link = defender();
    let request = solicitation("fe80::9", "ff02::1:ff00:1", home_agent(), true);
    link.receive(6000, ASKER, &request).unwrap();
    let frames = sent(&mut link, 6000);
    let flags = NeighbourFlags::SOLICITED.with(NeighbourFlags::OVERRIDE);
    assert_eq!(frames[0].advertisement().unwrap().flags, flags.with(NeighbourFlags::ROUTER));
}

#[test]
fn the_anycast_address_is_told_to_who_asks_and_left_to_others() {
    let anycast = ip("2001:db8:0:1:fdff:ffff:ffff:fffe");
    let group = "ff02::1:ffff:fffe";
    let mut link = defender();
    let request = solicitation("fe80::9", group, anycast, true);
    assert_eq!(link.receive(6000, ASKER, &request), Err(DropReason::NotConcerned), "not set");
    link.set_settings(6000, Settings { anycast: Some(anycast), ..settings() });
    sent(&mut link, 20_000);
    link.receive(20_000, ASKER, &request).unwrap();
    let frames = sent(&mut link, 20_000);
    let flags = NeighbourFlags::SOLICITED.with(NeighbourFlags::ROUTER);
    assert_eq!(frames[0].advertisement().unwrap().flags, flags);
    let probe = solicitation("::", group, anycast, false);
    assert_eq!(link.receive(20_000, ASKER, &probe), Err(DropReason::NotConcerned));
}

#[test]
fn one_link_local_address_of_two_prefixes_stays_until_both_are_released() {
    let mut link = defender();
    let second = ip("2001:db8:0:2::100");
    link.defend(6000, home(), Defence { link_local: true, router: false });
    link.defend(6000, second, Defence { link_local: true, router: false });
    link.release(home());
    sent(&mut link, 20_000);
    let request = solicitation("fe80::9", "ff02::1:ff00:100", ip(LINK_LOCAL), true);
    assert_eq!(link.receive(20_000, ASKER, &request), Ok(()));
    link.release(second);
    assert_eq!(link.receive(20_000, ASKER, &request), Err(DropReason::NotConcerned));
}

#[test]
fn only_the_defender_speaks_and_announces_everything_at_takeover() {
    let mut link = HomeLink::new(settings());
    link.defend(0, home(), Defence::default());
    let request = solicitation("fe80::9", "ff02::1:ff00:100", home(), true);
    assert_eq!(link.receive(0, ASKER, &request), Err(DropReason::NotDefender));
    assert_eq!(sent(&mut link, 100_000), []);
    link.set_defender(100_000, true);
    let mut announced = targets(&sent(&mut link, 100_000));
    announced.sort();
    assert_eq!(announced, [home_agent(), home()]);
    link.set_defender(100_100, false);
    assert_eq!(sent(&mut link, 200_000), []);
    assert_eq!(link.receive(200_000, ASKER, &request), Err(DropReason::NotDefender));
}

#[test]
fn what_neighbours_must_not_send_is_refused() {
    let rows = [
        ("SLLA in a probe", solicitation("::", "ff02::1:ff00:100", home(), true)),
        ("probe to the address", solicitation("::", "2001:db8:0:1::100", home(), false)),
        ("group as target", solicitation("fe80::9", "ff02::1", ip("ff02::5"), true)),
    ];
    let mut link = defender();
    link.defend(6000, home(), Defence::default());
    for (name, request) in rows {
        assert_eq!(link.receive(20_000, ASKER, &request), Err(DropReason::Invalid), "{name}");
    }
    let mut routed = solicitation("fe80::9", "ff02::1:ff00:100", home(), true);
    routed[7] = 254;
    assert_eq!(link.receive(20_000, ASKER, &routed), Err(DropReason::HopLimit));
    let whole = solicitation("fe80::9", "ff02::1:ff00:100", home(), true);
    for len in 0..whole.len() {
        assert!(link.receive(20_000, ASKER, &whole[..len]).is_err(), "{len}");
    }
}

#[test]
fn packets_for_a_link_local_address_that_is_away_are_refused() {
    let mut link = defender();
    link.defend(6000, home(), Defence { link_local: true, router: false });
    sent(&mut link, 20_000);
    let echo = Icmpv6::EchoRequest { identifier: 1, sequence: 2, data: b"home?" };
    let request = packet(ip("fe80::9"), ip(LINK_LOCAL), 64, &echo);
    link.receive(20_000, ASKER, &request).unwrap();
    let frames = sent(&mut link, 20_000);
    assert_eq!((frames[0].to_link, frames[0].to), (ASKER, ip("fe80::9")));
    assert_eq!(frames[0].message(), Icmpv6::DestinationUnreachable { code: 3, invoking: &request });
    // Not more than the limit, and no error about an error.
    assert_eq!(link.receive(20_001, ASKER, &request), Err(DropReason::ErrorRateLimited));
    let error = Icmpv6::DestinationUnreachable { code: 0, invoking: &request };
    let error = packet(ip("fe80::9"), ip(LINK_LOCAL), 64, &error);
    assert_eq!(link.receive(30_000, ASKER, &error), Err(DropReason::NotConcerned));
}
