//! Two decoders over the same octets.

use std::ops::RangeInclusive;

use homeport_wire::{
    BidCareOf, BinarySelector, Message, MobilityOption, Selector, TrafficSelector, protocol, walk,
};

use super::input::mended_mobility;
use super::second::{self, SeenRange};

/// Both accept the same packets and find the same in them. The first octet decides whether the
/// Mobility Header is mended first.
pub(super) fn packet(octets: &[u8]) {
    let Some((mend, octets)) = octets.split_first() else { return };
    compare(octets);
    if mend & 1 == 0 {
        return;
    }
    let Ok(found) = walk(octets) else { return };
    let header = mended_mobility(found.payload, found.pseudo_header());
    let mut mended = octets[..found.upper_offset].to_vec();
    mended[found.next_header_offset] = protocol::MOBILITY;
    mended.extend_from_slice(&header);
    let payload_len = u16::try_from(mended.len() - 40).expect("short");
    mended[4..6].copy_from_slice(&payload_len.to_be_bytes());
    compare(&mended);
}

fn compare(octets: &[u8]) {
    let (first, second) = (walk(octets), second::packet(octets));
    let (Ok(first), Some(second)) = (&first, &second) else {
        assert_eq!(first.is_ok(), second.is_some(), "{first:?} {second:?}");
        return;
    };
    assert_eq!(first.header.source.octets(), second.source);
    assert_eq!(first.header.destination.octets(), second.destination);
    assert_eq!((first.upper, first.upper_offset), (second.upper, second.upper_at));
    assert_eq!(first.payload, &octets[second.upper_at..second.end]);
    let option = first.home_address.map(|option| (option.offset, option.address.octets()));
    assert_eq!(option, second.home_address);
    assert_eq!(first.routing_home_address.map(|address| address.octets()), second.routed_to);
    if first.upper != protocol::MOBILITY {
        return;
    }
    let source = second.home_address.map_or(second.source, |(_, address)| address);
    let destination = second.routed_to.unwrap_or(second.destination);
    let message = Message::parse(first.payload, first.pseudo_header());
    let seen = second::mobility(first.payload, source, destination);
    let (Ok(message), Some(seen)) = (&message, &seen) else {
        assert_eq!(message.is_ok(), seen.is_some(), "{message:?} {seen:?}");
        return;
    };
    assert_eq!(message.mh_type(), seen.mh_type);
    assert_eq!(message.options_offset(), seen.options_at);
    let mut options = seen.options.iter();
    for (at, option) in message.options().entries() {
        let (offset, kind, len) = *options.next().expect("as many options");
        assert_eq!((at + seen.options_at, option.kind()), (offset, kind));
        compare_option(&option, &first.payload[offset + 2..offset + 2 + len]);
    }
    assert_eq!(options.next(), None, "as many options");
    compare_fields(message, first.payload);
}

fn compare_option(option: &MobilityOption<'_>, data: &[u8]) {
    let expected = second::has_right_length(option.kind(), data.len());
    let found = match option {
        MobilityOption::Unknown { .. } => None,
        MobilityOption::Malformed { .. } => Some(false),
        _ => Some(true),
    };
    assert_eq!(found, expected, "{option:?}");
    match option {
        MobilityOption::BindingIdentifier(bid) => {
            assert_eq!(bid.bid.0.to_be_bytes(), data[..2]);
            assert_eq!((bid.status.0, bid.home), (data[2], data[3] >= 128));
            assert_eq!(bid.priority.value(), data[3] % 128);
            match bid.care_of {
                BidCareOf::Absent => assert_eq!(data.len(), 4),
                BidCareOf::V4(address) => assert_eq!(address.octets(), data[4..]),
                BidCareOf::V6(address) => assert_eq!(address.octets(), data[4..]),
            }
        }
        MobilityOption::AlternateCareOf(address) => assert_eq!(address.octets(), data),
        MobilityOption::NonceIndices { home, care_of } => {
            assert_eq!([home.to_be_bytes(), care_of.to_be_bytes()].concat(), data);
        }
        MobilityOption::BindingAuthorizationData(authenticator) => {
            assert_eq!(authenticator[..], *data);
        }
        MobilityOption::Authentication { subtype, spi, data: rest } => {
            assert_eq!((*subtype, spi.to_be_bytes()[..].as_ref()), (data[0], &data[1..5]));
            assert_eq!(*rest, &data[5..]);
        }
        MobilityOption::MobileNetworkPrefix { length, prefix } => {
            assert_eq!((*length, prefix.octets()[..].as_ref()), (data[1], &data[2..]));
        }
        MobilityOption::Ipv4HomeAddress { prefix_len, prefix_wanted, address } => {
            assert_eq!((*prefix_len, *prefix_wanted), (data[0] / 4, data[0] % 4 >= 2));
            assert_eq!(address.octets(), data[2..]);
        }
        _ => {}
    }
}

