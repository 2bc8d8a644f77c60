//! What a home agent sends itself to who is its correspondent: RFC 6275 §9.3.1, §9.3.2.

use super::*;
use crate::Correspondent;

/// Of another home agent.
const FOREIGN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x7);

fn correspondent(care_of: Ipv6Addr, priority: u8) -> Correspondent {
    Correspondent {
        home_agent: AGENT,
        care_of,
        priority: BidPriority::new(priority),
        verified: 1,
        ends: ENDS,
    }
}

fn forwarding_of(care_ofs: Vec<Correspondent>) -> Forwarding {
    let mut forwarding = forwarding();
    forwarding.table_mut().set_correspondent(FOREIGN, care_ofs).unwrap();
    forwarding
}

#[test]
fn our_own_packets_take_a_routing_header_to_the_best_care_of_address() {
    let care_ofs = vec![correspondent(CARE_OF_1, 20), correspondent(CARE_OF_2, 10)];
    let mut forwarding = forwarding_of(care_ofs);
    let answered = handle(&mut forwarding, &echo_request(FOREIGN, AGENT));
    let walk = walked(sent(&answered));
    assert_eq!((walk.header.source, walk.header.destination), (AGENT, CARE_OF_2));
    assert_eq!(walk.routing_home_address, Some(FOREIGN));
    assert!(matches!(icmpv6(sent(&answered)), Icmpv6::EchoReply { identifier: 7, .. }));
    // Errors are its own packets too.
    let refused = handle(&mut forwarding, &packet(FOREIGN, AGENT));
    assert_eq!(walked(sent(&refused)).routing_home_address, Some(FOREIGN));

    let late = forwarding.handle(ENDS, Ingress::Ip(&echo_request(FOREIGN, AGENT)));
    assert_eq!(walked(sent(&late)).header.destination, FOREIGN);
    forwarding.table_mut().set_correspondent(FOREIGN, Vec::new()).unwrap();
    let answered = handle(&mut forwarding, &echo_request(FOREIGN, AGENT));
    assert_eq!(walked(sent(&answered)).routing_home_address, None);
}

#[test]
fn a_home_address_option_of_a_correspondent_is_believed_from_its_care_of_address_alone() {
    let message = Icmpv6::EchoRequest { identifier: 7, sequence: 9, data: b"homeport" };
    let request = |care_of| {
        PacketBuilder::new(care_of, AGENT)
            .home_address_option(Some(FOREIGN))
            .build(protocol::ICMPV6, &message.emit(FOREIGN, AGENT))
    };
    let mut forwarding = forwarding_of(vec![correspondent(CARE_OF_1, 0)]);
    let answered = handle(&mut forwarding, &request(CARE_OF_1));
    assert_eq!(walked(sent(&answered)).header.destination, CARE_OF_1);
    assert_eq!(drops(&answered), []);
    let refused = handle(&mut forwarding, &request(CARE_OF_2));
    assert_eq!(drops(&refused), [DropReason::HomeAddressNotBound]);
    let late = forwarding.handle(ENDS, Ingress::Ip(&request(CARE_OF_1)));
    assert_eq!(drops(&late), [DropReason::HomeAddressNotBound]);
}

#[test]
fn a_correspondent_gets_no_tunnel_and_nothing_of_others() {
    let mut forwarding = forwarding_of(vec![correspondent(CARE_OF_1, 0)]);
    assert_eq!(
        drops(&handle(&mut forwarding, &packet(CORRESPONDENT, FOREIGN))),
        [DropReason::NotServed]
    );
    let inner = packet(FOREIGN, CORRESPONDENT);
    assert_eq!(
        drops(&handle(&mut forwarding, &tunnelled(CARE_OF_1, &inner))),
        [DropReason::TunnelSourceNotBound]
    );
    let onward = handle(&mut forwarding, &tunnelled(CARE_OF_1, &packet(HOME, FOREIGN)));
    assert_eq!(walked(sent(&onward)).header.destination, FOREIGN);
}
