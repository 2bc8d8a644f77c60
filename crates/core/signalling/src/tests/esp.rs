//! Signalling in ESP: the vector of others in, its answer back under the same association.

use homeport_binding::{
    DispatchMessage, Origin, Protects, Revoke, SecurityAssociation, Silence, Verdict,
};
use homeport_esp::{Keys, Suite, Transform, unprotect};
use homeport_wire::{Icmpv6, PacketBuilder, RevocationTrigger, protocol};

use super::*;

const INBOUND_SPI: u32 = 0xc001;
const OUTBOUND_SPI: u32 = 0xc002;

fn gcm_keys() -> Keys {
    let key = (0..16).chain([0xca, 0xfe, 0xba, 0xbe]).collect();
    Keys { encryption: key, authentication: Vec::new() }
}

fn outbound_keys() -> Keys {
    Keys { encryption: vec![0x55; 36], authentication: Vec::new() }
}

pub(super) fn association() -> SecurityAssociation {
    SecurityAssociation {
        home_address: HOME,
        protects: Protects::Mobility,
        suite: Suite::AesGcm16,
        extended_sequence_numbers: false,
        replay_window: 64,
        inbound_spi: INBOUND_SPI,
        inbound: gcm_keys(),
        outbound_spi: OUTBOUND_SPI,
        outbound: outbound_keys(),
        origin: Origin::Ike {
            agent: "ike-1".to_string(),
            address: "192.0.2.1:7400".to_string(),
            request_id: 7,
        },
    }
}

pub(super) fn lab() -> Lab {
    let prefix = HomePrefix {
        prefix_discovery_allowed: true,
        bindings_per_home_address_max: 8,
        ..home_prefix(Authentication::Ipsec)
    };
    let mut lab = Lab::with(prefix);
    lab.provision(Subscriber::new(HOME));
    lab.put(association());
    lab
}

impl Lab {
    fn put(&mut self, association: SecurityAssociation) {
        let put = Command::PutSecurityAssociation { association, must_not_exist: true };
        assert_eq!(self.run(put).outcome, Outcome::Done);
    }
}

fn sealing() -> Transform {
    Transform::new(Suite::AesGcm16, INBOUND_SPI, false, gcm_keys()).unwrap()
}

pub(super) fn sealed(packet: &[u8], sequence: u64) -> Vec<u8> {
    homeport_esp::protect(packet, &sealing(), sequence, [0; 16]).unwrap()
}

/// The sequence number of an answer, and what is in it.
fn opened(reply: &Reply) -> (u64, Vec<u8>) {
    let walked = walk(&reply.packet).unwrap();
    assert_eq!(walked.upper, protocol::ESP);
    let header = homeport_esp::EspHeader::parse(walked.payload).unwrap();
    assert_eq!(header.spi, OUTBOUND_SPI);
    let transform = Transform::new(Suite::AesGcm16, OUTBOUND_SPI, false, outbound_keys()).unwrap();
    let sequence = header.sequence.into();
    (sequence, unprotect(&reply.packet, &walked, &transform, sequence).unwrap())
}

#[test]
fn the_vector_in_esp_is_answered_in_esp() {
    let vectors = Vectors::load();
    let mut lab = lab();
    let reply = lab.answer(&vectors.packet("V31"), None);
    let (sequence, plain) = opened(&reply);
    assert_eq!(sequence, 1);
    assert_eq!(plain, without_k(&vectors.packet("V02")), "what V01 is answered in the clear");
    // Each next one has the next number, in either direction.
    let reply = lab.answer(&sealed(&vectors.packet("V03"), 2), None);
    let (sequence, plain) = opened(&reply);
    assert_eq!((sequence, plain), (2, without_k(&vectors.packet("V04"))));
}

#[test]
fn what_comes_in_the_clear_is_dropped() {
    let vectors = Vectors::load();
    let mut lab = lab();
    assert_eq!(lab.drops(&vectors.packet("V01")), "esp_required");
    assert_eq!(lab.drops(&vectors.packet("V14")), "esp_required", "another proof is none");
    assert_eq!(lab.cache.home_address_count(), 0);
}

#[test]
fn a_replay_is_dropped_before_and_by_the_store() {
    let vectors = Vectors::load();
    let mut lab = lab();
    let before = lab.cache.policy(HOME, AGENT);
    lab.answer(&vectors.packet("V31"), None);
    assert_eq!(lab.drops(&vectors.packet("V31")), "esp_replayed");
    // A front-end whose policy is older hears it from the store.
    let packet = vectors.packet("V31");
    let Received::Protected(again) = receive(Arrival { packet: &packet, outer: None }) else {
        panic!("not in ESP");
    };
    let Received::Update(update) = again.open(&before).unwrap() else { panic!("no update") };
    let Judged::Propose(proposal) = update.judge(&before) else { panic!("not judged") };
    let verdict: Verdict = lab.run(proposal.command([99; 16]));
    assert_eq!(verdict.outcome, Outcome::Silent(Silence::EspReplayed));
    assert_eq!(verdict.esp, None);
}

