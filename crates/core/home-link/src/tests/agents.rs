use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    HomeAgentInformation, Icmpv6, NeighbourOption, NeighbourOptions, PrefixFlags,
    PrefixInformation, RouterAdvertisement, RouterFlags,
};
use proptest::prelude::*;

use super::support::{ASKER, OWN, defender, home_agent, ip, packet, sent, settings};
use crate::{DropReason, HomeLink};

fn router(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number)
}

fn agent(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, number)
}

/// What another home agent advertises.
struct Other {
    number: u16,
    home_agent: bool,
    router_lifetime_secs: u16,
    /// Preference and lifetime.
    information: Option<(u16, u16)>,
    mobile_routers: bool,
    addresses: Vec<Ipv6Addr>,
}

fn other(number: u16, preference: u16) -> Other {
    Other {
        number,
        home_agent: true,
        router_lifetime_secs: 1800,
        information: Some((preference, 1800)),
        mobile_routers: false,
        addresses: vec![agent(number)],
    }
}

impl Other {
    fn packet(&self) -> Vec<u8> {
        let mut options: Vec<_> = self
            .addresses
            .iter()
            .map(|address| {
                NeighbourOption::PrefixInformation(PrefixInformation {
                    prefix_len: 64,
                    flags: PrefixFlags::ROUTER_ADDRESS,
                    valid_secs: 86_400,
                    preferred_secs: 86_400,
                    prefix: *address,
                })
            })
            .collect();
        options.extend(self.information.map(|(preference, lifetime_secs)| {
            let flags = if self.mobile_routers { 0x8000 } else { 0 };
            NeighbourOption::HomeAgentInformation(HomeAgentInformation {
                flags,
                preference,
                lifetime_secs,
            })
        }));
        let message = RouterAdvertisement {
            hop_limit: 64,
            flags: if self.home_agent { RouterFlags::HOME_AGENT } else { RouterFlags::default() },
            router_lifetime_secs: self.router_lifetime_secs,
            reachable_ms: 0,
            retransmission_ms: 0,
            options: NeighbourOptions::of(&options),
        };
        let message = Icmpv6::RouterAdvertisement(message);
        packet(router(self.number), ip("ff02::1"), 255, &message)
    }
}

fn learn(link: &mut HomeLink, now_ms: u64, other: &Other) -> Result<(), DropReason> {
    link.receive(now_ms, ASKER, &other.packet())
}

#[test]
fn the_list_is_ordered_by_preference() {
    let own = home_agent();
    for (zero, one, expected) in [
        (0, None, vec![own, agent(0)]),
        (0xffff, None, vec![agent(0), own]),
        (8, Some(6), vec![own, agent(0), agent(1)]),
        (6, Some(8), vec![own, agent(1), agent(0)]),
        (12, Some(8), vec![agent(0), own, agent(1)]),
        (8, Some(12), vec![agent(1), own, agent(0)]),
        (14, Some(12), vec![agent(0), agent(1), own]),
        (12, Some(14), vec![agent(1), agent(0), own]),
    ] {
        let mut link = defender();
        learn(&mut link, 6000, &other(0, zero)).unwrap();
        if let Some(one) = one {
            learn(&mut link, 6000, &other(1, one)).unwrap();
        }
        assert_eq!(link.home_agents(6000, 1, false), expected);
    }
}

#[test]
fn an_advertisement_replaces_what_the_one_before_said() {
    let own = home_agent();
    let with = |change: fn(&mut Other)| {
        let mut changed = other(0, 20);
        change(&mut changed);
        changed
    };
    for (name, next, expected) in [
        ("no option: preference 0", with(|o| o.information = None), vec![own, agent(0)]),
        ("other preference", other(0, 5), vec![own, agent(0)]),
        ("lifetime 0", with(|o| o.information = Some((20, 0))), vec![own]),
        (
            "router lifetime 0 without option",
            with(|o| (o.information, o.router_lifetime_secs) = (None, 0)),
            vec![own],
        ),
        (
            "router lifetime 0 with option",
            with(|o| o.router_lifetime_secs = 0),
            vec![agent(0), own],
        ),
        ("H=0", with(|o| o.home_agent = false), vec![own]),
        ("two addresses", with(|o| o.addresses = vec![agent(7), agent(7)]), vec![agent(7), own]),
    ] {
        let mut link = defender();
        learn(&mut link, 6000, &other(0, 20)).unwrap();
        assert_eq!(link.home_agents(6000, 0, false), [agent(0), own]);
        learn(&mut link, 6001, &next).unwrap();
        assert_eq!(link.home_agents(6001, 0, false), expected, "{name}");
    }
}

#[test]
fn entries_end_with_their_lifetime() {
    let mut link = defender();
    let mut short = other(0, 20);
    short.information = Some((20, 32));
    learn(&mut link, 6000, &short).unwrap();
    short = other(1, 20);
    (short.information, short.router_lifetime_secs) = (None, 16);
    learn(&mut link, 6000, &short).unwrap();
    assert_eq!(link.home_agents(21_999, 0, false).len(), 3);
    assert_eq!(link.home_agents(22_000, 0, false), [agent(0), home_agent()]);
    assert_eq!(link.home_agents(38_000, 0, false), [home_agent()]);
}

