//! Without privileges: mobile nodes with IPv4 care-of addresses, on loopback.

use std::{net::SocketAddr, time::Duration};

use homeport_api::signalling::{PuntRequest, PuntResponse};
use homeport_wire::{Icmpv6, PacketBuilder, mobility_packet, protocol, walk};
use tokio::{net::UdpSocket, time::Instant};

use crate::fakes::*;

const LIFETIME: Duration = Duration::from_secs(60);
/// What a mobile node sends first; whether it makes sense is for the front-end.
const MOBILITY_HEADER: [u8; 16] = [59, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 10, 1, 2, 0, 0];

/// A mobile node at 127.0.0.x.
pub(crate) struct MobileNode {
    socket: UdpSocket,
    agent: SocketAddr,
}

impl MobileNode {
    pub(crate) async fn at(host: u8, forwarder: &RunningForwarder) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).await.unwrap();
        Self { socket, agent: forwarder.udp.into() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.agent).await.unwrap();
    }

    async fn recv(&self, what: &str) -> Vec<u8> {
        let mut packet = vec![0; 2000];
        let (len, from) = in_time(what, self.socket.recv_from(&mut packet)).await.unwrap();
        assert_eq!(from, self.agent);
        packet.truncate(len);
        packet
    }

    async fn hears_nothing_for(&self, time: Duration) {
        let mut packet = [0; 2000];
        let heard = tokio::time::timeout(time, self.socket.recv_from(&mut packet)).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// True when the home agent answers an echo request within a second.
    pub(crate) async fn reaches_the_home_agent(&self, home: std::net::Ipv6Addr) -> bool {
        let request = Icmpv6::EchoRequest { identifier: 1, sequence: 2, data: b"?" };
        let request =
            PacketBuilder::new(home, AGENT).build(protocol::ICMPV6, &request.emit(home, AGENT));
        self.send(&request).await;
        let mut packet = [0; 2000];
        let answered = async {
            loop {
                let (len, _) = self.socket.recv_from(&mut packet).await.unwrap();
                let walk = walk(&packet[..len]).unwrap();
                // The home agent asks for a refresh too, when the end of the binding is near.
                if walk.upper != protocol::MOBILITY {
                    let message = Icmpv6::parse(walk.payload, walk.pseudo_header()).unwrap();
                    return message == Icmpv6::EchoReply { identifier: 1, sequence: 2, data: b"?" };
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(1), answered).await.unwrap_or(false)
    }
}

fn binding_update(home: std::net::Ipv6Addr) -> Vec<u8> {
    mobility_packet(home, AGENT, None, None, &MOBILITY_HEADER)
}

fn answer_to(request: &PuntRequest, revision: u64) -> (PuntResponse, Vec<u8>) {
    let home = walk(&request.packet).unwrap().header.source;
    let packet = mobility_packet(AGENT, home, None, None, &MOBILITY_HEADER);
    let response = PuntResponse {
        ticket: request.ticket,
        packet: packet.clone().into(),
        outer: request.outer.clone(),
        revision,
        draining: None,
    };
    (response, packet)
}

#[tokio::test]
async fn a_binding_update_goes_up_and_its_answer_waits_for_the_table() {
    let (store_port, front_end_port) = (free_port(), free_port());
    let store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let mut front_end = RunningFrontEnd::start(front_end_port);
    let forwarder = RunningForwarder::start(&[store_port], &[front_end_port], None);
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    assert!(forwarder.is_ready().await);

    let node = MobileNode::at(2, &forwarder).await;
    node.send(&binding_update(HOME)).await;
    let (request, answers) = in_time("punt", front_end.asked.recv()).await.unwrap();
    assert_eq!(request.packet, binding_update(HOME));
    let outer = request.outer.clone().unwrap();
    let SocketAddr::V4(peer) = node.address() else { panic!("IPv4") };
    assert_eq!(
        (&outer.peer_address[..], outer.peer_port),
        (&[127, 0, 0, 2][..], peer.port().into())
    );
    assert_eq!(outer.local_port, u32::from(forwarder.udp.port()));
    assert!(request.ticket > 0 && request.arrived_ms > 0);

    // The store has committed revision 5, but this forwarder has not heard of it yet.
    let (answer, packet) = answer_to(&request, 5);
    answers.send(Ok(answer)).await.unwrap();
    node.hears_nothing_for(Duration::from_millis(20)).await;
    store.say(message(5, vec![bound(HOME, node.address(), LIFETIME)])).await;
    assert_eq!(node.recv("answer").await, packet);
    let sent = |how: &str| format!("homeport_forwarder_answers_total{{sent=\"{how}\"}}");
    forwarder.until(&sent("after_its_revision"), 1.0).await;
    assert!(node.reaches_the_home_agent(HOME).await, "with the answer the tunnel works");

    // A revision that does not come: the answer goes after 50 ms.
    let (late, packet) = answer_to(&request, 99);
    let begun = Instant::now();
    answers.send(Ok(late)).await.unwrap();
    assert_eq!(node.recv("late answer").await, packet);
    assert!(begun.elapsed() >= Duration::from_millis(49), "{:?}", begun.elapsed());
    forwarder.until(&sent("before_its_revision"), 1.0).await;
    let (known, packet) = answer_to(&request, 5);
    answers.send(Ok(known)).await.unwrap();
    assert_eq!(node.recv("answer of a known revision").await, packet);
    forwarder.until(&sent("at_once"), 1.0).await;
}

#[tokio::test]
async fn data_passes_between_bound_nodes_and_from_nobody_else() {
    let store_port = free_port();
    let store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], None);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let other_home = std::net::Ipv6Addr::from_bits(HOME.to_bits() + 1);
    let (one, two) = (MobileNode::at(2, &forwarder).await, MobileNode::at(3, &forwarder).await);
    let homes =
        vec![bound(HOME, one.address(), LIFETIME), bound(other_home, two.address(), LIFETIME)];
    store.say(message(2, homes)).await;
    forwarder.until("homeport_forwarder_revision", 2.0).await;
    forwarder.until("homeport_forwarder_home_addresses", 2.0).await;

    let packet = PacketBuilder::new(HOME, other_home).build(protocol::UDP, &[7; 40]);
    one.send(&packet).await;
    let mut expected = packet.clone();
    expected[7] -= 1;
    assert_eq!(two.recv("packet from the other").await, expected);

    // The same from somebody else's socket, and signalling while no front-end is there.
    let stranger = MobileNode::at(4, &forwarder).await;
    stranger.send(&packet).await;
    let dropped = |reason: &str| format!("homeport_forwarder_drops_total{{reason=\"{reason}\"}}");
    forwarder.until(&dropped("tunnel_source_not_bound"), 1.0).await;
    stranger.send(&binding_update(HOME)).await;
    forwarder.until(&dropped("no_front_end"), 1.0).await;
    two.hears_nothing_for(Duration::from_millis(50)).await;

    store.say(message(3, vec![unbound(other_home)])).await;
    forwarder.until("homeport_forwarder_revision", 3.0).await;
    one.send(&packet).await;
    let error = one.recv("error").await;
    let walk = walk(&error).unwrap();
    let message = Icmpv6::parse(walk.payload, walk.pseudo_header()).unwrap();
    assert_eq!(message, Icmpv6::DestinationUnreachable { code: 3, invoking: &packet });
}

