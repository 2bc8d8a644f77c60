//! The K bit: RFC 6275 §10.3.1, §10.3.2, RFC 5648 §9.

use homeport_binding::{Origin, SecurityAssociation, Verdict};
use homeport_wire::{BaFlags, Bid, BidCareOf, BidOption, BidPriority, Lifetime, Sequence};

use super::esp::{association, lab, sealed};
use super::*;
use crate::{Endpoint, EndpointChange};

const FIRST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);

const NOWHERE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// A Binding Update, of which each case says what is its own.
struct Asked {
    k: bool,
    source: Ipv6Addr,
    secs: u16,
    alternate: Option<Ipv6Addr>,
    bids: &'static [(u16, BidCareOf)],
}

impl Default for Asked {
    fn default() -> Self {
        Self { k: true, source: FIRST, secs: 900, alternate: None, bids: &[] }
    }
}

impl Asked {
    fn packet(&self, sequence: u16) -> Vec<u8> {
        let mut options = BindingUpdate::builder();
        if let Some(address) = self.alternate {
            options.push(&MobilityOption::AlternateCareOf(address));
        }
        for (bid, care_of) in self.bids {
            options.push(&MobilityOption::BindingIdentifier(BidOption {
                bid: Bid(*bid),
                status: Status::ACCEPTED,
                home: false,
                priority: BidPriority::UNSET,
                care_of: *care_of,
            }));
        }
        let flags = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION);
        let message = Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(sequence),
            flags: if self.k { flags.with(BuFlags::KEY_MANAGEMENT_MOBILITY) } else { flags },
            lifetime: Lifetime(self.secs / 4),
            options: options.finish(),
        });
        let octets = message.emit(HOME, AGENT);
        let away = (self.source != HOME).then_some(HOME);
        homeport_wire::mobility_packet(self.source, AGENT, away, None, &octets)
    }
}

/// The Binding Updates one after the other under the association; what the last one asks for, and its
/// acknowledgement's flags when that was done, and when it was not.
fn flags_of(lab: &mut Lab, updates: &[Asked]) -> (Option<EndpointChange>, [BaFlags; 2]) {
    let mut last = None;
    for (n, asked) in updates.iter().enumerate() {
        let n = u16::try_from(n).unwrap() + 1;
        let packet = sealed(&asked.packet(n), n.into());
        let conclude = |moved: bool, lab: &mut Lab| {
            let policy = lab.cache.policy(HOME, AGENT);
            let arrival = Arrival { packet: &packet, outer: None };
            let Received::Protected(seen) = receive(arrival) else { panic!("not in ESP") };
            let Received::Update(update) = seen.open(&policy).unwrap() else { panic!("no update") };
            let Judged::Propose(proposal) = update.judge(&policy) else { panic!("not judged") };
            // The same request: the second time it is only answered.
            let mut request = [0; 16];
            request[0] = u8::try_from(n).unwrap();
            let verdict: Verdict = lab.run(proposal.command(request));
            let change = proposal.endpoint_change(&policy, &verdict);
            match proposal.conclude_with(&verdict, moved) {
                Concluded::Reply(reply, _) => (change, flags(&reply.packet)),
                other => panic!("{other:?}"),
            }
        };
        let mut before = Lab { cache: BindingCache::default(), at: lab.at, requests: 0 };
        before.cache = lab.cache.clone();
        let (change, moved) = conclude(true, &mut before);
        let (_, unmoved) = conclude(false, lab);
        last = Some((change, [moved, unmoved]));
    }
    last.expect("an update")
}

fn flags(packet: &[u8]) -> BaFlags {
    let seen = walk(packet).unwrap();
    let pseudo = PseudoHeader::mobility(seen.pseudo_source(), seen.pseudo_destination());
    match Message::parse(seen.payload, pseudo).unwrap() {
        Message::BindingAcknowledgement(message) => message.flags,
        other => panic!("{other:?}"),
    }
}

fn care_of(change: Option<EndpointChange>) -> (&'static str, Ipv6Addr) {
    match change {
        Some(EndpointChange::Move(endpoint)) => ("move", endpoint.care_of),
        Some(EndpointChange::Close(endpoint)) => ("close", endpoint.care_of),
        None => ("nothing", NOWHERE),
    }
}

#[test]
fn k_is_set_when_it_was_asked_for_and_the_endpoint_has_moved() {
    let mut lab = lab();
    let (change, [moved, unmoved]) = flags_of(&mut lab, &[Asked::default()]);
    assert!(moved.contains(BaFlags::KEY_MANAGEMENT_MOBILITY));
    assert!(!unmoved.contains(BaFlags::KEY_MANAGEMENT_MOBILITY));
    let expected = Endpoint {
        agent: "192.0.2.1:7400".to_string(),
        request_id: 7,
        home_address: HOME,
        home_agent: AGENT,
        care_of: FIRST,
        revision: lab.cache.revision(),
    };
    assert_eq!(change, Some(EndpointChange::Move(expected)));
}

