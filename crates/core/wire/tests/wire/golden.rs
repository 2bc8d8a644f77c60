//! Every golden packet parses, and emitting what was parsed gives the same octets.

use homeport_wire::{
    Icmpv6, Message, MobilityOption, Options, PseudoHeader, Status, protocol, walk,
};

use crate::support::{Layers, assemble, hex, layers, packets, pcap, vector, vectors};

#[test]
fn every_packet_is_put_together_again() {
    let mut count = 0;
    for (name, packet) in packets() {
        let layers = layers(&packet).unwrap_or_else(|error| panic!("{name}: {error}"));
        let payload = emitted(&name, &layers);
        assert_eq!(hex(&payload), hex(layers.walk.payload), "{name}: upper layer");
        assert_eq!(hex(&assemble(&layers, &payload)), hex(&packet), "{name}: packet");
        count += 1;
    }
    assert_eq!(count, 36 + 10);
}

/// Parses the upper layer and emits it.
fn emitted(name: &str, layers: &Layers<'_>) -> Vec<u8> {
    let walk = &layers.walk;
    let (pseudo, payload) = (walk.pseudo_header(), walk.payload);
    match walk.upper {
        protocol::MOBILITY => {
            let message =
                Message::parse(payload, pseudo).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(message.wire_len(), payload.len(), "{name}");
            assert_eq!(
                &payload[message.options_offset()..],
                message.options().octets(),
                "{name}: option area"
            );
            message.emit(pseudo.source, pseudo.destination)
        }
        protocol::ICMPV6 => {
            let message =
                Icmpv6::parse(payload, pseudo).unwrap_or_else(|error| panic!("{name}: {error}"));
            message.emit(pseudo.source, pseudo.destination)
        }
        protocol::ESP => payload.to_vec(),
        other => panic!("{name}: protocol {other}"),
    }
}

#[test]
fn every_clear_mobility_header_is_emitted_as_it_was() {
    let clear: Vec<_> = vectors().into_iter().filter(|vector| vector.has_clear_mh()).collect();
    assert_eq!(clear.len(), 30);
    for vector in clear {
        let layers = layers(&vector.packet).unwrap();
        let pseudo = layers.walk.pseudo_header();
        assert_eq!(layers.walk.payload, vector.mh, "{}", vector.id);
        let message = Message::parse(&vector.mh, pseudo).unwrap();
        let owned = message.clone().into_owned();
        assert_eq!(message, owned, "{}", vector.id);
        assert_eq!(
            hex(&owned.emit(pseudo.source, pseudo.destination)),
            hex(&vector.mh),
            "{}",
            vector.id
        );
    }
}

#[test]
fn what_esp_protects_is_v01_and_v02() {
    for (encrypted, clear) in [("V31", "V01"), ("V32", "V02")] {
        let outside = vector(encrypted);
        let walk = walk(&outside.packet).unwrap();
        assert!(outside.is_encrypted());
        assert_eq!(walk.upper, protocol::ESP);
        // The addresses around ESP are enough to check what comes out of it.
        let pseudo = PseudoHeader::mobility(walk.pseudo_source(), walk.pseudo_destination());
        assert_eq!(outside.mh, vector(clear).mh);
        assert!(Message::parse(&outside.mh, pseudo).is_ok());
    }
}

#[test]
fn options_of_vectors_are_all_understood() {
    for vector in vectors().into_iter().filter(|vector| vector.has_clear_mh()) {
        let layers = layers(&vector.packet).unwrap();
        let message = Message::parse(layers.walk.payload, layers.walk.pseudo_header()).unwrap();
        for (at, option) in message.options().entries() {
            assert!(
                !matches!(
                    option,
                    MobilityOption::Unknown { .. } | MobilityOption::Malformed { .. }
                ),
                "{}: {option:?}",
                vector.id
            );
            assert_eq!(message.options().octets()[at], option.kind());
        }
    }
}

#[test]
fn a_third_party_mobile_node_is_understood() {
    let frames = pcap("captures/mobile-node-f1.pcap");
    let update = layers(&frames[0]).unwrap().walk;
    let home = update.home_address.unwrap();
    assert_eq!(home.address.to_string(), "2001:db8:a::100");
    assert_eq!(home.offset, 46, "the option behind a PadN of four octets");
    let message = Message::parse(update.payload, update.pseudo_header()).unwrap();
    let Message::BindingUpdate(update) = message else { panic!("{message:?}") };
    assert_eq!((update.sequence.0, update.flags.0, update.lifetime.secs()), (0x67fd, 0xc000, 60));
    let care_of = "2001:db8:f1::ff:fe00:e".parse().unwrap();
    assert_eq!(
        update.options.iter().collect::<Vec<_>>(),
        [MobilityOption::AlternateCareOf(care_of)]
    );

    let answer = layers(&frames[1]).unwrap().walk;
    assert_eq!(answer.routing_home_address, Some(home.address));
    let message = Message::parse(answer.payload, answer.pseudo_header()).unwrap();
    let Message::BindingAcknowledgement(answer) = message else { panic!("{message:?}") };
    assert_eq!((answer.status, answer.sequence.0), (Status::ACCEPTED, 0x67fd));
    assert_eq!(answer.options, Options::EMPTY);
}
