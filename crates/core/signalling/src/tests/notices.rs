//! Binding Revocation and Home Agent Switch octet for octet as the vectors have them, their
//! authentication, and what becomes of answers.

use homeport_binding::{
    CareOf, Dispatch, DispatchMessage, Policy, RevocationAnswer, Revoke, Silence, Verdict,
};
use homeport_wire::{
    Bid, BindingErrorStatus, BindingRevocation, BindingRevocationAcknowledgement, RevocationFlags,
    RevocationStatus, RevocationTrigger, protocol,
};

use super::*;

const AGENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SECOND_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const BEHIND_NAT: CareOf = CareOf::Ipv4 {
    address: Ipv4Addr::new(203, 0, 113, 7),
    port: 40_001,
    announced: Ipv4Addr::new(192, 168, 1, 20),
    udp: true,
};

fn revocation() -> DispatchMessage {
    DispatchMessage::Revocation {
        trigger: RevocationTrigger::ADMINISTRATIVE,
        sequence: 0x42,
        bids: vec![Bid(2), Bid(3)],
    }
}

fn switch() -> DispatchMessage {
    DispatchMessage::Switch { addresses: vec![SECOND_AGENT], time_left: Some(Lifetime(15)) }
}

fn dispatch(care_of: CareOf, message: DispatchMessage) -> Dispatch {
    Dispatch {
        at: LogTime(0),
        revision: 1,
        home_address: HOME,
        home_agent: AGENT,
        care_of,
        message,
        esp: None,
    }
}

impl Lab {
    fn policy(&self) -> Policy {
        self.cache.policy(HOME, AGENT)
    }

    fn notify(&self, care_of: CareOf, message: DispatchMessage) -> Reply {
        notify(&dispatch(care_of, message), &self.policy(), [7; 16]).unwrap()
    }

    /// Registers V01's bindings, or V14's, and revokes them; the sequence number of that.
    fn revoking(&mut self, vector: &str) -> u16 {
        self.answer(&Vectors::load().packet(vector), None);
        let (home_address, trigger) = (HOME, RevocationTrigger::ADMINISTRATIVE);
        let revoke = Revoke { home_address, bids: Vec::new(), trigger };
        assert_eq!(self.run(Command::Revoke(revoke)).outcome, Outcome::Done);
        let due = self.cache.take_notices();
        let [Dispatch { message: DispatchMessage::Revocation { sequence, .. }, .. }] = &due[..]
        else {
            panic!("{due:?}");
        };
        *sequence
    }
}

/// An acknowledgement from COA1, or in UDP, with an authenticator of this key and SPI.
fn acknowledgement(
    sequence: u16,
    flags: u16,
    association: Option<(u32, Key, Ipv6Addr)>,
    over_udp: bool,
) -> Vec<u8> {
    let mut options = BindingRevocation::builder();
    if let Some((spi, ..)) = association {
        options.push_authentication(1, spi, 12);
    }
    let acknowledgement = BindingRevocationAcknowledgement {
        status: RevocationStatus::SUCCESS,
        sequence,
        flags: RevocationFlags(flags),
        options: options.finish(),
    };
    let mut message =
        Message::BindingRevocation(BindingRevocation::Acknowledgement(acknowledgement));
    if let Some((_, key, care_of)) = association {
        let octets = message.emit_unchecked();
        message = message.with_authenticator(&mn_ha_authenticator(&key, care_of, HOME, &octets));
    }
    let mh = message.emit(HOME, AGENT);
    if over_udp { mobility_packet(HOME, AGENT, None, None, &mh) } else { away(&mh) }
}

fn key(first: u8) -> Key {
    Key(core::array::from_fn(|at| first + u8::try_from(at).unwrap()))
}

#[test]
fn notices_are_those_of_the_vectors() {
    let vectors = Vectors::load();
    let lab = Lab::new(Authentication::None);
    let indication = lab.notify(CareOf::Ipv6(COA1), revocation());
    assert_eq!(indication.packet, vectors.packet("V20"));
    assert_eq!((indication.outer, indication.kind), (None, ReplyKind::RevocationIndication));
    let switch = lab.notify(CareOf::Ipv6(COA1), switch());
    assert_eq!(switch.packet, vectors.packet("V23"));
    assert_eq!((switch.outer, switch.kind), (None, ReplyKind::HomeAgentSwitch));
}

#[test]
fn the_vector_of_the_answer_reaches_the_revocation_with_its_sequence_number() {
    let packet = Vectors::load().packet("V21");
    let mut lab = Lab::new(Authentication::None);
    let silence = Outcome::Silent(Silence::UnknownRevocation);
    assert_eq!(lab.send(&packet, None), Seen::Revoked(silence.clone()), "nothing was revoked");
    let Received::Revocation(read) = receive(Arrival { packet: &packet, outer: None }) else {
        panic!("not read");
    };
    let answer = RevocationAnswer { home_address: HOME, sequence: 0x42 };
    assert_eq!(read.judge(&lab.policy()), Ok(Command::RevocationAnswer(answer)));
    // The log index is the sequence number: go on until it is that of the vector.
    while lab.cache.revision() < 0x40 {
        let batch = Batch { at: lab.at, commands: Vec::new() };
        let verdicts: Vec<Verdict> = lab.cache.apply(lab.cache.revision() + 1, batch);
        assert!(verdicts.is_empty());
    }
    assert_eq!(lab.revoking("V01"), 0x42);
    assert_eq!(lab.send(&packet, None), Seen::Revoked(Outcome::Done));
    assert!(lab.cache.home(HOME).unwrap().bindings.is_empty());
    assert_eq!(lab.send(&packet, None), Seen::Revoked(silence));
}

