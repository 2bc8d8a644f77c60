use homeport_wire::{PacketBuilder, encapsulate_v6};

use super::*;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);

fn config() -> IpsecConfig {
    toml::from_str(&format!(
        r#"
            suite = "aes-cbc-hmac-sha2-256"
            send = {{ spi = 256, encryption_key = "{0}", authentication_key = "{0}{0}" }}
            receive = {{ spi = 257, encryption_key = "{1}", authentication_key = "{1}{1}" }}
        "#,
        "11".repeat(16),
        "22".repeat(16),
    ))
    .unwrap()
}

/// The home agent's side is the node's, turned around.
fn pair() -> (Protection, Protection) {
    let turned = IpsecConfig { send: config().receive, receive: config().send, ..config() };
    let node = config().protection(HOME, 1000).unwrap();
    (node, turned.protection(AGENT, 1).unwrap())
}

fn mobility(mh_type: u8) -> Vec<u8> {
    vec![59, 1, mh_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn signalling_goes_in_esp_and_data_does_not() {
    let (mut node, mut agent) = pair();
    let update = PacketBuilder::new(CARE_OF, AGENT)
        .home_address_option(Some(HOME))
        .build(protocol::MOBILITY, &mobility(5));
    let transmit = Transmit::Ipv6 { from: CARE_OF, packet: update.clone() };
    let Transmit::Ipv6 { packet, .. } = node.outgoing(transmit, AGENT) else { panic!() };
    let walked = walk(&packet).unwrap();
    assert_eq!((walked.upper, walked.pseudo_source()), (protocol::ESP, HOME));
    assert_eq!(EspHeader::parse(walked.payload), Some(EspHeader { spi: 256, sequence: 1001 }));
    assert_eq!(agent.incoming(packet.clone(), CARE_OF), Ok(update));
    assert_eq!(agent.incoming(packet, CARE_OF), Err("esp_replayed"));
    let data = encapsulate_v6(&[0x60; 40], CARE_OF, AGENT, 64, 0, 0);
    let transmit = Transmit::Udp { from: [192, 0, 2, 1].into(), payload: data };
    assert_eq!(node.outgoing(transmit.clone(), AGENT), transmit);
}

#[test]
fn answers_in_the_clear_are_not_believed() {
    let (mut node, mut agent) = pair();
    let answer = |mh_type| {
        PacketBuilder::new(AGENT, CARE_OF)
            .routing_home_address(Some(HOME))
            .build(protocol::MOBILITY, &mobility(mh_type))
    };
    assert_eq!(node.incoming(answer(6), AGENT), Err("esp_required"));
    assert_eq!(node.incoming(answer(7), AGENT), Ok(answer(7)), "an error");
    let sealed = protect(&answer(6), &agent.sending, 5, [9; 16]).unwrap();
    assert_eq!(node.incoming(sealed, AGENT), Ok(answer(6)));
    // A Home Agent Switch: ESP inside the tunnel.
    let switch = PacketBuilder::new(AGENT, HOME).build(protocol::MOBILITY, &mobility(12));
    let sealed = protect(&switch, &agent.sending, 6, [9; 16]).unwrap();
    let tunnelled = |inner: &[u8]| encapsulate_v6(inner, AGENT, CARE_OF, 64, 0, 0);
    assert_eq!(node.incoming(tunnelled(&sealed), AGENT), Ok(tunnelled(&switch)));
    assert_eq!(node.incoming(tunnelled(&switch), AGENT), Err("esp_required"));
    agent.sent = 0;
}

#[test]
fn what_cannot_be_is_named() {
    type Spoil = fn(&mut IpsecConfig);
    let rows: [(&str, Spoil); 5] = [
        ("ipsec.suite", |it| it.suite = "aes-gcm-16".to_owned()),
        ("ipsec.suite", |it| it.suite = "des".to_owned()),
        ("ipsec.send.spi", |it| it.send.spi = 255),
        ("ipsec.receive.encryption_key", |it| it.receive.encryption_key = "xyz".to_owned()),
        ("ipsec.receive", |it| it.receive.authentication_key = "11".to_owned()),
    ];
    for (key, spoil) in rows {
        let mut wrong = config();
        spoil(&mut wrong);
        assert_eq!(wrong.protection(HOME, 1).map(drop).unwrap_err().key, key);
    }
}
