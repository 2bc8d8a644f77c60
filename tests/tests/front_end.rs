//! Signalling front-ends over gRPC: authentication, change of keys, many mobile nodes, races, and
//! what becomes of packets that get no answer.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateSubscriberRequest, DeleteSubscriberRequest, GetHomeBindingsRequest,
    HomeBindings, Subscriber,
};
use homeport_binding::Outcome;
use homeport_front_end::limits::REFUSAL_LOOK_UP_INTERVAL;
use homeport_tests::golden::vector;
use homeport_tests::submit::{Submitter, registration};
use homeport_tests::updates::{
    Acknowledged, Association, CARE_OF, Update, acknowledgement, home_address,
};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually};
use homeport_wire::{Bid, BidOption, BuFlags, MobilityOption};
use tonic::transport::Channel;

/// Key and SPI of the golden packets (V14).
const KEY: [u8; 16] = [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31];
const OTHER_KEY: [u8; 16] = [0xee; 16];
const SPI: u32 = 0x100;
const NAI: &str = "mn1@example.com";

/// NTP time (RFC 4285 §5.3): seconds since 1900 and their fraction.
fn ntp_now() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    Ok((now.as_secs() + 2_208_988_800) << 32 | fraction)
}

fn association(key: [u8; 16], message_id: Option<u64>) -> Option<Association> {
    Some(Association { nai: NAI, spi: SPI, key, message_id })
}

fn subscriber(home_address: Ipv6Addr, key: [u8; 16]) -> Subscriber {
    Subscriber {
        home_address: home_address.to_string(),
        nai: NAI.to_owned(),
        spi: SPI,
        key: key.to_vec().into(),
        ..Subscriber::default()
    }
}

async fn create(channel: Channel, subscriber: Subscriber) -> Result<()> {
    let request = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    SubscribersClient::new(channel).create_subscriber(request).await?;
    Ok(())
}

/// What an operator does when a key has become known.
async fn replace_key(cluster: &Cluster, home_address: Ipv6Addr, key: [u8; 16]) -> Result<()> {
    let channel = cluster.leader_channel().await?;
    let request =
        DeleteSubscriberRequest { home_address: home_address.to_string(), ..Default::default() };
    SubscribersClient::new(channel.clone()).delete_subscriber(request).await?;
    create(channel, subscriber(home_address, key)).await
}

async fn bindings(cluster: &Cluster, home_address: Ipv6Addr) -> Result<HomeBindings> {
    let home_address = home_address.to_string();
    let request = GetHomeBindingsRequest { home_address, local: false };
    let mut client = BindingsClient::new(cluster.leader_channel().await?);
    Ok(client.get_home_bindings(request).await?.into_inner())
}

async fn ask(front_end: &mut FrontEnd, update: &Update) -> Result<Acknowledged> {
    acknowledgement(&front_end.ask(&update.packet(), None).await?.packet)
}

fn drops(reason: &str) -> String {
    format!("homeport_signalling_drops_total{{reason=\"{reason}\"}}")
}