/// RFC 5847 is for gateways and anchors: its messages are as good as unknown.
#[test]
fn a_stray_heartbeat_is_answered_with_a_binding_error() {
    let mut lab = Lab::new(Authentication::None);
    let Seen::Replied(reply) = lab.send(&Vectors::load().packet("V24"), None) else {
        panic!("no reply");
    };
    let seen = walk(&reply.packet).unwrap();
    assert_eq!((seen.header.source, seen.header.destination), (AGENT, SECOND_AGENT));
    let pseudo = PseudoHeader::mobility(AGENT, SECOND_AGENT);
    let Ok(Message::BindingError(error)) = Message::parse(seen.payload, pseudo) else {
        panic!("no Binding Error");
    };
    assert_eq!(error.status, BindingErrorStatus::UNRECOGNIZED_MH_TYPE);
    assert_eq!(error.home_address, Ipv6Addr::UNSPECIFIED, "it named none");
    assert!(matches!(reply.kind, ReplyKind::BindingError(_)));
}

#[test]
fn each_kind_of_care_of_address_is_reached_its_way() {
    let mut lab = Lab::new(Authentication::None);
    let lacking = dispatch(BEHIND_NAT, revocation());
    assert_eq!(notify(&lacking, &lab.policy(), [7; 16]), Err(DropReason::HomeAgentNotServed));
    let record = lab.policy().home_prefix.unwrap().record;
    let home_prefix = HomePrefix { home_agent_ipv4: Some(AGENT_V4), ..record };
    lab.run(Command::PutHomePrefix { home_prefix, must_not_exist: false });
    let endpoints =
        UdpOuter { peer: (Ipv4Addr::new(203, 0, 113, 7), 40_001), local: (AGENT_V4, 4191) };
    for message in [revocation(), switch()] {
        let plain_ipv4 = match BEHIND_NAT {
            CareOf::Ipv4 { address, port, .. } => {
                CareOf::Ipv4 { address, port, announced: address, udp: false }
            }
            CareOf::Ipv6(_) => panic!("not IPv4"),
        };
        let rows = [
            (BEHIND_NAT, Some(endpoints)),
            (plain_ipv4, Some(endpoints)),
            (CareOf::Ipv6(HOME), None),
        ];
        for (care_of, outer) in rows {
            let reply = lab.notify(care_of, message.clone());
            let seen = walk(&reply.packet).unwrap();
            assert_eq!(reply.outer, outer, "{care_of:?}");
            assert_eq!((seen.header.source, seen.header.destination), (AGENT, HOME));
            assert_eq!((seen.upper, seen.routing_home_address), (protocol::MOBILITY, None));
            assert!(Message::parse(seen.payload, seen.pseudo_header()).is_ok());
        }
    }
    let foreign = Dispatch { home_agent: SECOND_AGENT, ..lacking };
    assert_eq!(notify(&foreign, &lab.policy(), [7; 16]), Err(DropReason::HomeAgentNotServed));
}

#[test]
fn what_is_sent_is_authenticated_under_the_address_that_the_node_knows() {
    let mut lab = Lab::authenticated();
    let record = lab.policy().home_prefix.unwrap().record;
    let home_prefix = HomePrefix { home_agent_ipv4: Some(AGENT_V4), ..record };
    lab.run(Command::PutHomePrefix { home_prefix, must_not_exist: false });
    let announced = Ipv4Addr::new(192, 168, 1, 20).to_ipv6_mapped();
    let rows = [(CareOf::Ipv6(COA1), COA1), (CareOf::Ipv6(HOME), HOME), (BEHIND_NAT, announced)];
    for (care_of, covered) in rows {
        for message in [revocation(), switch()] {
            let packet = lab.notify(care_of, message).packet;
            let outer = walk(&packet).unwrap();
            let tunnelled = outer.upper == protocol::IPV6;
            let seen = if tunnelled { walk(outer.payload).unwrap() } else { outer };
            let message = Message::parse(seen.payload, seen.pseudo_header()).unwrap();
            let options: Vec<_> = message.options().iter().collect();
            let identity = options.iter().any(|option| {
                matches!(option, MobilityOption::MobileNodeIdentifier { subtype: 1, identifier }
                    if *identifier == b"mn1@example.com")
            });
            assert!(identity, "{options:?}");
            let Some(MobilityOption::Authentication { subtype: 1, spi: 0x100, data }) =
                options.last()
            else {
                panic!("{options:?}");
            };
            assert!(seen.payload.ends_with(data), "nothing stands behind");
            let expected = mn_ha_authenticator(&key(0x10), covered, HOME, seen.payload);
            assert_eq!(*data, expected);
        }
    }
    lab.run(Command::DeleteSubscriber(HOME));
    let keyless = dispatch(CareOf::Ipv6(COA1), revocation());
    assert_eq!(notify(&keyless, &lab.policy(), [7; 16]), Err(DropReason::NoSecurityAssociation));
}

