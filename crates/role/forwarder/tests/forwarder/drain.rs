//! Draining: others get the traffic, and what comes all the same is forwarded.

use std::{net::SocketAddr, time::Duration};

use homeport_api::feed::WatchResponse;
use homeport_wire::{PacketBuilder, protocol};

use crate::{
    fakes::*,
    fast_path::{SENT_DOWN, far_end, xdp},
    tun::{CARE_OF, Laboratory, routed},
    udp::MobileNode,
};

const DRAINING: &str = "homeport_forwarder_draining";
const DRAINED: &str = "homeport_forwarder_drained";
const LIFETIME: Duration = Duration::from_secs(600);

/// The store has it so from now on, in streams that there are and in new ones.
pub(crate) async fn want_drained(store: &RunningStore, revision: u64, drained: bool) {
    let message = WatchResponse { drained, ..message(revision, vec![]) };
    store.begins_with(vec![message.clone()]);
    store.say(message).await;
}

#[tokio::test]
async fn it_is_not_ready_at_once_serves_on_and_then_leaves_its_socket_to_others() {
    let store_port = free_port();
    let mut store = RunningStore::start(store_port, vec![snapshot(1, vec![])]);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], None);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    let node = MobileNode::at(21, &forwarder).await;
    let homes = vec![bound(HOME, node.address(), LIFETIME)];
    let bound = message(2, homes);
    store.begins_with(vec![bound.clone()]);
    store.say(bound).await;
    forwarder.until("homeport_forwarder_home_addresses", 1.0).await;
    assert!(forwarder.is_ready().await && node.reaches_the_home_agent(HOME).await);

    want_drained(&store, 3, true).await;
    forwarder.until(DRAINING, 1.0).await;
    assert!(!forwarder.is_ready().await);
    assert!(node.reaches_the_home_agent(HOME).await, "what comes is forwarded");
    assert!(!in_time("a report", store.reported.recv()).await.unwrap(), "it has only begun");
    // Packets that come all the time do not keep it from leaving.
    let coming = async {
        loop {
            node.send(&[0]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = forwarder.until(DRAINED, 1.0) => {}
        () = coming => {}
    }
    while !in_time("a report", store.reported.recv()).await.unwrap() {}
    assert!(!node.reaches_the_home_agent(HOME).await, "the socket is left");

    want_drained(&store, 4, false).await;
    forwarder.until(DRAINING, 0.0).await;
    while in_time("a report", store.reported.recv()).await.unwrap() {}
    assert!(forwarder.is_ready().await && node.reaches_the_home_agent(HOME).await);
    assert_eq!(forwarder.metric(DRAINED).await, 0.0);
}

#[tokio::test]
async fn who_is_to_be_drained_when_it_starts_is_never_ready() {
    let store_port = free_port();
    let first = WatchResponse { drained: true, ..snapshot(1, vec![]) };
    let mut store = RunningStore::start(store_port, vec![first]);
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], None);
    forwarder.until(DRAINED, 1.0).await;
    assert!(!forwarder.is_ready().await);
    while !in_time("a report", store.reported.recv()).await.unwrap() {}
    want_drained(&store, 2, false).await;
    forwarder.until(DRAINING, 0.0).await;
    assert!(forwarder.is_ready().await);
}

#[tokio::test]
async fn routes_go_first_and_the_fast_path_when_nothing_comes_any_more() {
    let Some(mut far_end) = far_end() else { return };
    let laboratory = Laboratory::build().await;
    laboratory.world.namespace().run(|| far_end.accept_redirected("down")).unwrap().unwrap();
    let edge = laboratory.edge.namespace();
    let store_port = free_port();
    let homes = vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), LIFETIME)];
    let store = RunningStore::start(store_port, vec![snapshot(1, homes)]);
    let xdp = Some(xdp(homeport_forwarder::XdpMode::Native));
    let tun = Some(laboratory.tun());
    let forwarder = RunningForwarder::with_xdp("drain", &[store_port], &[free_port()], tun, xdp);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    in_time("routes into the TUN", routed(&edge, true)).await;
    let down = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[1; 32]);
    let by_xdp = async |more_than: f64| {
        in_time("a packet by XDP", async {
            while forwarder.metric(SENT_DOWN).await <= more_than {
                laboratory.rest.send(&down).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    by_xdp(0.0).await;

    want_drained(&store, 2, true).await;
    forwarder.until(DRAINING, 1.0).await;
    in_time("no routes into the TUN", routed(&edge, false)).await;
    // For longer than it waits when nothing comes.
    for _ in 0..5 {
        by_xdp(forwarder.metric(SENT_DOWN).await).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(forwarder.metric(DRAINED).await, 0.0, "something comes");
    forwarder.until(DRAINED, 1.0).await;
    let sent = forwarder.metric(SENT_DOWN).await;
    for _ in 0..20 {
        laboratory.rest.send(&down).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(forwarder.metric(SENT_DOWN).await, sent, "off");

    want_drained(&store, 3, false).await;
    in_time("routes into the TUN", routed(&edge, true)).await;
    by_xdp(sent).await;
}
