//! A forwarder and a real store that goes and comes back.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use homeport_api::admin::Authentication;
use homeport_forwarder::{Config, UdpConfig};
use homeport_runtime::config::OpsConfig;
use homeport_runtime::{Shutdown, Task};
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, eventually, free_address, ops};

/// Mobile nodes that stay where they are.
const OTHERS: u16 = 40;

async fn accept(front_end: &mut FrontEnd, update: &Update) -> Result<u64> {
    let answer = front_end.ask(&update.packet(), None).await?;
    let seen = acknowledgement(&answer.packet)?;
    ensure!(seen.message.status.is_accepted(), "status {}", seen.status());
    Ok(answer.revision)
}

struct Forwarder {
    ops: SocketAddr,
    _task: Task<Result<(), homeport_forwarder::Error>>,
}

impl Forwarder {
    fn start(cluster: &Cluster) -> Result<Self> {
        let ops = free_address()?;
        let config = Config {
            name: "forwarder-1".to_owned(),
            stores: cluster.stores(),
            // Updates go to the front-end by the hand of the test.
            front_ends: vec!["127.0.0.1:9".to_owned()],
            udp: Some(UdpConfig { listen: "127.0.0.1:0".parse()? }),
            tun: None,
            xdp: None,
            tunnels: Default::default(),
            signalling: Default::default(),
            headless_secs: 3600,
            inspection: None,
            tls: None,
            telemetry: Default::default(),
            ops: OpsConfig { listen: ops },
        };
        let run = homeport_forwarder::run(config, Shutdown::manual());
        Ok(Self { ops, _task: Task::spawn("forwarder", run) })
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        ops::metric(self.ops, &format!("homeport_forwarder_{name}")).await
    }

    async fn until(&self, name: &str, is: impl Fn(f64) -> bool) -> Result<()> {
        eventually(name, async || {
            let value = self.metric(name).await?;
            ensure!(is(value), "{name} is {value}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_store_that_comes_back_only_what_changed_comes() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mut revision = 0;
    for host in 0..OTHERS {
        revision = accept(&mut front_end, &Update::new(home_address(0x100 + host), 1)).await?;
    }
    let forwarder = Forwarder::start(&cluster)?;
    // Revisions of a test are small numbers.
    let revision = f64::from(u32::try_from(revision)?);
    forwarder.until("revision", |it| it >= revision).await?;
    let before = forwarder.metric("feed_changes_total").await?;
    ensure!(before >= f64::from(OTHERS), "{before}");
    assert_eq!(forwarder.metric("stale").await?.to_string(), "0");

    for id in 1..=3 {
        cluster.stop_replica(id).await?;
    }
    forwarder.until("stale", |it| it > 0.0).await?;
    assert_eq!(forwarder.metric("home_addresses").await?.to_string(), OTHERS.to_string());
    assert_eq!(forwarder.metric("withdrawn").await?.to_string(), "0");

    for id in 1..=3 {
        cluster.start_replica(id);
    }
    forwarder.until("stale", |it| it == 0.0).await?;
    let moved = home_address(0x103);
    accept(&mut front_end, &Update::new(moved, 2)).await?;
    let gone = Update { lifetime: 0, ..Update::new(home_address(0x104), 2) };
    let revision = accept(&mut front_end, &gone).await?;
    let revision = f64::from(u32::try_from(revision)?);
    forwarder.until("revision", |it| it >= revision).await?;
    let came = forwarder.metric("feed_changes_total").await? - before;
    assert_eq!(came.to_string(), "2", "two changed, and {OTHERS} stayed as they were");
    assert_eq!(forwarder.metric("home_addresses").await?.to_string(), (OTHERS - 1).to_string());
    Ok(())
}
