//! With privileges: the XDP program in front of a forwarder's TUN, on a veth pair.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use homeport_fastpath::FastPath;
use homeport_forwarder::{AtStop, XdpConfig, XdpMode};
use homeport_hostnet::privileges;
use homeport_wire::{PacketBuilder, encapsulate_v6, mobility_packet, protocol, walk};

use crate::{
    fakes::*,
    tun::{CARE_OF, Laboratory, routed},
};

pub(crate) const SENT_DOWN: &str =
    r#"homeport_forwarder_fast_packets_total{verdict="sent",cause="encapsulated"}"#;
pub(crate) const SENT_UP: &str =
    r#"homeport_forwarder_fast_packets_total{verdict="sent",cause="decapsulated"}"#;
const SPOOFED: &str =
    r#"homeport_forwarder_fast_packets_total{verdict="dropped",cause="tunnel_source_not_bound"}"#;
const FROM_TUN: &str = r#"homeport_forwarder_packets_total{port="tun"}"#;

/// The far end's program, without which a veth pair takes no redirected frames; `None` where there are
/// no privileges or no program, which is said loudly.
pub(crate) fn far_end() -> Option<FastPath> {
    let why = match (privileges(), FastPath::load(16)) {
        (Ok(()), Ok(path)) => return Some(path),
        (Err(unprivileged), _) => unprivileged.to_string(),
        // Root, and a program that was built: then it must load.
        (Ok(()), Err(homeport_fastpath::Error::NotBuilt)) => "built without clang".to_owned(),
        (Ok(()), Err(error)) => panic!("{error}"),
    };
    // Not by the macro: the test harness would keep that to itself.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "\n*** SKIPPED the fast path of a forwarder: {why}\n").unwrap();
    None
}

pub(crate) fn xdp(mode: XdpMode) -> XdpConfig {
    XdpConfig {
        mode,
        interfaces: vec!["up".to_owned()],
        home_addresses_max: 1000,
        pin_dir: Some(PathBuf::new()),
        keep_secs: 60,
        at_stop: AtStop::Remove,
    }
}

#[tokio::test]
async fn a_mobile_nodes_packets_pass_by_xdp() {
    let Some(mut far_end) = far_end() else { return };
    let laboratory = Laboratory::build().await;
    laboratory.world.namespace().run(|| far_end.accept_redirected("down")).unwrap().unwrap();
    let (store_port, front_end_port) = (free_port(), free_port());
    // Fast until the last half minute.
    let homes = vec![bound(HOME, SocketAddr::from((CARE_OF, 0)), Duration::from_secs(600))];
    let store = RunningStore::start(store_port, vec![snapshot(1, homes)]);
    let mut front_end = RunningFrontEnd::start(front_end_port);
    let (tun, xdp) = (Some(laboratory.tun()), Some(xdp(XdpMode::Native)));
    let forwarder = RunningForwarder::with_xdp("fast", &[store_port], &[front_end_port], tun, xdp);
    forwarder.until("homeport_forwarder_revision", 1.0).await;
    forwarder.until("homeport_forwarder_front_ends_connected", 1.0).await;
    in_time("routes into the TUN", routed(&laboratory.edge.namespace(), true)).await;

    // Until the next hop's address is known packets take the TUN; then the kernel takes no hop limit
    // on the way in and out.
    let down = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::UDP, &[1; 32]);
    in_time("a packet by XDP", async {
        loop {
            laboratory.rest.send(&down).await.unwrap();
            let outer = laboratory.recv("tunnelled packet").await;
            let opened = walk(&outer).unwrap();
            assert_eq!((opened.header.source, opened.header.destination), (AGENT, CARE_OF));
            if opened.payload[7] == down[7] - 2 {
                let mut expected = down.clone();
                expected[7] -= 2;
                return assert_eq!(opened.payload, expected);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    in_time("the counter", async {
        while forwarder.metric(SENT_DOWN).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let by_tun = forwarder.metric(FROM_TUN).await;

    // Up, and what is spoofed is dropped; neither comes to the TUN.
    let inner = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::UDP, &[2; 32]);
    let spoofed = encapsulate_v6(&inner, CORRESPONDENT, AGENT, 64, 0, 0);
    laboratory.rest.send(&spoofed).await.unwrap();
    forwarder.until(SPOOFED, 1.0).await;
    laboratory.rest.send(&encapsulate_v6(&inner, CARE_OF, AGENT, 64, 0, 0)).await.unwrap();
    let mut expected = inner.clone();
    expected[7] -= 2;
    assert_eq!(laboratory.recv("inner packet").await, expected);
    forwarder.until(SENT_UP, 1.0).await;
    assert_eq!(forwarder.metric(FROM_TUN).await, by_tun);

    // Signalling is for the front-ends.
    let update = mobility_packet(CARE_OF, AGENT, Some(HOME), None, &[59, 0, 5, 0, 0, 0, 0, 1]);
    laboratory.rest.send(&update).await.unwrap();
    let (request, _answers) = in_time("punt", front_end.asked.recv()).await.unwrap();
    assert_eq!(request.packet[8..], update[8..]);

    // A binding that is gone is gone from the program at that revision.
    in_time("the revision", async {
        // The feed may be broken when it is said: nobody has said anything for seconds.
        while forwarder.metric("homeport_forwarder_revision").await < 2.0 {
            store.say(message(2, vec![unbound(HOME)])).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    laboratory.rest.send(&down).await.unwrap();
    let answer = laboratory.recv("an error").await;
    assert_eq!(walk(&answer).unwrap().upper, protocol::ICMPV6);

    ends_clean(forwarder, &laboratory).await;
}

/// At the end nothing stays on the interface.
async fn ends_clean(forwarder: RunningForwarder, laboratory: &Laboratory) {
    forwarder.shutdown.begin();
    in_time("the end", forwarder.task).await.unwrap().unwrap();
    let attached = laboratory.edge.namespace().run(|| {
        let shown = std::process::Command::new("ip").args(["link", "show", "up"]).output();
        String::from_utf8(shown.unwrap().stdout).unwrap()
    });
    assert!(!attached.unwrap().contains("xdp"), "the program is still attached");
}

#[tokio::test]
async fn a_fast_path_that_cannot_be_had_is_an_error_only_when_it_is_demanded() {
    if far_end().is_none() {
        return;
    }
    let laboratory = Laboratory::build().await;
    let start = |mode| {
        let xdp = XdpConfig { interfaces: vec!["nowhere".to_owned()], ..xdp(mode) };
        RunningForwarder::with_xdp(
            "fast",
            &[free_port()],
            &[free_port()],
            Some(laboratory.tun()),
            Some(xdp),
        )
    };
    let error = in_time("refusal", start(XdpMode::Generic).task).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("xdp.mode"), "{error}");
    let forwarder = start(XdpMode::Auto);
    // It ends in order only after it has begun without a fast path.
    forwarder.shutdown.begin();
    in_time("the end", forwarder.task).await.unwrap().unwrap();
}
