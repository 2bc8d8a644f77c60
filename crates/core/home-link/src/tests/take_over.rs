//! A new defender listens before it speaks, and asks who else is a home agent.

use alloc::vec::Vec;

use homeport_wire::{Icmpv6, NeighbourOption, NeighbourOptions};

use super::support::{
    ASKER, OWN, Sent, home, home_agent, ip, objection, packet, sent, settings, solicitation,
};
use crate::{Defence, HomeLink, Output, limits};

/// Targets of Duplicate Address Detection.
fn looked_for(sent: &[Sent]) -> Vec<core::net::Ipv6Addr> {
    let targets = sent.iter().filter_map(|frame| match frame.message() {
        Icmpv6::NeighbourSolicitation(message) if frame.from.is_unspecified() => {
            assert_eq!(message.options, NeighbourOptions::EMPTY);
            Some(message.target)
        }
        _ => None,
    });
    targets.collect()
}

fn is_told(sent: &[Sent]) -> bool {
    sent.iter().any(|frame| frame.advertisement().is_some_and(|it| it.target == home()))
}

fn taking_over() -> HomeLink {
    let mut link = HomeLink::new(settings());
    link.defend(0, home(), Defence::default());
    link.take_over(1000);
    link.take_over(1000);
    assert_eq!(looked_for(&sent(&mut link, 1000)), [home_agent()], "asked once");
    assert!(!link.is_defender());
    link
}

fn taken_over(link: &mut HomeLink, now_ms: u64) -> Vec<Output> {
    let outputs = core::iter::from_fn(|| link.poll(now_ms));
    outputs.filter(|output| matches!(output, Output::TakenOver { .. })).collect()
}

#[test]
fn where_nobody_answers_the_link_is_taken_over_and_every_address_told() {
    let mut link = taking_over();
    assert!(link.deadline_ms().is_some_and(|at| at <= 1000 + limits::TAKE_OVER_LISTEN_MS));
    let frames = sent(&mut link, 1099);
    assert!(!is_told(&frames) && !link.is_defender());
    let frames = sent(&mut link, 1100);
    assert!(is_told(&frames) && link.is_defender());

    let mut link = taking_over();
    assert_eq!(taken_over(&mut link, 1100), [Output::TakenOver { answered: false }]);
    link.take_over(1200);
    assert_eq!(taken_over(&mut link, 5000), [], "it is this node's already");
}

/// RFC 4862 §5.4: two nodes never answer for one address.
#[test]
fn who_still_answers_is_waited_for_until_its_lease_is_over() {
    let mut link = taking_over();
    for at_ms in [1100, 1200, 1300] {
        // An answer to Duplicate Address Detection goes to all nodes.
        link.receive(at_ms - 50, ASKER, &objection(home_agent())).unwrap();
        let frames = sent(&mut link, at_ms);
        assert_eq!(looked_for(&frames), [home_agent()], "asked again at {at_ms}");
        assert!(!link.is_defender());
        let question = solicitation("fe80::9", "ff02::1:ff00:100", home(), true);
        assert!(link.receive(at_ms, ASKER, &question).is_err(), "and answers nobody");
    }
    assert_eq!(taken_over(&mut link, 1400), [Output::TakenOver { answered: false }]);

    let mut link = taking_over();
    let mut now_ms = 1000;
    while !link.is_defender() {
        link.receive(now_ms, ASKER, &objection(home_agent())).unwrap();
        now_ms += limits::TAKE_OVER_LISTEN_MS;
        let outputs = taken_over(&mut link, now_ms);
        assert_eq!(!outputs.is_empty(), link.is_defender());
    }
    assert_eq!(now_ms, 1000 + limits::TAKE_OVER_MAX_MS, "no older lease is in force");
}

/// Who asks for its own purposes is no defender, and what concerns other addresses says nothing.
#[test]
fn only_an_answer_for_the_home_agents_address_counts() {
    let mut link = taking_over();
    link.receive(1010, ASKER, &objection(home())).unwrap();
    let other = solicitation("::", "ff02::1:ff00:1", home_agent(), false);
    assert!(link.receive(1020, ASKER, &other).is_err());
    assert_eq!(taken_over(&mut link, 1100), [Output::TakenOver { answered: false }]);
}

#[test]
fn a_lease_that_is_lost_meanwhile_ends_it() {
    let mut link = taking_over();
    link.set_defender(1050, false);
    assert_eq!(taken_over(&mut link, 9000), []);
    assert!(!link.is_defender());
}

fn solicited_routers(link: &mut HomeLink, now_ms: u64) -> usize {
    let frames = sent(link, now_ms);
    let solicitations = frames.iter().filter(|frame| match frame.message() {
        Icmpv6::RouterSolicitation(options) => {
            let options: Vec<_> = options.iter().collect();
            assert_eq!(options, [NeighbourOption::SourceLinkLayer(&OWN)]);
            assert_eq!((frame.to, frame.hop_limit), (ip("ff02::2"), 255));
            assert_eq!(frame.from, settings().link_local);
            true
        }
        _ => false,
    });
    solicitations.count()
}

fn router_advertisement() -> Vec<u8> {
    let mut other = HomeLink::new(crate::Settings { link_local: ip("fe80::77"), ..settings() });
    other.set_defender(0, true);
    let frames = sent(&mut other, 0);
    let told = frames.iter().find(|frame| frame.octets[0] == 134).unwrap();
    packet(told.from, told.to, 255, &told.message())
}

/// RFC 4861 §6.3.7.
#[test]
fn routers_are_asked_a_few_times_until_one_has_answered() {
    let mut link = HomeLink::new(settings());
    link.solicit_routers(0);
    let first_ms = link.deadline_ms().unwrap();
    assert!(first_ms <= limits::ROUTER_SOLICITATION_DELAY_MAX_MS);
    let asked = |link: &mut HomeLink| {
        let at = [0, 4000, 8000, 12_000, 60_000].map(|later| first_ms + later);
        at.map(|at_ms| solicited_routers(link, at_ms))
    };
    assert_eq!(asked(&mut link), [1, 1, 1, 0, 0], "by a node that defends nothing");

    link.solicit_routers(0);
    link.receive(0, ASKER, &router_advertisement()).unwrap();
    assert_eq!(solicited_routers(&mut link, first_ms), 1, "that answered nobody");
    link.receive(first_ms + 1, ASKER, &router_advertisement()).unwrap();
    assert_eq!(solicited_routers(&mut link, first_ms + 4000), 0);
}

#[test]
fn a_new_defender_without_home_agents_list_asks_for_it() {
    let mut link = taking_over();
    let asked: usize = (1000..2100).map(|at_ms| solicited_routers(&mut link, at_ms)).sum();
    assert_eq!(asked, 1);
}
