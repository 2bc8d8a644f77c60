//! Against the real kernel's IPsec databases, in a network namespace that the test makes and removes.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{io::Write as _, process::Command, time::Duration};

use homeport_hostnet::{Endpoints, Error, Protected, TemporaryNamespace, Xfrm, privileges};

/// False, and says so, where the host does not let us.
fn allowed(test: &str) -> bool {
    let Err(unprivileged) = privileges() else { return true };
    // Not by the macro: the test harness would keep that to itself.
    let mut stderr = std::io::stderr();
    writeln!(stderr, "\n*** SKIPPED {test}: {unprivileged}\n").unwrap();
    false
}

fn ip(namespace: &TemporaryNamespace, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["-n", namespace.name()]).args(arguments.split_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn protected() -> Protected {
    Protected {
        local: "2001:db8:a::1".parse().unwrap(),
        remote: "2001:db8:a::100".parse().unwrap(),
        protocol: 135,
        reqid: 101,
    }
}

fn endpoints(remote: &str) -> Endpoints {
    Endpoints { local: "2001:db8:a::1".parse().unwrap(), remote: remote.parse().unwrap() }
}

#[tokio::test]
async fn a_peer_moves_where_there_are_policies() {
    if !allowed("a_peer_moves_where_there_are_policies") {
        return;
    }
    let namespace = TemporaryNamespace::create("hp-xfrm").unwrap();
    let xfrm = Xfrm::open(&namespace.namespace()).unwrap();
    let (from, to) = (endpoints("2001:db8:f1::2"), endpoints("2001:db8:f2::2"));
    let early = xfrm.migrate(&protected(), &from, &to).await;
    assert!(matches!(early, Err(Error::NotFound { .. })), "{early:?}");

    xfrm.install_policies(&protected()).await.unwrap();
    xfrm.install_policies(&protected()).await.unwrap();
    let listed = ip(&namespace, "xfrm policy");
    for line in [
        "src 2001:db8:a::100/128 dst 2001:db8:a::1/128 proto mobility-header",
        "src 2001:db8:a::1/128 dst 2001:db8:a::100/128 proto mobility-header",
        "proto esp reqid 101 mode transport",
    ] {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    xfrm.migrate(&protected(), &from, &to).await.unwrap();

    xfrm.remove_policies(&protected()).await.unwrap();
    xfrm.remove_policies(&protected()).await.unwrap();
    assert_eq!(ip(&namespace, "xfrm policy"), "");
}

#[tokio::test]
async fn associations_that_go_are_heard_of() {
    if !allowed("associations_that_go_are_heard_of") {
        return;
    }
    let namespace = TemporaryNamespace::create("hp-xfrm").unwrap();
    let xfrm = Xfrm::open(&namespace.namespace()).unwrap();
    let id = "src 2001:db8:a::1 dst 2001:db8:a::100 proto esp";
    let reserved = ip(&namespace, &format!("xfrm state allocspi {id} mode transport reqid 101"));
    // An index alone is no association yet.
    assert_eq!(xfrm.associations().await.unwrap(), []);
    let spi = reserved.split_whitespace().find(|word| word.starts_with("0x")).unwrap();
    ip(&namespace, &format!("xfrm state delete {id} spi {spi}"));
    tokio::time::timeout(Duration::from_secs(10), xfrm.changed()).await.unwrap();
}