/// The fixed parts of the messages that change bindings.
fn compare_fields(message: &Message<'_>, octets: &[u8]) {
    match message {
        Message::BindingUpdate(update) => {
            assert_eq!(update.sequence.0.to_be_bytes(), octets[6..8]);
            assert_eq!(update.flags.0.to_be_bytes(), octets[8..10]);
            assert_eq!(update.lifetime.0.to_be_bytes(), octets[10..12]);
        }
        Message::BindingAcknowledgement(ba) => {
            assert_eq!([ba.status.0, ba.flags.0], octets[6..8]);
            assert_eq!(ba.sequence.0.to_be_bytes(), octets[8..10]);
            assert_eq!(ba.lifetime.0.to_be_bytes(), octets[10..12]);
        }
        Message::BindingError(error) => {
            assert_eq!(error.status.0, octets[6]);
            assert_eq!(error.home_address.octets(), octets[8..24]);
        }
        Message::HomeTest(test) => {
            assert_eq!(test.nonce_index.to_be_bytes(), octets[6..8]);
            assert_eq!([test.cookie, test.token].concat(), octets[8..24]);
        }
        Message::CareOfTest(test) => {
            assert_eq!(test.nonce_index.to_be_bytes(), octets[6..8]);
            assert_eq!([test.cookie, test.token].concat(), octets[8..24]);
        }
        _ => {}
    }
}

/// RFC 6088 §3: the first octet is the format.
pub(super) fn selector(octets: &[u8]) {
    let Some((format, octets)) = octets.split_first() else { return };
    // So that most inputs have a format that is known.
    let format = format % 4;
    let first = TrafficSelector { format, octets }.decode();
    let second = second::selector(format, octets);
    let (Ok(first), Some(second)) = (&first, &second) else {
        assert_eq!(first.is_ok(), second.is_some(), "{first:?} {second:?}");
        return;
    };
    let ranges = match first {
        BinarySelector::Ipv4(selector) => {
            let mut ranges = ranges(selector, |address| address.octets().to_vec());
            // There is no flow label in IPv4.
            assert_eq!(ranges.remove(3), None);
            ranges
        }
        BinarySelector::Ipv6(selector) => ranges(selector, |address| address.octets().to_vec()),
    };
    let seen = |range: &SeenRange| {
        let (from, to, width) = *range;
        (octets[from..from + width].to_vec(), octets[to..to + width].to_vec())
    };
    let seen: Vec<_> = second.iter().map(|range| range.as_ref().map(seen)).collect();
    assert_eq!(ranges, seen);
}

/// Start and end of a field that is there, as octets.
type Ends = Option<(Vec<u8>, Vec<u8>)>;

fn ranges<A>(selector: &Selector<A>, address: fn(&A) -> Vec<u8>) -> Vec<Ends> {
    fn ends<T>(range: Option<&RangeInclusive<T>>, octets: impl Fn(&T) -> Vec<u8>) -> Ends {
        range.map(|range| (octets(range.start()), octets(range.end())))
    }
    let long = |value: &u32| value.to_be_bytes().to_vec();
    let short = |value: &u16| value.to_be_bytes().to_vec();
    let octet = |value: &u8| vec![*value];
    vec![
        ends(selector.source.as_ref(), address),
        ends(selector.destination.as_ref(), address),
        ends(selector.spi.as_ref(), long),
        ends(selector.flow_label.as_ref(), long),
        ends(selector.source_port.as_ref(), short),
        ends(selector.destination_port.as_ref(), short),
        ends(selector.traffic_class.as_ref(), octet),
        ends(selector.protocol.as_ref(), octet),
    ]
}