#[tokio::test]
async fn cut_off_it_goes_on_until_each_binding_ends_and_resumes_where_it_was() {
    let (first_port, second_port) = (free_port(), free_port());
    let forwarder = RunningForwarder::start(&[first_port, second_port], &[free_port()], None);
    let node = MobileNode::at(2, &forwarder).await;
    let lifetime = Duration::from_secs(4);
    let begun = Instant::now();
    let homes = vec![bound(HOME, node.address(), lifetime)];
    let mut first = RunningStore::start(first_port, vec![snapshot(7, homes)]);
    forwarder.until("homeport_forwarder_revision", 7.0).await;
    assert_eq!(first.asked.recv().await, Some(0), "it knows nothing yet");
    assert!(node.reaches_the_home_agent(HOME).await);

    drop(first);
    forwarder.until("homeport_forwarder_feed_connected", 0.0).await;
    while begun.elapsed() < lifetime - Duration::from_millis(1500) {
        assert!(node.reaches_the_home_agent(HOME).await, "headless");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep_until(begun + lifetime + Duration::from_millis(100)).await;
    assert!(!node.reaches_the_home_agent(HOME).await, "never past the binding's end");
    assert!(forwarder.is_ready().await, "being cut off is no reason to be taken out of service");

    let homes = vec![bound(HOME, node.address(), LIFETIME)];
    let mut second = RunningStore::start(second_port, vec![message(9, homes)]);
    forwarder.until("homeport_forwarder_revision", 9.0).await;
    assert_eq!(second.asked.recv().await, Some(7), "only what it has missed");
    assert!(node.reaches_the_home_agent(HOME).await);
}

#[tokio::test]
async fn a_silent_or_lagging_replica_is_left_for_another() {
    let (silent_port, lagging_port, good_port) = (free_port(), free_port(), free_port());
    let forwarder = RunningForwarder::start(&[good_port], &[free_port()], None);
    let others =
        RunningForwarder::start(&[silent_port, lagging_port, good_port], &[free_port()], None);
    let node = MobileNode::at(2, &others).await;
    let homes = vec![bound(HOME, node.address(), LIFETIME)];
    let good = RunningStore::start(good_port, vec![snapshot(5, homes)]);
    forwarder.until("homeport_forwarder_revision", 5.0).await;
    others.until("homeport_forwarder_revision", 5.0).await;

    // The good one goes away; the others accept connections but are of no use.
    let _silent = RunningStore::start(silent_port, vec![]);
    let mut lagging = RunningStore::start(lagging_port, vec![snapshot(3, vec![])]);
    drop(good);
    in_time("asked", lagging.asked.recv()).await;
    for _ in 0..5 {
        lagging.say(message(3, vec![])).await;
        assert!(node.reaches_the_home_agent(HOME).await, "an older state is not taken");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let _good = RunningStore::start(good_port, vec![message(6, vec![])]);
    others.until("homeport_forwarder_revision", 6.0).await;
    forwarder.until("homeport_forwarder_revision", 6.0).await;
    let digest = "homeport_forwarder_table_digest";
    assert_eq!(forwarder.metric(digest).await, others.metric(digest).await);
    assert_ne!(forwarder.metric(digest).await, 0.0);
}

#[tokio::test]
async fn signalling_moves_to_another_front_end_when_one_breaks() {
    let (store_port, ports) = (free_port(), [free_port(), free_port()]);
    let _store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let mut front_ends = ports.map(RunningFrontEnd::start);
    let forwarder = RunningForwarder::start(&[store_port], &ports, None);
    forwarder.until("homeport_forwarder_front_ends_connected", 2.0).await;
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let node = MobileNode::at(2, &forwarder).await;
    let home = |host: u16| std::net::Ipv6Addr::from_bits(HOME.to_bits() + u128::from(host));

    for round in 0..2 {
        for host in 0..16 {
            node.send(&binding_update(home(host))).await;
        }
        let [a, b] = &mut front_ends;
        let (mut at_a, mut at_b) = (0, 0);
        in_time("sixteen punts", async {
            while at_a + at_b < 16 {
                tokio::select! {
                    Some(_) = a.asked.recv() => at_a += 1,
                    Some(_) = b.asked.recv() => at_b += 1,
                }
            }
        })
        .await;
        assert!(at_a > 0 && at_b > 0, "round {round}: {at_a}, {at_b}");
    }

    let [mut left, lost] = front_ends;
    drop(lost);
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    for host in 0..16 {
        node.send(&binding_update(home(host))).await;
    }
    for _ in 0..16 {
        in_time("punts to the one that is left", left.asked.recv()).await.unwrap();
    }
    let mut back = RunningFrontEnd::start(ports[1]);
    forwarder.until("homeport_forwarder_front_ends_connected", 2.0).await;
    for host in 0..16 {
        node.send(&binding_update(home(host))).await;
    }
    in_time("punts to the one that is back", back.asked.recv()).await.unwrap();
}

#[tokio::test]
async fn packets_leave_a_front_end_that_is_drained_and_what_it_has_is_answered() {
    let (store_port, ports) = (free_port(), [free_port(), free_port()]);
    let store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let mut front_ends = ports.map(RunningFrontEnd::start);
    let forwarder = RunningForwarder::start(&[store_port], &ports, None);
    forwarder.until("homeport_forwarder_front_ends_connected", 2.0).await;
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let node = MobileNode::at(2, &forwarder).await;
    node.send(&binding_update(HOME)).await;
    let [a, b] = &mut front_ends;
    let (request, answers, is_a) = in_time("punt", async {
        tokio::select! {
            Some((request, answers)) = a.asked.recv() => (request, answers, true),
            Some((request, answers)) = b.asked.recv() => (request, answers, false),
        }
    })
    .await;
    let draining = |draining| PuntResponse { draining: Some(draining), ..PuntResponse::default() };
    answers.send(Ok(draining(true))).await.unwrap();
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    let (drained, other) = if is_a { (a, b) } else { (b, a) };
    for _ in 0..4 {
        node.send(&binding_update(HOME)).await;
        in_time("punts to the other one", other.asked.recv()).await.unwrap();
    }
    assert!(drained.asked.try_recv().is_err());
    // What it had got before is answered through it.
    store.say(message(2, vec![bound(HOME, node.address(), LIFETIME)])).await;
    forwarder.until("homeport_forwarder_revision", 2.0).await;
    let (answer, packet) = answer_to(&request, 2);
    answers.send(Ok(answer)).await.unwrap();
    assert_eq!(node.recv("answer").await, packet);
    answers.send(Ok(draining(false))).await.unwrap();
    forwarder.until("homeport_forwarder_front_ends_connected", 2.0).await;
    node.send(&binding_update(HOME)).await;
    in_time("its senders are its own again", drained.asked.recv()).await.unwrap();
}

#[tokio::test]
async fn it_ends_when_told_and_says_what_is_wrong_with_a_configuration() {
    let store_port = free_port();
    let _store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], None);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    forwarder.shutdown.begin();
    in_time("the end", forwarder.task).await.unwrap().unwrap();

    let none = RunningForwarder::start(&[], &[free_port()], None);
    let error = none.task.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "stores: is a list of 0; expected a list of 1 to 64 entries");
}
