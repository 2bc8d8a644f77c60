use homeport_hostnet::{Algorithms, Secret};

use super::*;

const HOME_AGENT: &str = "2001:db8:a::1";

fn kernel(source: &str, destination: &str, spi: u32, reqid: u32) -> KernelAssociation {
    KernelAssociation {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        spi,
        reqid,
        is_tunnel: false,
        has_extended_numbers: false,
        replay_window: 32,
        algorithms: Algorithms::Aead {
            name: "rfc4106(gcm(aes))".to_owned(),
            key: Secret::new(vec![7; 20]),
            icv_bits: 128,
        },
    }
}

/// Both directions of one mobile node.
fn both(home_address: &str, inbound: u32, outbound: u32, reqid: u32) -> [KernelAssociation; 2] {
    [
        kernel(home_address, HOME_AGENT, inbound, reqid),
        kernel(HOME_AGENT, home_address, outbound, reqid),
    ]
}

fn child(home_address: &str, id: u32, spis: (u32, u32), reqid: u32) -> Child {
    Child {
        id,
        reqid,
        state: "INSTALLED".to_owned(),
        spi_in: Some(format!("{:08x}", spis.0)),
        spi_out: Some(format!("{:08x}", spis.1)),
        local_ts: vec![format!("{HOME_AGENT}/128[mobility-header]")],
        remote_ts: vec![format!("{home_address}/128[mobility-header]")],
    }
}

fn ike(id: u32, remote_host: &str, children: Vec<Child>) -> IkeAssociation {
    IkeAssociation {
        id,
        state: "ESTABLISHED".to_owned(),
        local_host: HOME_AGENT.parse().ok(),
        remote_host: remote_host.parse().ok(),
        child_sas: children.into_iter().map(|it| (format!("bu-{}", it.id), it)).collect(),
    }
}

fn spis(found: &Found) -> Vec<u32> {
    found.pairs.keys().map(|(_, spi)| *spi).collect()
}

#[test]
fn a_pair_is_what_both_know() {
    let daemon =
        vec![ike(4, "2001:db8:f1::2", vec![child("2001:db8:a::100", 1, (0xc1, 0xc2), 101)])];
    let found = join(both("2001:db8:a::100", 0xc1, 0xc2, 101).to_vec(), daemon.clone(), 9);
    assert!(found.passed_over.is_empty(), "{found:?}");
    let [pair] = found.pairs.into_values().collect::<Vec<_>>().try_into().expect("one");
    assert_eq!(pair.home_address.to_string(), "2001:db8:a::100");
    assert_eq!(pair.home_agent.to_string(), HOME_AGENT);
    assert_eq!((pair.protocol, pair.reqid, pair.ike_id), (135, 101, 4));
    assert_eq!((pair.inbound.spi, pair.outbound.spi), (0xc1, 0xc2));

    // Without the daemon they are somebody else's; without the kernel there are no keys.
    let found = join(both("2001:db8:a::100", 0xc1, 0xc2, 101).to_vec(), Vec::new(), 9);
    assert_eq!(found, Found::default());
    assert_eq!(join(Vec::new(), daemon, 9), Found::default());
}

#[test]
fn a_new_pair_of_a_rekey_counts_when_it_can_be_sent_under() {
    let [old_in, old_out] = both("2001:db8:a::100", 0xc1, 0xc2, 101);
    let [new_in, new_out] = both("2001:db8:a::100", 0xc3, 0xc4, 101);
    let children = vec![
        child("2001:db8:a::100", 1, (0xc1, 0xc2), 101),
        child("2001:db8:a::100", 2, (0xc3, 0xc4), 101),
    ];
    let daemon = vec![ike(1, "2001:db8:f1::2", children)];
    let look = |kernel: &[&KernelAssociation]| {
        let kernel = kernel.iter().map(|it| (*it).clone()).collect();
        spis(&join(kernel, daemon.clone(), 9))
    };
    assert_eq!(look(&[&old_in, &old_out, &new_in]), [0xc1]);
    assert_eq!(look(&[&old_in, &old_out, &new_in, &new_out]), [0xc1, 0xc3]);
    // The peer has ended the old one; the daemon still takes what is on its way.
    assert_eq!(look(&[&old_in, &new_in, &new_out]), [0xc3]);
}

#[test]
fn what_is_of_no_use_is_told_by_reason() {
    let kernel = both("2001:db8:a::100", 0xc1, 0xc2, 101);
    let good = child("2001:db8:a::100", 1, (0xc1, 0xc2), 101);
    let passed_over = |kernel: &[KernelAssociation], child: Child| {
        let found = join(kernel.to_vec(), vec![ike(1, "2001:db8:f1::2", vec![child])], 9);
        assert!(found.pairs.is_empty(), "{found:?}");
        found.passed_over.into_iter().collect::<Vec<_>>()
    };
    let mut tunnel = kernel.clone();
    tunnel[1].is_tunnel = true;
    assert_eq!(passed_over(&tunnel, good.clone()), [("tunnel_mode", 1)]);

    let other = Child { reqid: 102, ..good.clone() };
    assert_eq!(passed_over(&kernel, other), [("reqid_differs", 1)]);

    for selector in [
        "2001:db8:a::/64[mobility-header]",
        "2001:db8:a::101/128[mobility-header]",
        "2001:db8:a::100/128[udp/500]",
        "2001:db8:a::100/128[mobility-header/1280]",
    ] {
        let other = Child { remote_ts: vec![selector.to_owned()], ..good.clone() };
        assert_eq!(passed_over(&kernel, other), [("selector_other", 1)], "{selector}");
    }
    let two = Child {
        remote_ts: [good.remote_ts.clone(), good.remote_ts.clone()].concat(),
        ..good.clone()
    };
    assert_eq!(passed_over(&kernel, two), [("selector_other", 1)]);

    let mut weak = kernel.clone();
    if let Algorithms::Aead { icv_bits, .. } = &mut weak[0].algorithms {
        *icv_bits = 64;
    }
    assert_eq!(passed_over(&weak, good.clone()), [("suite_unknown", 1)]);

    let unfinished = Child { spi_out: None, ..good };
    assert_eq!(passed_over(&kernel, unfinished), []);
}

#[test]
fn a_reqid_for_two_mobile_nodes_would_move_both() {
    let one = both("2001:db8:a::100", 0xc1, 0xc2, 101);
    let other = both("2001:db8:a::200", 0xd1, 0xd2, 101);
    let alone = both("2001:db8:a::300", 0xe1, 0xe2, 103);
    let kernel = [one, other, alone].concat();
    let daemon = vec![
        ike(1, "2001:db8:f1::2", vec![child("2001:db8:a::100", 1, (0xc1, 0xc2), 101)]),
        ike(2, "2001:db8:f1::3", vec![child("2001:db8:a::200", 2, (0xd1, 0xd2), 101)]),
        ike(3, "2001:db8:f1::4", vec![child("2001:db8:a::300", 3, (0xe1, 0xe2), 103)]),
    ];
    let found = join(kernel.clone(), daemon.clone(), 9);
    assert_eq!(spis(&found), [0xe1]);
    assert_eq!(found.passed_over.into_iter().collect::<Vec<_>>(), [("reqid_shared", 2)]);

    let found = join(kernel, daemon, 1);
    assert_eq!(found.pairs.len(), 1);
    assert_eq!(found.passed_over.into_iter().collect::<Vec<_>>(), [("too_many", 2)]);
}
