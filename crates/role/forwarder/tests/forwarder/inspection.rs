//! What operators see of one mobile node, on the portable path and beside the fast path.

use std::{net::SocketAddr, time::Duration};

use homeport_api::inspection::{
    Direction, ListTrafficRequest, Stage, TraceRequest, TraceResponse, TracedPacket, TrafficOrder,
    inspection_client::InspectionClient, trace_response::Event,
};
use homeport_forwarder::XdpMode;
use homeport_wire::{PacketBuilder, encapsulate_v6, protocol, walk};
use tokio::net::UdpSocket;
use tonic::{Code, Streaming, transport::Channel};

use crate::{
    fakes::*,
    fast_path::{SENT_DOWN, far_end, xdp},
    tun::{CARE_OF, Laboratory, routed},
};

const LIFETIME: Duration = Duration::from_secs(600);
const FROM_TUN: &str = r#"homeport_forwarder_packets_total{port="tun"}"#;

async fn client(forwarder: &RunningForwarder) -> InspectionClient<Channel> {
    InspectionClient::connect(format!("http://{}", forwarder.inspection)).await.unwrap()
}

fn request(packets_max: u32) -> TraceRequest {
    TraceRequest {
        address: HOME.to_string(),
        care_of: String::new(),
        duration_secs: 60,
        packets_max,
        snap_octets: 65_535,
    }
}

async fn next(stream: &mut Streaming<TraceResponse>) -> Event {
    in_time("an event", stream.message()).await.unwrap().unwrap().event.unwrap()
}

async fn next_packet(stream: &mut Streaming<TraceResponse>) -> TracedPacket {
    match next(stream).await {
        Event::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn how(packet: &TracedPacket) -> (Direction, Stage, &str, &str) {
    (packet.direction(), packet.stage(), &packet.decision, &packet.rfc_section)
}

#[tokio::test]
async fn a_spoofed_packet_is_shown_with_the_section_that_refuses_it_rfc6275_10_4_5() {
    let (store_port, front_end_port) = (free_port(), free_port());
    let socket = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    let homes = vec![bound(HOME, SocketAddr::from(([127, 0, 0, 2], 4000)), LIFETIME)];
    let _store = RunningStore::start(store_port, vec![snapshot(1, homes)]);
    let forwarder = RunningForwarder::start(&[store_port], &[front_end_port], None);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let mut client = client(&forwarder).await;
    let mut stream = client.trace(request(2)).await.unwrap().into_inner();
    let Event::Started(started) = next(&mut stream).await else { panic!("not begun") };
    assert_eq!((started.home_address, started.left_fast_path), (HOME.to_string(), false));

    let inner = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &[1; 32]);
    socket.send_to(&inner, forwarder.udp).await.unwrap();
    let arrived = next_packet(&mut stream).await;
    assert_eq!(how(&arrived), (Direction::FromMobileNode, Stage::Arrived, "", ""));
    assert!(arrived.outer_headers_rebuilt);
    assert_eq!(arrived.octets[28..], inner, "IPv4 and UDP headers before it");
    let dropped = next_packet(&mut stream).await;
    let section = "RFC 6275 section 10.4.5";
    let refused = (Direction::FromMobileNode, Stage::Dropped, "tunnel_source_not_bound", section);
    assert_eq!(how(&dropped), refused);
    let Event::Ended(ended) = next(&mut stream).await else { panic!("not ended") };
    assert_eq!((ended.reason.as_str(), ended.packets), ("packets", 2));

    let by_packets = TrafficOrder::Packets.into();
    let list = client.list_traffic(ListTrafficRequest { order: by_packets, limit: 10 }).await;
    let list = list.unwrap().into_inner();
    let [home] = &list.homes[..] else { panic!("{list:?}") };
    assert_eq!((&*home.home_address, home.from_mobile_node_packets), (&*HOME.to_string(), 1));
    assert_eq!((home.from_mobile_node_octets, home.dropped_packets), (28 + 72, 1));
    assert_eq!((home.to_mobile_node_packets, list.has_fast_path), (0, false));

    let wrong = client.trace(TraceRequest { duration_secs: 0, ..request(1) }).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().starts_with("duration_secs: 0; expected 1 to 3600"), "{wrong}");
    let unknown = TraceRequest { address: "198.51.100.9".to_owned(), ..request(1) };
    assert_eq!(client.trace(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_traced_mobile_node_leaves_the_fast_path_and_comes_back() {
    let Some(mut far_end) = far_end() else { return };
    let laboratory = Laboratory::build().await;
    laboratory.world.namespace().run(|| far_end.accept_redirected("down")).unwrap().unwrap();
    let (store_port, front_end_port) = (free_port(), free_port());
    let homes = vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), LIFETIME)];
    let _store = RunningStore::start(store_port, vec![snapshot(1, homes)]);
    let (tun, xdp) = (Some(laboratory.tun()), Some(xdp(XdpMode::Native)));
    let forwarder =
        RunningForwarder::with_xdp("traced", &[store_port], &[front_end_port], tun, xdp);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    in_time("routes into the TUN", routed(&laboratory.edge.namespace(), true)).await;
    let down = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[1; 32]);
    by_xdp(&laboratory, &forwarder, &down).await;

    let mut client = client(&forwarder).await;
    let mut stream = client.trace(request(1000)).await.unwrap().into_inner();
    let Event::Started(started) = next(&mut stream).await else { panic!("not begun") };
    assert!(started.left_fast_path);
    // From the first packet on: the trace began before it was said.
    laboratory.rest.send(&down).await.unwrap();
    let outer = laboratory.recv("tunnelled packet").await;
    let arrived = next_packet(&mut stream).await;
    assert_eq!(how(&arrived), (Direction::ToMobileNode, Stage::Arrived, "", ""));
    assert_eq!(arrived.octets[8..], down[8..]);
    let sent = next_packet(&mut stream).await;
    assert_eq!(how(&sent), (Direction::ToMobileNode, Stage::Sent, "send_ipv6", ""));
    // The kernel takes hop limits on the way.
    assert_eq!((&sent.octets[8..40], sent.octets.len()), (&outer[8..40], outer.len()));

    let inner = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &[2; 32]);
    laboratory.rest.send(&encapsulate_v6(&inner, CARE_OF, AGENT, 64, 0, 0)).await.unwrap();
    laboratory.recv("inner packet").await;
    let arrived = next_packet(&mut stream).await;
    assert_eq!(how(&arrived), (Direction::FromMobileNode, Stage::Arrived, "", ""));
    let opened = walk(&arrived.octets).unwrap();
    assert_eq!((opened.header.source, opened.header.destination), (CARE_OF, AGENT));
    let sent = next_packet(&mut stream).await;
    assert_eq!(how(&sent), (Direction::FromMobileNode, Stage::Sent, "send_ipv6", ""));

    // The client is gone without a word.
    drop(stream);
    drop(client);
    by_xdp(&laboratory, &forwarder, &down).await;
}

/// Sends until one passes by XDP, and not by the TUN.
async fn by_xdp(laboratory: &Laboratory, forwarder: &RunningForwarder, down: &[u8]) {
    let before = forwarder.metric(SENT_DOWN).await;
    in_time("a packet by XDP", async {
        while forwarder.metric(SENT_DOWN).await <= before {
            let by_tun = forwarder.metric(FROM_TUN).await;
            laboratory.rest.send(down).await.unwrap();
            laboratory.recv("tunnelled packet").await;
            if forwarder.metric(FROM_TUN).await > by_tun {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
}
