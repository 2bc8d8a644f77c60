//! Cut off from every store: alarm, withdrawal, and the way back.

use std::{net::SocketAddr, time::Duration};

use homeport_wire::{PacketBuilder, protocol, walk};

use crate::{
    fakes::*,
    fast_path::{SENT_DOWN, far_end, xdp},
    tun::{CARE_OF, Laboratory, routed},
};

const STALE: &str = "homeport_forwarder_stale";
const WITHDRAWN: &str = "homeport_forwarder_withdrawn";
const LIFETIME: Duration = Duration::from_secs(600);

#[tokio::test]
async fn who_hears_no_store_says_so_withdraws_and_takes_only_what_changed() {
    let store_port = free_port();
    let forwarder = RunningForwarder::start(&[store_port], &[free_port()], None);
    let care_of = SocketAddr::from(([127, 0, 0, 9], 4191));
    let home = |host: u128| std::net::Ipv6Addr::from_bits(HOME.to_bits() + host);
    let homes = (0..50).map(|host| bound(home(host), care_of, LIFETIME)).collect();
    let mut store = RunningStore::start(store_port, vec![snapshot(7, homes)]);
    forwarder.until("homeport_forwarder_revision", 7.0).await;
    assert_eq!(store.asked.recv().await, Some(0));
    let before = forwarder.metric("homeport_forwarder_feed_changes_total").await;
    assert!(before >= 51.0, "{before}");
    assert_eq!((forwarder.metric(STALE).await, forwarder.metric(WITHDRAWN).await), (0.0, 0.0));
    assert!(forwarder.metric("homeport_forwarder_heard_timestamp_seconds").await > 1e9);

    drop(store);
    forwarder.until(STALE, 1.0).await;
    forwarder.until(WITHDRAWN, 1.0).await;
    assert!(!forwarder.is_ready().await, "somebody else is to have its traffic");
    assert_eq!(forwarder.metric("homeport_forwarder_home_addresses").await, 50.0);

    // One home address has changed meanwhile, and one is all that comes.
    let homes = vec![unbound(home(3))];
    let mut store = RunningStore::start(store_port, vec![message(9, homes)]);
    forwarder.until(WITHDRAWN, 0.0).await;
    forwarder.until("homeport_forwarder_revision", 9.0).await;
    assert_eq!(store.asked.recv().await, Some(7), "it says where it was");
    assert_eq!(forwarder.metric("homeport_forwarder_feed_changes_total").await, before + 1.0);
    assert_eq!(forwarder.metric("homeport_forwarder_home_addresses").await, 49.0);
    assert_eq!(forwarder.metric(STALE).await, 0.0);
    assert!(forwarder.is_ready().await);
}

#[tokio::test]
async fn withdrawing_takes_routes_and_fast_path_away_and_the_store_brings_them_back() {
    let Some(mut far_end) = far_end() else { return };
    let laboratory = Laboratory::build().await;
    laboratory.world.namespace().run(|| far_end.accept_redirected("down")).unwrap().unwrap();
    let edge = laboratory.edge.namespace();
    let store_port = free_port();
    let homes = || vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), LIFETIME)];
    let store = RunningStore::start(store_port, vec![snapshot(1, homes())]);
    let xdp = Some(xdp(homeport_forwarder::XdpMode::Native));
    let tun = Some(laboratory.tun());
    let forwarder = RunningForwarder::with_xdp("headless", &[store_port], &[free_port()], tun, xdp);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    in_time("routes into the TUN", routed(&edge, true)).await;
    let down = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[1; 32]);
    let fast = async |more_than: f64| {
        in_time("a packet by XDP", async {
            while forwarder.metric(SENT_DOWN).await <= more_than {
                laboratory.rest.send(&down).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    fast(0.0).await;

    drop(store);
    forwarder.until(STALE, 1.0).await;
    let sent = forwarder.metric(SENT_DOWN).await;
    fast(sent).await;
    forwarder.until(WITHDRAWN, 1.0).await;
    in_time("no routes into the TUN", routed(&edge, false)).await;
    // What was on its way before is not what is looked at.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = forwarder.metric(SENT_DOWN).await;
    for _ in 0..20 {
        laboratory.rest.send(&down).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(forwarder.metric(SENT_DOWN).await, sent, "off");

    let _store = RunningStore::start(store_port, vec![message(1, vec![])]);
    forwarder.until(WITHDRAWN, 0.0).await;
    in_time("routes into the TUN", routed(&edge, true)).await;
    fast(sent).await;
    in_time("a tunnelled packet", async {
        loop {
            let packet = laboratory.recv("a packet").await;
            if walk(&packet).unwrap().header.destination == CARE_OF {
                return;
            }
        }
    })
    .await;
}
