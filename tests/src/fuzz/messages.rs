//! Messages and options: what is read can be written, and says the same when it is read again.

use std::net::Ipv6Addr;

use homeport_wire::options::kind;
use homeport_wire::{
    Bid, FlowIdentification, FlowStatus, Icmpv6, Message, MobilityOption, Options, OptionsBuilder,
    PseudoHeader, Refusal, TrafficSelector, with_checksum_zeroed,
};

use super::input::{mended_icmpv6, mended_mobility};

const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const DESTINATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);

/// RFC 6275 §6.1.
pub(super) fn mobility(octets: &[u8]) {
    let pseudo = PseudoHeader::mobility(SOURCE, DESTINATION);
    let _as_it_came = Message::parse(octets, pseudo);
    let header = mended_mobility(octets, pseudo);
    let Ok(message) = Message::parse(&header, pseudo) else { return };
    assert_eq!(message.mh_type(), header[2]);
    assert_eq!(&header[message.options_offset()..], message.options().octets());
    let again = message.emit(SOURCE, DESTINATION);
    assert_eq!((again.len(), message.wire_len()), (header.len(), header.len()));
    assert_eq!(Message::parse(&again, pseudo).as_ref(), Ok(&message));
    // Only reserved fields of the fixed part may differ, and the checksum with them.
    let options = message.options_offset();
    assert_eq!(again[options..], header[options..]);
    assert_eq!(again[..3], header[..3]);
    assert_eq!(with_checksum_zeroed(&again), message.emit_unchecked());
    area(message.options());
    assert_eq!(message.clone().into_owned(), message);
}

/// RFC 6275 §6.2.
pub(super) fn options(octets: &[u8]) {
    if let Ok(parsed) = Options::parse(octets, 12) {
        area(&parsed);
        rebuilt(&parsed);
    }
}

fn area(options: &Options<'_>) {
    let mut end = 0;
    for (at, option) in options.entries() {
        assert!(at >= end, "options do not overlap");
        let octets = options.octets();
        assert_eq!(octets[at], option.kind());
        end = at + 2 + usize::from(octets[at + 1]);
        assert_eq!(MobilityOption::decode(option.kind(), &octets[at + 2..end]), option);
        if let MobilityOption::FlowIdentification(flow) = option {
            flow_option(&flow);
        }
    }
    assert!(end <= options.octets().len());
    if let Some(len) = options.authenticator_len() {
        let filled = options.clone().into_owned().with_authenticator(&vec![0x5a; len]);
        assert_eq!(filled.octets().len(), options.octets().len());
        assert!(filled.octets().ends_with(&vec![0x5a; len]));
    }
}

/// The builder writes every option that was read, unless its place forbids it.
fn rebuilt(options: &Options<'_>) {
    let mut builder = OptionsBuilder::for_binding_update();
    let mut written = Vec::new();
    for option in options.iter() {
        match builder.try_push(&option) {
            Ok(()) => written.push(option),
            Err(Refusal::HeaderFull | Refusal::AfterAuthenticator) => {}
            Err(refusal) => panic!("{option:?}: {refusal:?}"),
        }
    }
    let area = builder.finish();
    assert_eq!((area.octets().len() + 12) % 8, 0);
    assert_eq!(area.iter().collect::<Vec<_>>(), written);
    assert_eq!(Options::parse(area.octets(), 12).as_ref(), Ok(&area));
}

/// RFC 6089 §4.2, RFC 6088 §3.
pub(super) fn flows(octets: &[u8]) {
    let octets = &octets[..octets.len().min(255)];
    match MobilityOption::decode(kind::FLOW_IDENTIFICATION, octets) {
        MobilityOption::FlowIdentification(flow) => flow_option(&flow),
        MobilityOption::Malformed { .. } => assert!(octets.len() < 6),
        other => panic!("{other:?}"),
    }
    if let [format, rest @ ..] = octets {
        selector(TrafficSelector { format: *format, octets: rest });
    }
    if let MobilityOption::FlowSummary(fids) = MobilityOption::decode(kind::FLOW_SUMMARY, octets) {
        assert_eq!(fids.iter().count() * 2, octets.len());
    }
}

fn flow_option(flow: &FlowIdentification<'_>) {
    let count = flow.sub_options().count();
    let bids: Vec<Bid> = flow.bids().collect();
    if let Some(found) = flow.traffic_selector() {
        selector(found);
    }
    if !flow.is_well_formed() {
        return;
    }
    assert!(count >= usize::from(!bids.is_empty()));
    let mut builder = OptionsBuilder::for_binding_update();
    let status = FlowStatus(0);
    builder.push_flow(flow.fid, flow.priority, status, &bids, flow.traffic_selector());
    let refusal = builder.refusal();
    let area = builder.finish();
    let Some(MobilityOption::FlowIdentification(again)) = area.iter().next() else {
        assert!(refusal.is_some());
        return;
    };
    assert_eq!((again.fid, again.priority), (flow.fid, flow.priority));
    assert!(again.is_well_formed());
    assert_eq!(again.bids().collect::<Vec<_>>(), bids);
    assert_eq!(again.traffic_selector(), flow.traffic_selector());
}

fn selector(selector: TrafficSelector<'_>) {
    let Ok(decoded) = selector.decode() else { return };
    assert_eq!(decoded.format(), selector.format);
    let octets = decoded.octets();
    let again = TrafficSelector { format: decoded.format(), octets: &octets };
    assert_eq!(again.decode().as_ref(), Ok(&decoded));
    assert!(octets.len() <= selector.octets.len(), "the shortest form is written");
}

/// RFC 4443, RFC 4861, RFC 6275 §6.5 to §6.8.
pub(super) fn icmpv6(octets: &[u8]) {
    let pseudo = PseudoHeader::icmpv6(SOURCE, DESTINATION);
    let _as_it_came = Icmpv6::parse(octets, pseudo);
    let mended = mended_icmpv6(octets, pseudo);
    let Ok(message) = Icmpv6::parse(&mended, pseudo) else { return };
    let again = message.emit(SOURCE, DESTINATION);
    assert_eq!(Icmpv6::parse(&again, pseudo).as_ref(), Ok(&message));
    match &message {
        Icmpv6::RouterSolicitation(options) | Icmpv6::MobilePrefixAdvertisement { options, .. } => {
            assert!(options.iter().count() <= mended.len());
        }
        _ => {}
    }
}
