use std::net::{IpAddr, Ipv6Addr};

use homeport_api::inspection::{TraceRequest, TraceResponse, trace_response::Event};
use homeport_forwarding::{Action, DropReason, Ingress, Table};
use tokio::sync::{mpsc, oneshot};

use super::{Inspect, Inspection, Target, TraceLimits, service::read};
use crate::{config::InspectionConfig, limits};

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 9);

fn inspection() -> Inspection {
    let listen = ([127, 0, 0, 1], 0).into();
    let config = InspectionConfig { listen, traces_max: 2.into(), home_addresses_counted_max: 0 };
    Inspection::new(Some(&config), None, 4191)
}

fn begin(
    inspection: &mut Inspection,
    packets: u32,
) -> Result<mpsc::Receiver<TraceResponse>, tonic::Status> {
    let (reply, mut answer) = oneshot::channel();
    let target = Target { address: IpAddr::V6(HOME), is_host: true };
    let limits = TraceLimits { care_of: None, secs: 5, packets, snap_octets: 44 };
    inspection.on_request(Inspect::Trace { target, limits, reply }, &Table::new(), true, 0);
    answer.try_recv().expect("is answered")
}

fn packet(to: Ipv6Addr) -> Vec<u8> {
    let mut octets = vec![0x60, 0, 0, 0, 0, 8, 59, 64];
    octets.extend(OTHER.octets());
    octets.extend(to.octets());
    octets.extend([0; 8]);
    octets
}

fn pass(inspection: &mut Inspection, to: Ipv6Addr) {
    let packet = packet(to);
    let table = Table::new();
    let arrived = inspection.arrived(&table, &Ingress::Ip(&packet));
    let seen = inspection.prepare(&Action::Drop(DropReason::FlowDiscarded));
    inspection.done(&table, &arrived, seen.as_ref(), Some("flow_discarded"));
}

#[test]
fn a_drop_is_shown_with_its_packet_and_the_section_that_asks_for_it() {
    let mut inspection = inspection();
    let mut stream = begin(&mut inspection, 100).expect("begins");
    pass(&mut inspection, OTHER);
    pass(&mut inspection, HOME);
    assert!(matches!(stream.try_recv().expect("is there").event, Some(Event::Started(_))));
    let mut stages = Vec::new();
    while let Ok(message) = stream.try_recv() {
        let Some(Event::Packet(packet)) = message.event else { panic!("no packet") };
        assert_eq!((packet.octets.len(), packet.length_octets), (44, 48));
        stages.push((packet.stage, packet.direction, packet.decision, packet.rfc_section));
    }
    let dropped = (3, 1, "flow_discarded".to_owned(), "RFC 6089".to_owned());
    assert_eq!(stages, [(1, 1, String::new(), String::new()), dropped]);
}

#[test]
fn a_slow_reader_is_told_how_many_it_has_missed() {
    let mut inspection = inspection();
    let mut stream = begin(&mut inspection, 100_000).expect("begins");
    for _ in 0..limits::TRACE_WAITING_MAX {
        pass(&mut inspection, HOME);
    }
    assert!(inspection.look(5_000), "its time is over");
    let mut last = None;
    let mut packets = 0;
    while let Ok(message) = stream.try_recv() {
        packets += usize::from(matches!(message.event, Some(Event::Packet(_))));
        last = Some(message);
    }
    let last = last.expect("there are some");
    assert!(matches!(&last.event, Some(Event::Ended(it)) if it.reason == "duration"), "{last:?}");
    assert_eq!(packets, limits::TRACE_WAITING_MAX);
    assert_eq!(last.missed, u64::try_from(limits::TRACE_WAITING_MAX).expect("is small"));
}

#[test]
fn a_client_that_vanishes_gives_its_home_address_back() {
    let mut inspection = inspection();
    let stream = begin(&mut inspection, 10).expect("begins");
    assert!(inspection.watched().contains(&HOME));
    assert!(!inspection.look(1), "it goes on");
    drop(stream);
    assert!(inspection.look(2));
    assert!(inspection.watched().is_empty());
}

#[test]
fn traces_are_bounded_in_number_and_in_packets() {
    let mut inspection = inspection();
    let mut first = begin(&mut inspection, 3).expect("begins");
    let _second = begin(&mut inspection, 3).expect("begins");
    let refused = begin(&mut inspection, 3).expect_err("is one too many");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("inspection.traces_max"), "{refused}");
    for _ in 0..5 {
        pass(&mut inspection, HOME);
    }
    inspection.look(1);
    let mut events = Vec::new();
    while let Ok(message) = first.try_recv() {
        events.extend(message.event);
    }
    assert_eq!(events.len(), 5, "begin, three packets, end: {events:?}");
    assert!(matches!(&events[4], Event::Ended(it) if it.reason == "packets" && it.packets == 3));
}

#[test]
fn a_refused_request_names_its_field() {
    let fine = TraceRequest {
        address: "2001:db8:0:1::7".to_owned(),
        care_of: String::new(),
        duration_secs: 1,
        packets_max: 1,
        snap_octets: 1,
    };
    assert!(read(&fine).is_ok());
    let rows = [
        ("address", TraceRequest { address: "node".to_owned(), ..fine.clone() }),
        ("care_of", TraceRequest { care_of: "x".to_owned(), ..fine.clone() }),
        ("duration_secs", TraceRequest { duration_secs: 3601, ..fine.clone() }),
        ("packets_max", TraceRequest { packets_max: 1_000_001, ..fine.clone() }),
        ("snap_octets", TraceRequest { snap_octets: 0, ..fine }),
    ];
    for (field, request) in rows {
        let refused = read(&request).expect_err(field);
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
    }
}