#[test]
fn who_has_no_global_address_is_not_listed() {
    let mut link = defender();
    let mut nameless = other(0, 20);
    nameless.addresses.clear();
    assert_eq!(learn(&mut link, 6000, &nameless), Err(DropReason::NotConcerned));
    assert_eq!(link.home_agents(6000, 0, false), [home_agent()]);
}

#[test]
fn mobile_routers_get_those_that_serve_them() {
    let mut link = defender();
    let mut serves = other(0, 5);
    serves.mobile_routers = true;
    learn(&mut link, 6000, &serves).unwrap();
    assert_eq!(link.home_agents(6000, 0, true), [agent(0)]);
    assert_eq!(link.home_agents(6000, 0, false), [home_agent(), agent(0)]);
}

#[test]
fn the_reply_has_the_77_best_and_the_list_is_bounded() {
    let mut link = defender();
    for number in 0..78 {
        learn(&mut link, 6000, &other(number, 100 + number)).unwrap();
    }
    let list = link.home_agents(6000, 0, false);
    let expected: Vec<_> = (1..78).rev().map(agent).collect();
    assert_eq!(list, expected);
    for number in 78..400 {
        let learned = learn(&mut link, 6000, &other(number, 1));
        assert_eq!(learned.is_ok(), number < 256, "{number}");
    }
    learn(&mut link, 6000, &other(999, 2)).unwrap();
    assert_eq!(link.home_agents(6000, 0, false), expected);
}

#[test]
fn equals_change_places_with_the_seed() {
    let mut link = defender();
    for number in 0..8 {
        learn(&mut link, 6000, &other(number, 10)).unwrap();
    }
    let firsts: alloc::collections::BTreeSet<_> =
        (0..64).map(|seed| link.home_agents(6000, seed, false)[0]).collect();
    assert!(firsts.len() >= 5, "{firsts:?}");
}

#[test]
fn our_own_advertisement_is_that_of_a_home_agent() {
    let mut link = HomeLink::new(settings());
    link.set_defender(0, true);
    let frames = sent(&mut link, 0);
    let found: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame.message() {
            Icmpv6::RouterAdvertisement(message) => Some((frame, message.options.iter().count())),
            _ => None,
        })
        .collect();
    let [(frame, 4)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((frame.from, frame.to, frame.hop_limit), (ip("fe80::1"), ip("ff02::1"), 255));
    let Icmpv6::RouterAdvertisement(message) = frame.message() else { panic!() };
    assert!(message.flags.contains(RouterFlags::HOME_AGENT));
    assert_eq!(message.router_lifetime_secs, 1800);
    let information = HomeAgentInformation { flags: 0, preference: 10, lifetime_secs: 1800 };
    let options: Vec<_> = message.options.iter().collect();
    assert_eq!(options[0], NeighbourOption::SourceLinkLayer(&OWN));
    assert_eq!(options[1], NeighbourOption::PrefixInformation(settings().prefixes[0]));
    assert_eq!(options[3], NeighbourOption::HomeAgentInformation(information));

    let mut plain = settings();
    plain.preference = 0;
    let mut link = HomeLink::new(plain);
    link.set_defender(0, true);
    let says_nothing = sent(&mut link, 0).iter().any(|frame| match frame.message() {
        Icmpv6::RouterAdvertisement(message) => message.options.iter().count() == 3,
        _ => false,
    });
    assert!(says_nothing, "an option that says nothing is left out");
}

#[test]
fn a_router_solicitation_hurries_but_not_beyond_the_least_distance() {
    let mut link = defender();
    let is_advertisement =
        |link: &mut HomeLink, now_ms| sent(link, now_ms).iter().any(|frame| frame.octets[0] == 134);
    while is_advertisement(&mut link, 100_000) {}
    let solicitation = Icmpv6::RouterSolicitation(NeighbourOptions::EMPTY);
    let solicitation = packet(ip("fe80::9"), ip("ff02::2"), 255, &solicitation);
    link.receive(100_100, ASKER, &solicitation).unwrap();
    assert!(!is_advertisement(&mut link, 102_999));
    assert!(is_advertisement(&mut link, 103_000));
}

proptest! {
    #[test]
    fn intervals_keep_their_bounds(max_ms in 70_u32..1_800_000, steps in 4_usize..12) {
        let mut link = HomeLink::new(crate::Settings {
            advertisement_interval_max_ms: max_ms,
            ..settings()
        });
        link.set_defender(0, true);
        let mut at = Vec::new();
        let mut now_ms = 0;
        while at.len() < steps {
            let due = link.deadline_ms().unwrap();
            now_ms = now_ms.max(due);
            if sent(&mut link, now_ms).iter().any(|frame| frame.octets[0] == 134) {
                at.push(now_ms);
            }
        }
        for pair in at[2..].windows(2) {
            let interval = pair[1] - pair[0];
            prop_assert!(interval >= u64::from(max_ms / 3) || interval >= 16_000);
            prop_assert!(interval <= u64::from(max_ms));
        }
    }
}