#[test]
fn the_endpoint_goes_to_the_care_of_address_that_the_update_names() {
    const BOTH: &[(u16, BidCareOf)] = &[(1, BidCareOf::V6(FIRST)), (2, BidCareOf::V6(SECOND))];
    let rows = [
        (vec![Asked { source: SECOND, ..Asked::default() }], ("move", SECOND)),
        (vec![Asked { alternate: Some(SECOND), ..Asked::default() }], ("move", SECOND)),
        (vec![Asked { bids: &[(2, BidCareOf::V6(SECOND))], ..Asked::default() }], ("move", SECOND)),
        // A refresh that was sent from another one than the BID's: that is where it speaks from.
        (
            vec![
                Asked { bids: BOTH, ..Asked::default() },
                Asked { bids: &[(2, BidCareOf::Absent)], ..Asked::default() },
            ],
            ("move", FIRST),
        ),
        // The BID is not known: nothing was registered.
        (vec![Asked { bids: &[(2, BidCareOf::Absent)], ..Asked::default() }], ("nothing", NOWHERE)),
        (vec![Asked { bids: BOTH, source: SECOND, ..Asked::default() }], ("move", SECOND)),
        // At home again (RFC 6275 §10.3.2).
        (
            vec![Asked::default(), Asked { source: HOME, secs: 0, ..Asked::default() }],
            ("move", HOME),
        ),
        // One of several care-of addresses goes; the mobile node is where it speaks from.
        (
            vec![
                Asked { bids: BOTH, ..Asked::default() },
                Asked { bids: &[(2, BidCareOf::Absent)], secs: 0, ..Asked::default() },
            ],
            ("move", FIRST),
        ),
    ];
    for (n, (updates, expected)) in rows.into_iter().enumerate() {
        assert_eq!(care_of(flags_of(&mut lab(), &updates).0), expected, "row {n}");
    }
}

#[test]
fn without_k_what_runs_elsewhere_is_closed_unless_there_are_other_care_of_addresses() {
    let (change, [_, flags]) = flags_of(&mut lab(), &[Asked { k: false, ..Asked::default() }]);
    assert_eq!(care_of(change), ("close", FIRST));
    assert!(!flags.contains(BaFlags::KEY_MANAGEMENT_MOBILITY));
    let several = Asked { k: false, bids: &[(1, BidCareOf::Absent)], ..Asked::default() };
    assert_eq!(care_of(flags_of(&mut lab(), &[several]).0).0, "nothing");
}

#[test]
fn keys_that_were_set_by_hand_have_no_endpoint() {
    let mut lab = lab();
    let by_hand = SecurityAssociation {
        origin: Origin::Static,
        suite: homeport_esp::Suite::NullHmacSha256,
        inbound: homeport_esp::Keys { encryption: Vec::new(), authentication: vec![1; 32] },
        outbound: homeport_esp::Keys { encryption: Vec::new(), authentication: vec![2; 32] },
        ..association()
    };
    let delete =
        Command::DeleteSecurityAssociation { home_address: HOME, inbound_spi: by_hand.inbound_spi };
    assert_eq!(lab.run(delete).outcome, Outcome::Done);
    let transform = homeport_esp::Transform::new(
        by_hand.suite,
        by_hand.inbound_spi,
        false,
        by_hand.inbound.clone(),
    );
    lab.run(Command::PutSecurityAssociation { association: by_hand, must_not_exist: true });
    let packet = Asked::default().packet(1);
    let packet = homeport_esp::protect(&packet, &transform.unwrap(), 1, [0; 16]).unwrap();
    let policy = lab.cache.policy(HOME, AGENT);
    let arrival = Arrival { packet: &packet, outer: None };
    let Received::Protected(seen) = receive(arrival) else { panic!("not in ESP") };
    let Received::Update(update) = seen.open(&policy).unwrap() else { panic!("no update") };
    let Judged::Propose(proposal) = update.judge(&policy) else { panic!("not judged") };
    let verdict = lab.run(proposal.command([1; 16]));
    assert_eq!(proposal.endpoint_change(&policy, &verdict), None);
}

#[test]
fn who_is_refused_keeps_the_endpoint_where_it_is() {
    // The second one has an old sequence number.
    let mut lab = lab();
    flags_of(&mut lab, &[Asked::default()]);
    let policy = lab.cache.policy(HOME, AGENT);
    let packet = sealed(&Asked { source: SECOND, ..Asked::default() }.packet(1), 9);
    let arrival = Arrival { packet: &packet, outer: None };
    let Received::Protected(seen) = receive(arrival) else { panic!("not in ESP") };
    let Received::Update(update) = seen.open(&policy).unwrap() else { panic!("no update") };
    let Judged::Propose(proposal) = update.judge(&policy) else { panic!("not judged") };
    let verdict = lab.run(proposal.command([9; 16]));
    assert_eq!(proposal.endpoint_change(&policy, &verdict), None);
    let Concluded::Reply(reply, _) = proposal.conclude_with(&verdict, true) else { panic!("none") };
    assert!(!flags(&reply.packet).contains(BaFlags::KEY_MANAGEMENT_MOBILITY));
}