/// RFC 6275 §5.1: who has a key of his own registers his own home address alone.
#[test]
fn nobody_registers_the_home_address_of_another() {
    let vectors = Vectors::load();
    let mut lab = lab();
    let victim: Ipv6Addr = "2001:db8:0:1::200".parse().unwrap();
    lab.provision(Subscriber::new(victim));
    let mut other = association();
    other.home_address = victim;
    other.inbound_spi = 0xd001;
    lab.put(other);
    // The Home Address option says another than the one that the association is of.
    let mut packet = vectors.packet("V31");
    let at = packet.windows(16).position(|window| window == HOME.octets()).unwrap();
    packet[at..at + 16].copy_from_slice(&victim.octets());
    assert_eq!(lab.drops(&packet), "no_security_association");
    // With an SPI that the victim has, the key is not that of the packet.
    let upper = walk(&packet).unwrap().upper_offset;
    packet[upper..upper + 4].copy_from_slice(&0xd001_u32.to_be_bytes());
    assert_eq!(lab.drops(&packet), "esp_integrity");
    assert_eq!(lab.cache.home_address_count(), 0);
}

#[test]
fn a_packet_that_the_association_is_not_for_is_dropped() {
    let mut lab = lab();
    let solicitation = Icmpv6::MobilePrefixSolicitation { identifier: 5 };
    let care_of = "2001:db8:a::11".parse().unwrap();
    let solicitation = PacketBuilder::new(care_of, AGENT)
        .home_address_option(Some(HOME))
        .build(protocol::ICMPV6, &solicitation.emit(HOME, AGENT));
    assert_eq!(lab.drops(&sealed(&solicitation, 1)), "esp_selector");
    let other =
        PacketBuilder::new(care_of, AGENT).home_address_option(Some(HOME)).build(17, &[0; 16]);
    assert_eq!(lab.drops(&sealed(&other, 2)), "esp_selector");
    // With an association for it, it is answered in ESP, and no longer in the clear (RFC 3776 §3.2).
    assert!(matches!(lab.send(&solicitation, None), Seen::Answered(_)));
    let mut both = association();
    both.protects = Protects::Signalling;
    both.inbound_spi += 2;
    lab.put(both);
    assert_eq!(lab.drops(&solicitation), "esp_required");
    let transform = Transform::new(Suite::AesGcm16, INBOUND_SPI + 2, false, gcm_keys()).unwrap();
    let packet = homeport_esp::protect(&solicitation, &transform, 9, [0; 16]).unwrap();
    let (sequence, plain) = opened(&lab.answer(&packet, None));
    assert_eq!(sequence, 1);
    let walked = walk(&plain).unwrap();
    let answer = Icmpv6::parse(walked.payload, walked.pseudo_header()).unwrap();
    assert!(matches!(answer, Icmpv6::MobilePrefixAdvertisement { identifier: 5, .. }));
    assert_eq!(lab.drops(&packet), "esp_replayed");
}

/// RFC 5846 §6.1 and RFC 5142 §5.1: what the home agent says of its own accord is under the same association,
/// and numbered by the log.
#[test]
fn what_the_home_agent_says_is_in_esp_too() {
    let vectors = Vectors::load();
    let mut lab = lab();
    lab.answer(&vectors.packet("V31"), None);
    let trigger = RevocationTrigger::ADMINISTRATIVE;
    let revoke = Revoke { home_address: HOME, bids: Vec::new(), trigger };
    assert_eq!(lab.run(Command::Revoke(revoke)).outcome, Outcome::Done);
    let due = lab.cache.take_notices();
    let policy = lab.cache.policy(HOME, AGENT);
    let indication = notify(&due[0], &policy, [7; 16]).unwrap();
    let (sequence, plain) = opened(&indication);
    assert_eq!(sequence, 2, "the acknowledgement had 1");
    assert_eq!(walk(&plain).unwrap().upper, protocol::MOBILITY);
    // A switch goes through the tunnel, ESP inside.
    let mut switch = due[0].clone();
    switch.message = DispatchMessage::Switch { addresses: Vec::new(), time_left: None };
    let outer = notify(&switch, &policy, [7; 16]).unwrap();
    let tunnelled = walk(&outer.packet).unwrap();
    assert_eq!(tunnelled.upper, protocol::IPV6);
    assert_eq!(walk(tunnelled.payload).unwrap().upper, protocol::ESP);
    // Without a number nothing is sent in the clear.
    switch.esp = None;
    assert_eq!(notify(&switch, &policy, [7; 16]), Err(DropReason::NoSecurityAssociation));
}

proptest! {
    /// Nobody without a key changes anything: octets of any kind under the SPI of an association.
    #[test]
    fn forged_octets_register_nothing(octets in prop::collection::vec(any::<u8>(), 0..160)) {
        let mut lab = lab();
        let esp = [&INBOUND_SPI.to_be_bytes()[..], &octets].concat();
        let care_of = "2001:db8:a::11".parse().unwrap();
        let packet =
            PacketBuilder::new(care_of, AGENT).home_address_option(Some(HOME)).build(protocol::ESP, &esp);
        prop_assert!(lab.drops(&packet).starts_with("esp_"));
        prop_assert_eq!(lab.cache.home_address_count(), 0);
    }
}