/// Sends a packet that gets no answer, for this reason.
async fn expect_drop(front_end: &mut FrontEnd, packet: &[u8], reason: &str) -> Result<()> {
    let before = front_end.metric(&drops(reason)).await?;
    front_end.send(packet, None).await?;
    eventually(&format!("{reason} to be counted"), async || {
        ensure!(front_end.metric(&drops(reason)).await? == before + 1.0);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mobile_nodes_are_authenticated_by_rfc_4285() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let mn = home_address(0x100);
    create(cluster.leader_channel().await?, subscriber(mn, KEY)).await?;
    let mut front_end = cluster.front_end().await?;
    // The golden packet is authentic, but its timestamp has long passed.
    let vector = vector("V14")?;
    let plain = Update::new(mn, 0x3001);
    let golden = Update {
        lifetime: 150,
        flags: plain.flags.with(BuFlags::OVERWRITE),
        bids: vec![BidOption::v6(Bid(1), CARE_OF)],
        association: association(KEY, Some(0xecf4_9240_8000_0000)),
        ..plain
    };
    assert_eq!(golden.packet(), vector, "this test builds other packets than the golden one");
    let answer = acknowledgement(&front_end.ask(&vector, None).await?.packet)?;
    assert_eq!(answer.status(), 144);
    ensure!(answer.is_authentic(KEY, CARE_OF, mn));
    let ours = message_id(&answer).context("no MESG-ID")?;
    assert_eq!(ours & 0xffff_ffff, 0x8000_0000, "the low half is the mobile node's");
    ensure!((ours >> 32).abs_diff(ntp_now()? >> 32) <= 30, "the high half is our clock");
    assert_eq!(cluster.status(cluster.leader().await?).await?.home_addresses, 0);
    // The same with the right time.
    let now = ntp_now()?;
    let update = Update { association: association(KEY, Some(now)), ..golden };
    let answer = ask(&mut front_end, &update).await?;
    assert_eq!((answer.status(), answer.message.lifetime.0), (0, 150));
    ensure!(answer.is_authentic(KEY, CARE_OF, mn));
    assert_eq!(message_id(&answer), Some(now));
    let is_named = answer.message.options.iter().any(|option| {
        let identifier = NAI.as_bytes();
        option == MobilityOption::MobileNodeIdentifier { subtype: 1, identifier }
    });
    ensure!(is_named, "the acknowledgement does not name the mobile node");
    let home = bindings(&cluster, mn).await?;
    assert_eq!((home.sequence, home.bindings.len()), (0x3001, 1));
    // Replayed.
    assert_eq!(ask(&mut front_end, &update).await?.status(), 144);
    // Without MESG-ID the sequence number protects against replay.
    let bare = Update { association: association(KEY, None), ..Update::new(mn, 0x3001) };
    assert_eq!(ask(&mut front_end, &bare).await?.status(), 135);
    assert_eq!(ask(&mut front_end, &Update { sequence: 0x3002, ..bare }).await?.status(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_authentic_changes_nothing() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let (mn, strict) = (home_address(0x100), home_address(0x101));
    let channel = cluster.leader_channel().await?;
    create(channel.clone(), subscriber(mn, KEY)).await?;
    let demanding = Subscriber { message_id_required: true, ..subscriber(strict, KEY) };
    create(channel, demanding).await?;
    let mut front_end = cluster.front_end().await?;
    let with = |association| Update { association, ..Update::new(mn, 2) };
    let first = Update { sequence: 1, ..with(association(KEY, None)) };
    assert_eq!(ask(&mut front_end, &first).await?.status(), 0);
    let before = bindings(&cluster, mn).await?;
    // Another key is refused by an acknowledgement that is ours.
    let answer = ask(&mut front_end, &with(association(OTHER_KEY, None))).await?;
    assert_eq!(answer.status(), 146);
    ensure!(answer.is_authentic(KEY, CARE_OF, mn));
    // Without the timestamp that the record demands.
    let bare = Update { home_address: strict, ..with(association(KEY, None)) };
    assert_eq!(ask(&mut front_end, &bare).await?.status(), 145);
    // Nobody to answer to.
    let other_spi = Association { nai: NAI, spi: SPI + 1, key: KEY, message_id: None };
    let other_name = Association { nai: "mn2@example.com", spi: SPI, key: KEY, message_id: None };
    let stranger = Update { home_address: home_address(0x102), ..with(association(KEY, None)) };
    for (update, reason) in [
        (with(None), "authentication_missing"),
        (with(Some(other_spi)), "no_security_association"),
        (with(Some(other_name)), "no_security_association"),
        (stranger, "no_security_association"),
    ] {
        expect_drop(&mut front_end, &update.packet(), reason).await?;
    }
    // All of that changed nothing.
    let after = bindings(&cluster, mn).await?;
    let shown = |home: &HomeBindings| {
        let ends = home.bindings.iter().map(|binding| binding.ends_ms).collect::<Vec<_>>();
        (home.revision, home.sequence, ends)
    };
    assert_eq!(shown(&after), shown(&before));
    assert_eq!(cluster.status(cluster.leader().await?).await?.home_addresses, 1);
    Ok(())
}

fn message_id(answer: &Acknowledged) -> Option<u64> {
    answer.message.options.iter().find_map(|option| match option {
        MobilityOption::MessageId { timestamp } => Some(timestamp),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_works_and_the_old_one_no_longer() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let (mut one, mut two) = (cluster.front_end().await?, cluster.front_end().await?);
    // The front-end that remembers the old key hears the old key, or the new one, first.
    for (mn, new_first) in [(home_address(0x100), false), (home_address(0x101), true)] {
        create(cluster.leader_channel().await?, subscriber(mn, KEY)).await?;
        let with = |key, sequence| {
            let association = association(key, None);
            Update { association, ..Update::new(mn, sequence) }
        };
        assert_eq!(ask(&mut one, &with(KEY, 1)).await?.status(), 0);
        assert_eq!(bindings(&cluster, mn).await?.bindings.len(), 1);
        replace_key(&cluster, mn, OTHER_KEY).await?;
        if new_first {
            // A front-end asks again before it refuses, but not for every forged packet.
            tokio::time::sleep(REFUSAL_LOOK_UP_INTERVAL).await;
            let answer = ask(&mut one, &with(OTHER_KEY, 2)).await?;
            assert_eq!(answer.status(), 0);
            ensure!(answer.is_authentic(OTHER_KEY, CARE_OF, mn));
        } else {
            for front_end in [&mut one, &mut two] {
                assert_eq!(ask(front_end, &with(KEY, 3)).await?.status(), 146);
                let home = bindings(&cluster, mn).await?;
                assert_eq!((home.sequence, home.bindings.len()), (1, 0));
            }
            eventually("the new key", async || {
                let status = ask(&mut one, &with(OTHER_KEY, 2)).await?.status();
                ensure!(status == 0, "{status}");
                Ok(())
            })
            .await?;
        }
        let registered = bindings(&cluster, mn).await?;
        assert_eq!((registered.sequence, registered.bindings.len()), (2, 1));
        for front_end in [&mut one, &mut two] {
            assert_eq!(ask(front_end, &with(KEY, 9)).await?.status(), 146);
            let home = bindings(&cluster, mn).await?;
            assert_eq!((home.sequence, home.revision), (2, registered.revision));
        }
        let leave = Update { lifetime: 0, ..with(OTHER_KEY, 10) };
        assert_eq!(ask(&mut two, &leave).await?.status(), 0);
    }
    Ok(())
}

/// Sends all at once; the answers in the order of the updates.
async fn ask_all(front_end: &mut FrontEnd, updates: &[Update]) -> Result<Vec<Acknowledged>> {
    let mut tickets = Vec::new();
    for update in updates {
        tickets.push(front_end.send(&update.packet(), None).await?);
    }
    let mut answers = BTreeMap::new();
    for _ in updates {
        let answer = front_end.receive(PATIENCE).await?;
        let twice = answers.insert(answer.ticket, acknowledgement(&answer.packet)?);
        ensure!(twice.is_none(), "two answers to one packet");
    }
    tickets.iter().map(|ticket| answers.remove(ticket).context("no answer")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mobile_nodes_at_once() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let care_of = |host, n| Ipv6Addr::new(0x2001, 0xdb8, 0xa, n, 0, 0, 0, host);
    let update = |host, sequence| Update {
        care_of: care_of(host, 0),
        bids: vec![
            BidOption::v6(Bid(1), care_of(host, 0)),
            BidOption::v6(Bid(2), care_of(host, 1)),
        ],
        ..Update::new(home_address(host), sequence)
    };
    let hosts = 0x100..0x164;
    let updates: Vec<Update> = hosts.clone().map(|host| update(host, 1)).collect();
    for (update, answer) in updates.iter().zip(ask_all(&mut front_end, &updates).await?) {
        assert_eq!((answer.status(), answer.message.sequence.0), (0, 1));
        assert_eq!(answer.destination, update.care_of);
        assert_eq!(answer.routing_home_address, Some(update.home_address));
    }
    let status = cluster.status(cluster.leader().await?).await?;
    assert_eq!((status.home_addresses, status.bindings), (100, 200));
    // Half of them refresh, half of them leave, in one stream.
    let lifetime = |host| if host % 2 == 0 { 225 } else { 0 };
    let updates: Vec<Update> =
        hosts.map(|host| Update { lifetime: lifetime(host), ..update(host, 2) }).collect();
    for (update, answer) in updates.iter().zip(ask_all(&mut front_end, &updates).await?) {
        assert_eq!((answer.status(), answer.message.lifetime.0), (0, update.lifetime));
    }
    assert_eq!(cluster.status(cluster.leader().await?).await?.bindings, 100);
    assert_eq!(front_end.metric("homeport_signalling_packets_total").await?, 200.0);
    let accepted = "homeport_signalling_acknowledgements_total{status=\"0\"}";
    assert_eq!(front_end.metric(accepted).await?, 200.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_updates_with_one_sequence_number_one_is_accepted() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let (mut one, mut two) = (cluster.front_end().await?, cluster.front_end().await?);
    let mn = home_address(0x100);
    for sequence in 1..=30 {
        let from = |n| Update {
            care_of: Ipv6Addr::new(0x2001, 0xdb8, 0xa, n, 0, 0, 0, sequence),
            ..Update::new(mn, sequence)
        };
        let (a, b) = (from(1), from(2));
        let (to_a, to_b) = tokio::join!(ask(&mut one, &a), ask(&mut two, &b));
        let (to_a, to_b) = (to_a?, to_b?);
        let (winner, loser) = match (to_a.status(), to_b.status()) {
            (0, 135) => (a, to_b),
            (135, 0) => (b, to_a),
            other => anyhow::bail!("sequence number {sequence} got {other:?}"),
        };
        // Who lost is told which number was accepted.
        assert_eq!((loser.message.sequence.0, loser.message.lifetime.0), (sequence, 0));
        let home = bindings(&cluster, mn).await?;
        assert_eq!(home.bindings.len(), 1);
        assert_eq!(home.bindings[0].care_of_address, winner.care_of.to_string());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_one_effect_and_one_answer_whoever_leads() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let (mn, stranger) = (home_address(0x100), home_address(0x200));
    let mut first = Vec::new();
    let mut revisions = (0, 0);
    for round in 0..3 {
        let leader = cluster.leader().await?;
        let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
        if round == 0 {
            revisions = submitter.policy_revisions(mn).await?;
        }
        // Accepted, refused by its sequence number, de-registered, refused without a record.
        let mut leave = registration(mn, 6, 3, revisions);
        leave.lifetime = homeport_wire::Lifetime(0);
        let mut unknown = registration(stranger, 1, 4, revisions);
        unknown.lifetime = homeport_wire::Lifetime(0);
        let verdicts = submitter
            .register_all([
                registration(mn, 5, 1, revisions),
                registration(mn, 5, 2, revisions),
                leave,
                unknown,
            ])
            .await?;
        let statuses: Vec<_> = verdicts
            .iter()
            .map(|verdict| match &verdict.outcome {
                Outcome::Answer(answer) => answer.status.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(statuses, [0, 135, 0, 133], "round {round}");
        let remembered = &verdicts[..3];
        if round == 0 {
            first = remembered.to_vec();
        }
        assert_eq!(remembered, first, "round {round}");
        let home = bindings(&cluster, mn).await?;
        assert_eq!((home.sequence, home.bindings.len()), (6, 0));
        assert_eq!(home.revision, first[2].revision);
        cluster.stop_replica(leader).await?;
        let next = cluster.leader().await?;
        ensure!(next != leader);
        cluster.start_replica(leader);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_under_way_survive_a_change_of_leader() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    for sequence in 1..=3 {
        let updates: Vec<Update> =
            (0x100..0x150).map(|host| Update::new(home_address(host), sequence)).collect();
        let leader = cluster.leader().await?;
        let (answers, stopped) =
            tokio::join!(ask_all(&mut front_end, &updates), cluster.stop_replica(leader));
        stopped?;
        // Each exactly once, and no command twice: the second effect would have been a 135.
        for answer in answers? {
            assert_eq!((answer.status(), answer.message.sequence.0), (0, sequence));
        }
        cluster.start_replica(leader);
    }
    assert_eq!(cluster.status(cluster.leader().await?).await?.bindings, 0x50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_answered() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    assert_eq!(ask(&mut front_end, &Update::new(mn, 1)).await?.status(), 0);
    let leader = cluster.leader().await?;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &others {
        cluster.stop_replica(*id).await?;
    }
    front_end.send(&Update::new(mn, 2).packet(), None).await?;
    eventually("the deadline to be counted", async || {
        ensure!(front_end.metric(&drops("store_timeout")).await? == 1.0);
        Ok(())
    })
    .await?;
    ensure!(front_end.receive(Duration::from_millis(1)).await.is_err(), "it was answered");
    for id in &others {
        cluster.start_replica(*id);
    }
    // Whether the store took that one or not, the next one is accepted.
    assert_eq!(ask(&mut front_end, &Update::new(mn, 3)).await?.status(), 0);
    Ok(())
}