#[test]
fn only_an_authentic_answer_counts() {
    let mut lab = Lab::authenticated();
    let sequence = lab.revoking("V14");
    let with =
        |spi, first, care_of| acknowledgement(sequence, 0, Some((spi, key(first), care_of)), false);
    let rows = [
        ("authentication_missing", acknowledgement(sequence, 0, None, false)),
        ("no_security_association", with(0x101, 0x10, COA1)),
        ("authentication_failed", with(0x100, 0x11, COA1)),
        ("authentication_failed", with(0x100, 0x10, SECOND_AGENT)),
    ];
    for (reason, packet) in rows {
        assert_eq!(lab.drops(&packet), reason);
    }
    assert!(!lab.cache.home(HOME).unwrap().bindings.is_empty());
    assert_eq!(lab.send(&with(0x100, 0x10, COA1), None), Seen::Revoked(Outcome::Done));
    assert!(lab.cache.home(HOME).unwrap().bindings.is_empty());
}

#[test]
fn an_answer_names_the_node_by_option_or_as_source() {
    let mut lab = Lab::new(Authentication::None);
    let sequence = lab.revoking("V01");
    let peer = (Ipv4Addr::new(203, 0, 113, 7), 40_001);
    let outer = Some(UdpOuter { peer, local: (AGENT_V4, 4191) });
    let proxy = acknowledgement(sequence, 0x8000, None, true);
    assert_eq!(lab.send(&proxy, outer), Seen::Dropped("not_for_home_agent".to_string()));
    let packet = acknowledgement(sequence, 0, None, true);
    assert_eq!(lab.send(&packet, outer), Seen::Revoked(Outcome::Done));

    let (mut over_udp, key) = (Lab::authenticated(), key(0x10));
    let sequence = over_udp.revoking("V14");
    let association = Some((0x100, key, peer.0.to_ipv6_mapped()));
    let packet = acknowledgement(sequence, 0, association, true);
    assert_eq!(over_udp.send(&packet, outer), Seen::Revoked(Outcome::Done));
}

#[test]
fn what_only_a_home_agent_says_is_not_for_one() {
    let mut lab = Lab::new(Authentication::None);
    let indication = lab.notify(CareOf::Ipv6(HOME), revocation()).packet;
    assert_eq!(lab.drops(&indication), "not_for_home_agent");
    let nowhere = acknowledgement(1, 0, None, false);
    let elsewhere = mobility_packet(
        SECOND_AGENT,
        AGENT,
        Some(Ipv6Addr::LOCALHOST),
        None,
        &nowhere[walk(&nowhere).unwrap().upper_offset..],
    );
    assert!(matches!(lab.send(&elsewhere, None), Seen::Dropped(_)));
}

proptest! {
    /// A damaged answer ends no binding.
    #[test]
    fn a_damaged_answer_revokes_nothing(edits in prop::collection::vec((0_usize..200, any::<u8>()), 1..4)) {
        let mut lab = Lab::authenticated();
        let sequence = lab.revoking("V14");
        let packet = acknowledgement(sequence, 0, Some((0x100, key(0x10), COA1)), false);
        let mut damaged = packet.clone();
        // Behind the IPv6 header: its hop limit and flow label may change on the way.
        for (at, octet) in edits {
            let at = 40 + at % (packet.len() - 40);
            damaged[at] = octet;
        }
        // The octets of padding in the Home Address option's header mean nothing.
        damaged[42..46].copy_from_slice(&packet[42..46]);
        if damaged != packet {
            prop_assert_ne!(lab.send(&damaged, None), Seen::Revoked(Outcome::Done));
            prop_assert!(!lab.cache.home(HOME).unwrap().bindings.is_empty());
        }
    }
}

/// RFC 5846 §7.2 leaves it to the home agent what a refusal means: the bindings go all the same.
#[test]
fn a_revocation_that_is_refused_is_done_all_the_same() {
    for status in [0, 1, 128, 129, 130, 131, 132, 133, 134, 135, 255] {
        let mut lab = Lab::new(Authentication::None);
        let acknowledgement = BindingRevocationAcknowledgement {
            status: RevocationStatus(status),
            sequence: lab.revoking("V01"),
            flags: RevocationFlags::default(),
            options: BindingRevocation::builder().finish(),
        };
        let message = BindingRevocation::Acknowledgement(acknowledgement);
        let packet = away(&Message::BindingRevocation(message).emit(HOME, AGENT));
        assert_eq!(lab.send(&packet, None), Seen::Revoked(Outcome::Done), "{status}");
        assert!(lab.cache.home(HOME).unwrap().bindings.is_empty(), "{status}");
    }
}
