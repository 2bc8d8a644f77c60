//! Sub-options of flows (RFC 6089) and traffic selectors (RFC 6088).

use std::net::Ipv4Addr;

use homeport_wire::{
    Bid, BinarySelector, BindingUpdate, FlowIdentification, FlowIds, FlowStatus, FlowSubOption,
    MobilityOption, Selector, SelectorRefusal, TrafficSelector,
};

use crate::support::{CARE_OF_1, CARE_OF_2, unhex};

/// RFC 6089 §4.2.
#[test]
fn sub_options_of_a_flow() {
    // Binding reference, Pad1, PadN of three octets, an action of RFC 7109, traffic selector.
    let sub_options = unhex("0204 00020003 00 010100 0403010203 0306 0200 00000000");
    let flow = FlowIdentification {
        fid: 4,
        priority: 10,
        status: FlowStatus::ACCEPTED,
        sub_options: &sub_options,
    };
    assert!(flow.is_well_formed());
    assert_eq!(flow.bids().collect::<Vec<_>>(), [Bid(2), Bid(3)]);
    let selector = flow.traffic_selector().unwrap();
    assert_eq!((selector.format, selector.octets), (2, &[0, 0, 0, 0][..]));
    let kinds: Vec<_> = flow.sub_options().collect();
    assert_eq!(kinds[1], FlowSubOption::Unknown { kind: 4, data: &[1, 2, 3] });
    assert_eq!(kinds.len(), 3);

    for (name, octets) in [
        ("overrun", "0206 0002"),
        ("type without length", "03"),
        ("odd reference", "0203 000200"),
        ("empty reference", "0200"),
        ("selector without format", "0301 01"),
        ("two references", "0202 0002 0202 0003"),
        ("two selectors", "0302 0100 0302 0100"),
    ] {
        let sub_options = unhex(octets);
        let malformed = FlowIdentification { sub_options: &sub_options, ..flow };
        assert!(!malformed.is_well_formed(), "{name}");
        assert!(malformed.sub_options().count() <= 2, "{name}");
    }
    let empty = FlowIdentification { sub_options: &[], ..flow };
    assert!(empty.is_well_formed());
    assert_eq!((empty.traffic_selector(), empty.bids().count()), (None, 0));
    assert_eq!(FlowIds::from_octets(&[0, 5, 0]), None);
}

/// RFC 6088 §3.1, §3.2.
#[test]
fn selectors_are_read_back() {
    let ipv6 = BinarySelector::Ipv6(Selector {
        source: Some(CARE_OF_1..=CARE_OF_1),
        destination: Some(CARE_OF_1..=CARE_OF_2),
        spi: Some(1..=2),
        flow_label: Some(3..=3),
        source_port: Some(4..=5),
        destination_port: Some(6..=6),
        traffic_class: Some(0xb8..=0xbc),
        protocol: Some(17..=17),
    });
    let ipv4 = BinarySelector::Ipv4(Selector {
        source: Some(Ipv4Addr::new(192, 0, 2, 0)..=Ipv4Addr::new(192, 0, 2, 255)),
        destination_port: Some(5060..=5061),
        protocol: Some(6..=6),
        ..Selector::ANY
    });
    // Flags by the letters of RFC 6088: A C D E F G I J K M N O, and A B I J M.
    let cases = [(ipv6, 2, 0b1011_1110_1110_1110_u32 << 16), (ipv4, 1, 0xc0c8_0000)];
    for (selector, format, flags) in cases {
        let octets = selector.octets();
        assert_eq!(selector.format(), format);
        assert_eq!(octets.first_chunk(), Some(&flags.to_be_bytes()));
        let read = |octets: &[u8]| TrafficSelector { format, octets }.decode();
        assert_eq!(read(&octets).as_ref(), Ok(&selector));
        for len in 0..octets.len() {
            assert_eq!(read(&octets[..len]), Err(SelectorRefusal::Malformed), "cut to {len}");
        }
        let longer = [&octets[..], &[0]].concat();
        assert_eq!(read(&longer), Err(SelectorRefusal::Malformed));
    }
}

#[test]
fn selectors_by_hand() {
    let read = |format, octets: &str| TrafficSelector { format, octets: &unhex(octets) }.decode();
    // The golden selector of V18.
    let golden = BinarySelector::Ipv6(Selector {
        destination_port: Some(5060..=5060),
        protocol: Some(17..=17),
        ..Selector::ANY
    });
    assert_eq!(read(2, "00220000 13c4 11"), Ok(golden));
    let refused = Err(SelectorRefusal::Malformed);
    assert_eq!(read(2, "00100000 13c4"), refused, "an end without a start");
    assert_eq!(read(2, "00100000"), refused, "an end without a start, and no octets");
    assert_eq!(read(3, "00220000 13c4 11"), Err(SelectorRefusal::UnknownFormat));
    let reserved = read(2, "0000ffff");
    assert_eq!(reserved, Ok(BinarySelector::Ipv6(Selector::ANY)), "reserved bits are ignored");
}

#[test]
fn a_selector_stands_where_its_fields_are_aligned() {
    use BinarySelector::{Ipv4, Ipv6};
    for (selector, modulus) in [
        (Ipv6(Selector { protocol: Some(6..=6), ..Selector::ANY }), 1),
        (Ipv6(Selector { source_port: Some(6..=6), ..Selector::ANY }), 2),
        (Ipv6(Selector { flow_label: Some(6..=6), ..Selector::ANY }), 4),
        (Ipv6(Selector { source: Some(CARE_OF_1..=CARE_OF_1), ..Selector::ANY }), 8),
        (Ipv4(Selector { spi: Some(6..=6), ..Selector::ANY }), 4),
        (Ipv4(Selector { destination_port: Some(6..=6), ..Selector::ANY }), 2),
    ] {
        let octets = selector.octets();
        let selector = TrafficSelector { format: selector.format(), octets: &octets };
        for bids in [&[][..], &[Bid(1)], &[Bid(1), Bid(2)], &[Bid(1), Bid(2), Bid(3)]] {
            (0..8).for_each(|shift| stands_aligned(selector, bids, shift, modulus));
        }
    }
}

/// Composes a flow behind an option of `shift` octets and looks where the selector went.
fn stands_aligned(selector: TrafficSelector<'_>, bids: &[Bid], shift: usize, modulus: usize) {
    let filler = vec![0xee; shift];
    let options = BindingUpdate::builder()
        .push(&MobilityOption::Unknown { kind: 200, data: &filler })
        .push_flow(1, 2, FlowStatus::ACCEPTED, bids, Some(selector))
        .finish();
    let (at, option) = options.entries().nth(1).unwrap();
    let MobilityOption::FlowIdentification(flow) = option else { panic!("{option:?}") };
    assert!(flow.is_well_formed());
    assert_eq!(flow.bids().collect::<Vec<_>>(), bids);
    assert_eq!(flow.traffic_selector(), Some(selector));
    // The sub-option ends the area: its head is four octets before the selector's.
    let in_area = flow.sub_options.len() - selector.octets.len() - 4;
    assert_eq!((12 + at + 8 + in_area) % modulus, 0);
}
