//! One security association at several front-ends: whoever answers, and whoever is killed meanwhile, no number
//! comes twice, in neither direction (RFC 4303 §3.3.3, RFC 6311).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::security_associations_client::SecurityAssociationsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateSecurityAssociationRequest, CreateSubscriberRequest, EspDirection,
    EspSuite, SecurityAssociation, Subscriber,
};
use homeport_esp::{EspHeader, Keys, Suite, Transform, Window, protect, unprotect};
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually};
use homeport_wire::walk;

/// Binding Updates of the default run; `cargo xtask threats` asks for 100,000.
const UPDATES_DEFAULT: u32 = 2000;
/// Between two kills.
const UPDATES_PER_KILL: u32 = 400;
const FROM_NODE: u32 = 0x1001;
const FROM_AGENT: u32 = 0x1002;
/// RFC 4303 §3.4.3: the window that every receiver has at least.
const WINDOW_SIZE: u32 = 32;

fn keys(octet: u8) -> Keys {
    Keys { encryption: vec![octet; 16], authentication: vec![octet; 32] }
}

/// The mobile node's end.
struct Node {
    sending: Transform,
    receiving: Transform,
    /// Number of ESP, and of the Binding Update.
    sent: u64,
    sequence: u16,
    window: Window,
    numbers: BTreeSet<u64>,
}

impl Node {
    fn new() -> Result<Self> {
        let suite = Suite::AesCbcHmacSha256;
        Ok(Self {
            sending: Transform::new(suite, FROM_NODE, false, keys(0x31))?,
            receiving: Transform::new(suite, FROM_AGENT, false, keys(0x42))?,
            sent: 0,
            sequence: 0,
            window: Window::new(WINDOW_SIZE),
            numbers: BTreeSet::new(),
        })
    }

    fn association() -> SecurityAssociation {
        let direction = |spi, octet: u8| {
            Some(EspDirection {
                spi,
                encryption_key: vec![octet; 16].into(),
                authentication_key: vec![octet; 32].into(),
            })
        };
        SecurityAssociation {
            home_address: home_address(0x100).to_string(),
            suite: EspSuite::AesCbcHmacSha2256.into(),
            replay_window: 64,
            inbound: direction(FROM_NODE, 0x31),
            outbound: direction(FROM_AGENT, 0x42),
            ..SecurityAssociation::default()
        }
    }

    fn update(&mut self) -> Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.sent += 1;
        let packet = Update::new(home_address(0x100), self.sequence).packet();
        Ok(protect(&packet, &self.sending, self.sent, [0x5a; 16])?)
    }

    /// Takes an answer as a strict receiver does.
    fn hear(&mut self, packet: &[u8]) -> Result<u8> {
        let walked = walk(packet)?;
        let header = EspHeader::parse(walked.payload).context("not in ESP")?;
        ensure!(header.spi == FROM_AGENT, "SPI {:#x}", header.spi);
        let number = header.sequence.into();
        ensure!(self.numbers.insert(number), "number {number} a second time");
        ensure!(
            self.window.is_fresh(number),
            "{number} is left of a window that ends at {}",
            self.window.top()
        );
        let plain = unprotect(packet, &walked, &self.receiving, number)?;
        self.window.mark(number);
        Ok(acknowledgement(&plain)?.status())
    }
}

async fn prepared() -> Result<Cluster> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::Ipsec).await?;
    let channel = cluster.leader_channel().await?;
    let subscriber =
        Subscriber { home_address: home_address(0x100).to_string(), ..Subscriber::default() };
    let request = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    SubscribersClient::new(channel.clone()).create_subscriber(request).await?;
    let security_association = Some(Node::association());
    let request = CreateSecurityAssociationRequest { security_association, ..Default::default() };
    SecurityAssociationsClient::new(channel).create_security_association(request).await?;
    Ok(cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_comes_twice_whoever_answers_and_whoever_is_killed() -> Result<()> {
    let updates = match std::env::var("HOMEPORT_ESP_UPDATES") {
        Ok(text) => text.parse().context("HOMEPORT_ESP_UPDATES is no number")?,
        Err(_unset) => UPDATES_DEFAULT,
    };
    let mut cluster = prepared().await?;
    let mut front_ends = [cluster.front_end().await?, cluster.front_end().await?];
    let mut node = Node::new()?;
    let (mut answered, mut accepted, mut kills) = (0_u32, 0_u32, 0_u32);
    while answered < updates {
        let packets = [node.update()?, node.update()?];
        for (front_end, packet) in front_ends.iter_mut().zip(&packets) {
            front_end.send(packet, None).await?;
        }
        if answered / UPDATES_PER_KILL > kills {
            // With Binding Updates under way at both: one front-end, and every other time the leader.
            let victim = usize::try_from(kills % 2)?;
            front_ends[victim] = cluster.front_end().await?;
            if kills % 2 == 1 {
                let leader = cluster.leader().await?;
                cluster.stop_replica(leader).await?;
                cluster.start_replica(leader);
            }
            kills += 1;
            answered +=
                u32::from(heard(&mut front_ends[1 - victim], &mut node, &mut accepted).await?);
            continue;
        }
        for front_end in &mut front_ends {
            answered += u32::from(heard(front_end, &mut node, &mut accepted).await?);
        }
    }
    ensure!(kills >= updates / UPDATES_PER_KILL - 1, "{kills} kills");
    ensure!(accepted > updates / 4, "{accepted} of {answered} were accepted");
    println!(
        "{} updates, {answered} answers with {} numbers, {accepted} accepted, {kills} kills",
        node.sent,
        node.numbers.len(),
    );
    Ok(())
}

/// Whether the answer has come. While another leads nothing may come, within the front-end's deadline.
async fn heard(front_end: &mut FrontEnd, node: &mut Node, accepted: &mut u32) -> Result<bool> {
    let Ok(answer) = front_end.receive(PATIENCE / 2).await else { return Ok(false) };
    let status = node.hear(&answer.packet)?;
    // The other front-end's may have been decided first: then this one's sequence number is old.
    ensure!(matches!(status, 0 | 135), "status {status}");
    *accepted += u32::from(status == 0);
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_at_another_front_end_changes_nothing_and_is_counted() -> Result<()> {
    let cluster = prepared().await?;
    let (mut one, mut two) = (cluster.front_end().await?, cluster.front_end().await?);
    let mut node = Node::new()?;
    let packet = node.update()?;
    assert_eq!(node.hear(&one.ask(&packet, None).await?.packet)?, 0);
    for front_end in [&mut one, &mut two] {
        front_end.send(&packet, None).await?;
        let front_end = &*front_end;
        eventually("the replay to be counted", async || {
            let drops = "homeport_signalling_drops_total{reason=\"esp_replayed\"}";
            ensure!(front_end.metric(drops).await? >= 1.0);
            Ok(())
        })
        .await?;
    }
    let bare = Update::new(home_address(0x100), 99).packet();
    one.send(&bare, None).await?;
    eventually("the one in the clear to be counted", async || {
        let drops = "homeport_signalling_drops_total{reason=\"esp_required\"}";
        ensure!(one.metric(drops).await? == 1.0);
        Ok(())
    })
    .await?;
    let next = node.update()?;
    assert_eq!(node.hear(&two.ask(&next, None).await?.packet)?, 0);
    Ok(())
}
